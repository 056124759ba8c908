"""Speculative decoding: several tokens for one reading of the weights, proposed cheaply and verified in one call.

A drafter proposes draft tokens, a ``verify_<N>`` signature gives the logits after each, and the answer's own
:class:`SamplerChain` samples from them one after the other, as it would without drafts. Draft tokens are accepted as
long as they are what was sampled. So a draft, however bad, changes the speed and never the text: greedily the likeliest
token is taken at each place, and a sampled answer is drawn from the model's own distribution with the same random
numbers. (For a draft that is certain, drawing first and comparing then *is* rejection sampling; Leviathan et al., 2023,
*Fast Inference from Transformers via Speculative Decoding*.)

Rows of rejected tokens stay in the cache until the tokens that belong there overwrite them; the causal mask hides them
until then.

Rounding may differ: ``verify_<N>`` may run on other kernels than ``decode``. They are compared once, bit for bit
(:func:`verify_noise`). Where they agree, as on XNNPACK's kernels so far, nothing else is needed. Where they do not, a
greedy choice is trusted only where the likeliest token leads by more than the noise can make up; before a closer call,
everything that ``verify`` wrote is computed again with ``decode``, so that the choice is made from the very numbers of
plain decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.cache.kv_cache import KVCache, common_prefix

if TYPE_CHECKING:
    from edgegen_runtime.generation.sampler_chain import SamplerChain
    from edgegen_runtime.generation.sampling import Logits
    from edgegen_runtime.protocols import DecoderModel, Drafter

SAFETY = 16
"""A lead counts as clear beyond this multiple of the noise that was measured."""

_FIRST_DRAFT, _LONGEST_PAUSE = 3, 16
"""Number of draft tokens to begin with, and of plain steps after which to try again where drafts are rejected."""


class PromptLookup:
    """Drafter by prompt lookup: proposes the continuation of the latest earlier occurrence of the last few tokens.

    Costs next to nothing, and pays where an answer quotes its prompt: summaries, corrections, code edits
    (Saxena, 2023, https://github.com/apoorvumang/prompt-lookup-decoding).

    Args:
        longest: n-gram length to look up first, in tokens.
        shortest: shortest n-gram to fall back to.
    """

    def __init__(self, *, longest: int = 4, shortest: int = 2) -> None:
        if not 1 <= shortest <= longest:
            raise ValueError(f"looks up {shortest} to {longest} tokens; 1 or more, the shortest first")
        self._sizes = range(longest, shortest - 1, -1)

    def check(self, model: DecoderModel) -> None:
        """Accept any model."""

    def propose(self, text: Sequence[int], count: int) -> list[int]:
        """Up to ``count`` tokens after the latest earlier occurrence of the longest n-gram that has one."""
        tokens = np.asarray(text, np.int32)
        for size in self._sizes:
            starts = len(tokens) - size  # of places before the ending itself
            if starts < 1:
                continue
            same = np.ones(starts, bool)
            for offset in range(size):
                same &= tokens[offset : offset + starts] == tokens[starts + offset]
            found = np.flatnonzero(same)
            if len(found):
                # Of the latest occurrences, the first that has enough behind it: a short cycle has its end too near.
                whole = found[found + size + count <= len(tokens)]
                begin = int(whole[-1] if len(whole) else found[0]) + size
                return [int(token_id) for token_id in tokens[begin : begin + count]]
        return []


class DraftModel:
    """Drafter with a smaller model of the same tokenizer, decoding greedily.

    Args:
        model: the draft model; its cache is this object's own, so use one object for one answer at a time.
    """

    def __init__(self, model: DecoderModel) -> None:
        self.model = model
        self._cache = model.new_cache()

    def check(self, model: DecoderModel) -> None:
        """Refuse a target model whose token ids mean something else.

        Raises:
            UsageError: vocabularies differ.
        """
        ours, theirs = self.model.tokenizer, model.tokenizer
        if ours is not None and theirs is not None:
            same = ours.vocab_size == theirs.vocab_size and all(
                ours.id_to_token(token_id) == theirs.id_to_token(token_id) for token_id in range(ours.vocab_size)
            )
        else:
            same = self.model.vocab_size == model.vocab_size
        if not same:
            raise UsageError(
                f"{self.model.exported.name} has another tokenizer than {model.exported.name}, "
                "so it cannot draft for it",
                code=ErrorCode.DRAFT_MODEL_MISMATCH,
                hint="choose a smaller model of the same family, or --speculate prompt-lookup",
            )

    def propose(self, text: Sequence[int], count: int) -> list[int]:
        """The draft model's ``count`` greedy next tokens, or fewer where its own cache ends."""
        cache, limit = self._cache, self.model.vocab_size
        room = cache.cache_length - len(text) + 1
        if room < 1 or any(token_id >= limit for token_id in text):
            return []
        known = cache.rollback(common_prefix(cache.tokens, text[:-1]))
        cache.prefill(text[known:-1])
        draft: list[int] = []
        token_id = text[-1]
        for _ in range(min(count, room)):
            token_id = int(cache.step(token_id).argmax())
            draft.append(token_id)
        return draft


class SpeculativeDecoder:
    """Decoding loop with drafts; one object serves one answer.

    Args:
        drafter: proposes draft tokens.
        noise: largest difference between logits of ``verify`` and ``decode``, from :func:`verify_noise`.

    Attributes:
        drafted: draft tokens that were verified.
        accepted: draft tokens that were accepted.
    """

    def __init__(self, drafter: Drafter, noise: float) -> None:
        self._drafter = drafter
        self._clear = SAFETY * noise
        self._inexact: int | None = None  # the first row that goes back to ``verify``, if that is noisy
        self._draft_length = _FIRST_DRAFT
        self._pause = 0
        self._wait = 0
        self.drafted = 0
        self.accepted = 0

    def decode(
        self, cache: KVCache, text: Sequence[int], sampler: SamplerChain, stop_ids: frozenset[int], limit: int
    ) -> list[int]:
        """Append the last token of ``text``, which the cache lacks, and sample 1 to ``limit`` tokens after it.

        Ends with a stop token, or where the sampler chain is complete.
        """
        length = min(cache.verify_length(limit), self._draft_length + 1)
        draft: list[int] = []
        if self._wait:
            self._wait -= 1
        elif length > 1:
            draft = self._drafter.propose(text, length - 1)
        start = len(cache.tokens)
        if not draft:
            return [self._sample(cache, text, cache.step(text[-1]), sampler)]
        rows = cache.verify([text[-1], *draft])
        if self._clear and self._inexact is None:
            self._inexact = start
        sampled: list[int] = []
        accepted = 0
        for row, drafted in zip(rows, [*draft, None], strict=True):
            inexact = self._inexact
            sampled.append(self._sample(cache, [*text, *sampled], row, sampler))
            right = sampled[-1] == drafted
            accepted += right
            # If a close call had the rows computed again, those after them are gone from the cache.
            if not right or sampled[-1] in stop_ids or sampler.complete or self._inexact != inexact:
                break
        cache.rollback(start + len(sampled))  # as after plain decoding: the last token sampled is not read yet
        self.drafted += len(draft)
        self.accepted += accepted
        self._adapt(len(draft), accepted)
        return sampled

    def _adapt(self, drafted: int, accepted: int) -> None:
        """Draft more where all was accepted; where nothing was, pause: a wasted ``verify`` is slower than a step."""
        if accepted:
            self._pause = 0
            self._draft_length = 2 * drafted + 1 if accepted == drafted else max(_FIRST_DRAFT, accepted)
        else:
            self._draft_length, self._pause = _FIRST_DRAFT, min(2 * self._pause + 1, _LONGEST_PAUSE)
            self._wait = self._pause

    def discard_inexact(self, cache: KVCache) -> None:
        """Drop the rows that ``verify`` wrote, as the rows are about to be computed anew."""
        if self._inexact is not None:
            cache.rollback(self._inexact)
            self._inexact = None

    def _sample(self, cache: KVCache, text: Sequence[int], logits: Logits, sampler: SamplerChain) -> int:
        """The token after ``text``, as plain decoding would sample it."""
        processed = sampler.process(logits)
        if self._inexact is not None and sampler.greedy and _lead(processed) <= self._clear:
            for token_id in text[cache.rollback(self._inexact) :]:
                logits = cache.step(token_id)
            self._inexact = None
            processed = sampler.process(logits)
        return sampler.sample(processed)


def _lead(logits: Logits) -> float:
    """Difference between the greatest logit and the second."""
    second, first = np.partition(logits, len(logits) - 2)[-2:]
    return float(first - second)


def verify_noise(cache: KVCache, vocab_size: int) -> float:
    """Largest difference between logits of ``verify`` and of ``decode`` for the same tokens; mostly 0.

    Overwrites ``cache``. Its shortest bucket stands for all: which kernels run depends on the number of tokens.
    """
    cache.rollback(0)
    longest = cache.verify_length(cache.cache_length)
    tokens = [(index + 1) * 7919 % vocab_size for index in range(longest)]  # 7919 is a prime, so that they differ
    decoded = [cache.step(token_id) for token_id in tokens]
    noise = 0.0
    length = longest
    while length > 1:  # halving meets each signature's length, or one that it serves
        cache.rollback(0)
        differences = cache.verify(tokens[:length]) - np.stack(decoded[:length])
        noise = max(noise, float(np.abs(differences).max()))
        length //= 2
    cache.rollback(0)
    return noise
