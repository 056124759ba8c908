"""Tokenizers with one interface: Hugging Face ``tokenizer.json`` files and SentencePiece models.

Decoding is byte-wise: every token stands for a fixed run of bytes, and a text is the UTF-8 reading of the
runs in a row. That is what makes streaming exact (:mod:`edgegen_runtime.text.detokenizer`): a library's own
``decode`` looks at the whole sequence, so its answer for a prefix need not be a prefix of its answer for the
whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from edgegen.errors import ErrorCode, UnsupportedError, UsageError
from edgegen.genai.token_decoders import STREAMABLE, decoder_steps, is_byte_level, unstreamable
from edgegen_runtime.bundle import TokenizerSpec

_UNLIMITED = 1 << 30


class Tokenizer(Protocol):
    """Text to token ids and back."""

    @property
    def vocab_size(self) -> int:
        """Number of ids; the model's vocabulary may be padded beyond it."""

    @property
    def leading_spaces(self) -> int:
        """Most spaces that the tokenizer itself puts at the beginning of a text (its dummy prefix)."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of ``text``, without any beginning-of-sequence token.

        Args:
            special: names of special tokens inside the text (``<|im_start|>``) become those tokens; otherwise
                they are spelled out like any other text.
        """

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a whole text for an encoder, with the special tokens that the tokenizer puts around it.

        Names of special tokens inside the text become those tokens, as in transformers.
        """

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 bytes that the token stands for, possibly part of a character; empty for a special token."""

    def token_to_id(self, token: str) -> int | None:
        """Id of a token of the vocabulary, by its name there."""

    def id_to_token(self, token_id: int) -> str | None:
        """Name of a token in the vocabulary, None beyond its end."""


def open_tokenizer(path: Path, *, decodes: bool = True) -> Tokenizer:
    """Load ``tokenizer.json`` (Hugging Face) or ``*.model`` (SentencePiece).

    Args:
        path: the file.
        decodes: load the decoder too, which encoder models do without.

    Raises:
        UsageError: the file is damaged.
        UnsupportedError: another kind of file, or a decoder that does not work byte by byte.
    """
    if path.suffix == ".json":
        return _HuggingFaceTokenizer(path, decodes=decodes)
    if path.suffix == ".model":
        return _SentencePieceTokenizer(path)
    raise UnsupportedError(
        f"{path.name} is no tokenizer that the runtime knows",
        code=ErrorCode.UNKNOWN_TOKENIZER,
        hint="tokenizer.json (Hugging Face) and tokenizer.model (SentencePiece) are supported",
    )


def encode_prompt(tokenizer: Tokenizer, text: str, spec: TokenizerSpec) -> list[int]:
    """Token ids of a prompt that is not a chat: special tokens are recognised, BOS is added at most once."""
    ids = tokenizer.encode(text, special=True)
    if spec.add_bos and spec.bos_token_id is not None and ids[:1] != [spec.bos_token_id]:
        ids.insert(0, spec.bos_token_id)
    return ids


def no_tokenizer() -> UsageError:
    """The error for text where the export has no tokenizer."""
    return UsageError(
        "the model was exported without a tokenizer",
        code=ErrorCode.NO_TOKENIZER,
        hint="pass token ids from Python, or export again",
    )


def decode(tokenizer: Tokenizer, token_ids: Sequence[int], *, continuation: bool = False) -> str:
    """Text of ``token_ids``; bytes that are not UTF-8 become U+FFFD.

    Args:
        continuation: the ids follow earlier text, so a space at their beginning is kept.
    """
    data = b"".join(map(tokenizer.token_bytes, token_ids))
    if not continuation:
        data = drop_leading_spaces(data, tokenizer.leading_spaces)
    return data.decode("utf-8", errors="replace")


def drop_leading_spaces(data: bytes, limit: int) -> bytes:
    """``data`` without its first ``limit`` spaces, or fewer if it begins with fewer."""
    return data[min(limit, len(data) - len(data.lstrip(b" "))) :]


class _HuggingFaceTokenizer:
    """Tokenizer of a ``tokenizer.json`` file, run by the ``tokenizers`` library."""

    def __init__(self, path: Path, *, decodes: bool) -> None:
        import tokenizers

        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise UsageError(
                f"cannot read {path}: {error}", code=ErrorCode.TOKENIZER_UNREADABLE, hint="export the model again"
            ) from error
        # Files often ask for truncation and padding as used in training; a prompt must arrive as it is.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = frozenset(token_id for token_id, token in added.items() if token.special)
        self._spell, self.leading_spaces = _byte_decoder(self._tokenizer.decoder) if decodes else (str.encode, 0)
        self._bytes: dict[int, bytes] = {}
        if self._spell is _spell_byte_level:
            # Added words are written as they read, letters of the byte alphabet included.
            self._bytes = {token_id: str(token.content).encode() for token_id, token in added.items()}
            self._bytes |= dict.fromkeys(self._special, b"")

    @property
    def vocab_size(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str, *, special: bool) -> list[int]:
        self._tokenizer.encode_special_tokens = not special
        # add_special_tokens means the post-processor, which may add a BOS of its own: the manifest decides
        # that.
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_text(self, text: str) -> list[int]:
        self._tokenizer.encode_special_tokens = False
        return list(self._tokenizer.encode(text, add_special_tokens=True).ids)

    def token_bytes(self, token_id: int) -> bytes:
        data = self._bytes.get(token_id)
        if data is None:
            token = None if token_id in self._special else self.id_to_token(token_id)
            data = self._bytes[token_id] = b"" if token is None else self._spell(token)
        return data

    def token_to_id(self, token: str) -> int | None:
        token_id: int | None = self._tokenizer.token_to_id(token)
        return token_id

    def id_to_token(self, token_id: int) -> str | None:
        token: str | None = self._tokenizer.id_to_token(token_id)
        return token


