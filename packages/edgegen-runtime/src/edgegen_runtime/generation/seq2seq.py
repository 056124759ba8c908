"""Encoder-decoders: a text is read once, and answered token by token."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.litert.session import Held
from edgegen_runtime.cache.kv_cache import Context
from edgegen_runtime.embedding.padding import TextReader
from edgegen_runtime.generation.generation import Generation, Timings
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.sampling import SamplingOptions
from edgegen_runtime.generation.scoring import LogProbabilities


class TextToTextModel(LanguageModel):
    """An exported encoder-decoder, such as T5. :meth:`load` makes one, :meth:`generate` answers a text.

    What concerns one text that goes on does not apply: chats, caches of prompts, speculation, sliding.
    """

    KIND: ClassVar[str] = "encoder-decoder"

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._reader = TextReader(self._session, self.bundle)
        self._idle: list[tuple[Held, Context]] = []

    def encode(self, prompt: str) -> list[int]:
        """Ids of a text to answer, with what the tokenizer itself puts around it.

        Raises:
            UsageError: the model has no tokenizer.
        """
        return self._tokenizer().encode_text(prompt)

    def new_context(self) -> NoReturn:
        """A cache makes no sense without the text that is answered."""
        raise self._unsupported("a cache of prompts")

    def score(self, token_ids: Sequence[int]) -> LogProbabilities:
        """See :meth:`new_context`."""
        raise self._unsupported("scoring")

    def with_adapter(self, folder: Path | str | None) -> Self:
        """Adapters stay apart from decoders only."""
        raise self._unsupported("an adapter")

    def _start(
        self, prompt_ids: list[int], options: SamplingOptions | None, *, continuation: bool, **limits: Any
    ) -> Generation:
        named = {"context": "a cache of prompts", "speculation": "speculation", "keep": "sliding"}
        for limit, what in named.items():
            if limits.get(limit) is not None:
                raise self._unsupported(what)
        if limits.get("overflow", "error") != "error":
            raise self._unsupported("sliding")
        self._reader.check(prompt_ids, "shorten the text")
        self._check_ids(prompt_ids)
        start = self.bundle.start_token_id
        assert start is not None  # Bundle.open has made sure of it
        reading = _Reading(self, prompt_ids)
        limits["context"] = reading
        generation = super()._start([start], options, continuation=False, **limits)
        generation.prompt_ids, reading.timings = list(prompt_ids), generation.timings
        return generation

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self.bundle.name} is an encoder-decoder, to which {what} does not apply",
            code=ErrorCode.NOT_FOR_ENCODER_DECODER,
            hint="leave it out; each text is answered by itself",
        )

    def _context_for(self, text_ids: Sequence[int]) -> tuple[Held, Context]:
        """A cache of an answer, and the inputs that hold the text."""
        encoder_states, decode = self._reader.read(text_ids), self._signatures.groups[-1][1].decode
        if not self._idle:
            held = self._session.hold(decode, encoder_states)
            return held, Context(self._session, self._signatures, self.bundle.cache_length, held)
        held, context = self._idle.pop()
        self._session.refill(decode, held, encoder_states)
        context.rewind(0)
        return held, context


class _Reading:
    """Reads the text when the answer begins."""

    def __init__(self, model: TextToTextModel, text_ids: Sequence[int]) -> None:
        self._model, self._text_ids = model, text_ids
        self.timings = Timings()
        self._held: Held = {}

    @property
    def cache_length(self) -> int:
        return self._model.bundle.cache_length

    def acquire(self, token_ids: Sequence[int]) -> Context:
        started = time.perf_counter()
        self._held, context = self._model._context_for(self._text_ids)
        self.timings.prefill_tokens += len(self._text_ids)
        self.timings.prefill_seconds += time.perf_counter() - started
        return context

    def release(self, context: Context) -> None:
        self._model._idle.append((self._held, context))
