"""How far a conversion agrees with the tokenizer that it was made from.

*Pairs* is the measure of the reference, ``tokenizer_to_sentencepiece`` of litert-torch: two tokens at random are made
into a text, and both tokenizers encode that. Ids that differ are a strict mismatch; it is a loose one as well if the
tokenizer itself makes that very pair of the text. (Many pairs are no text that anyone writes, and merge across their
seam.) *Text* is what matters in use: every token of a real text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgegen_bundles.sentencepiece.convert import Conversion
from edgegen_bundles.sentencepiece.mismatch_reasons import Construct, Explainer
from edgegen_bundles.sentencepiece.token_spans import Spans, differing

PAIRS = 1000
_PASSAGE = 400


@dataclass(frozen=True, kw_only=True)
class Example:
    """One place where they differ.

    Attributes:
        text: the passage around it; the place itself is what the tokens below come to.
        tokenizer: texts of the tokens that the tokenizer makes.
        sentencepiece: those that the model makes.
    """

    text: str
    tokenizer: tuple[str, ...]
    sentencepiece: tuple[str, ...]


@dataclass(kw_only=True)
class Mismatches:
    """Places of one construct in the text."""

    construct: Construct
    count: int = 0
    example: Example


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The figures.

    Attributes:
        pairs: how many pairs of tokens were tried.
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
    """Compare on ``text`` and on random pairs of tokens."""
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
        spans = Spans(conversion, source.normalized(passage))
        for place in differing(spans.of(theirs), spans.of(ours)):
            differ += len(place.theirs)
            construct = explainer.explain(spans, place)
            example = Example(
                text=spans.around(place.begin, place.end),
                tokenizer=spans.texts(place.theirs),
                sentencepiece=spans.texts(place.ours),
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
        mismatches=sorted(found.values(), key=lambda one: -one.count),
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
    """Cut before lines that have something in them, so that runs of line feeds stay whole."""
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
    """For people: ``0.53%``."""
    return f"{100 * part / whole:.2f}%" if whole else "-"


def sentence(comparison: Comparison) -> str:
    """The figures in one line, in the reference's words."""
    c = comparison
    return (
        f"not matched strictly {c.strictly}/{c.pairs} pairs: {percent(c.strictly, c.pairs)}, "
        f"loosely {c.loosely}/{c.pairs} pairs: {percent(c.loosely, c.pairs)}; "
        f"in text {c.tokens_differing}/{c.tokens} tokens: {percent(c.tokens_differing, c.tokens)}"
    )
