"""Text in, text out: a loaded model, ready to generate."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, TypedDict, Unpack

import numpy as np

from edgegen.adapters.layout import LoraLayout, is_lora_input
from edgegen.adapters.peft import SavedAdapter
from edgegen.errors import ErrorCode, UsageError
from edgegen.litert.session import Held, Session
from edgegen_runtime.bundle import Bundle
from edgegen_runtime.cache.kv_cache import Context, LanguageSignatures
from edgegen_runtime.generation.async_worker import Worker
from edgegen_runtime.generation.context_shift import KEEP, Overflow
from edgegen_runtime.generation.generation import ContextSource, Generation
from edgegen_runtime.generation.sampling import Sampler, SamplingOptions
from edgegen_runtime.generation.scoring import LogProbabilities, score
from edgegen_runtime.generation.speculative import Drafter, Speculation, verify_noise
from edgegen_runtime.generation.stop_strings import StopStrings
from edgegen_runtime.generation.token_selection import Chooser, Penalties
from edgegen_runtime.text.chat_template import ChatTemplate, Message
from edgegen_runtime.text.detokenizer import Detokenizer
from edgegen_runtime.text.tokenizer import Tokenizer, decode, encode_prompt, no_tokenizer, open_tokenizer

if TYPE_CHECKING:
    from edgegen_runtime.cache.prefix_cache import PrefixCache
    from edgegen_runtime.generation.structured_output import Form, Vocabulary


class Limits(TypedDict, total=False):
    """What :meth:`LanguageModel.generate` and :meth:`LanguageModel.chat` take besides the prompt and the options.

    Attributes:
        stop_ids: tokens that end the text; default: :attr:`LanguageModel.stop_ids`.
        max_new_tokens: default: as many as the cache holds.
        ignore_eos: go on after a stop token, which then is a token like any other.
        stop: texts that end the answer; they are not part of it.
        form: what the answer has to look like.
        speculation: who guesses what comes next, so that the model reads several tokens at once; the answer is the
            same. Default: nobody.
        overflow: what to do when the text outgrows the cache, see :mod:`edgegen_runtime.generation.context_shift`.
        keep: first tokens that sliding never drops.
        context: a cache to use; what it has in common with the beginning of the prompt is not computed again.
            Default: one of the model's own, from scratch.
    """

    stop_ids: Collection[int] | None
    max_new_tokens: int | None
    ignore_eos: bool
    stop: Sequence[str]
    form: Form | None
    speculation: Drafter | None
    overflow: Overflow
    keep: int
    context: Context | PrefixCache | None


class LanguageModel:
    """An exported language model, a decoder. :meth:`load` makes one.

    Use it from one thread at a time; several generations may be under way in that thread, each with its own
    cache.

    Attributes:
        bundle: what the manifest says.
        tokenizer: None if the export has none; prompts are token ids then.
        template: None if the export has none; :meth:`chat` fails then.
        stop_ids: tokens that end an answer.
        load_seconds: how long loading took.
        adapter: the folder of the adapter that it runs with; None for none.
        KIND: what :attr:`Bundle.kind` must be.
    """

    KIND: ClassVar[str] = "decoder"

    def __init__(
        self,
        session: Session,
        bundle: Bundle,
        tokenizer: Tokenizer | None = None,
        template: ChatTemplate | None = None,
        adapter: Path | None = None,
    ) -> None:
        self.bundle = bundle
        self.tokenizer = tokenizer
        self.template = template
        named = [tokenizer.token_to_id(token) for token in bundle.stop_tokens] if tokenizer else []
        self.stop_ids = frozenset(bundle.stop_token_ids) | {found for found in named if found is not None}
        self.load_seconds = 0.0
        self.adapter = adapter
        self._session = session
        self._signatures = LanguageSignatures.of(session, bundle.cache_length, bundle.max_rollback_tokens)
        self._held = _hold(session, self._signatures, bundle, adapter)
        self._pool = _Pool(self)
        self._worker = Worker()
        self._vocabularies: dict[frozenset[int], Vocabulary] = {}

    @classmethod
    def load(cls, path: Path | str, *, threads: int | None = None, weight_cache: Path | str | None = None) -> Self:
        """Load an exported folder, or the ``.tflite`` file in one.

        Args:
            path: the folder or file.
            threads: for LiteRT; default: all cores.
            weight_cache: a file that keeps packed weights from one run to the next; default: none.

        Raises:
            UsageError: the folder or a file in it is missing or damaged, or holds a model of another kind.
            UnsupportedError: it was written by a later version, or its tokenizer is of an unknown kind.
        """
        started = time.perf_counter()
        if threads is not None and threads < 1:
            raise UsageError(
                f"{threads} threads asked for; at least 1 is needed", code=ErrorCode.INVALID_GENERATION_OPTION
            )
        bundle = Bundle.open(path)
        bundle.expect(cls.KIND)
        tokenizer = open_tokenizer(bundle.tokenizer.file) if bundle.tokenizer else None
        template = _open_template(bundle, tokenizer)
        model = cls(Session(bundle.model, threads=threads, weight_cache=weight_cache), bundle, tokenizer, template)
        model.load_seconds = time.perf_counter() - started
        return model

    def with_adapter(self, folder: Path | str | None) -> Self:
        """This model with another adapter, or with none; weights are shared, so that switching costs next to nothing.

        Args:
            folder: what peft's ``save_pretrained`` wrote; None for the model as it is.

        Raises:
            UsageError: the model was not exported with ``--lora-rank``, the folder holds no adapter, or one of too
                high a rank or of another model.
            UnsupportedError: the adapter changes more than can stay apart.
            CheckpointError: it is damaged.
        """
        adapter = None if folder is None else Path(folder)
        model = type(self)(self._session, self.bundle, self.tokenizer, self.template, adapter)
        model._worker = self._worker  # the session is used from one thread
        return model

    @property
    def vocab_size(self) -> int:
        """Number of logits; token ids are below it."""
        return self._signatures.vocab_size

    def encode(self, prompt: str) -> list[int]:
        """Ids of a raw prompt: special tokens in it are recognised, BOS is added if the tokenizer wants one.

        Raises:
            UsageError: the model has no tokenizer.
        """
        if self.bundle.tokenizer is None:
            raise no_tokenizer()
        return encode_prompt(self._tokenizer(), prompt, self.bundle.tokenizer)

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
        """The text of a conversation up to the opening of the assistant's turn, special tokens spelled out.

        Raises:
            UsageError: the model has no chat template or no tokenizer, or the template refuses the messages.
        """
        if self.template is None:
            raise UsageError(
                f"{self.bundle.name} has no chat template", code=ErrorCode.NO_CHAT_TEMPLATE, hint="use --raw"
            )
        if self.tokenizer is None:
            raise no_tokenizer()
        return self.template.render(messages)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Ids of what :meth:`render` gives, and with its errors; BOS is up to the template."""
        text = self.render(messages)
        assert self.tokenizer is not None  # or render would have said so
        return self.tokenizer.encode(text, special=True)

    def new_context(self) -> Context:
        """An empty KV cache, for a text that goes on over several calls."""
        return Context(self._session, self._signatures, self.bundle.cache_length, self._held)

    def chat(
        self, messages: Sequence[Message], options: SamplingOptions | None = None, **limits: Unpack[Limits]
    ) -> Generation:
        """Answer the last of ``messages``; see :meth:`generate` and :meth:`encode_chat`."""
        return self.answer(self.encode_chat(messages), options, **limits)

    def answer(
        self, prompt_ids: Sequence[int], options: SamplingOptions | None = None, **limits: Unpack[Limits]
    ) -> Generation:
        """Answer a chat that has been encoded already: a text of its own, not the continuation of another."""
        return self._start(list(prompt_ids), options, continuation=False, **limits)

    def generate(
        self, prompt: str | Sequence[int], options: SamplingOptions | None = None, **limits: Unpack[Limits]
    ) -> Generation:
        """Continue a prompt. Work starts when the result is iterated over.

        Args:
            prompt: token ids, or a text for :meth:`encode`.
            options: how to choose tokens; default: greedy.
            limits: see :class:`Limits`.

        Raises:
            UsageError: the prompt is empty, does not fit the cache, or holds ids outside the vocabulary.
        """
        prompt_ids = self.encode(prompt) if isinstance(prompt, str) else list(prompt)
        return self._start(prompt_ids, options, continuation=True, **limits)

    def score(self, token_ids: Sequence[int]) -> LogProbabilities:
        """Log-probabilities of ``token_ids[1:]``, float32 [T-1]; see :func:`edgegen_runtime.generation.scoring.score`."""
        self._check_ids(token_ids)
        context = self._pool.acquire(())
        try:
            return score(context, token_ids)
        finally:
            self._pool.release(context)

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
        form: Form | None = None,
        speculation: Drafter | None = None,
        overflow: Overflow = "error",
        keep: int = KEEP,
        context: Context | ContextSource | None = None,
    ) -> Generation:
        cache_length = self.bundle.cache_length
        self._check_prompt(prompt_ids, overflow)
        if max_new_tokens is not None and max_new_tokens < 1:
            raise UsageError(
                f"{max_new_tokens} new tokens asked for; at least 1 is needed", code=ErrorCode.INVALID_GENERATION_OPTION
            )
        if stop and self.tokenizer is None:
            raise no_tokenizer()
        limit = max_new_tokens
        if overflow == "error":
            # The last token said needs no row of its own: nothing is asked of the model after it.
            room = cache_length - len(prompt_ids) + 1
            limit = room if limit is None else min(limit, room)
        ends = frozenset(() if ignore_eos else self.stop_ids if stop_ids is None else stop_ids)
        return Generation(
            prompt_ids,
            _source(context, self._pool),
            self._chooser(options or SamplingOptions(), prompt_ids, ends, form),
            worker=self._worker,
            stop_ids=ends,
            stop=StopStrings(stop) if stop else None,
            limit=limit,
            detokenizer=Detokenizer(self.tokenizer, continuation=continuation) if self.tokenizer else None,
            speculation=None if speculation is None else self._speculate(speculation),
            overflow=overflow,
            keep=keep,
            load_seconds=self.load_seconds,
        )

    def _chooser(
        self, options: SamplingOptions, prompt_ids: Sequence[int], stop_ids: frozenset[int], form: Form | None
    ) -> Chooser:
        penalties = Penalties(options, prompt_ids, self.vocab_size) if Penalties.wanted(options) else None
        if form is None:
            return Chooser(Sampler(options), penalties)
        from edgegen_runtime.generation.structured_output import Constraint

        return Chooser(Sampler(options), penalties, Constraint(form, self._vocabulary(stop_ids)))

    def _vocabulary(self, stop_ids: frozenset[int]) -> Vocabulary:
        from edgegen_runtime.generation.structured_output import Vocabulary

        if self.tokenizer is None:
            raise no_tokenizer()
        if stop_ids not in self._vocabularies:
            self._vocabularies[stop_ids] = Vocabulary(self.tokenizer, self.vocab_size, stop_ids)
        return self._vocabularies[stop_ids]

    def _speculate(self, drafter: Drafter) -> Callable[[], Speculation]:
        if not self._signatures.groups[-1][1].verify:
            raise UsageError(
                f"{self.bundle.name} has no verify signatures, which speculative decoding needs",
                code=ErrorCode.NO_VERIFY_SIGNATURES,
                hint="export again with --verify-lengths 8",
            )
        drafter.check(self)
        return lambda: Speculation(drafter, self._verify_noise)

    @functools.cached_property
    def _verify_noise(self) -> float:
        context = self._pool.acquire(())
        try:
            return verify_noise(context, self.vocab_size)
        finally:
            self._pool.release(context)

    def _check_prompt(self, prompt_ids: Sequence[int], overflow: Overflow) -> None:
        count, cache_length = len(prompt_ids), self.bundle.cache_length
        if not count:
            raise UsageError(
                "the prompt is empty", code=ErrorCode.INPUT_TOO_SHORT, hint="give a prompt of at least one token"
            )
        if count > cache_length and overflow == "error":
            raise UsageError(
                f"the prompt has {count} tokens, but the cache holds {cache_length}",
                code=ErrorCode.CONTEXT_EXCEEDED,
                hint=f"shorten the prompt, export with --cache-length {_round_up(count + 256, 256)}, "
                "or let --overflow slide drop its middle",
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


class _Pool:
    """The model's own contexts. Keeping them saves clearing many megabytes for each generation."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._idle: list[Context] = []

    @property
    def cache_length(self) -> int:
        return self._model.bundle.cache_length

    def acquire(self, token_ids: Sequence[int]) -> Context:
        context = self._idle.pop() if self._idle else self._model.new_context()
        # Nothing is reused: a result must not depend on what was generated before, not even in the last bit.
        context.rewind(0)
        return context

    def release(self, context: Context) -> None:
        self._idle.append(context)


class _Given:
    """A context that the caller owns."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def cache_length(self) -> int:
        return self._context.cache_length

    def acquire(self, token_ids: Sequence[int]) -> Context:
        return self._context

    def release(self, context: Context) -> None:
        pass


def _source(context: Context | ContextSource | None, pool: _Pool) -> ContextSource:
    if context is None:
        return pool
    return _Given(context) if isinstance(context, Context) else context


def _hold(session: Session, signatures: LanguageSignatures, bundle: Bundle, adapter: Path | None) -> Held:
    """The adapter in place, or zeros where the file wants one and there is none."""
    decode = signatures.groups[-1][1].decode
    if adapter is not None:
        return session.hold(decode, LoraLayout.open(bundle.folder).factors(SavedAdapter.open(adapter)))
    inputs = session.signatures[decode].inputs.items()
    return session.hold(
        decode, {name: np.zeros(info.shape, info.dtype) for name, info in inputs if is_lora_input(name)}
    )


def _open_template(bundle: Bundle, tokenizer: Tokenizer | None) -> ChatTemplate | None:
    if bundle.chat_template is None:
        return None
    try:
        source = bundle.chat_template.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {bundle.chat_template}: {error}", code=ErrorCode.INVALID_CHAT_TEMPLATE
        ) from error

    def name(token_id: int | None) -> str:
        return (tokenizer and token_id is not None and tokenizer.id_to_token(token_id)) or ""

    spec = bundle.tokenizer
    eos = spec.eos_token_id if spec else None
    if eos is None and bundle.stop_token_ids:
        eos = bundle.stop_token_ids[0]
    return ChatTemplate(source, bos_token=name(spec.bos_token_id if spec else None), eos_token=name(eos))


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
