"""The model behind the server: one answer at a time, and the last conversation kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime import Conversation, Generation, LanguageModel, PrefixCache, SamplingOptions
from edgegen_serve.openai.requests import Ask, Message

if TYPE_CHECKING:
    from edgegen_runtime.generation.language_model import Limits


@dataclass(frozen=True)
class Answer:
    """A running answer.

    Attributes:
        generation: counts, and the reason it ended; its ``cancel`` may be called from any thread.
        pieces: its text; the model works while this is iterated over.
        close: ends it, if it has not ended.
    """

    generation: Generation
    pieces: Iterator[str]
    close: Callable[[], None]


class Engine:
    """Turns requests into answers. All of it belongs to one thread.

    Requests repeat the whole conversation. Where one goes on from the answer before it, the runtime's
    :class:`~edgegen_runtime.Conversation` takes over the very tokens that are in the cache; any other request shares
    with the cache what its tokens have in common with it.

    Raises:
        UsageError: the model has no tokenizer.
    """

    def __init__(self, model: LanguageModel) -> None:
        if model.tokenizer is None:
            raise UsageError(
                f"{model.bundle.name} has no tokenizer, so it cannot be served",
                code=ErrorCode.SERVER_NEEDS_TOKENIZER,
                hint="export it again from a checkpoint that has one",
            )
        self.name = model.bundle.name
        self._model = model
        self.forget()

    def forget(self) -> None:
        """Drop what is kept: after a failure nobody knows what state it is in."""
        self._cache = PrefixCache(self._model, entries=1)
        self._conversation: Conversation | None = None

    def begin(self, ask: Ask) -> Answer:
        """An answer that starts when its pieces are iterated over.

        Raises:
            EdgegenError: the runtime refuses the request.
        """
        limits: Limits = {"max_new_tokens": ask.max_new_tokens, "stop": ask.stop, "form": ask.form}
        if ask.messages and ask.messages[-1].keys() == {"role", "content"} and ask.messages[-1]["role"] == "user":
            return self._turn(ask.messages, ask.options, limits)
        limits["context"] = self._cache
        if ask.messages:
            generation = self._model.chat(ask.messages, ask.options, **limits)
        else:
            generation = self._model.generate(ask.prompt, ask.options, **limits)
        return Answer(generation, generation.text(), generation.close)

    def _turn(self, messages: list[Message], options: SamplingOptions, limits: Limits) -> Answer:
        *earlier, last = messages
        if self._conversation is None or self._conversation.messages != earlier:
            self._conversation = Conversation(self._model, cache=self._cache)
            self._conversation.messages = earlier
        answer = self._conversation.ask(last["content"], options, **limits)
        return Answer(answer.generation, iter(answer), answer.close)
