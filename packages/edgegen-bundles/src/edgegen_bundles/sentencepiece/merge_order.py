"""The order of merging that stands in for a pre-tokenizer.

A byte-level tokenizer first cuts a text into words and merges inside each. SentencePiece cuts nothing: two pieces
merge wherever they meet, if the vocabulary has what they make. So a merge can reach over a border; in ``  word`` the
two spaces can merge, where the tokenizer has one space and ``_word``. But only one of two merges that compete for a
character can win, and the better score does. Words that cannot compete keep their order whatever is merged between, so
whole kinds of pieces can be moved before others, by the side on which the tokenizer cuts:

    runs of punctuation   take a quotation mark away from the word after it:     " '| so"  not  "'s"
    contractions          take the letter away from the word that begins so:     "'s| o"   in   x'so
    words and numbers     take the last space away from the run before them:     " | word"
    runs of whitespace    come last

Where a neighbour that must not be merged with has no rival, a piece is made that exists for that alone: it holds a
character fast, and as it is of type "unused", SentencePiece takes it apart again at the end (:mod:`holding`).
"""

from __future__ import annotations

import unicodedata
from enum import IntEnum

from edgegen_bundles.sentencepiece.bpe_source import Source


class Phase(IntEnum):
    """Earlier ones are merged first."""

    PUNCTUATION = 0
    HELD_PUNCTUATION = 1
    CONTRACTION = 2
    WORD = 3
    WHOLE_WORD = 4
    HELD_SPACE = 5
    WHITESPACE = 6


class Phases:
    """Decides by asking the pre-tokenizer."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.digits = self._group()

    def of(self, text: str) -> Phase:
        """The phase of a piece of two or more characters."""
        if not self._source.is_byte_level:
            return Phase.WORD  # cut nowhere
        if text.isspace():
            return Phase.WHITESPACE if self.is_cut(text, "", "a") else Phase.PUNCTUATION
        if not any(map(is_alphanumeric, text)):
            return Phase.PUNCTUATION
        if text[0] == "'" and text[1:].isalpha() and {1, 1 + len(text)} <= self._source.borders(f"a{text}a"):
            return Phase.CONTRACTION
        return Phase.WORD

    def rank(self, text: str, rank: int) -> int:
        """The rank within its phase: numbers that are cut into groups form the first group first, from the left."""
        if self.digits and len(text) > 1 and all(unicodedata.category(character) == "Nd" for character in text):
            return self.digits - min(len(text), self.digits)
        return rank

    def is_cut(self, text: str, left: str, right: str) -> bool:
        """Whether the pre-tokenizer cuts inside ``text`` when it stands between these."""
        inside = range(len(left) + 1, len(left) + len(text))
        return not self._source.borders(left + text + right).isdisjoint(inside)

    def _group(self) -> int:
        """How many digits make a group; 0 where numbers are not cut into groups of several."""
        first = min(self._source.borders("1234567"))
        return first if 1 < first < 7 else 0


def is_alphanumeric(character: str) -> bool:
    """A letter or a number, as ``\\p{L}`` and ``\\p{N}`` of pre-tokenizers."""
    return unicodedata.category(character)[0] in "LN"
