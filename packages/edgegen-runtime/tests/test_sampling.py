from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgegen.errors import EdgegenError, UsageError
from edgegen_runtime.generation.sampler_chain import Penalties, SamplerChain
from edgegen_runtime.generation.sampling import Sampler, SamplingOptions, _largest

DRAWS = 10_000


def softmax(logits: npt.NDArray[Any], temperature: float) -> npt.NDArray[Any]:
    scaled = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    shares: npt.NDArray[Any] = scaled / scaled.sum()
    return shares


def expected(logits: npt.NDArray[Any], options: SamplingOptions) -> npt.NDArray[Any]:
    """The distribution by the definition: sort everything, cut, normalise."""
    probabilities = softmax(logits, options.temperature)
    order = np.argsort(-probabilities, kind="stable")
    if options.top_k:
        probabilities[order[options.top_k :]] = 0
        probabilities /= probabilities.sum()
    if options.top_p < 1:
        before = np.cumsum(probabilities[order]) - probabilities[order]
        probabilities[order[before >= options.top_p]] = 0
        probabilities /= probabilities.sum()
    return probabilities


def chi_squared_per_freedom(counts: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> float:
    """How far counts are from what was expected, in standard deviations; rare tokens are put together."""
    means = probabilities * counts.sum()
    often = means >= 10
    observed = np.append(counts[often], counts[~often].sum())
    means = np.append(means[often], means[~often].sum())
    observed, means = observed[means > 0], means[means > 0]
    freedom = max(len(means) - 1, 1)
    return float((((observed - means) ** 2 / means).sum() - freedom) / np.sqrt(2 * freedom))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 3},
        {"top_k": 1000},
        {"top_p": 0.7},
        {"top_p": 0.999},
        {"top_p": 1e-9},
        {"top_k": 8, "top_p": 0.6, "temperature": 1.5},
    ],
)
@pytest.mark.parametrize("vocab_size", [12, 700])
def test_tokens_come_as_often_as_they_should(settings: dict[str, Any], vocab_size: int) -> None:
    logits = np.random.default_rng(1).normal(size=vocab_size).astype(np.float32) * 2
    options = SamplingOptions(**{"temperature": 1.0, "seed": 5, **settings})
    sampler, probabilities = Sampler(options), expected(logits, options)
    counts = np.bincount([sampler.sample(logits) for _ in range(DRAWS)], minlength=vocab_size)
    assert not counts[probabilities == 0].any()
    assert chi_squared_per_freedom(counts, probabilities) < 5


def test_a_flat_distribution_needs_more_than_the_first_candidates() -> None:
    logits = np.zeros(5000, np.float32)
    sampler = Sampler(SamplingOptions(temperature=1.0, top_p=0.9, seed=0))
    ids = [sampler.sample(logits) for _ in range(3000)]
    # Of equal tokens the first ones are kept: ids 0 to 4499, evenly.
    assert max(ids) < 4500
    assert max(ids) > 4400
    assert abs(np.mean(ids) - 2250) < 5 * 1300 / np.sqrt(3000)


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 1000, 50_000])
@pytest.mark.parametrize("kinds", [2, 50, 10**6])
def test_candidates_are_the_largest_and_of_equals_the_first(size: int, kinds: int) -> None:
    logits = np.random.default_rng(size).integers(0, kinds, size).astype(np.float32)
    order = np.argsort(-logits, kind="stable")
    for count in {1, 2, 7, 40, 256, size - 1, size, size + 1} - {0}:
        assert (_largest(logits, count) == order[:count]).all()


def test_temperature_zero_takes_the_most_likely_and_of_equals_the_first() -> None:
    logits = np.array([0, 3, 1, 3], np.float32)
    assert Sampler(SamplingOptions()).sample(logits) == 1
    assert Sampler(SamplingOptions(temperature=5.0, top_k=1, seed=3)).sample(logits) == 1
    assert Sampler(SamplingOptions(temperature=1e-20, seed=3)).sample(np.array([0, 3, 1], np.float32)) == 1


