"""Reasons of differences: constructs of a tokenizer for which SentencePiece has no counterpart."""

from __future__ import annotations

from enum import Enum

from edgegen_bundles.sentencepiece.bpe_tokenizer import BpeTokenizer
from edgegen_bundles.sentencepiece.merge_order import is_alphanumeric
from edgegen_bundles.sentencepiece.token_offsets import Difference, OffsetMapping, TokenOffset

_ANYWHERE = "pieces merge wherever they meet"


class Construct(Enum):
    """A construct of tokenizers, with the reason why it cannot always match."""

    NORMALIZATION = (
        "normalization",
        "the tokenizer normalizes the text; the table that SentencePiece reads has no rule for the order of several "
        "marks on one letter, nor for Hangul in parts",
    )
    ADDED_TOKEN = (
        "added token",
        "added tokens may take the whitespace beside them, or be found as whole words only; pieces cannot",
    )
    PARTS_OF_CHARACTERS = (
        "parts of characters",
        "merges may join single bytes; SentencePiece merges characters, and spells one that is no piece byte by byte",
    )
    LINE_BREAKS = (
        "line breaks",
        f"the pre-tokenizer cuts inside a run of line breaks by what follows the run; {_ANYWHERE}",
    )
    SPACES = (
        "runs of spaces",
        f"the pre-tokenizer leaves the last space of a run to the word that follows; {_ANYWHERE}",
    )
    DIGITS = (
        "groups of digits",
        f"the pre-tokenizer cuts numbers into groups from the left; {_ANYWHERE}",
    )
    CONTRACTION = (
        "contractions",
        f"the pre-tokenizer cuts off 's, 've and the like, also where a longer word begins so; {_ANYWHERE}",
    )
    PUNCTUATION = (
        "punctuation before a word",
        f"punctuation goes to the word after it, but not where it ends a run of punctuation; {_ANYWHERE}",
    )
    WORDS = (
        "words",
        f"the pre-tokenizer cuts there; {_ANYWHERE}",
    )
    WHOLE_WORDS = (
        "whole words",
        "the tokenizer takes a word of its vocabulary as it is where the whole word is that; SentencePiece sees none",
    )
    MERGES = (
        "order of merges",
        "the tokenizer merges listed pairs; SentencePiece any pair that makes a piece, by the score of that piece",
    )

    def __init__(self, label: str, reason: str) -> None:
        self.label = label
        self.reason = reason


class Explainer:
    """Finds the construct behind a difference from one tokenizer."""

    def __init__(self, source: BpeTokenizer) -> None:
        self._source = source

    def explain(self, mapping: OffsetMapping, difference: Difference) -> Construct:
        """The construct behind ``difference``."""
        tokens = (*difference.theirs, *difference.ours)
        if any(token.token in self._source.added for token in tokens):
            return Construct.ADDED_TOKEN
        if not difference.theirs or not difference.ours or difference.theirs[-1].end != difference.ours[-1].end:
            return Construct.NORMALIZATION
        if not all(_is_text(mapping.bytes(token.token)) for token in tokens):
            return Construct.PARTS_OF_CHARACTERS
        cut = next((token for token in difference.ours if _is_inside(token, mapping.borders)), None)
        if cut is not None:
            after_quote = mapping.data[: cut.begin].endswith(b"'")
            return Construct.CONTRACTION if after_quote else _cut_kind(mapping.bytes(cut.token).decode())
        whole = len(difference.theirs) == 1 and self._source.takes_whole_words
        return Construct.WHOLE_WORDS if whole else Construct.MERGES


def _is_inside(token: TokenOffset, borders: set[int]) -> bool:
    return not borders.isdisjoint(range(token.begin + 1, token.end))


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _cut_kind(text: str) -> Construct:
    """Construct of a piece that reaches across a word boundary."""
    if text.isspace():
        return Construct.LINE_BREAKS if set(text) & set("\r\n") else Construct.SPACES
    if text.strip().isnumeric():
        return Construct.DIGITS
    if text.startswith("'") and text[1:].isalpha():
        return Construct.CONTRACTION
    if not is_alphanumeric(text.lstrip()[0]):
        return Construct.PUNCTUATION
    return Construct.WORDS
