"""Structured output: answers that follow a JSON Schema, a regular expression or a grammar.

Before each token, those that would break the grammar are masked out, as ``llguidance`` computes (the optional extra
``edgegen-runtime[constrained]``). It works on the bytes of the tokens, so any tokenizer will do.

A grammar decides what may be said, not what is: a model that is lost writes valid nonsense, and an answer that the
length limit cuts off is incomplete (``finish_reason`` is ``length`` then).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgegen.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from edgegen_runtime.generation.sampling import Logits
    from edgegen_runtime.text.tokenizer import Tokenizer

_MARKER = b"\xff"
"""Begins the spelling of a special token for llguidance: no text has this byte, so no text spells it."""

_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON layout of ``json.dumps``: without whitespace to choose, a model cannot pad with spaces for ever."""


@dataclass(frozen=True)
class ResponseFormat:
    """The grammar of an answer. Made by :meth:`json_schema`, :meth:`regex` and :meth:`lark`."""

    kind: Literal["json-schema", "regex", "grammar"]
    source: str

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | bool | str) -> ResponseFormat:
        """JSON that a schema allows.

        Args:
            schema: the schema, or its JSON text; ``True`` allows any JSON.

        Raises:
            UsageError: the text is not JSON.
        """
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except ValueError as error:
                raise UsageError(
                    f"the JSON Schema is not JSON: {error}",
                    code=ErrorCode.INVALID_GRAMMAR,
                    hint='such as {"type": "object"}',
                ) from error
        return cls("json-schema", json.dumps(schema))

    @classmethod
    def regex(cls, pattern: str) -> ResponseFormat:
        """Text that a regular expression (of Rust's kind: no look-around, no back-references) matches whole."""
        return cls("regex", pattern)

    @classmethod
    def lark(cls, grammar: str) -> ResponseFormat:
        """Text of a context-free grammar in Lark's notation, from its rule ``start``."""
        return cls("grammar", grammar)


class GrammarVocabulary:
    """A tokenizer in llguidance's terms; costly to make, so one serves all answers of a model.

    Args:
        tokenizer: Hugging Face or SentencePiece.
        size: number of logits.
        stop_ids: tokens that end an answer.

    Raises:
        UsageError: llguidance is not installed.
    """

    def __init__(self, tokenizer: Tokenizer, size: int, stop_ids: Collection[int]) -> None:
        try:
            import llguidance
        except ImportError as error:
            raise UsageError(
                "constrained output needs the package llguidance",
                code=ErrorCode.STRUCTURED_OUTPUT_UNAVAILABLE,
                hint='pip install "edgegen-runtime[constrained]"',
            ) from error
        self.size = size
        # Without a token to end with, one beyond the vocabulary stands for the end, which is then never said.
        stops = sorted(token_id for token_id in stop_ids if token_id < size) or [size]
        spelled = [_spelling(tokenizer, token_id) for token_id in range(max(size, stops[-1] + 1))]
        self.tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_TokenizerAdapter(tokenizer, spelled, stops[0])), eos_token=stops
        )


class GrammarConstraint:
    """Logits processor that lets only tokens through that the grammar of one answer allows next.

    Raises:
        UsageError: llguidance is not installed; the grammar is not valid, or uses what llguidance does not support.
    """

    def __init__(self, response_format: ResponseFormat, vocabulary: GrammarVocabulary) -> None:
        from llguidance import LLMatcher

        try:
            match response_format.kind:
                case "json-schema":
                    grammar = LLMatcher.grammar_from_json_schema(response_format.source, overrides=_JSON)
                case "regex":
                    grammar = LLMatcher.grammar_from_regex(response_format.source)
                case "grammar":
                    grammar = LLMatcher.grammar_from_lark(response_format.source)
        except ValueError as error:
            raise _invalid(response_format, str(error)) from error
        self._matcher = LLMatcher(vocabulary.tokenizer, grammar, log_level=0)
        if self._matcher.is_error():
            raise _invalid(response_format, self._matcher.get_error())
        self._response_format = response_format
        self._size = vocabulary.size
        self._bits = np.zeros(-(-vocabulary.tokenizer.vocab_size // 32), np.int32)

    @property
    def complete(self) -> bool:
        """True if the answer is whole and nothing can be added to it."""
        return bool(self._matcher.is_stopped())

    def process(self, logits: Logits) -> Logits:
        """A copy of ``logits [V]`` with minus infinity for every token that may not come next."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():
            raise _invalid(self._response_format, self._matcher.get_error())
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._size].view(bool)
        return np.where(allowed, logits, np.float32(-np.inf))

    def accept(self, token_id: int) -> None:
        """Advance the grammar by a token of the answer."""
        self._matcher.consume_token(token_id)
        if self._matcher.is_error():
            raise _invalid(self._response_format, self._matcher.get_error())


class _TokenizerAdapter:
    """The tokenizer interface of llguidance: token bytes, special ids, text to ids."""

    def __init__(self, tokenizer: Tokenizer, tokens: list[bytes], eos_token_id: int) -> None:
        self._tokenizer = tokenizer
        self.tokens = tokens
        self.eos_token_id = eos_token_id
        self.bos_token_id = None
        self.special_token_ids = [index for index, token in enumerate(tokens) if token.startswith(_MARKER)]

        self._ids = {token: index for index, token in reversed(list(enumerate(tokens)))}
        self._longest = max(map(len, tokens))

    def __call__(self, text: bytes | str) -> list[int]:
        """Token ids that spell exactly ``text``; llguidance asks where the grammar leaves one way to go on."""
        data = text.encode() if isinstance(text, str) else text
        # Many tokenizers put a space before whatever they are given. After a line break it shows, and goes with it.
        for before in (b"", b"\n"):
            ids = self._tokenizer.encode((before + data).decode(), special=False)
            spelled, skipped = b"", 0
            for index, token_id in enumerate(ids):
                if spelled.strip(b" ") == before and len(spelled) >= len(before):
                    skipped = index
                    break
                spelled += self.tokens[token_id]
            if b"".join(self.tokens[token_id] for token_id in ids[skipped:]) == data:
                return ids[skipped:]
        return self._longest_matches(data)

    def _longest_matches(self, data: bytes) -> list[int]:
        ids: list[int] = []
        while data:
            sizes = range(min(self._longest, len(data)), 0, -1)
            size = next((size for size in sizes if data[:size] in self._ids), 0)
            if not size:
                break  # a vocabulary without all bytes; llguidance checks each token itself
            ids.append(self._ids[data[:size]])
            data = data[size:]
        return ids


def _spelling(tokenizer: Tokenizer, token_id: int) -> bytes:
    data = tokenizer.token_bytes(token_id) if token_id < tokenizer.vocab_size else b""
    return data or _MARKER + f"<{token_id}>".encode()


def _invalid(response_format: ResponseFormat, reason: str) -> UsageError:
    # What follows is the library's own state, which tells its developers more than its users.
    first, *others = (reason.partition("<state>")[0].strip() or "no reason given").splitlines()
    if first.startswith("NoExtension"):
        first = "the tokenizer has no token that spells what has to come next"
    return UsageError(
        f"cannot follow the {response_format.kind}: {first}",
        code=ErrorCode.INVALID_GRAMMAR,
        details=others,
        hint=f"edgegen run --help says what --{response_format.kind} takes",
    )
