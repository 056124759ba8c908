"""Generation under way: its tokens, its text, its finish reason and its timings."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgegen_runtime.cache.kv_cache import common_prefix
from edgegen_runtime.generation.context_shift import N_KEEP, shift_context
from edgegen_runtime.text.tokenizer import no_tokenizer

if TYPE_CHECKING:
    from edgegen_runtime.cache.kv_cache import KVCache
    from edgegen_runtime.generation.async_worker import Worker
    from edgegen_runtime.generation.sampler_chain import SamplerChain
    from edgegen_runtime.generation.speculative import SpeculativeDecoder
    from edgegen_runtime.generation.stop_strings import StopStrings
    from edgegen_runtime.protocols import CacheProvider
    from edgegen_runtime.text.detokenizer import Detokenizer

FinishReason = Literal["stop", "length", "cancelled"]
"""``stop``: a stop token or a stop string came, or the grammar was complete. ``length``: as many tokens as asked for,
or as the cache holds. ``cancelled``: :meth:`Generation.cancel` was called."""


@dataclass
class Timings:
    """Timings and token counts of a generation, without the caller's own time between tokens."""

    load_seconds: float = 0.0
    """Load time of the model, once for all its generations."""
    reused_tokens: int = 0
    """Prompt tokens that were in the KV cache already."""
    prefill_tokens: int = 0
    prefill_seconds: float = 0.0
    first_token_seconds: float | None = None
    """Time to first token: prefill and the first decoding step."""
    decode_tokens: int = 0
    decode_seconds: float = 0.0
    drafted_tokens: int = 0
    """Draft tokens that speculative decoding verified."""
    accepted_tokens: int = 0
    """Draft tokens that were accepted: each saved a step."""
    dropped_tokens: int = 0
    """Tokens that context shifts dropped from the KV cache."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, and the rates (None where nothing was done)."""
        return {
            **vars(self),
            "prefill_tokens_per_second": _rate(self.prefill_tokens, self.prefill_seconds),
            "decode_tokens_per_second": _rate(self.decode_tokens, self.decode_seconds),
        }


