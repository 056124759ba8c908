// The part of LiteRT's C library that this example uses.
//
// The library comes inside the Python wheel `ai-edge-litert` as libLiteRt.so, without headers; these declarations are of
// its exported functions. Every function returns 0 if it succeeded.

#ifndef EDGEGEN_TEXT_GENERATOR_LITERT_H_
#define EDGEGEN_TEXT_GENERATOR_LITERT_H_

#include <cstddef>
#include <cstdint>

namespace litert {

struct Environment;
struct Model;
struct Options;
struct OpaqueOptions;
struct CompiledModel;
struct Signature;
struct TensorBuffer;

constexpr int kCpu = 1;
enum Element : int32_t { kFloat32 = 1, kInt32 = 2 };

struct Layout {
  unsigned rank : 7, has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
};

struct TensorType {
  int32_t element;
  Layout layout;
};

extern "C" {
int LiteRtCreateEnvironment(int option_count, const void* options, Environment**);
int LiteRtCreateModelFromFile(Environment*, const char* path, Model**);

int LiteRtCreateOptions(Options**);
int LiteRtSetOptionsHardwareAccelerators(Options*, int accelerators);
int LiteRtCreateOpaqueOptions(const char* id, void* toml, void (*destroy)(void*), OpaqueOptions**);
int LiteRtAddOpaqueOptions(Options*, OpaqueOptions*);

int LiteRtCreateCompiledModel(Environment*, Model*, Options*, CompiledModel**);
int LiteRtGetCompiledModelInputTensorLayout(CompiledModel*, size_t signature, size_t input, Layout*);
int LiteRtGetCompiledModelOutputTensorLayouts(CompiledModel*, size_t signature, size_t count, Layout*, bool update);
int LiteRtRunCompiledModel(CompiledModel*, size_t signature, size_t input_count, TensorBuffer** inputs,
                           size_t output_count, TensorBuffer** outputs);

int LiteRtGetNumModelSignatures(Model*, size_t*);
int LiteRtGetModelSignature(Model*, size_t index, Signature**);
int LiteRtGetSignatureKey(Signature*, const char**);
int LiteRtGetNumSignatureInputs(Signature*, size_t*);
int LiteRtGetSignatureInputName(Signature*, size_t index, const char**);
int LiteRtGetNumSignatureOutputs(Signature*, size_t*);
int LiteRtGetSignatureOutputName(Signature*, size_t index, const char**);

int LiteRtCreateTensorBufferFromHostMemory(const TensorType*, void* memory, size_t bytes, void (*destroy)(void*),
                                           TensorBuffer**);
}

}  // namespace litert

#endif  // EDGEGEN_TEXT_GENERATOR_LITERT_H_
