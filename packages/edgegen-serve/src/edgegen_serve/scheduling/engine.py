"""Engine: turns generation requests into answers of the model, and keeps the last conversation in the KV cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime import Conversation, Generation, LanguageModel, PrefixCache, SamplingOptions
from edgegen_serve.openai.requests import GenerationRequest, Message

if TYPE_CHECKING:
    from edgegen_runtime import GenerationConfig


@dataclass(frozen=True)
class Answer:
    """A running answer.

    Attributes:
        generation: token counts and finish reason; its ``cancel`` may be called from any thread.
        pieces: its text; the model works while this is iterated over.
        close: ends it, unless it has ended.
    """

    generation: Generation
    pieces: Iterator[str]
    close: Callable[[], None]


class Engine:
    """A model that answers one generation request at a time. All of it belongs to one thread.

    Requests repeat the whole conversation. Where one goes on from the answer before it, the runtime's
    :class:`~edgegen_runtime.Conversation` takes over the very tokens that are in the cache; any other request shares
    with the cache what its tokens have in common with it.

    Raises:
        UsageError: the model has no tokenizer.
    """

    def __init__(self, model: LanguageModel) -> None:
        if model.tokenizer is None:
            raise UsageError(
                f"{model.exported.name} has no tokenizer, so it cannot be served",
                code=ErrorCode.SERVER_NEEDS_TOKENIZER,
                hint="export it again from a checkpoint that has one",
            )
        self.name = model.exported.name
        self._model = model
        self.forget()

    def forget(self) -> None:
        """Drop the KV cache: after a failure its state is unknown."""
        self._cache = PrefixCache(self._model, entries=1)
        self._conversation: Conversation | None = None

    def begin(self, request: GenerationRequest) -> Answer:
        """Start an answer; the model works when its pieces are iterated over.

        Raises:
            EdgegenError: the runtime refuses the request.
        """
        config: GenerationConfig = {
            "max_new_tokens": request.max_new_tokens,
            "stop": request.stop,
            "response_format": request.response_format,
        }
        if (
            request.messages
            and request.messages[-1].keys() == {"role", "content"}
            and request.messages[-1]["role"] == "user"
        ):
            return self._turn(request.messages, request.options, config)
        config["cache"] = self._cache
        if request.messages:
            generation = self._model.chat(request.messages, request.options, **config)
        else:
            generation = self._model.generate(request.prompt, request.options, **config)
        return Answer(generation, generation.text(), generation.close)

    def _turn(self, messages: list[Message], options: SamplingOptions, config: GenerationConfig) -> Answer:
        *earlier, last = messages
        if self._conversation is None or self._conversation.messages != earlier:
            self._conversation = Conversation(self._model, cache=self._cache)
            self._conversation.messages = earlier
        answer = self._conversation.ask(last["content"], options, **config)
        return Answer(answer.generation, iter(answer), answer.close)
