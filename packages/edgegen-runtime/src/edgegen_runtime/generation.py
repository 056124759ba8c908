"""One running answer: token by token, with its text, its reason to end and where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgegen_runtime.tokenizer import no_tokenizer

if TYPE_CHECKING:
    from edgegen_runtime.context import Context
    from edgegen_runtime.detokenize import Detokenizer
    from edgegen_runtime.sampling import Sampler

FinishReason = Literal["stop", "length"]
"""``stop``: the model said a stop token. ``length``: as many tokens as asked for, or as the cache holds."""


@dataclass
class Timings:
    """Where the time of a generation went; the caller's own time between tokens is not in it."""

    load_seconds: float = 0.0
    """How long the model took to load, once for all its generations."""
    reused_tokens: int = 0
    """Tokens of the prompt that were in the cache already."""
    prefill_tokens: int = 0
    prefill_seconds: float = 0.0
    first_token_seconds: float | None = None
    """Prefill and the first decoding step."""
    decode_tokens: int = 0
    decode_seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """All fields, and the rates (None where nothing was done)."""
        return {
            **vars(self),
            "prefill_tokens_per_second": _rate(self.prefill_tokens, self.prefill_seconds),
            "decode_tokens_per_second": _rate(self.decode_tokens, self.decode_seconds),
        }


class ContextSource(Protocol):
    """Where a generation gets its KV cache from when it begins, and gives it back to when it ends."""

    def acquire(self) -> Context:
        """A context that nobody else uses."""
        ...

    def release(self, context: Context) -> None:
        """Take back what :meth:`acquire` gave."""
        ...


class Generation(Iterator[int]):
    """Iterate over it for token ids, or over :meth:`text` for text, as they come. Nothing runs before that.

    Attributes:
        prompt_ids: what the model was given.
        token_ids: what it said so far, without the stop token.
        finish_reason: why it ended; None while it runs.
        timings: where the time went, up to now.
        seed: seed of the sampling, None when greedy.
    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        contexts: ContextSource,
        sampler: Sampler,
        *,
        stop_ids: frozenset[int] = frozenset(),
        limit: int,
        detokenizer: Detokenizer | None = None,
        load_seconds: float = 0.0,
    ) -> None:
        self.prompt_ids = list(prompt_ids)
        self.token_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.timings = Timings(load_seconds=load_seconds)
        self.seed = sampler.seed
        self._contexts = contexts
        self._context: Context | None = None
        self._sampler = sampler
        self._stop_ids = stop_ids
        self._limit = limit
        self._detokenizer = detokenizer

    def __next__(self) -> int:
        if self.finish_reason:
            raise StopIteration
        if self._context is None:
            self._context = self._contexts.acquire()
            self._prefill(self._context)
        token_id = self._step(self._context)
        if token_id in self._stop_ids:
            self._finish("stop")
            raise StopIteration
        self.token_ids.append(token_id)
        if len(self.token_ids) == self._limit:
            self._finish("length")
        return token_id

    def text(self) -> Iterator[str]:
        """Pieces of text; in a row they are the whole answer. No piece is empty or ends within a character.

        Raises:
            UsageError: the model has no tokenizer.
        """
        if self._detokenizer is None:
            raise no_tokenizer()
        for token_id in self:
            if piece := self._detokenizer.push(token_id):
                yield piece
        if piece := self._detokenizer.flush():
            yield piece

    def _prefill(self, context: Context) -> None:
        """Read all of the prompt but its last token: the first step reads that, for the first logits."""
        started = time.perf_counter()
        known = _common_prefix(context.tokens, self.prompt_ids[:-1])
        context.rewind(known)
        context.prefill(self.prompt_ids[known:-1])
        self.timings.reused_tokens = known
        self.timings.prefill_tokens = len(self.prompt_ids) - 1 - known
        self.timings.prefill_seconds = time.perf_counter() - started

    def _step(self, context: Context) -> int:
        started = time.perf_counter()
        last = self.token_ids[-1] if self.token_ids else self.prompt_ids[-1]
        token_id = self._sampler.sample(context.step(last))
        timings = self.timings
        timings.decode_seconds += time.perf_counter() - started
        timings.decode_tokens += 1
        if timings.first_token_seconds is None:
            timings.first_token_seconds = timings.prefill_seconds + timings.decode_seconds
        return token_id

    def _finish(self, reason: FinishReason) -> None:
        self.finish_reason = reason
        if self._context is not None:
            self._contexts.release(self._context)
            self._context = None


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if count and seconds else None
