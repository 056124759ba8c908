"""Where tokens lie in a text, and where two sequences of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgegen_bundles.sentencepiece.bpe_source import SPACE
from edgegen_bundles.sentencepiece.byte_alphabet import bytes_of
from edgegen_bundles.sentencepiece.convert import Conversion

_CONTEXT = 24


@dataclass(frozen=True)
class Span:
    """A token, and the bytes of the text that it stands for."""

    token: int
    begin: int
    end: int


@dataclass(frozen=True)
class Place:
    """A stretch between two borders that both sequences have, in which their tokens differ."""

    theirs: tuple[Span, ...]
    ours: tuple[Span, ...]

    @property
    def begin(self) -> int:
        return self.theirs[0].begin if self.theirs else self.ours[0].begin

    @property
    def end(self) -> int:
        return max([span.end for span in (*self.theirs[-1:], *self.ours[-1:])])


class Spans:
    """Of one text, as the tokenizer's normalizer leaves it."""

    def __init__(self, conversion: Conversion, text: str) -> None:
        self._conversion = conversion
        self.text = text
        self.data = text.encode()

    def of(self, ids: Sequence[int]) -> list[Span]:
        spans, begin = [], 0
        for token in ids:
            end = begin + len(self.bytes(token))
            spans.append(Span(token, begin, end))
            begin = end
        return spans

    def bytes(self, token: int) -> bytes:
        """What a token stands for."""
        source = self._conversion.source
        if token in source.added:
            return source.added[token].encode()
        name = source.names.get(token) or self._conversion.processor.id_to_piece(token)
        if name.startswith("<0x") and name.endswith(">") and len(name) == 6:
            return bytes([int(name[3:5], 16)])
        data = bytes_of(name) if source.is_byte_level else name.replace(SPACE, " ").encode()
        return data if data is not None else name.encode()

    def texts(self, spans: Sequence[Span]) -> tuple[str, ...]:
        return tuple(self.bytes(span.token).decode(errors="backslashreplace") for span in spans)

    def around(self, begin: int, end: int) -> str:
        return self.data[max(0, begin - _CONTEXT) : end + _CONTEXT].decode(errors="ignore")

    @cached_property
    def borders(self) -> set[int]:
        """Where the pre-tokenizer cuts, in bytes."""
        return {len(self.text[:end].encode()) for end in self._conversion.source.borders(self.text)}


def differing(theirs: Sequence[Span], ours: Sequence[Span]) -> Iterator[Place]:
    """The smallest places; one that goes to the end where the two do not come to the same text."""
    common = sorted({0} | ({span.end for span in theirs} & {span.end for span in ours}))
    limit = max([span.end for span in (*theirs[-1:], *ours[-1:])], default=0)
    borders = [*common, *([limit] if common[-1] != limit else [])]
    first = second = 0
    for end in borders[1:]:
        left, first = _until(theirs, first, end)
        right, second = _until(ours, second, end)
        if [span.token for span in left] != [span.token for span in right]:
            yield Place(tuple(left), tuple(right))


def _until(spans: Sequence[Span], index: int, end: int) -> tuple[list[Span], int]:
    begin = index
    while index < len(spans) and spans[index].end <= end:
        index += 1
    return list(spans[begin:index]), index
