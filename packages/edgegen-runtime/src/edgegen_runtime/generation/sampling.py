"""Sampling of the next token from the logits, in numpy."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import EdgegenError, ErrorCode, UsageError

Logits = npt.NDArray[np.float32]

_GROUP = 64
"""Group size for the search of the largest logits."""

_FIRST_CANDIDATES = 256
"""Candidates sorted first for top-p; mostly they hold the nucleus, which saves sorting the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Sampling parameters of one generation.

    Attributes:
        temperature: 0 takes the most likely token always; 1 samples from the model's own distribution.
        top_k: only the ``top_k`` most likely tokens are candidates; 0: all.
        top_p: only the fewest most likely tokens whose probabilities reach ``top_p`` together (after
            ``top_k``); 1: all.
        min_p: only tokens at least ``min_p`` times as probable as the most likely one, at this temperature
            (after ``top_p``); 0: all.
        repetition_penalty: a token that the text already has, prompt included, has its logit divided by this if
            positive, multiplied if negative; 1: no penalty.
        presence_penalty: subtracted from the logit of each token that the answer already has; 0: none.
        frequency_penalty: the same, once for each time that the answer has it; 0: none.
        logit_bias: token id -> added to its logit; minus infinity forbids it.
        seed: makes sampling repeatable; None: different each time.

    Raises:
        UsageError: a value out of its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.temperature < float("inf"), "temperature", self.temperature, "0 or more")
        _require(self.top_k >= 0, "top-k", self.top_k, "0 (all) or more")
        _require(0 < self.top_p <= 1, "top-p", self.top_p, "above 0 and at most 1")
        _require(0 <= self.min_p <= 1, "min-p", self.min_p, "at least 0 and at most 1")
        _require(0 < self.repetition_penalty < float("inf"), "repetition-penalty", self.repetition_penalty, "above 0")
        for name, penalty in (("presence", self.presence_penalty), ("frequency", self.frequency_penalty)):
            _require(abs(penalty) < float("inf"), f"{name}-penalty", penalty, "a number")
        for token_id, bias in self.logit_bias.items():
            _require(token_id >= 0 and bias < float("inf"), "logit-bias", {token_id: bias}, "ids to numbers")
        _require(self.seed is None or self.seed >= 0, "seed", self.seed, "0 or more")

    @property
    def greedy(self) -> bool:
        """True if no chance is involved."""
        return self.temperature == 0 or self.top_k == 1


class Sampler:
    """Random or greedy sampler of tokens; one serves one generation.

    Attributes:
        seed: the seed in use, drawn if the options name none; None when greedy.
        greedy: True if no chance is involved.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._options = options
        self.greedy = options.greedy
        self.seed: int | None = None
        if not options.greedy:
            self.seed = secrets.randbits(32) if options.seed is None else options.seed
            self._random = np.random.default_rng(self.seed)

    def sample(self, logits: Logits) -> int:
        """Draw the next token.

        Args:
            logits: float32 [V]; not modified.

        Raises:
            EdgegenError: the logits are not numbers.
        """
        best = int(logits.argmax())  # NaN counts as the greatest
        if not np.isfinite(logits[best]):
            raise EdgegenError(f"the model returned {logits[best]} as a logit", code=ErrorCode.LOGITS_NOT_FINITE)
        if self._options.greedy:
            return best
        candidates, weights = self._nucleus(logits, float(logits[best]))
        if self._options.min_p:
            weights = np.where(weights >= self._options.min_p, weights, 0)  # the most likely token's weight is 1
        cumulative = np.cumsum(weights, dtype=np.float64)
        drawn = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        index = min(int(drawn), len(cumulative) - 1)
        return index if candidates is None else int(candidates[index])

    def _nucleus(self, logits: Logits, best: float) -> tuple[npt.NDArray[Any] | None, npt.NDArray[Any]]:
        """Candidates (None: the whole vocabulary in order) and their weights, which need not add up to 1."""
        options = self._options
        top_k = options.top_k if 0 < options.top_k < len(logits) else 0
        if top_k:
            candidates = _largest(logits, top_k)
            weights = self._weights(logits[candidates], best)
            return self._cut(candidates, weights, float(weights.sum(dtype=np.float64)))
        weights = self._weights(logits, best)
        if options.top_p == 1:
            return None, weights
        total, size = float(weights.sum(dtype=np.float64)), _FIRST_CANDIDATES
        while size < len(logits):
            candidates = _largest(logits, size)
            if weights[candidates].sum(dtype=np.float64) >= options.top_p * total:
                return self._cut(candidates, weights[candidates], total)
            size *= 8
        candidates = _largest(logits, len(logits))
        return self._cut(candidates, weights[candidates], total)

    def _weights(self, logits: Logits, best: float) -> npt.NDArray[Any]:
        """Unnormalized probabilities: exp((logit - best) / temperature)."""
        with np.errstate(over="ignore", under="ignore"):
            scaled = (logits - np.float32(best)) / np.float32(max(self._options.temperature, 1e-30))
            weights: npt.NDArray[Any] = np.exp(scaled)
        return weights

    def _cut(
        self, candidates: npt.NDArray[Any], weights: npt.NDArray[Any], total: float
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Keep the first candidates that reach ``top_p`` of ``total``, with the one that crosses the line."""
        if self._options.top_p == 1:
            return candidates, weights
        reached = np.cumsum(weights, dtype=np.float64)
        kept = int(np.searchsorted(reached, self._options.top_p * total)) + 1
        return candidates[:kept], weights[:kept]


def _largest(logits: Logits, count: int) -> npt.NDArray[Any]:
    """Indices of the ``count`` largest logits, largest first, equal ones by index."""
    if count >= len(logits):
        chosen = np.arange(len(logits))
    else:
        # The count-th largest of the maxima of disjoint groups is a bound that at least `count` logits reach.
        # It takes one fast pass; selecting among all logits takes several times as long.
        groups = len(logits) // _GROUP
        maxima = logits[: groups * _GROUP].reshape(_GROUP, groups).max(axis=0) if groups > count else logits
        bound = np.partition(maxima, len(maxima) - count)[len(maxima) - count]
        chosen = np.flatnonzero(logits >= bound)
    order = np.argsort(-logits[chosen], kind="stable")[:count]
    largest: npt.NDArray[Any] = chosen[order]
    return largest


def _require(valid: bool, name: str, value: object, expected: str) -> None:
    if not valid:  # NaN fails every comparison
        raise UsageError(
            f"{name} is {value}, but should be {expected}",
            code=ErrorCode.INVALID_GENERATION_OPTION,
            hint=f"edgegen run --help says what --{name} takes",
        )
