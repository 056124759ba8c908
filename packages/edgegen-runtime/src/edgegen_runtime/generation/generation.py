"""One running answer: token by token, with its text, its reason to end and where the time went."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgegen_runtime.cache.kv_cache import common_prefix
from edgegen_runtime.generation.context_shift import KEEP, Overflow, slide
from edgegen_runtime.text.tokenizer import no_tokenizer

if TYPE_CHECKING:
    from edgegen_runtime.cache.kv_cache import Context
    from edgegen_runtime.generation.async_worker import Worker
    from edgegen_runtime.generation.speculative import Speculation
    from edgegen_runtime.generation.stop_strings import StopStrings
    from edgegen_runtime.generation.token_selection import Chooser
    from edgegen_runtime.text.detokenizer import Detokenizer

FinishReason = Literal["stop", "length", "cancelled"]
"""``stop``: a stop token or a stop string came, or a constraint was complete. ``length``: as many tokens as asked for,
or as the cache holds. ``cancelled``: :meth:`Generation.cancel` was called."""


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
    drafted_tokens: int = 0
    """Guesses that speculative decoding checked."""
    accepted_tokens: int = 0
    """Those that were right: each saved a step."""
    dropped_tokens: int = 0
    """What the model has forgotten because the text outgrew the cache."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, and the rates (None where nothing was done)."""
        return {
            **vars(self),
            "prefill_tokens_per_second": _rate(self.prefill_tokens, self.prefill_seconds),
            "decode_tokens_per_second": _rate(self.decode_tokens, self.decode_seconds),
        }


class ContextSource(Protocol):
    """Where a generation gets its KV cache from when it begins, and gives it back to when it ends."""

    @property
    def cache_length(self) -> int:
        """Tokens that a context takes."""
        ...

    def acquire(self, token_ids: Sequence[int]) -> Context:
        """A context that nobody else uses; what it shares with ``token_ids`` need not be read again."""
        ...

    def release(self, context: Context) -> None:
        """Take back what :meth:`acquire` gave."""
        ...


class Generation(Iterator[int]):
    """Iterate over it for token ids, or over :meth:`text` for text, as they come. Nothing runs before that.

    ``async for`` does the same without blocking the event loop: the model runs in a thread of its own, and leaving the
    loop, or cancelling its task, ends the answer after the call of the model that is under way.

    Attributes:
        prompt_ids: what the model was given.
        token_ids: what it said so far, without the stop token; tokens of a stop string are in it.
        finish_reason: why it ended; None while it runs.
        timings: where the time went, up to now.
        seed: seed of the sampling, None when greedy.
    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        contexts: ContextSource,
        chooser: Chooser,
        *,
        worker: Worker,
        stop_ids: frozenset[int] = frozenset(),
        stop: StopStrings | None = None,
        limit: int | None = None,
        detokenizer: Detokenizer | None = None,
        speculation: Callable[[], Speculation] | None = None,
        overflow: Overflow = "error",
        keep: int = KEEP,
        load_seconds: float = 0.0,
    ) -> None:
        self.prompt_ids = list(prompt_ids)
        self.token_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.timings = Timings(load_seconds=load_seconds)
        self.seed = chooser.seed
        self._contexts = contexts
        self._context: Context | None = None
        self._chooser = chooser
        self._worker = worker
        self._stop_ids = stop_ids
        self._stop = stop
        self._limit = limit
        self._detokenizer = detokenizer
        self._make_speculation = speculation
        self._speculation: Speculation | None = None
        self._overflow = overflow
        self._keep = keep
        self._cancelled = False
        self._text = list(prompt_ids)  # what the next token follows; less than all once tokens were dropped
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
        if stopped or (self._chooser.complete and not self._ahead):
            self._finish("stop")
        elif len(self.token_ids) == self._limit:
            self._finish("length")
        return token_id

    def text(self) -> Iterator[str]:
        """Pieces of text; in a row they are the whole answer. No piece is empty or ends within a character.

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
        """Run to the end, telling each token and each piece of text as they come; a callback may :meth:`cancel`.

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
        if self._context is None:
            self._make_it_fit()
            self._context = self._contexts.acquire(self._text[:-1])
            self._prefill(self._context)
            if self._make_speculation is not None and not self._cancelled:
                self._speculation = self._make_speculation()
        elif len(self._text) > self._context.cache_length:
            if self._speculation is not None:
                self._speculation.forget(self._context)
            self._make_it_fit()
            self._prefill(self._context)
        if not self._cancelled:
            self._step(self._context)

    def _make_it_fit(self) -> None:
        """Drop tokens if the text is longer than the cache; only with ``overflow="slide"`` does it get there."""
        if self._overflow == "slide" and len(self._text) > (length := self._contexts.cache_length):
            before = len(self._text)
            self._text = slide(self._text, self._keep, length)
            self.timings.dropped_tokens += before - len(self._text)

    def _prefill(self, context: Context) -> None:
        """Read all of the text but its last token: the first step reads that, for the next logits."""
        started = time.perf_counter()
        wanted = self._text[:-1]
        known = context.rewind(common_prefix(context.tokens, wanted))
        context.prefill(wanted[known:], cancelled=lambda: self._cancelled)
        self.timings.reused_tokens += known
        self.timings.prefill_tokens += len(context.tokens) - known
        self.timings.prefill_seconds += time.perf_counter() - started

    def _step(self, context: Context) -> None:
        started = time.perf_counter()
        chooser, timings = self._chooser, self.timings
        if self._speculation is None:
            chosen = [chooser.choose(chooser.prepare(context.step(self._text[-1])))]
        else:
            wanted = context.cache_length if self._limit is None else self._limit - len(self.token_ids)
            chosen = self._speculation.read(context, self._text, chooser, self._stop_ids, wanted)
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
            if self._stop is not None and (held := self._stop.flush()):
                self._pieces.append(held)
        if self._context is not None:
            self._contexts.release(self._context)
            self._context = None


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if count and seconds else None
