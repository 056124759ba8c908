// Loads a language model with LiteRT's C library and continues a text greedily; large_files.py builds and runs it.
//
//   large_files MODEL.tflite 504,3575,282 12   prints 12 token ids
//
// The library comes in the Python wheel, without headers: what is used of it is declared here. Every token goes through
// the signature `decode`; caches, which are both inputs and outputs, are bound to one buffer each.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

extern "C" {
struct Environment;
struct Model;
struct Options;
struct CompiledModel;
struct TensorBuffer;
struct Signature;
struct Layout {
  unsigned rank : 7, has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
};
struct TensorType {
  int32_t element;
  Layout layout;
};
int LiteRtCreateEnvironment(int, const void*, Environment**);
int LiteRtCreateModelFromFile(Environment*, const char*, Model**);
int LiteRtCreateOptions(Options**);
int LiteRtSetOptionsHardwareAccelerators(Options*, int);
int LiteRtCreateCompiledModel(Environment*, Model*, Options*, CompiledModel**);
int LiteRtGetNumModelSignatures(Model*, size_t*);
int LiteRtGetModelSignature(Model*, size_t, Signature**);
int LiteRtGetSignatureKey(Signature*, const char**);
int LiteRtGetNumSignatureInputs(Signature*, size_t*);
int LiteRtGetSignatureInputName(Signature*, size_t, const char**);
int LiteRtGetNumSignatureOutputs(Signature*, size_t*);
int LiteRtGetSignatureOutputName(Signature*, size_t, const char**);
int LiteRtGetCompiledModelInputTensorLayout(CompiledModel*, size_t, size_t, Layout*);
int LiteRtGetCompiledModelOutputTensorLayouts(CompiledModel*, size_t, size_t, Layout*, bool);
int LiteRtCreateTensorBufferFromHostMemory(const TensorType*, void*, size_t, void (*)(void*), TensorBuffer**);
int LiteRtRunCompiledModel(CompiledModel*, size_t, size_t, TensorBuffer**, size_t, TensorBuffer**);
}

constexpr int kCpu = 1, kFloat32 = 1, kInt32 = 2;

#define CHECK_OK(call)                                      \
  if (int status = (call)) {                                \
    std::fprintf(stderr, "%s: status %d\n", #call, status); \
    std::exit(1);                                           \
  }

struct Tensor {
  void* memory;
  size_t elements;
  TensorBuffer* buffer;
};

// Zeroed memory, aligned as LiteRT wants it. Elements of all types here have 4 bytes.
Tensor MakeTensor(int element, const Layout& layout) {
  size_t elements = 1;
  for (unsigned i = 0; i < layout.rank; ++i) elements *= layout.dimensions[i];
  size_t bytes = (elements * 4 + 63) / 64 * 64;
  Tensor tensor{std::aligned_alloc(64, bytes), elements, nullptr};
  std::memset(tensor.memory, 0, bytes);
  TensorType type{element, layout};
  CHECK_OK(LiteRtCreateTensorBufferFromHostMemory(&type, tensor.memory, elements * 4, nullptr, &tensor.buffer));
  return tensor;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: large_files MODEL.tflite ID,ID,... COUNT\n");
    return 2;
  }
  Environment* environment;
  Model* model;
  Options* options;
  CompiledModel* compiled;
  CHECK_OK(LiteRtCreateEnvironment(0, nullptr, &environment));
  CHECK_OK(LiteRtCreateModelFromFile(environment, argv[1], &model));
  CHECK_OK(LiteRtCreateOptions(&options));
  CHECK_OK(LiteRtSetOptionsHardwareAccelerators(options, kCpu));
  CHECK_OK(LiteRtCreateCompiledModel(environment, model, options, &compiled));

  size_t signatures, decode = SIZE_MAX;
  Signature* signature = nullptr;
  CHECK_OK(LiteRtGetNumModelSignatures(model, &signatures));
  for (size_t i = 0; i < signatures; ++i) {
    Signature* candidate;
    const char* key;
    CHECK_OK(LiteRtGetModelSignature(model, i, &candidate));
    CHECK_OK(LiteRtGetSignatureKey(candidate, &key));
    if (!std::strcmp(key, "decode")) decode = i, signature = candidate;
  }
  if (!signature) {
    std::fprintf(stderr, "%s has no signature decode\n", argv[1]);
    return 1;
  }

  std::map<std::string, Tensor> tensors;
  std::vector<TensorBuffer*> inputs, outputs;
  size_t count;
  CHECK_OK(LiteRtGetNumSignatureInputs(signature, &count));
  for (size_t i = 0; i < count; ++i) {
    const char* name;
    Layout layout{};
    CHECK_OK(LiteRtGetSignatureInputName(signature, i, &name));
    CHECK_OK(LiteRtGetCompiledModelInputTensorLayout(compiled, decode, i, &layout));
    bool integers = !std::strcmp(name, "tokens") || !std::strcmp(name, "input_pos");
    tensors[name] = MakeTensor(integers ? kInt32 : kFloat32, layout);
    inputs.push_back(tensors[name].buffer);
  }
  CHECK_OK(LiteRtGetNumSignatureOutputs(signature, &count));
  std::vector<Layout> layouts(count);
  CHECK_OK(LiteRtGetCompiledModelOutputTensorLayouts(compiled, decode, count, layouts.data(), true));
  for (size_t i = 0; i < count; ++i) {
    const char* name;
    CHECK_OK(LiteRtGetSignatureOutputName(signature, i, &name));
    if (!tensors.count(name)) tensors[name] = MakeTensor(kFloat32, layouts[i]);
    outputs.push_back(tensors[name].buffer);
  }

  std::vector<int> ids;
  for (char* id = std::strtok(argv[2], ","); id; id = std::strtok(nullptr, ",")) ids.push_back(std::atoi(id));
  const size_t prompt = ids.size(), wanted = prompt + std::atoi(argv[3]);
  const Tensor& logits = tensors["logits"];
  const float* scores = static_cast<const float*>(logits.memory);
  for (size_t at = 0; ids.size() < wanted; ++at) {
    *static_cast<int32_t*>(tensors["tokens"].memory) = ids[at];
    *static_cast<int32_t*>(tensors["input_pos"].memory) = static_cast<int32_t>(at);
    CHECK_OK(LiteRtRunCompiledModel(compiled, decode, inputs.size(), inputs.data(), outputs.size(), outputs.data()));
    if (at + 1 < prompt) continue;
    ids.push_back(static_cast<int>(std::max_element(scores, scores + logits.elements) - scores));
    std::printf("%d ", ids.back());
  }
  std::printf("\n");
  std::fflush(stdout);
  std::_Exit(0);  // the system takes everything back faster than the library lets go of it
}
