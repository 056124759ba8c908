"""Comparison of a converted tokenizer with the original.

*Pairs* is the measure of the reference, ``tokenizer_to_sentencepiece`` of litert-torch: two tokens at random are made
into a text, and both tokenizers encode that. Ids that differ are a strict mismatch; it is a loose one as well if the
tokenizer itself makes that very pair of the text. (Many pairs are no text that anyone writes, and merge across their
seam.) *Text* is what matters in use: every token of a real text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgegen_bundles.sentencepiece.conversion import Conversion
from edgegen_bundles.sentencepiece.mismatch_reasons import Construct, Explainer
from edgegen_bundles.sentencepiece.token_offsets import OffsetMapping, differences

PAIRS = 1000
_PASSAGE = 400


@dataclass(frozen=True, kw_only=True)
class Example:
    """A difference between the two tokenizations.

    Attributes:
        text: the passage around it.
        tokenizer: texts of the tokenizer's tokens at the difference.
        sentencepiece: texts of the model's tokens there.
    """

    text: str
    tokenizer: tuple[str, ...]
    sentencepiece: tuple[str, ...]


@dataclass(kw_only=True)
class Mismatches:
    """Differences of one construct in the text."""

    construct: Construct
    count: int = 0
    example: Example


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Figures of a comparison.

    Attributes:
        pairs: number of random pairs of tokens.
        strictly: pairs whose ids differ.
        loosely: those of them that the tokenizer makes of its own text.
        passages: pieces of text, cut at line ends, of some 400 characters.
        passages_differing: those in which any id differs.
        passages_decoded_differently: those that the model's ids do not give back.
        tokens: what the tokenizer makes of the text.
        tokens_differing: those that the model does not have at that place.
        mismatches: by construct, the most frequent first.
    """

    pairs: int
    strictly: int
    loosely: int
    passages: int
    passages_differing: int
    passages_decoded_differently: int
    tokens: int
    tokens_differing: int
    mismatches: list[Mismatches] = field(default_factory=list)


def compare(conversion: Conversion, text: str, *, pairs: int = PAIRS, seed: int = 0) -> Comparison:
    """Compare both tokenizers on ``text`` and on random pairs of tokens."""
    strictly, loosely = _pairs(conversion, pairs, seed)
    passages = list(_passages(text))
    source, processor = conversion.source, conversion.processor
    explainer = Explainer(source)
    found: dict[Construct, Mismatches] = {}
    tokens = differ = bad = undone = 0
    for passage in passages:
        theirs, ours = source.encode(passage), processor.encode(passage)
        tokens += len(theirs)
        undone += processor.decode(ours) != (source.normalized(passage) if source.is_byte_level else passage)
        if theirs == ours:
            continue
        bad += 1
        mapping = OffsetMapping(conversion, source.normalized(passage))
        for difference in differences(mapping.offsets(theirs), mapping.offsets(ours)):
            differ += len(difference.theirs)
            construct = explainer.explain(mapping, difference)
            example = Example(
                text=mapping.around(difference.begin, difference.end),
                tokenizer=mapping.texts(difference.theirs),
                sentencepiece=mapping.texts(difference.ours),
            )
            found.setdefault(construct, Mismatches(construct=construct, example=example)).count += 1
    return Comparison(
        pairs=pairs,
        strictly=strictly,
        loosely=loosely,
        passages=len(passages),
        passages_differing=bad,
        passages_decoded_differently=undone,
        tokens=tokens,
        tokens_differing=differ,
        mismatches=sorted(found.values(), key=lambda mismatches: -mismatches.count),
    )


def _pairs(conversion: Conversion, count: int, seed: int) -> tuple[int, int]:
    chance = random.Random(seed)
    source, strictly, loosely = conversion.source, 0, 0
    known = sorted({*source.names, *source.added})
    for _ in range(count):
        pair = chance.sample(known, 2)
        text = source.decode(pair)
        theirs = source.encode(text)
        if theirs != conversion.processor.encode(text):
            strictly += 1
            loosely += theirs == pair
    return strictly, loosely


def _passages(text: str) -> Iterator[str]:
    """Passages of a text, cut before lines that are not blank, so that runs of line feeds stay whole."""
    passage: list[str] = []
    length = 0
    for line in text.splitlines(keepends=True):
        if length >= _PASSAGE and line.strip():
            yield "".join(passage)
            passage, length = [], 0
        passage.append(line)
        length += len(line)
    if passage:
        yield "".join(passage)


def percent(part: int, whole: int) -> str:
    """A share as text: ``0.53%``."""
    return f"{100 * part / whole:.2f}%" if whole else "-"


def sentence(comparison: Comparison) -> str:
    """Summary of a comparison in one line, in the reference's words."""
    c = comparison
    return (
        f"not matched strictly {c.strictly}/{c.pairs} pairs: {percent(c.strictly, c.pairs)}, "
        f"loosely {c.loosely}/{c.pairs} pairs: {percent(c.loosely, c.pairs)}; "
        f"in text {c.tokens_differing}/{c.tokens} tokens: {percent(c.tokens_differing, c.tokens)}"
    )
