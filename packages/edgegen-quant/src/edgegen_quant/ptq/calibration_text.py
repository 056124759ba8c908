"""A text to learn from where none is given: a little of much that language models read.

Beginnings of books (Melville, Austen, Darwin, Doyle, Dickens, Wells, Twain) and a speech of Lincoln's, which are in the
public domain; the first article of the *Universal Declaration of Human Rights* in many languages; and prose, code,
letters and formulas that were written for this. It takes turns, so that every beginning of it is mixed.
"""

from __future__ import annotations

from importlib import resources


def mixed_text() -> str:
    """Some 7 thousand characters; 1,700 to 2,300 tokens."""
    return resources.files(__package__).joinpath("calibration_text.txt").read_text(encoding="utf-8")
