#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

int Sampler::Choose(const std::vector<float>& logits) {
  if (settings_.temperature <= 0) {
    return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  std::vector<int> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  size_t kept = settings_.top_k > 0 ? std::min<size_t>(settings_.top_k, tokens.size()) : tokens.size();
  std::partial_sort(tokens.begin(), tokens.begin() + kept, tokens.end(),
                    [&](int a, int b) { return logits[a] > logits[b]; });
  std::vector<double> weights(kept);
  for (size_t i = 0; i < kept; ++i) {
    weights[i] = std::exp((logits[tokens[i]] - logits[tokens[0]]) / settings_.temperature);
  }
  // The most likely tokens that together have at least `top_p` of the probability.
  double total = std::accumulate(weights.begin(), weights.end(), 0.0), sum = 0;
  size_t nucleus = 0;
  while (nucleus < kept && sum < settings_.top_p * total) sum += weights[nucleus++];
  weights.resize(std::max<size_t>(nucleus, 1));
  return tokens[std::discrete_distribution<size_t>(weights.begin(), weights.end())(random_)];
}
