"""Token offsets in a text, and differences between two tokenizations of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgegen_bundles.sentencepiece.bpe_tokenizer import SPACE
from edgegen_bundles.sentencepiece.byte_alphabet import bytes_of
from edgegen_bundles.sentencepiece.conversion import Conversion

_CONTEXT = 24


@dataclass(frozen=True)
class TokenOffset:
    """A token with its begin and end in the text, in bytes."""

    token: int
    begin: int
    end: int


@dataclass(frozen=True)
class Difference:
    """A stretch between two common token boundaries in which the tokens of both differ."""

    theirs: tuple[TokenOffset, ...]
    ours: tuple[TokenOffset, ...]

    @property
    def begin(self) -> int:
        return self.theirs[0].begin if self.theirs else self.ours[0].begin

    @property
    def end(self) -> int:
        return max([span.end for span in (*self.theirs[-1:], *self.ours[-1:])])


class OffsetMapping:
    """Offsets of tokens in one text, normalized as the tokenizer does."""

    def __init__(self, conversion: Conversion, text: str) -> None:
        self._conversion = conversion
        self.text = text
        self.data = text.encode()

    def offsets(self, ids: Sequence[int]) -> list[TokenOffset]:
        spans, begin = [], 0
        for token in ids:
            end = begin + len(self.bytes(token))
            spans.append(TokenOffset(token, begin, end))
            begin = end
        return spans

    def bytes(self, token: int) -> bytes:
        """Bytes of a token."""
        source = self._conversion.source
        if token in source.added:
            return source.added[token].encode()
        name = source.names.get(token) or self._conversion.processor.id_to_piece(token)
        if name.startswith("<0x") and name.endswith(">") and len(name) == 6:
            return bytes([int(name[3:5], 16)])
        data = bytes_of(name) if source.is_byte_level else name.replace(SPACE, " ").encode()
        return data if data is not None else name.encode()

    def texts(self, spans: Sequence[TokenOffset]) -> tuple[str, ...]:
        return tuple(self.bytes(span.token).decode(errors="backslashreplace") for span in spans)

    def around(self, begin: int, end: int) -> str:
        return self.data[max(0, begin - _CONTEXT) : end + _CONTEXT].decode(errors="ignore")

    @cached_property
    def borders(self) -> set[int]:
        """Word boundaries of the pre-tokenizer, in bytes."""
        return {len(self.text[:end].encode()) for end in self._conversion.source.borders(self.text)}


def differences(theirs: Sequence[TokenOffset], ours: Sequence[TokenOffset]) -> Iterator[Difference]:
    """The smallest differences; one goes to the end where the two do not spell the same text."""
    common = sorted({0} | ({span.end for span in theirs} & {span.end for span in ours}))
    limit = max([span.end for span in (*theirs[-1:], *ours[-1:])], default=0)
    borders = [*common, *([limit] if common[-1] != limit else [])]
    first = second = 0
    for end in borders[1:]:
        left, first = _until(theirs, first, end)
        right, second = _until(ours, second, end)
        if [span.token for span in left] != [span.token for span in right]:
            yield Difference(tuple(left), tuple(right))


def _until(spans: Sequence[TokenOffset], index: int, end: int) -> tuple[list[TokenOffset], int]:
    begin = index
    while index < len(spans) and spans[index].end <= end:
        index += 1
    return list(spans[begin:index]), index
