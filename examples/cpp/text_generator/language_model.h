// A language model exported by edgegen: token ids in, logits out.

#ifndef EDGEGEN_TEXT_GENERATOR_LANGUAGE_MODEL_H_
#define EDGEGEN_TEXT_GENERATOR_LANGUAGE_MODEL_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "litert.h"

// Loads a .tflite file with the signatures `prefill_<N>` and `decode`, and keeps the state of one text.
//
// Caches are inputs and outputs of one name. Both are bound to the same memory, so that LiteRT updates them in place,
// and all signatures share them.
class LanguageModel {
 public:
  // `weight_cache` is a file that keeps packed weights between runs; empty to pack them anew each time.
  // Ends the program with a message if the file cannot be loaded.
  LanguageModel(const std::string& path, int threads, const std::string& weight_cache);

  // Slots of the cache: the longest text, in tokens.
  int cache_length() const { return cache_length_; }

  // Reads tokens that begin at `position`, all but the last through the longest signatures that fit; gives the logits
  // of what comes after the last one.
  const std::vector<float>& Read(const std::vector<int>& tokens, int position);

 private:
  struct Tensor {
    void* memory;
    size_t elements;
    litert::TensorBuffer* buffer;
  };

  struct Entry {
    size_t index;
    int length;  // tokens that it reads
    std::vector<litert::TensorBuffer*> inputs, outputs;
    Tensor tokens, positions;
  };

  void Bind(size_t index, litert::Signature* signature, int length);
  Tensor& Shared(const std::string& name, litert::Element element, const litert::Layout& layout);
  void Run(Entry& entry, const std::vector<int>& tokens, size_t begin, size_t count, int position);

  litert::CompiledModel* compiled_ = nullptr;
  std::map<std::string, Tensor> shared_;  // caches and logits, by name
  std::vector<Entry> entries_;            // longest first; decode, of length 1, is the last
  std::vector<float> logits_;
  int cache_length_ = 0;
};

#endif  // EDGEGEN_TEXT_GENERATOR_LANGUAGE_MODEL_H_
