"""Conversation: a chat over several turns whose KV cache is kept from turn to turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from edgegen.errors import UsageError
from edgegen_runtime.cache.kv_cache import common_prefix
from edgegen_runtime.cache.prefix_cache import PrefixCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgegen_runtime.generation.config import GenerationConfig
    from edgegen_runtime.generation.generation import Generation
    from edgegen_runtime.generation.language_model import LanguageModel
    from edgegen_runtime.generation.sampling import SamplingOptions

Turn = dict[str, Any]


@dataclass
class _Transcript:
    """Prompt and answers so far, as text and as the very tokens that the cache holds."""

    text: str
    token_ids: list[int]


class Conversation:
    """A chat with a model, question after question; the KV cache keeps what was said.

    A turn's prompt repeats the whole conversation. Its beginning is not encoded again but taken token for token from
    the turn before: an answer need not consist of the tokens that its text would be encoded as, and the cache serves
    only tokens that are the same.

    Args:
        model: a model with a chat template.
        system: system message.
        context_shift: drop the oldest questions and answers when the conversation outgrows the cache; the system
            message stays. Default: :meth:`ask` raises.
        cache: prefix cache that keeps the KV cache between turns; default: one of the conversation's own.

    Attributes:
        messages: the conversation so far.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        system: str | None = None,
        context_shift: bool = False,
        cache: PrefixCache | None = None,
    ) -> None:
        self.messages: list[Turn] = [] if system is None else [{"role": "system", "content": system}]
        self._model = model
        self._context_shift = context_shift
        self._cache = cache or PrefixCache(model, entries=1)
        self._transcript = _Transcript("", [])

    def ask(self, question: str, options: SamplingOptions | None = None, **config: Unpack[GenerationConfig]) -> Answer:
        """Answer ``question``, which becomes part of :attr:`messages` once the answer has ended.

        Args:
            question: of the user.
            options: sampling options.
            config: generation config, e.g. ``max_new_tokens``; the conversation itself sets ``cache``,
                ``context_shift`` and ``n_keep``.

        Raises:
            UsageError: the question does not fit the cache, or the template refuses it.
        """
        turn: Turn = {"role": "user", "content": question}
        kept = list(self.messages)
        while True:
            text = self._model.render([*kept, turn])
            token_ids = self._encode(text)
            fits = len(token_ids) + min(config.get("max_new_tokens") or 0, self._cache.cache_length // 4)
            if not self._context_shift or fits <= self._cache.cache_length:
                break
            oldest = next((index for index, message in enumerate(kept) if message["role"] != "system"), None)
            if oldest is None:
                break
            # A question goes with its answer, or templates that want them to alternate would refuse the rest.
            del kept[oldest : oldest + 2]
        config["cache"], config["context_shift"] = self._cache, self._context_shift
        config["n_keep"] = self._system_tokens(token_ids)
        generation = self._model.answer(token_ids, options, **config)
        return Answer(self, [*kept, turn], _Transcript(text, token_ids), generation)

    def clear(self) -> None:
        """Begin anew; the system message stays."""
        self.messages = [message for message in self.messages if message["role"] == "system"]

    def _encode(self, text: str) -> list[int]:
        assert self._model.tokenizer is not None
        earlier = self._transcript
        rest = text[len(earlier.text) :]
        if not earlier.text or not text.startswith(earlier.text) or not self._begins_with_special(rest):
            return self._model.tokenizer.encode(text, special=True)
        return [*earlier.token_ids, *self._model.tokenizer.encode(rest, special=True)]

    def _begins_with_special(self, text: str) -> bool:
        """True if ``text`` begins with a special token: it can be encoded apart, as no token reaches across."""
        tokenizer = self._model.tokenizer
        assert tokenizer is not None
        first = tokenizer.encode(text, special=True)[:1]
        if not first or tokenizer.token_bytes(first[0]):
            return False
        name = tokenizer.id_to_token(first[0])
        return name is not None and text.startswith(name)

    def _system_tokens(self, token_ids: Sequence[int]) -> int:
        """Number of tokens at the beginning that belong to the system message."""
        system = [message for message in self.messages[:1] if message["role"] == "system"]
        if not system:
            return 0
        try:
            alone = self._model.render([*system, {"role": "user", "content": ""}])
        except UsageError:
            return 0
        assert self._model.tokenizer is not None
        return common_prefix(self._model.tokenizer.encode(alone, special=True), token_ids)

    def _keep(self, messages: list[Turn], transcript: _Transcript, generation: Generation, answer: str) -> None:
        self.messages = [*messages, {"role": "assistant", "content": answer}]
        # Where a stop string cut the text, or tokens were dropped, its tokens are not the text's.
        spelled = self._model.decode(generation.token_ids)
        if spelled == answer and not generation.timings.dropped_tokens:
            self._transcript = _Transcript(transcript.text + answer, [*transcript.token_ids, *generation.token_ids])
        else:
            self._transcript = transcript


class Answer:
    """An answer in a conversation, an iterator over its text. The text until its end, or until :meth:`close`, becomes
    part of the conversation.

    Attributes:
        generation: its tokens and timings.
    """

    def __init__(
        self, conversation: Conversation, messages: list[Turn], transcript: _Transcript, generation: Generation
    ) -> None:
        self.generation = generation
        self._conversation = conversation
        self._messages = messages
        self._transcript = transcript
        self._pieces: list[str] = []
        self._closed = False

    def __iter__(self) -> Iterator[str]:
        for piece in self.generation.text():
            self._pieces.append(piece)
            yield piece
        self.close()

    def close(self) -> None:
        """End it here, if it has not ended."""
        if self._closed:
            return
        self._closed = True
        self.generation.close()
        self._pieces += self.generation.text()  # text that was held back until the end
        self._conversation._keep(self._messages, self._transcript, self.generation, "".join(self._pieces))