class Generation(Iterator[int]):
    """An iterator over token ids as they come; :meth:`text` iterates over text. Nothing runs before that.

    ``async for`` does the same without blocking the event loop: the model runs in a thread of its own, and leaving the
    loop, or cancelling its task, ends the answer after the call of the model that is under way.

    Attributes:
        prompt_ids: token ids of the prompt.
        token_ids: token ids of the answer so far, without the stop token; tokens of a stop string are in it.
        finish_reason: None while it runs.
        timings: up to now.
        seed: seed of the sampling, None when greedy.
    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        provider: CacheProvider,
        sampler: SamplerChain,
        *,
        worker: Worker,
        stop_ids: frozenset[int] = frozenset(),
        stop: StopStrings | None = None,
        limit: int | None = None,
        detokenizer: Detokenizer | None = None,
        speculation: Callable[[], SpeculativeDecoder] | None = None,
        context_shift: bool = False,
        n_keep: int = N_KEEP,
        load_seconds: float = 0.0,
    ) -> None:
        self.prompt_ids = list(prompt_ids)
        self.token_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.timings = Timings(load_seconds=load_seconds)
        self.seed = sampler.seed
        self._provider = provider
        self._cache: KVCache | None = None
        self._sampler = sampler
        self._worker = worker
        self._stop_ids = stop_ids
        self._stop = stop
        self._limit = limit
        self._detokenizer = detokenizer
        self._make_speculation = speculation
        self._speculation: SpeculativeDecoder | None = None
        self._context_shift = context_shift
        self._n_keep = n_keep
        self._cancelled = False
        self._text = list(prompt_ids)  # what the next token follows; shorter than the whole after a context shift
        self._ahead: deque[int] = deque()  # tokens chosen, but not given out yet
        self._pieces: deque[str] = deque()  # text likewise

    def __next__(self) -> int:
        if self.finish_reason:
            raise StopIteration
        if self._cancelled:
            self._finish("cancelled")
            raise StopIteration
        if not self._ahead:
            self._advance()
        token_id = self._ahead.popleft() if self._ahead else None
        if token_id is None or token_id in self._stop_ids:
            self._finish("cancelled" if self._cancelled else "stop")
            raise StopIteration
        self.token_ids.append(token_id)
        self._spell(token_id)
        stopped = self._stop is not None and self._stop.met
        if stopped or (self._sampler.complete and not self._ahead):
            self._finish("stop")
        elif len(self.token_ids) == self._limit:
            self._finish("length")
        return token_id

    def text(self) -> Iterator[str]:
        """The answer's text in pieces, as they come. No piece is empty or ends within a character.

        Raises:
            UsageError: the model has no tokenizer.
        """
        while (piece := self.next_text()) is not None:
            yield piece

    def next_text(self) -> str | None:
        """The next piece of :meth:`text`, None at its end."""
        if self._detokenizer is None:
            raise no_tokenizer()
        while not self._pieces:
            if next(self, None) is None and not self._pieces:
                return None
        return self._pieces.popleft()

    def run(
        self, *, on_token: Callable[[int], object] | None = None, on_text: Callable[[str], object] | None = None
    ) -> str:
        """Run to the end; callbacks receive each token and each piece of text as they come and may :meth:`cancel`.

        Returns:
            The whole text; empty if the model has no tokenizer.
        """
        pieces: list[str] = []
        while not self.finish_reason:
            token_id = next(self, None)
            if token_id is not None and on_token is not None:
                on_token(token_id)
            while self._pieces:
                pieces.append(self._pieces.popleft())
                if on_text is not None:
                    on_text(pieces[-1])
        return "".join(pieces)

    def cancel(self) -> None:
        """End the answer before the next call of the model; from any thread."""
        self._cancelled = True

    def __aiter__(self) -> AsyncIterator[int]:
        return self._worker.stream(lambda: next(self, None), self.cancel, self.close)

    def text_async(self) -> AsyncIterator[str]:
        """:meth:`text` for ``async for``."""
        return self._worker.stream(self.next_text, self.cancel, self.close)

    def close(self) -> None:
        """End the answer now and give its cache back, unless it has ended."""
        if not self.finish_reason:
            self._finish("cancelled")

    def _advance(self) -> None:
        """Call the model for at least one more token."""
        if self._cache is None:
            self._shift_context()
            self._cache = self._provider.acquire(self._text[:-1])
            self._prefill(self._cache)
            if self._make_speculation is not None and not self._cancelled:
                self._speculation = self._make_speculation()
        elif len(self._text) > self._cache.cache_length:
            if self._speculation is not None:
                self._speculation.discard_inexact(self._cache)
            self._shift_context()
            self._prefill(self._cache)
        if not self._cancelled:
            self._step(self._cache)

    def _shift_context(self) -> None:
        """Drop tokens if the text is longer than the cache; only with ``context_shift=True`` does it get there."""
        if self._context_shift and len(self._text) > (length := self._provider.cache_length):
            before = len(self._text)
            self._text = shift_context(self._text, self._n_keep, length)
            self.timings.dropped_tokens += before - len(self._text)

    def _prefill(self, cache: KVCache) -> None:
        """Prefill all of the text but its last token: the first step reads that, for the next logits."""
        started = time.perf_counter()
        wanted = self._text[:-1]
        known = cache.rollback(common_prefix(cache.tokens, wanted))
        cache.prefill(wanted[known:], cancelled=lambda: self._cancelled)
        self.timings.reused_tokens += known
        self.timings.prefill_tokens += len(cache.tokens) - known
        self.timings.prefill_seconds += time.perf_counter() - started

    def _step(self, cache: KVCache) -> None:
        started = time.perf_counter()
        sampler, timings = self._sampler, self.timings
        if self._speculation is None:
            chosen = [sampler.sample(sampler.process(cache.step(self._text[-1])))]
        else:
            wanted = cache.cache_length if self._limit is None else self._limit - len(self.token_ids)
            chosen = self._speculation.decode(cache, self._text, sampler, self._stop_ids, wanted)
            timings.drafted_tokens = self._speculation.drafted
            timings.accepted_tokens = self._speculation.accepted
        self._text += chosen
        self._ahead.extend(chosen)
        timings.decode_seconds += time.perf_counter() - started
        timings.decode_tokens += len(chosen)
        if timings.first_token_seconds is None:
            timings.first_token_seconds = timings.prefill_seconds + timings.decode_seconds

    def _spell(self, token_id: int) -> None:
        if self._detokenizer is not None:
            self._put(self._detokenizer.push(token_id))

    def _put(self, piece: str) -> None:
        if self._stop is not None:
            piece = self._stop.push(piece)
        if piece:
            self._pieces.append(piece)

    def _finish(self, reason: FinishReason) -> None:
        self.finish_reason = reason
        if self._detokenizer is not None:
            self._put(self._detokenizer.flush())
            if self._stop is not None and (rest := self._stop.flush()):
                self._pieces.append(rest)
        if self._cache is not None:
            self._provider.release(self._cache)
            self._cache = None


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if count and seconds else None