def test_a_seed_repeats_the_tokens_and_another_does_not() -> None:
    logits = np.random.default_rng(2).normal(size=1000).astype(np.float32)

    def tokens(seed: int | None) -> list[int]:
        sampler = Sampler(SamplingOptions(temperature=1.0, top_k=50, top_p=0.95, seed=seed))
        return [sampler.sample(logits) for _ in range(50)]

    assert tokens(7) == tokens(7) != tokens(8)
    assert tokens(None) != tokens(None)


def test_a_drawn_seed_is_told_so_that_a_run_can_be_repeated() -> None:
    logits = np.zeros(1000, np.float32)
    first = Sampler(SamplingOptions(temperature=1.0))
    again = Sampler(SamplingOptions(temperature=1.0, seed=first.seed))
    assert [first.sample(logits) for _ in range(20)] == [again.sample(logits) for _ in range(20)]
    assert Sampler(SamplingOptions()).seed is None


def test_logits_are_not_modified_and_minus_infinity_is_never_chosen() -> None:
    logits = np.array([1, -np.inf, 0.5], np.float32)
    kept = logits.copy()
    sampler = Sampler(SamplingOptions(temperature=3.0, top_p=0.99, seed=0))
    assert {sampler.sample(logits) for _ in range(500)} == {0, 2}
    assert (logits == kept).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error(bad: float) -> None:
    with pytest.raises(EdgegenError, match="as a logit"):
        Sampler(SamplingOptions()).sample(np.array([0, bad, 1], np.float32))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"presence_penalty": float("nan")},
        {"frequency_penalty": float("inf")},
        {"logit_bias": {-1: 1.0}},
        {"logit_bias": {1: float("inf")}},
        {"seed": -1},
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings)).replace("_", "-")):
        SamplingOptions(**settings)


def test_min_p_keeps_what_is_likely_enough() -> None:
    logits = np.random.default_rng(3).normal(size=300).astype(np.float32) * 2
    for temperature in (0.7, 1.5):
        options = SamplingOptions(temperature=temperature, min_p=0.1, seed=1)
        probabilities = softmax(logits, temperature)
        probabilities[probabilities < 0.1 * probabilities.max()] = 0
        probabilities /= probabilities.sum()
        sampler = Sampler(options)
        counts = np.bincount([sampler.sample(logits) for _ in range(DRAWS)], minlength=300)
        assert not counts[probabilities == 0].any()
        assert chi_squared_per_freedom(counts, probabilities) < 5


def penalised(
    options: SamplingOptions, said: list[int], logits: list[float], prompt: tuple[int, ...] = ()
) -> list[float]:
    penalties = Penalties(options, prompt, len(logits))
    for token_id in said:
        penalties.accept(token_id)
    return [float(value) for value in penalties.process(np.array(logits, np.float32))]


def test_a_repetition_penalty_makes_what_the_text_has_less_likely_whatever_its_sign() -> None:
    options = SamplingOptions(repetition_penalty=2.0)
    assert penalised(options, [1, 1], [4, 4, -4, -4], prompt=(2,)) == [4, 2, -8, -4]


def test_presence_counts_once_and_frequency_each_time_and_the_prompt_never() -> None:
    options = SamplingOptions(presence_penalty=0.5, frequency_penalty=0.25)
    assert penalised(options, [1, 2, 2], [1, 1, 1, 1], prompt=(3,)) == [1, 0.25, 0, 1]


def test_a_bias_is_added_and_can_forbid() -> None:
    options = SamplingOptions(logit_bias={0: 2.5, 1: float("-inf")})
    assert penalised(options, [], [1, 9, 0]) == [3.5, float("-inf"), 0]
    assert (
        SamplerChain(Sampler(options), [Penalties(options, (), 3)]).sample(np.array([3.5, -np.inf, 0], np.float32)) == 0
    )


def test_a_bias_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(UsageError, match="vocabulary has 3"):
        Penalties(SamplingOptions(logit_bias={3: 1.0}), (), 3)


def test_without_penalties_nothing_is_copied() -> None:
    assert not Penalties.needed(SamplingOptions(temperature=1.0, min_p=0.1))
    logits = np.zeros(4, np.float32)
    assert SamplerChain(Sampler(SamplingOptions())).process(logits) is logits
