"""Text in, text out: a loaded model, ready to generate."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from edgegen.errors import UsageError
from edgegen.tflite.session import Session
from edgegen_runtime.chat import ChatTemplate, Message
from edgegen_runtime.context import Context, LanguageSignatures
from edgegen_runtime.detokenize import Detokenizer
from edgegen_runtime.folder import Bundle
from edgegen_runtime.generation import Generation
from edgegen_runtime.sampling import Sampler, SamplingOptions
from edgegen_runtime.tokenizer import Tokenizer, encode_prompt, no_tokenizer, open_tokenizer


class LanguageModel:
    """An exported language model. :meth:`load` makes one.

    Use it from one thread at a time; several generations may be under way in that thread, each with its own
    cache.

    Attributes:
        bundle: what the manifest says.
        tokenizer: None if the export has none; prompts are token ids then.
        template: None if the export has none; :meth:`chat` fails then.
        stop_ids: tokens that end an answer.
        load_seconds: how long loading took.
    """

    def __init__(
        self,
        session: Session,
        bundle: Bundle,
        tokenizer: Tokenizer | None = None,
        template: ChatTemplate | None = None,
    ) -> None:
        self.bundle = bundle
        self.tokenizer = tokenizer
        self.template = template
        named = [tokenizer.token_to_id(token) for token in bundle.stop_tokens] if tokenizer else []
        self.stop_ids = frozenset(bundle.stop_token_ids) | {found for found in named if found is not None}
        self.load_seconds = 0.0
        self._session = session
        self._signatures = LanguageSignatures.of(session, bundle.cache_length)
        self._pool = _Pool(self)

    @classmethod
    def load(
        cls, path: Path | str, *, threads: int | None = None, weight_cache: Path | str | None = None
    ) -> LanguageModel:
        """Load an exported folder, or the ``.tflite`` file in one.

        Args:
            path: the folder or file.
            threads: for LiteRT; default: all cores.
            weight_cache: a file that keeps packed weights from one run to the next; default: none.

        Raises:
            UsageError: the folder or a file in it is missing or damaged.
            UnsupportedError: it was written by a later version, or its tokenizer is of an unknown kind.
        """
        started = time.perf_counter()
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads asked for; at least 1 is needed", code="EG732")
        bundle = Bundle.open(path)
        tokenizer = open_tokenizer(bundle.tokenizer.file) if bundle.tokenizer else None
        template = _open_template(bundle, tokenizer)
        model = cls(Session(bundle.model, threads=threads, weight_cache=weight_cache), bundle, tokenizer, template)
        model.load_seconds = time.perf_counter() - started
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
        if self.tokenizer is None or self.bundle.tokenizer is None:
            raise no_tokenizer()
        return encode_prompt(self.tokenizer, prompt, self.bundle.tokenizer)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation up to the opening of the assistant's turn; BOS is up to the template.

        Raises:
            UsageError: the model has no chat template or no tokenizer, or the template refuses the messages.
        """
        if self.template is None:
            raise UsageError(f"{self.bundle.name} has no chat template", code="EG723", hint="use --raw")
        if self.tokenizer is None:
            raise no_tokenizer()
        return self.tokenizer.encode(self.template.render(messages), special=True)

    def new_context(self) -> Context:
        """An empty KV cache, for a text that goes on over several calls."""
        return Context(self._session, self._signatures, self.bundle.cache_length)

    def chat(
        self,
        messages: Sequence[Message],
        options: SamplingOptions | None = None,
        *,
        max_new_tokens: int | None = None,
        ignore_eos: bool = False,
        context: Context | None = None,
    ) -> Generation:
        """Answer the last of ``messages``; see :meth:`generate` and :meth:`encode_chat`."""
        return self._start(
            self.encode_chat(messages),
            options,
            stop_ids=() if ignore_eos else self.stop_ids,
            max_new_tokens=max_new_tokens,
            context=context,
            continuation=False,
        )

    def generate(
        self,
        prompt: str | Sequence[int],
        options: SamplingOptions | None = None,
        *,
        stop_ids: Collection[int] | None = None,
        max_new_tokens: int | None = None,
        ignore_eos: bool = False,
        context: Context | None = None,
    ) -> Generation:
        """Continue a prompt. Work starts when the result is iterated over.

        Args:
            prompt: token ids, or a text for :meth:`encode`.
            options: how to choose tokens; default: greedy.
            stop_ids: tokens that end the text; default: :attr:`stop_ids`.
            max_new_tokens: default: as many as the cache holds.
            ignore_eos: go on after a stop token, which then is a token like any other.
            context: a cache to use; what it has in common with the beginning of the prompt is not computed
                again. Default: one of the model's own, from scratch.

        Raises:
            UsageError: the prompt is empty, does not fit the cache, or holds ids outside the vocabulary.
        """
        if stop_ids is None:
            stop_ids = self.stop_ids
        return self._start(
            self.encode(prompt) if isinstance(prompt, str) else list(prompt),
            options,
            stop_ids=() if ignore_eos else stop_ids,
            max_new_tokens=max_new_tokens,
            context=context,
            continuation=True,
        )

    def _start(
        self,
        prompt_ids: list[int],
        options: SamplingOptions | None,
        *,
        stop_ids: Collection[int],
        max_new_tokens: int | None,
        context: Context | None,
        continuation: bool,
    ) -> Generation:
        self._check_prompt(prompt_ids)
        if max_new_tokens is not None and max_new_tokens < 1:
            raise UsageError(f"{max_new_tokens} new tokens asked for; at least 1 is needed", code="EG732")
        # The last token said needs no row of its own: nothing is asked of the model after it.
        room = self.bundle.cache_length - len(prompt_ids) + 1
        return Generation(
            prompt_ids,
            self._pool if context is None else _Given(context),
            Sampler(options or SamplingOptions()),
            stop_ids=frozenset(stop_ids),
            limit=room if max_new_tokens is None else min(max_new_tokens, room),
            detokenizer=Detokenizer(self.tokenizer, continuation=continuation) if self.tokenizer else None,
            load_seconds=self.load_seconds,
        )

    def _check_prompt(self, prompt_ids: Sequence[int]) -> None:
        count, cache_length = len(prompt_ids), self.bundle.cache_length
        if not count:
            raise UsageError("the prompt is empty", code="EG742", hint="give a prompt of at least one token")
        if count > cache_length:
            raise UsageError(
                f"the prompt has {count} tokens, but the cache holds {cache_length}",
                code="EG741",
                hint=f"shorten the prompt, or export with --cache-length {_round_up(count + 256, 256)}",
            )
        outside = [token_id for token_id in prompt_ids if not 0 <= token_id < self.vocab_size]
        if outside:
            raise UsageError(
                f"token {outside[0]} is outside the model's vocabulary of {self.vocab_size}",
                code="EG743",
                hint="the tokenizer belongs to another model; export again",
            )


class _Pool:
    """The model's own contexts. Keeping them saves clearing many megabytes for each generation."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._idle: list[Context] = []

    def acquire(self) -> Context:
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

    def acquire(self) -> Context:
        return self._context

    def release(self, context: Context) -> None:
        pass


def _open_template(bundle: Bundle, tokenizer: Tokenizer | None) -> ChatTemplate | None:
    if bundle.chat_template is None:
        return None
    try:
        source = bundle.chat_template.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {bundle.chat_template}: {error}", code="EG721") from error

    def name(token_id: int | None) -> str:
        return (tokenizer and token_id is not None and tokenizer.id_to_token(token_id)) or ""

    spec = bundle.tokenizer
    eos = spec.eos_token_id if spec else None
    if eos is None and bundle.stop_token_ids:
        eos = bundle.stop_token_ids[0]
    return ChatTemplate(source, bos_token=name(spec.bos_token_id if spec else None), eos_token=name(eos))


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
