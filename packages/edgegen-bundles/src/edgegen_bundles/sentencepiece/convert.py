"""A BPE tokenizer as a SentencePiece model that splits texts into the same ids, or nearly so.

Ids stay what they are. What follows beyond the vocabulary is never the result of encoding a text: pieces that steer
(:mod:`holding`), pieces for bytes that the vocabulary has as characters, and the unknown piece, which SentencePiece
demands and never needs, as anything can be spelled in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgegen_bundles.sentencepiece.bpe_source import Source, read
from edgegen_bundles.sentencepiece.byte_alphabet import bytes_of
from edgegen_bundles.sentencepiece.guard_pieces import held_punctuation, held_spaces
from edgegen_bundles.sentencepiece.merge_order import Phase, Phases
from edgegen_bundles.sentencepiece.model_proto import Kind, opened, serialized

_FOLLOWING = ("s", "S", "ll", "LL", "re", "ve", "VE", "M", "d", "t", "a", " a", "1", ".", "\n", "\na")
_STEPS = 2
"""Of the score between two ranks: a piece on the way to another comes right before it."""


@dataclass(frozen=True)
class Conversion:
    """What came of a tokenizer.

    Attributes:
        source: the tokenizer.
        model: the SentencePiece model, serialized.
        steering: how many pieces were added that only steer.
        unspellable: tokens that hold part of a character, or a zero byte: SentencePiece has no such pieces.
        unused: tokens that the tokenizer itself makes of no text.
        unreachable: tokens that the tokenizer makes of their own text, and the model does not.
    """

    source: Source
    model: bytes
    steering: int
    unspellable: int
    unused: int
    unreachable: int

    @cached_property
    def processor(self) -> Any:
        """The model, run by the ``sentencepiece`` library."""
        return opened(self.model)


def convert(contents: bytes) -> Conversion:
    """Convert ``tokenizer.json``.

    Raises:
        CheckpointError: it is damaged.
        UnsupportedError: it is no BPE tokenizer, or SentencePiece has no means for what it does.
    """
    return _Converter(read(contents)).convert()


class _Converter:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.phases = Phases(source)
        self.span = _STEPS * (len(source.merges) + 2)
        self.unspellable = 0
        self.pieces: dict[str, tuple[Kind, float]] = {}
        """Piece -> type and score; the first are in the order of ids."""

    def convert(self) -> Conversion:
        texts = self._vocabulary()
        made, unused = self._made(texts)
        self._bytes()
        self._unknown()
        size = len(self.pieces)
        if self.source.is_byte_level:
            self._reach(made)
            plain = {text for text in self.pieces if self.pieces[text][0] == Kind.NORMAL}
            self._hold(held_punctuation(plain, self.phases), Phase.HELD_PUNCTUATION)
            self._hold(held_spaces(plain, self.phases), Phase.HELD_SPACE)
        steering = len(self.pieces) - size
        model = serialized(self.pieces, self.source)
        encoded = opened(model).encode(list(made.values()))
        return Conversion(
            source=self.source,
            model=model,
            steering=steering,
            unspellable=self.unspellable,
            unused=unused,
            unreachable=sum(ids != [index] for index, ids in zip(made, encoded, strict=True)),
        )

    # --- the vocabulary -------------------------------------------------------------------------------------

    def _vocabulary(self) -> dict[int, str]:
        """Enter every token; what comes back are those that a text may hold, id -> text."""
        added = set(self.source.added.values())
        texts = {}
        for index in range(self.source.size):
            content, name = self.source.added.get(index), self.source.names.get(index)
            if content is not None:
                self._add(content, self._added_kind(content))
            elif name is None:
                self._add(_unique(f"<gap {index}>", self.pieces), Kind.CONTROL)
            else:
                text = self._text(name)
                if text is None or text in added or text in self.pieces:
                    self._add_unspellable(index, name)
                else:
                    self._add(text, Kind.NORMAL, self._score(text, name))
                    texts[index] = text
        return texts

    def _added_kind(self, content: str) -> Kind:
        unknown = self.source.model.get("unk_token")
        return Kind.UNKNOWN if content == unknown else Kind.USER_DEFINED

    def _text(self, name: str) -> str | None:
        """What a token stands for, as SentencePiece writes it; None where that is no text."""
        if not self.source.is_byte_level:
            return None if _is_byte(name) else name
        data = bytes_of(name)
        try:
            return None if data is None or b"\0" in data else data.decode()
        except UnicodeDecodeError:
            return None

    def _add_unspellable(self, index: int, name: str) -> None:
        """A token that is a byte; or one that can be decoded only, and then to a name."""
        if _is_byte(name) and not self.source.is_byte_level:
            return self._add(name, Kind.BYTE)
        data = bytes_of(name) if self.source.is_byte_level else None
        if data is not None and len(data) == 1 and _byte(data[0]) not in self.pieces:
            return self._add(_byte(data[0]), Kind.BYTE)
        self.unspellable += 1
        spelled = "".join(map(_byte, data)) if data else f"<token {index}>"
        return self._add(_unique(spelled, self.pieces), Kind.CONTROL)

    def _score(self, text: str, name: str) -> float:
        if len(text) == 1 or name not in self.source.ranks:
            return self._at(Phase.WHOLE_WORD, 0) if len(text) > 1 else 0.0
        return self._at(self.phases.of(text), _STEPS * self.phases.rank(text, self.source.ranks[name]))

    def _at(self, phase: Phase, rank: int) -> float:
        """Scores are 32-bit floats; the lowest here is some millions, which they hold exactly."""
        return -float(phase * self.span + rank)

    def _made(self, texts: Mapping[int, str]) -> tuple[dict[int, str], int]:
        """Those that the tokenizer makes of their own text, id -> text. What is not made of its own text is made of no
        other, as merging within it goes by what is in it, unless what follows decides where the tokenizer cuts. Such
        pieces must not be merged; they keep their id and text for decoding."""
        if not self.source.is_byte_level:
            return {}, 0
        made = {index: texts[index] for index in self._are_made(texts, "")}
        never = {index: text for index, text in texts.items() if index not in made}
        for following in _FOLLOWING:
            for index in self._are_made(never, following):
                never.pop(index)
        for text in never.values():
            self.pieces[text] = (Kind.CONTROL, 0.0)
        return made, len(never)

    def _are_made(self, texts: Mapping[int, str], following: str) -> list[int]:
        whole = [text + following for text in texts.values()]
        encodings = self.source.bare.encode_batch(whole, add_special_tokens=False)
        pairs = zip(texts, encodings, strict=True)
        if following:
            return [index for index, one in pairs if one.ids[:1] == [index]]
        return [index for index, one in pairs if one.ids == [index]]

    # --- pieces beyond it -----------------------------------------------------------------------------------

    def _reach(self, made: Mapping[int, str]) -> None:
        """Give tokens a way where there is none: merges of half characters, and words that no merges lead to."""
        processor = opened(serialized(self.pieces, self.source))
        by_merges = self.source.by_merges.encode_batch(list(made.values()), add_special_tokens=False)
        encoded = processor.encode(list(made.values()), out_type=str)
        for (index, text), own, ours in zip(made.items(), by_merges, encoded, strict=True):
            parts = self._surfaces(ours)
            if len(parts) < 2:
                continue
            if own.ids == [index]:
                score = self.pieces[text][1] + 1.0
            else:
                score = self._at(Phase.WHOLE_WORD, 0)
                self.pieces[text] = (Kind.NORMAL, score)
            way = parts[0]
            for part in parts[1:-1]:
                way += part
                if way not in self.pieces:
                    self._add(way, Kind.UNUSED, score)

    def _surfaces(self, pieces: list[str]) -> list[str]:
        """What the pieces of a text stand for; bytes are put together to characters."""
        parts: list[str] = []
        pending = bytearray()
        for piece in pieces:
            if self.pieces.get(piece, (None,))[0] == Kind.BYTE:
                pending.append(int(piece[3:5], 16))
            else:
                parts += [*pending.decode(), piece]
                pending.clear()
        return [*parts, *pending.decode()]

    def _hold(self, texts: Iterable[str], phase: Phase) -> None:
        for text in texts:
            if text not in self.pieces:
                self._add(text, Kind.UNUSED, self._at(phase, 0))

    def _bytes(self) -> None:
        """All 256 or none: SentencePiece demands it."""
        for byte in range(256):
            if _byte(byte) not in self.pieces:
                self._add(_byte(byte), Kind.BYTE)

    def _unknown(self) -> None:
        if not any(kind == Kind.UNKNOWN for kind, _ in self.pieces.values()):
            self._add(_unique("<unk>", self.pieces), Kind.UNKNOWN)

    def _add(self, piece: str, kind: Kind, score: float = 0.0) -> None:
        self.pieces[piece] = (kind, score)


def _byte(value: int) -> str:
    return f"<0x{value:02X}>"


def _is_byte(name: str) -> bool:
    return len(name) == 6 and name.startswith("<0x") and name.endswith(">")


def _unique(name: str, taken: Mapping[str, object]) -> str:
    while name in taken:
        name = f"<{name}>"
    return name
