#include "language_model.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using litert::Layout;

namespace {

void Check(int status, const char* what) {
  if (status == 0) return;
  std::fprintf(stderr, "error: LiteRT failed to %s (status %d)\n", what, status);
  std::exit(1);
}

// How many tokens a signature reads; 0 for those on shorter caches, which this example leaves alone.
int LengthOf(const std::string& key) {
  if (key == "decode") return 1;
  int length = 0;
  return std::sscanf(key.c_str(), "prefill_%d", &length) == 1 ? length : 0;
}

size_t Elements(const Layout& layout) {
  size_t elements = 1;
  for (unsigned i = 0; i < layout.rank; ++i) elements *= layout.dimensions[i];
  return elements;
}

}  // namespace

LanguageModel::LanguageModel(const std::string& path, int threads, const std::string& weight_cache) {
  litert::Environment* environment;
  litert::Model* model;
  litert::Options* options;
  litert::OpaqueOptions* xnnpack;
  Check(litert::LiteRtCreateEnvironment(0, nullptr, &environment), "start");
  Check(litert::LiteRtCreateModelFromFile(environment, path.c_str(), &model), ("load " + path).c_str());
  Check(litert::LiteRtCreateOptions(&options), "make options");
  Check(litert::LiteRtSetOptionsHardwareAccelerators(options, litert::kCpu), "choose the CPU");
  // ":memory:" packs weights once for all signatures, and keeps them in this process only.
  std::string toml = "num_threads = " + std::to_string(threads) + "\nweight_cache_file_path = \"" +
                     (weight_cache.empty() ? ":memory:" : weight_cache) + "\"\n";
  Check(litert::LiteRtCreateOpaqueOptions("xnnpack", strdup(toml.c_str()), std::free, &xnnpack), "make options");
  Check(litert::LiteRtAddOpaqueOptions(options, xnnpack), "set options");
  Check(litert::LiteRtCreateCompiledModel(environment, model, options, &compiled_), ("compile " + path).c_str());

  size_t count;
  Check(litert::LiteRtGetNumModelSignatures(model, &count), "count signatures");
  for (size_t i = 0; i < count; ++i) {
    litert::Signature* signature;
    const char* key;
    Check(litert::LiteRtGetModelSignature(model, i, &signature), "read a signature");
    Check(litert::LiteRtGetSignatureKey(signature, &key), "read a signature's name");
    if (int length = LengthOf(key)) Bind(i, signature, length);
  }
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.length > b.length; });
  if (entries_.empty() || entries_.back().length != 1 || !cache_length_) {
    std::fprintf(stderr, "error: %s has no signature decode with caches; make one with: edgegen export\n", path.c_str());
    std::exit(1);
  }
}

void LanguageModel::Bind(size_t index, litert::Signature* signature, int length) {
  Entry entry{index, length, {}, {}, {}, {}};
  size_t count;
  Check(litert::LiteRtGetNumSignatureInputs(signature, &count), "count inputs");
  for (size_t i = 0; i < count; ++i) {
    const char* text;
    Layout layout{};
    Check(litert::LiteRtGetSignatureInputName(signature, i, &text), "read an input's name");
    Check(litert::LiteRtGetCompiledModelInputTensorLayout(compiled_, index, i, &layout), "read an input's shape");
    std::string name = text;
    if (name == "tokens" || name == "input_pos") {
      // Of each signature its own, because lengths differ.
      Tensor& tensor = Shared(name + "/" + std::to_string(index), litert::kInt32, layout);
      (name == "tokens" ? entry.tokens : entry.positions) = tensor;
      entry.inputs.push_back(tensor.buffer);
    } else {
      if (name == "kv_cache_k_0") cache_length_ = layout.dimensions[2];  // [1, heads, slots, head size]
      entry.inputs.push_back(Shared(name, litert::kFloat32, layout).buffer);
    }
  }
  Check(litert::LiteRtGetNumSignatureOutputs(signature, &count), "count outputs");
  std::vector<Layout> layouts(count);
  Check(litert::LiteRtGetCompiledModelOutputTensorLayouts(compiled_, index, count, layouts.data(), true),
        "read the outputs' shapes");
  for (size_t i = 0; i < count; ++i) {
    const char* name;
    Check(litert::LiteRtGetSignatureOutputName(signature, i, &name), "read an output's name");
    entry.outputs.push_back(Shared(name, litert::kFloat32, layouts[i]).buffer);
  }
  entries_.push_back(entry);
}

// Zeroed memory, aligned as LiteRT wants it; made once for each name.
LanguageModel::Tensor& LanguageModel::Shared(const std::string& name, litert::Element element, const Layout& layout) {
  auto [found, is_new] = shared_.try_emplace(name);
  Tensor& tensor = found->second;
  if (is_new) {
    tensor.elements = Elements(layout);
    size_t bytes = tensor.elements * 4;  // of both types
    tensor.memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    std::memset(tensor.memory, 0, bytes);
    litert::TensorType type{element, layout};
    Check(litert::LiteRtCreateTensorBufferFromHostMemory(&type, tensor.memory, bytes, nullptr, &tensor.buffer),
          "bind memory");
  }
  return tensor;
}

const std::vector<float>& LanguageModel::Read(const std::vector<int>& tokens, int position) {
  size_t begin = 0;
  while (begin + 1 < tokens.size()) {
    int left = static_cast<int>(tokens.size() - 1 - begin), room = cache_length_ - position;
    // The longest that is filled, else the shortest that holds the rest: what follows its tokens is overwritten later,
    // but must not lie beyond the cache, or LiteRT would move all of it.
    auto fits = [&](const Entry& entry) { return entry.length <= left; };
    auto chosen = std::find_if(entries_.begin(), entries_.end(), fits);
    if (chosen != entries_.begin() && chosen->length * 2 <= left && (chosen - 1)->length <= room) --chosen;
    size_t count = std::min(left, chosen->length);
    Run(*chosen, tokens, begin, count, position);
    begin += count;
    position += static_cast<int>(count);
  }
  Run(entries_.back(), tokens, begin, 1, position);
  const Tensor& logits = shared_.at("logits");
  const float* values = static_cast<const float*>(logits.memory);
  logits_.assign(values, values + logits.elements);
  return logits_;
}

void LanguageModel::Run(Entry& entry, const std::vector<int>& tokens, size_t begin, size_t count, int position) {
  auto* ids = static_cast<int32_t*>(entry.tokens.memory);
  auto* positions = static_cast<int32_t*>(entry.positions.memory);
  for (int i = 0; i < entry.length; ++i) {
    ids[i] = static_cast<size_t>(i) < count ? tokens[begin + i] : 0;
    positions[i] = position + i;
  }
  Check(litert::LiteRtRunCompiledModel(compiled_, entry.index, entry.inputs.size(), entry.inputs.data(),
                                       entry.outputs.size(), entry.outputs.data()),
        "run");
}