class _SentencePieceTokenizer:
    """Tokenizer of a SentencePiece model."""

    def __init__(self, path: Path) -> None:
        import sentencepiece

        try:
            self._model: Any = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        except Exception as error:  # RuntimeError for most faults, OSError for an unreadable file
            raise UsageError(
                f"cannot read {path}: {error}", code=ErrorCode.TOKENIZER_UNREADABLE, hint="export the model again"
            ) from error
        self._size = int(self._model.vocab_size())
        # Control tokens and the unknown one are never found in text by the library itself; user-defined ones always.
        model = self._model
        found = (i for i in range(self._size) if model.is_control(i) or model.is_unknown(i))
        controls = [model.id_to_piece(i) for i in found]
        controls.sort(key=len, reverse=True)
        self._controls = re.compile("(" + "|".join(map(re.escape, controls)) + ")") if controls else None
        self.leading_spaces = self._count_leading_spaces()

    @property
    def vocab_size(self) -> int:
        return self._size

    def encode(self, text: str, *, special: bool) -> list[int]:
        if not special or self._controls is None:
            return list(self._model.encode(text))
        ids: list[int] = []
        # re.split with a group alternates text and control token: text, token, text, ...
        for index, part in enumerate(self._controls.split(text)):
            if index % 2:
                ids.append(self._model.piece_to_id(part))
            elif part:
                ids += self._model.encode(part)
        return ids

    def encode_text(self, text: str) -> list[int]:
        # The library puts nothing around a text; the encoders that come with such a file end it with this.
        end = self._model.eos_id()
        return [*self.encode(text, special=True), *([end] if end >= 0 else [])]

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < self._size or self._model.is_control(token_id):
            return b""
        piece: str = self._model.id_to_piece(token_id)
        if self._model.is_byte(token_id):
            return bytes([int(piece[3:-1], 16)])  # <0xE4>
        if self._model.is_unknown(token_id):
            return str(self._model.decode([token_id])).encode()
        return piece.replace("▁", " ").encode()

    def token_to_id(self, token: str) -> int | None:
        token_id = int(self._model.piece_to_id(token))
        return token_id if self._model.id_to_piece(token_id) == token else None

    def id_to_token(self, token_id: int) -> str | None:
        return str(self._model.id_to_piece(token_id)) if 0 <= token_id < self._size else None

    def _count_leading_spaces(self) -> int:
        """Leading spaces that decoding drops: 0, 1 (dummy prefix) or all; found by trial, the settings are hidden."""
        marker = self.token_to_id("▁")
        if marker is None:  # pruned vocabularies: any piece that begins a word tells about the first space
            marker = next((i for i in range(self._size) if self._model.id_to_piece(i).startswith("▁")), None)
            return 0 if marker is None or self._model.decode([marker]).startswith(" ") else 1
        dropped = 4 - len(self._model.decode([marker] * 4))
        return _UNLIMITED if dropped == 4 else int(dropped)


Speller = Callable[[str], bytes]


def _byte_decoder(decoder: Any) -> tuple[Speller, int]:
    """Byte decoder (token -> bytes) of a decoder of the ``tokenizers`` library, and the leading spaces it drops."""
    state = None if decoder is None else json.loads(decoder.__getstate__())
    reason = unstreamable(state)
    if reason is not None:
        raise UnsupportedError(reason, code=ErrorCode.TOKENIZER_NOT_STREAMABLE, hint=STREAMABLE)
    steps = decoder_steps(state)
    if is_byte_level(steps):
        return _spell_byte_level, 0
    replacements = [_replacement(step) for step in steps if step["type"] in ("Replace", "Metaspace")]
    leading = sum(_leading(step) for step in steps)
    fallback = any(step["type"] == "ByteFallback" for step in steps)
    return lambda token: _spell_pieces(token, replacements, fallback), leading


def _replacement(step: Mapping[str, Any]) -> tuple[str, str]:
    return (step["replacement"], " ") if step["type"] == "Metaspace" else (step["pattern"]["String"], step["content"])


def _leading(step: Mapping[str, Any]) -> int:
    if step["type"] == "Metaspace":
        return 0 if step.get("prepend_scheme") == "never" else 1
    return int(step["start"]) if step["type"] == "Strip" else 0


def _spell_pieces(token: str, replacements: Sequence[tuple[str, str]], fallback: bool) -> bytes:
    if fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            pass  # a token that merely looks like a byte
    for old, new in replacements:
        token = token.replace(old, new)
    return token.encode()


def _spell_byte_level(token: str) -> bytes:
    table = _byte_level_alphabet()
    try:
        return bytes([table[char] for char in token])
    except KeyError:  # an added token is written as it reads, e.g. with real spaces
        return token.encode()


@lru_cache(maxsize=1)
def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's byte alphabet, character -> byte: printable Latin-1 is itself, the rest moves to U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
