"""Decoder-only language model: encodes prompts, starts generations, scores texts."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import ClassVar, Self, Unpack

from edgegen.errors import ErrorCode, UsageError
from edgegen.litert.session import Session
from edgegen_runtime.bundle import ExportedModel
from edgegen_runtime.cache.cache_pool import BorrowedCache, CachePool
from edgegen_runtime.cache.kv_cache import KVCache, LanguageSignatures
from edgegen_runtime.generation.async_worker import Worker
from edgegen_runtime.generation.config import GenerationConfig
from edgegen_runtime.generation.context_shift import N_KEEP
from edgegen_runtime.generation.generation import Generation
from edgegen_runtime.generation.model_inputs import check_threads, lora_inputs, open_chat_template
from edgegen_runtime.generation.sampler_chain import LogitsProcessor, Penalties, SamplerChain
from edgegen_runtime.generation.sampling import Sampler, SamplingOptions
from edgegen_runtime.generation.scoring import LogProbabilities, score
from edgegen_runtime.generation.speculative import SpeculativeDecoder, verify_noise
from edgegen_runtime.generation.stop_strings import StopStrings
from edgegen_runtime.generation.structured_output import GrammarConstraint, GrammarVocabulary, ResponseFormat
from edgegen_runtime.protocols import CacheProvider, Drafter
from edgegen_runtime.text.chat_template import ChatTemplate, Message
from edgegen_runtime.text.detokenizer import Detokenizer
from edgegen_runtime.text.tokenizer import Tokenizer, decode, encode_prompt, no_tokenizer, open_tokenizer


class LanguageModel:
    """An exported decoder-only language model. :meth:`load` makes one.

    Use it from one thread at a time; several generations may be under way in that thread, each with its own KV cache.

    Attributes:
        exported: the exported folder, as its manifest describes it.
        tokenizer: None if the export has none; prompts are token ids then.
        template: chat template; None if the export has none, and :meth:`chat` fails then.
        stop_ids: stop tokens, which end an answer.
        load_seconds: time that loading took.
        adapter: folder of the LoRA adapter that it runs with; None for none.
        TASK: the :attr:`ExportedModel.task` that this class runs.
    """

    TASK: ClassVar[str] = "text-generation"

    def __init__(
        self,
        session: Session,
        exported: ExportedModel,
        tokenizer: Tokenizer | None = None,
        template: ChatTemplate | None = None,
        adapter: Path | None = None,
    ) -> None:
        self.exported = exported
        self.tokenizer = tokenizer
        self.template = template
        named = [tokenizer.token_to_id(token) for token in exported.stop_tokens] if tokenizer else []
        self.stop_ids = frozenset(exported.stop_token_ids) | {token_id for token_id in named if token_id is not None}
        self.load_seconds = 0.0
        self.adapter = adapter
        self._session = session
        self._signatures = LanguageSignatures.of(session, exported.cache_length, exported.max_rollback_tokens)
        self._static_inputs = lora_inputs(session, self._signatures, exported, adapter)
        self._pool = CachePool(self)
        self._worker = Worker()
        self._grammar_vocabularies: dict[frozenset[int], GrammarVocabulary] = {}

    @classmethod
    def load(cls, path: Path | str, *, threads: int | None = None, weight_cache: Path | str | None = None) -> Self:
        """Load an exported folder, or the ``.tflite`` file in one.

        Args:
            path: the folder or file.
            threads: CPU threads of LiteRT; default: all cores.
            weight_cache: a file that keeps packed weights from one run to the next; default: none.

        Raises:
            UsageError: the folder or a file in it is missing or damaged, or holds a model of another kind.
            UnsupportedError: it was written by a later version, or its tokenizer is of an unknown kind.
        """
        started = time.perf_counter()
        check_threads(threads)
        exported = ExportedModel.open(path)
        exported.expect(cls.TASK)
        tokenizer = open_tokenizer(exported.tokenizer.file) if exported.tokenizer else None
        template = open_chat_template(exported, tokenizer)
        model = cls(Session(exported.model, threads=threads, weight_cache=weight_cache), exported, tokenizer, template)
        model.load_seconds = time.perf_counter() - started
        return model

    def with_adapter(self, folder: Path | str | None) -> Self:
        """This model with another LoRA adapter, or with none; weights are shared, so switching costs next to nothing.

        Args:
            folder: what peft's ``save_pretrained`` wrote; None for the model as it is.

        Raises:
            UsageError: the model was not exported with ``--lora-rank``, the folder holds no adapter, or one of too
                high a rank or of another model.
            UnsupportedError: the adapter changes more than can stay apart.
            CheckpointError: it is damaged.
        """
        adapter = None if folder is None else Path(folder)
        model = type(self)(self._session, self.exported, self.tokenizer, self.template, adapter)
        model._worker = self._worker  # the session is used from one thread
        return model

    @property
    def vocab_size(self) -> int:
        """Number of logits; token ids are below it."""
        return self._signatures.vocab_size

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a raw prompt: special tokens in it are recognised, BOS is added if the tokenizer wants one.

        Raises:
            UsageError: the model has no tokenizer.
        """
        if self.exported.tokenizer is None:
            raise no_tokenizer()
        return encode_prompt(self._tokenizer(), prompt, self.exported.tokenizer)

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise no_tokenizer()
        return self.tokenizer

    def decode(self, token_ids: Sequence[int], *, continuation: bool = False) -> str:
        """Text of ``token_ids``; a space at its beginning is kept if it is the continuation of other text.

        Raises:
            UsageError: the model has no tokenizer.
        """
        return decode(self._tokenizer(), token_ids, continuation=continuation)

    def render(self, messages: Sequence[Message]) -> str:
        """Prompt text of a conversation up to the opening of the assistant's turn, special tokens spelled out.

        Raises:
            UsageError: the model has no chat template or no tokenizer, or the template refuses the messages.
        """
        if self.template is None:
            raise UsageError(
                f"{self.exported.name} has no chat template", code=ErrorCode.NO_CHAT_TEMPLATE, hint="use --raw"
            )
        self._tokenizer()
        return self.template.render(messages)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of what :meth:`render` gives, and with its errors; BOS is up to the template."""
        return self._tokenizer().encode(self.render(messages), special=True)

    def new_cache(self) -> KVCache:
        """An empty KV cache, for a text that goes on over several calls."""
        return KVCache(self._session, self._signatures, self.exported.cache_length, self._static_inputs)

    def chat(
        self, messages: Sequence[Message], options: SamplingOptions | None = None, **config: Unpack[GenerationConfig]
    ) -> Generation:
        """Answer the last of ``messages``; see :meth:`generate` and :meth:`encode_chat`."""
        return self.answer(self.encode_chat(messages), options, **config)

    def answer(
        self, prompt_ids: Sequence[int], options: SamplingOptions | None = None, **config: Unpack[GenerationConfig]
    ) -> Generation:
        """Answer a chat that has been encoded already: a text of its own, not the continuation of another."""
        return self._start(list(prompt_ids), options, continuation=False, **config)

    def generate(
        self, prompt: str | Sequence[int], options: SamplingOptions | None = None, **config: Unpack[GenerationConfig]
    ) -> Generation:
        """Continue a prompt. Work starts when the result is iterated over.

        Args:
            prompt: token ids, or a text for :meth:`encode`.
            options: sampling options; default: greedy.
            config: see :class:`GenerationConfig`.

        Raises:
            UsageError: the prompt is empty, does not fit the KV cache, or holds ids outside the vocabulary.
        """
        prompt_ids = self.encode(prompt) if isinstance(prompt, str) else list(prompt)
        return self._start(prompt_ids, options, continuation=True, **config)

    def score(self, token_ids: Sequence[int]) -> LogProbabilities:
        """Log-probabilities of ``token_ids[1:]``, float32 [T-1]; see :mod:`edgegen_runtime.generation.scoring`."""
        self._check_ids(token_ids)
        cache = self._pool.acquire(())
        try:
            return score(cache, token_ids)
        finally:
            self._pool.release(cache)

    def _start(
        self,
        prompt_ids: list[int],
        options: SamplingOptions | None,
        *,
        continuation: bool,
        stop_ids: Collection[int] | None = None,
        max_new_tokens: int | None = None,
        ignore_eos: bool = False,
        stop: Sequence[str] = (),
        response_format: ResponseFormat | None = None,
        drafter: Drafter | None = None,
        context_shift: bool = False,
        n_keep: int = N_KEEP,
        cache: KVCache | CacheProvider | None = None,
    ) -> Generation:
        self._check_prompt(prompt_ids, context_shift)
        if max_new_tokens is not None and max_new_tokens < 1:
            raise UsageError(
                f"{max_new_tokens} new tokens asked for; at least 1 is needed", code=ErrorCode.INVALID_GENERATION_OPTION
            )
        if stop:
            self._tokenizer()
        limit = max_new_tokens
        if not context_shift:
            # The last token said needs no row of its own: nothing is asked of the model after it.
            room = self.exported.cache_length - len(prompt_ids) + 1
            limit = room if limit is None else min(limit, room)
        ends = frozenset(() if ignore_eos else self.stop_ids if stop_ids is None else stop_ids)
        return Generation(
            prompt_ids,
            self._provider(cache),
            self._sampler_chain(options or SamplingOptions(), prompt_ids, ends, response_format),
            worker=self._worker,
            stop_ids=ends,
            stop=StopStrings(stop) if stop else None,
            limit=limit,
            detokenizer=Detokenizer(self.tokenizer, continuation=continuation) if self.tokenizer else None,
            speculation=None if drafter is None else self._speculation(drafter),
            context_shift=context_shift,
            n_keep=n_keep,
            load_seconds=self.load_seconds,
        )

    def _provider(self, cache: KVCache | CacheProvider | None) -> CacheProvider:
        if cache is None:
            return self._pool
        return BorrowedCache(cache) if isinstance(cache, KVCache) else cache

    def _sampler_chain(
        self,
        options: SamplingOptions,
        prompt_ids: Sequence[int],
        stop_ids: frozenset[int],
        response_format: ResponseFormat | None,
    ) -> SamplerChain:
        processors: list[LogitsProcessor] = []
        if Penalties.needed(options):
            processors.append(Penalties(options, prompt_ids, self.vocab_size))
        if response_format is not None:
            processors.append(GrammarConstraint(response_format, self._grammar_vocabulary(stop_ids)))
        return SamplerChain(Sampler(options), processors)

    def _grammar_vocabulary(self, stop_ids: frozenset[int]) -> GrammarVocabulary:
        if stop_ids not in self._grammar_vocabularies:
            vocabulary = GrammarVocabulary(self._tokenizer(), self.vocab_size, stop_ids)
            self._grammar_vocabularies[stop_ids] = vocabulary
        return self._grammar_vocabularies[stop_ids]

    def _speculation(self, drafter: Drafter) -> Callable[[], SpeculativeDecoder]:
        if not self._signatures.whole_cache.verify:
            raise UsageError(
                f"{self.exported.name} has no verify signatures, which speculative decoding needs",
                code=ErrorCode.NO_VERIFY_SIGNATURES,
                hint="export again with --verify-lengths 8",
            )
        limit, longest = self._signatures.max_rollback, max(self._signatures.whole_cache.verify)
        if limit is not None and limit < longest - 1:
            raise UsageError(
                f"the cache of {self.exported.name} cannot drop what was drafted in vain: it can be rolled back by "
                f"{limit} tokens, and up to {longest - 1} are drafted",
                code=ErrorCode.ROLLBACK_TOO_SHORT,
                hint=f"export again with --verify-lengths {limit + 1}" if limit else "leave out --speculate",
            )
        drafter.check(self)
        return lambda: SpeculativeDecoder(drafter, self._verify_noise)

    @functools.cached_property
    def _verify_noise(self) -> float:
        cache = self._pool.acquire(())
        try:
            return verify_noise(cache, self.vocab_size)
        finally:
            self._pool.release(cache)

    def _check_prompt(self, prompt_ids: Sequence[int], context_shift: bool) -> None:
        count, cache_length = len(prompt_ids), self.exported.cache_length
        if not count:
            raise UsageError(
                "the prompt is empty", code=ErrorCode.INPUT_TOO_SHORT, hint="give a prompt of at least one token"
            )
        if count > cache_length and not context_shift:
            raise UsageError(
                f"the prompt has {count} tokens, but the cache holds {cache_length}",
                code=ErrorCode.CONTEXT_EXCEEDED,
                hint=f"shorten the prompt, export with --cache-length {_round_up(count + 256, 256)}, "
                "or let --context-shift drop its middle",
            )
        self._check_ids(prompt_ids)

    def _check_ids(self, prompt_ids: Sequence[int]) -> None:
        outside = [token_id for token_id in prompt_ids if not 0 <= token_id < self.vocab_size]
        if outside:
            raise UsageError(
                f"token {outside[0]} is outside the model's vocabulary of {self.vocab_size}",
                code=ErrorCode.TOKEN_OUT_OF_RANGE,
                hint="the tokenizer belongs to another model; export again",
            )


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
