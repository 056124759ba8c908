"""Merge order that stands in for a pre-tokenizer.

A byte-level tokenizer first cuts a text into words and merges inside each. SentencePiece cuts nothing: two pieces
merge wherever they meet, if the vocabulary has what they make. So a merge can reach over a border; in ``  word`` the
two spaces can merge, where the tokenizer has one space and ``_word``. But only one of two merges that compete for a
character can win, and the better score does. Words that cannot compete keep their order whatever is merged between, so
whole groups of pieces can be moved before others, by the side on which the tokenizer cuts:

    runs of punctuation   take a quotation mark away from the word after it:     " '| so"  not  "'s"
    contractions          take the letter away from the word that begins so:     "'s| o"   in   x'so
    words and numbers     take the last space away from the run before them:     " | word"
    runs of whitespace    come last

Where a neighbour that must not be merged with has no rival, a piece is made that exists for that alone: it holds a
character fast, and as it is of type "unused", SentencePiece takes it apart again at the end (:mod:`guard_pieces`).
"""

from __future__ import annotations

import unicodedata
from enum import IntEnum

from edgegen_bundles.sentencepiece.bpe_tokenizer import BpeTokenizer


class MergePriority(IntEnum):
    """Groups of pieces in the order in which they merge."""

    PUNCTUATION = 0
    PUNCTUATION_GUARD = 1
    CONTRACTION = 2
    WORD = 3
    WHOLE_WORD = 4
    SPACE_GUARD = 5
    WHITESPACE = 6


class MergeOrder:
    """Merge order of a tokenizer's pieces, by where its pre-tokenizer cuts."""

    def __init__(self, source: BpeTokenizer) -> None:
        self._source = source
        self.digits = self._group()

    def priority(self, text: str) -> MergePriority:
        """Merge priority of a piece of two or more characters."""
        if not self._source.is_byte_level:
            return MergePriority.WORD  # cut nowhere
        if text.isspace():
            return MergePriority.WHITESPACE if self.is_cut(text, "", "a") else MergePriority.PUNCTUATION
        if not any(map(is_alphanumeric, text)):
            return MergePriority.PUNCTUATION
        if text[0] == "'" and text[1:].isalpha() and {1, 1 + len(text)} <= self._source.borders(f"a{text}a"):
            return MergePriority.CONTRACTION
        return MergePriority.WORD

    def rank(self, text: str, rank: int) -> int:
        """Rank within its priority: numbers that are cut into groups form the first group first, from the left."""
        if self.digits and len(text) > 1 and all(unicodedata.category(character) == "Nd" for character in text):
            return self.digits - min(len(text), self.digits)
        return rank

    def is_cut(self, text: str, left: str, right: str) -> bool:
        """True if the pre-tokenizer cuts inside ``text`` between ``left`` and ``right``."""
        inside = range(len(left) + 1, len(left) + len(text))
        return not self._source.borders(left + text + right).isdisjoint(inside)

    def _group(self) -> int:
        """Digits in a group; 0 if numbers are not cut into groups of several."""
        first = min(self._source.borders("1234567"))
        return first if 1 < first < 7 else 0


def is_alphanumeric(character: str) -> bool:
    """True for a letter or a number, as ``\\p{L}`` and ``\\p{N}`` of pre-tokenizers."""
    return unicodedata.category(character)[0] in "LN"
