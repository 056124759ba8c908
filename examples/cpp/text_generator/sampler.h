// Chooses the next token from logits.

#ifndef EDGEGEN_TEXT_GENERATOR_SAMPLER_H_
#define EDGEGEN_TEXT_GENERATOR_SAMPLER_H_

#include <cstdint>
#include <random>
#include <vector>

struct Sampling {
  float temperature = 0;  // 0 takes the most likely token
  int top_k = 0;          // 0 for all tokens
  float top_p = 1;        // share of probability that is left to choose from
  uint32_t seed = 0;
};

class Sampler {
 public:
  explicit Sampler(const Sampling& settings) : settings_(settings), random_(settings.seed) {}

  int Choose(const std::vector<float>& logits);

 private:
  Sampling settings_;
  std::mt19937 random_;
};

#endif  // EDGEGEN_TEXT_GENERATOR_SAMPLER_H_
