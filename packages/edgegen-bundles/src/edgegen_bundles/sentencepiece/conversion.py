"""Conversion of a BPE tokenizer to a SentencePiece model that splits texts into the same ids, or nearly so.

Ids stay what they are. Pieces beyond the vocabulary are never the result of encoding a text: guard pieces
(:mod:`guard_pieces`), pieces for bytes that the vocabulary has as characters, and the unknown piece, which
SentencePiece demands and never needs, as anything can be spelled in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgegen_bundles.sentencepiece.bpe_tokenizer import BpeTokenizer, read_bpe_tokenizer
from edgegen_bundles.sentencepiece.byte_alphabet import bytes_of
from edgegen_bundles.sentencepiece.guard_pieces import punctuation_guards, space_guards
from edgegen_bundles.sentencepiece.merge_order import MergeOrder, MergePriority
from edgegen_bundles.sentencepiece.model_proto import PieceType, open_model, serialize_model

_FOLLOWING = ("s", "S", "ll", "LL", "re", "ve", "VE", "M", "d", "t", "a", " a", "1", ".", "\n", "\na")
_STEPS = 2
"""Score steps between two ranks: a piece on the way to another comes right before it."""


@dataclass(frozen=True)
class Conversion:
    """A converted tokenizer.

    Attributes:
        source: the tokenizer.
        model: the SentencePiece model, serialized.
        guard_pieces: number of guard pieces added, which only steer merging.
        partial_characters: number of tokens that hold part of a character, or a zero byte; SentencePiece has no such
            pieces.
        never_produced: number of tokens that the tokenizer itself makes of no text.
        unreachable: number of tokens that the tokenizer makes of their own text, and the model does not.
    """

    source: BpeTokenizer
    model: bytes
    guard_pieces: int
    partial_characters: int
    never_produced: int
    unreachable: int

    @cached_property
    def processor(self) -> Any:
        """The model, run by the ``sentencepiece`` library."""
        return open_model(self.model)


def convert(contents: bytes) -> Conversion:
    """Convert ``tokenizer.json``.

    Raises:
        CheckpointError: it is damaged.
        UnsupportedError: it is no BPE tokenizer, or SentencePiece has no means for what it does.
    """
    return _Converter(read_bpe_tokenizer(contents)).convert()


class _Converter:
    """Builds the pieces of one conversion."""

    def __init__(self, source: BpeTokenizer) -> None:
        self.source = source
        self.merge_order = MergeOrder(source)
        self.span = _STEPS * (len(source.merges) + 2)
        self.partial_characters = 0
        self.pieces: dict[str, tuple[PieceType, float]] = {}
        """Piece -> type and score; the first are in the order of ids."""

    def convert(self) -> Conversion:
        texts = self._vocabulary()
        made, never_produced = self._made(texts)
        self._bytes()
        self._unknown()
        size = len(self.pieces)
        if self.source.is_byte_level:
            self._reach(made)
            plain = {text for text in self.pieces if self.pieces[text][0] == PieceType.NORMAL}
            self._add_guards(punctuation_guards(plain, self.merge_order), MergePriority.PUNCTUATION_GUARD)
            self._add_guards(space_guards(plain, self.merge_order), MergePriority.SPACE_GUARD)
        guard_pieces = len(self.pieces) - size
        model = serialize_model(self.pieces, self.source)
        encoded = open_model(model).encode(list(made.values()))
        return Conversion(
            source=self.source,
            model=model,
            guard_pieces=guard_pieces,
            partial_characters=self.partial_characters,
            never_produced=never_produced,
            unreachable=sum(ids != [index] for index, ids in zip(made, encoded, strict=True)),
        )

    # --- the vocabulary -------------------------------------------------------------------------------------

    def _vocabulary(self) -> dict[int, str]:
        """Enter every token; returns those that a text may hold, id -> text."""
        added = set(self.source.added.values())
        texts = {}
        for index in range(self.source.size):
            content, name = self.source.added.get(index), self.source.names.get(index)
            if content is not None:
                self._add(content, PieceType.USER_DEFINED)
            elif name is None:
                self._add(_unique(f"<gap {index}>", self.pieces), PieceType.CONTROL)
            else:
                text = self._text(name)
                if text is None or text in added or text in self.pieces:
                    self._add_textless(index, name)
                else:
                    self._add(text, PieceType.NORMAL, self._score(text, name))
                    texts[index] = text
        return texts

    def _text(self, name: str) -> str | None:
        """Text of a token as SentencePiece writes it; None if it is no text."""
        if not self.source.is_byte_level:
            return None if _is_byte(name) else name
        data = bytes_of(name)
        try:
            return None if data is None or b"\0" in data else data.decode()
        except UnicodeDecodeError:
            return None

    def _add_textless(self, index: int, name: str) -> None:
        """Enter a token without a text: a byte; or a control piece that can be decoded only."""
        if _is_byte(name) and not self.source.is_byte_level:
            return self._add(name, PieceType.BYTE)
        data = bytes_of(name) if self.source.is_byte_level else None
        if data is not None and len(data) == 1 and _byte(data[0]) not in self.pieces:
            return self._add(_byte(data[0]), PieceType.BYTE)
        self.partial_characters += 1
        spelled = "".join(map(_byte, data)) if data else f"<token {index}>"
        return self._add(_unique(spelled, self.pieces), PieceType.CONTROL)

    def _score(self, text: str, name: str) -> float:
        if len(text) == 1 or name not in self.source.ranks:
            return self._at(MergePriority.WHOLE_WORD, 0) if len(text) > 1 else 0.0
        return self._at(self.merge_order.priority(text), _STEPS * self.merge_order.rank(text, self.source.ranks[name]))

    def _at(self, priority: MergePriority, rank: int) -> float:
        """Score of a rank within a priority; a 32-bit float holds it exactly, as it is some millions at most."""
        return -float(priority * self.span + rank)

    def _made(self, texts: Mapping[int, str]) -> tuple[dict[int, str], int]:
        """Tokens that the tokenizer makes of their own text, id -> text, and the number of those that it never makes.

        A token that is not made of its own text is made of no other, as merging within it goes by what is in it,
        unless what follows decides where the tokenizer cuts. Such pieces must not be merged; they keep id and text for
        decoding.
        """
        if not self.source.is_byte_level:
            return {}, 0
        made = {index: texts[index] for index in self._are_made(texts, "")}
        never = {index: text for index, text in texts.items() if index not in made}
        for following in _FOLLOWING:
            for index in self._are_made(never, following):
                never.pop(index)
        for text in never.values():
            self.pieces[text] = (PieceType.CONTROL, 0.0)
        return made, len(never)

    def _are_made(self, texts: Mapping[int, str], following: str) -> list[int]:
        whole = [text + following for text in texts.values()]
        encodings = self.source.bare.encode_batch(whole, add_special_tokens=False)
        pairs = zip(texts, encodings, strict=True)
        if following:
            return [index for index, encoding in pairs if encoding.ids[:1] == [index]]
        return [index for index, encoding in pairs if encoding.ids == [index]]

    # --- pieces beyond it -----------------------------------------------------------------------------------

    def _reach(self, made: Mapping[int, str]) -> None:
        """Add pieces on the way to tokens that no merges reach: merges of half characters, and whole words."""
        processor = open_model(serialize_model(self.pieces, self.source))
        by_merges = self.source.by_merges.encode_batch(list(made.values()), add_special_tokens=False)
        encoded = processor.encode(list(made.values()), out_type=str)
        for (index, text), own, ours in zip(made.items(), by_merges, encoded, strict=True):
            parts = self._surfaces(ours)
            if len(parts) < 2:
                continue
            if own.ids == [index]:
                score = self.pieces[text][1] + 1.0
            else:
                score = self._at(MergePriority.WHOLE_WORD, 0)
                self.pieces[text] = (PieceType.NORMAL, score)
            way = parts[0]
            for part in parts[1:-1]:
                way += part
                if way not in self.pieces:
                    self._add(way, PieceType.UNUSED, score)

    def _surfaces(self, pieces: list[str]) -> list[str]:
        """Texts of pieces; bytes are put together to characters."""
        parts: list[str] = []
        pending = bytearray()
        for piece in pieces:
            if self.pieces.get(piece, (None,))[0] == PieceType.BYTE:
                pending.append(int(piece[3:5], 16))
            else:
                parts += [*pending.decode(), piece]
                pending.clear()
        return [*parts, *pending.decode()]

    def _add_guards(self, texts: Iterable[str], priority: MergePriority) -> None:
        for text in texts:
            if text not in self.pieces:
                self._add(text, PieceType.UNUSED, self._at(priority, 0))

    def _bytes(self) -> None:
        """All 256 or none: SentencePiece demands it."""
        for byte in range(256):
            if _byte(byte) not in self.pieces:
                self._add(_byte(byte), PieceType.BYTE)

    def _unknown(self) -> None:
        if not any(piece_type == PieceType.UNKNOWN for piece_type, _ in self.pieces.values()):
            self._add(_unique("<unk>", self.pieces), PieceType.UNKNOWN)

    def _add(self, piece: str, piece_type: PieceType, score: float = 0.0) -> None:
        self.pieces[piece] = (piece_type, score)


def _byte(value: int) -> str:
    return f"<0x{value:02X}>"


def _is_byte(name: str) -> bool:
    return len(name) == 6 and name.startswith("<0x") and name.endswith(">")


def _unique(name: str, taken: Mapping[str, object]) -> str:
    while name in taken:
        name = f"<{name}>"
    return name
