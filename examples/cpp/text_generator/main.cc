// Generates text with a model that edgegen exported, on LiteRT and XNNPACK, without Python.
//
//   text_generator --model DIR/model.tflite --tokenizer DIR/tokenizer.model --prompt "The capital of France is"

#include <sentencepiece_processor.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "language_model.h"
#include "sampler.h"

namespace {

constexpr char kUsage[] = R"(usage: text_generator --model FILE --tokenizer FILE --prompt TEXT [options]

  --model FILE           model.tflite of an export
  --tokenizer FILE       tokenizer.model of the same export (SentencePiece)
  --prompt TEXT          text to continue
  --max-new-tokens N     length limit (128)
  --temperature T        0 takes the most likely token (0)
  --top-k K              choose among the K most likely tokens (all)
  --top-p P              choose among the most likely tokens with P of the probability (1)
  --seed N               of sampling (0)
  --no-start-token       do not begin with the tokenizer's start token
  --stop ID              another token that ends the text; may be repeated
  --threads N            for LiteRT (all cores)
  --weight-cache FILE    keeps packed weights between runs
)";

struct Arguments {
  std::string model, tokenizer, prompt, weight_cache;
  int max_new_tokens = 128;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  bool start_token = true;
  std::set<int> stops;
  Sampling sampling;
};

[[noreturn]] void Fail(const std::string& message, int code) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  if (code == 2) std::fputs(kUsage, stderr);
  std::exit(code);
}

template <typename Number>
Number Parse(const std::string& option, const std::string& text, double low, double high) {
  char* end = nullptr;
  double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != 0 || number < low || number > high || number != static_cast<Number>(number)) {
    Fail(option + " does not take '" + text + "'", 2);
  }
  return static_cast<Number>(number);
}

Arguments ParseArguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    std::string option = argv[i];
    if (option == "--help") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (option == "--no-start-token") {
      arguments.start_token = false;
      continue;
    }
    if (i + 1 == argc) Fail(option + " is unknown, or lacks its value", 2);
    std::string value = argv[++i];
    if (option == "--model") arguments.model = value;
    else if (option == "--tokenizer") arguments.tokenizer = value;
    else if (option == "--prompt") arguments.prompt = value;
    else if (option == "--weight-cache") arguments.weight_cache = value;
    else if (option == "--max-new-tokens") arguments.max_new_tokens = Parse<int>(option, value, 1, 1e9);
    else if (option == "--temperature") arguments.sampling.temperature = std::strtof(value.c_str(), nullptr);
    else if (option == "--top-k") arguments.sampling.top_k = Parse<int>(option, value, 1, 1e9);
    else if (option == "--top-p") arguments.sampling.top_p = std::strtof(value.c_str(), nullptr);
    else if (option == "--seed") arguments.sampling.seed = Parse<uint32_t>(option, value, 0, 4294967295.0);
    else if (option == "--stop") arguments.stops.insert(Parse<int>(option, value, 0, 1e9));
    else if (option == "--threads") arguments.threads = Parse<int>(option, value, 1, 1024);
    else Fail("there is no option " + option, 2);
  }
  if (arguments.model.empty() || arguments.tokenizer.empty() || arguments.prompt.empty()) {
    Fail("--model, --tokenizer and --prompt are needed", 2);
  }
  return arguments;
}

// Prints what the text has grown by. An incomplete character at its end waits for its other bytes.
void PrintGrowth(const std::string& text, size_t& printed) {
  static const std::string kIncomplete = "\xEF\xBF\xBD";  // U+FFFD
  size_t end = text.size();
  while (end >= printed + 3 && text.compare(end - 3, 3, kIncomplete) == 0) end -= 3;
  if (end <= printed) return;
  std::fwrite(text.data() + printed, 1, end - printed, stdout);
  std::fflush(stdout);
  printed = end;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments = ParseArguments(argc, argv);
  sentencepiece::SentencePieceProcessor tokenizer;
  if (auto status = tokenizer.Load(arguments.tokenizer); !status.ok()) {
    Fail("cannot load " + arguments.tokenizer + ": " + status.ToString(), 1);
  }
  LanguageModel model(arguments.model, arguments.threads, arguments.weight_cache);

  std::vector<int> prompt = tokenizer.EncodeAsIds(arguments.prompt);
  if (arguments.start_token && tokenizer.bos_id() >= 0) prompt.insert(prompt.begin(), tokenizer.bos_id());
  if (static_cast<int>(prompt.size()) >= model.cache_length()) {
    Fail("the prompt has " + std::to_string(prompt.size()) + " tokens, the cache " +
             std::to_string(model.cache_length()) + "; export with a longer --cache-length", 2);
  }
  if (tokenizer.eos_id() >= 0) arguments.stops.insert(tokenizer.eos_id());

  auto begin = std::chrono::steady_clock::now();
  Sampler sampler(arguments.sampling);
  const std::vector<float>* logits = &model.Read(prompt, 0);
  auto read = std::chrono::steady_clock::now();
  std::vector<int> answer;
  size_t printed = 0;
  int position = static_cast<int>(prompt.size());
  while (static_cast<int>(answer.size()) < arguments.max_new_tokens) {
    int token = sampler.Choose(*logits);
    if (arguments.stops.count(token)) break;
    answer.push_back(token);
    // With what comes before it: a tokenizer drops the space before a text's first word.
    std::vector<int> all = prompt;
    all.insert(all.end(), answer.begin(), answer.end());
    std::string before = tokenizer.DecodeIds(prompt), text = tokenizer.DecodeIds(all);
    PrintGrowth(text.substr(std::min(before.size(), text.size())), printed);
    if (position == model.cache_length()) break;
    logits = &model.Read({token}, position++);
  }
  std::printf("\n");
  std::fflush(stdout);
  std::chrono::duration<double> reading = read - begin, writing = std::chrono::steady_clock::now() - read;
  std::fprintf(stderr, "read %zu tokens in %.2f s, wrote %zu in %.2f s\n", prompt.size(), reading.count(), answer.size(),
               writing.count());
  std::fflush(nullptr);
  std::_Exit(0);  // the system takes everything back faster than the library lets go of it
}
