"""Guard pieces: keep a character from merging across a word boundary of the tokenizer.

They are of type "unused": SentencePiece merges them like any other, which keeps their parts from merging with anything
else, and takes them apart again when it is done. No text is ever encoded as one, so that ids beyond the vocabulary do
not reach the model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator

from edgegen_bundles.sentencepiece.merge_order import MergeOrder, is_alphanumeric

_SPACES = " \t\n"
_LONGEST_RUN = 3
_COMMON = "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u2022\u00b7\ufffd"
"""Punctuation beyond ASCII that gets guards: quotation marks, dashes, and what stands for damaged text. All
there is, times all that can follow, would be several times the vocabulary."""


def punctuation_guards(texts: Collection[str], merge_order: MergeOrder) -> Iterator[str]:
    """Guards of punctuation: runs with one more character, where that could go to the word that follows: ``--(`` |
    ``she``."""
    starts = {text[0] for text in texts if len(text) > 1 and not is_alphanumeric(text[0]) and is_alphanumeric(text[1])}
    heads = sorted(start for start in starts if not start.isspace() and _is_common(start))
    for run in sorted(filter(_is_run, texts)):
        for head in heads:
            if (
                run + head not in texts
                and merge_order.is_cut(head + "a", run, "")
                and not merge_order.is_cut(run + head, "", "")
            ):
                yield run + head


def _is_run(text: str) -> bool:
    short = len(text.lstrip(" ")) <= _LONGEST_RUN and not text[-1].isspace()
    return short and not any(map(is_alphanumeric, text)) and _is_common(text)


def _is_common(text: str) -> bool:
    return all(character.isascii() or character in _COMMON for character in text)


def space_guards(texts: Collection[str], merge_order: MergeOrder) -> Iterator[str]:
    """Guards of spaces: a space with what follows it, where it is not part of the run of spaces before it: two line
    feeds, ``\\n`` | ``\\nWord``."""
    decided: dict[tuple[str, str], bool] = {}
    for space in _SPACES:
        if not any(len(text) > 1 and text.isspace() and text.endswith(space) for text in texts):
            continue
        for text in sorted(texts):
            if text[0].isspace() or space + text in texts:
                continue
            key = (space, _character_classes(text))
            if key not in decided:
                decided[key] = merge_order.is_cut(space + space, "", text)
            if decided[key]:
                yield space + text


def _character_classes(text: str) -> str:
    """Unicode classes of the first characters, by which the pre-tokenizer cuts."""
    return "".join(unicodedata.category(character)[0] if character.isalnum() else character for character in text[:2])
