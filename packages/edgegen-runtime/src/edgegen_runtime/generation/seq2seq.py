"""Encoder-decoder model: the encoder reads a text once, the decoder answers it token by token."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.litert.session import Session
from edgegen_runtime.bundle import ExportedModel
from edgegen_runtime.cache.kv_cache import KVCache, StaticInputs
from edgegen_runtime.embedding.padded_encoder import PaddedEncoder
from edgegen_runtime.generation.generation import Generation, Timings
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.sampling import SamplingOptions
from edgegen_runtime.generation.scoring import LogProbabilities
from edgegen_runtime.text.chat_template import ChatTemplate
from edgegen_runtime.text.tokenizer import Tokenizer


class TextToTextModel(LanguageModel):
    """An exported encoder-decoder, such as T5. :meth:`load` makes one, :meth:`generate` answers a text.

    Chats, prefix caches, speculative decoding and context shift do not apply: each text is answered by itself.
    """

    TASK: ClassVar[str] = "text2text-generation"

    def __init__(
        self,
        session: Session,
        exported: ExportedModel,
        tokenizer: Tokenizer | None = None,
        template: ChatTemplate | None = None,
        adapter: Path | None = None,
    ) -> None:
        super().__init__(session, exported, tokenizer, template, adapter)
        self._encoder = PaddedEncoder(self._session, self.exported)
        self._idle: list[tuple[StaticInputs, KVCache]] = []

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a text to answer, with the special tokens that the tokenizer itself puts around it.

        Raises:
            UsageError: the model has no tokenizer.
        """
        return self._tokenizer().encode_text(prompt)

    def new_cache(self) -> NoReturn:
        """Not supported: a KV cache makes no sense without the text that is answered."""
        raise self._unsupported("a cache of prompts")

    def score(self, token_ids: Sequence[int]) -> LogProbabilities:
        """Not supported, see :meth:`new_cache`."""
        raise self._unsupported("scoring")

    def with_adapter(self, folder: Path | str | None) -> Self:
        """Not supported: only decoders take LoRA adapters at run time."""
        raise self._unsupported("an adapter")

    def _start(
        self, prompt_ids: list[int], options: SamplingOptions | None, *, continuation: bool, **config: Any
    ) -> Generation:
        unsupported = {"cache": "a cache of prompts", "drafter": "speculation", "n_keep": "context shift"}
        for name, feature in unsupported.items():
            if config.get(name) is not None:
                raise self._unsupported(feature)
        if config.get("context_shift"):
            raise self._unsupported("context shift")
        self._encoder.check(prompt_ids, "shorten the text")
        self._check_ids(prompt_ids)
        start = self.exported.start_token_id
        assert start is not None  # ExportedModel.open has made sure of it
        encoded = _EncodedText(self, prompt_ids)
        config["cache"] = encoded
        generation = super()._start([start], options, continuation=False, **config)
        generation.prompt_ids, encoded.timings = list(prompt_ids), generation.timings
        return generation

    def _unsupported(self, feature: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self.exported.name} is an encoder-decoder, to which {feature} does not apply",
            code=ErrorCode.NOT_FOR_ENCODER_DECODER,
            hint="leave it out; each text is answered by itself",
        )

    def _cache_for(self, text_ids: Sequence[int]) -> tuple[StaticInputs, KVCache]:
        """The encoder states of a text as static inputs of the decoder, and an empty KV cache that goes with them."""
        encoder_states, decode = self._encoder.run(text_ids), self._signatures.whole_cache.decode
        if not self._idle:
            static_inputs = self._session.set_static_inputs(decode, encoder_states)
            return static_inputs, KVCache(self._session, self._signatures, self.exported.cache_length, static_inputs)
        static_inputs, cache = self._idle.pop()
        self._session.update_static_inputs(decode, static_inputs, encoder_states)
        cache.rollback(0)
        return static_inputs, cache


class _EncodedText:
    """KV cache provider of one answer; runs the encoder when the answer begins."""

    def __init__(self, model: TextToTextModel, text_ids: Sequence[int]) -> None:
        self._model, self._text_ids = model, text_ids
        self.timings = Timings()
        self._static_inputs: StaticInputs = {}

    @property
    def cache_length(self) -> int:
        return self._model.exported.cache_length

    def acquire(self, token_ids: Sequence[int]) -> KVCache:
        started = time.perf_counter()
        self._static_inputs, cache = self._model._cache_for(self._text_ids)
        self.timings.prefill_tokens += len(self._text_ids)
        self.timings.prefill_seconds += time.perf_counter() - started
        return cache

    def release(self, cache: KVCache) -> None:
        self._model._idle.append((self._static_inputs, cache))
