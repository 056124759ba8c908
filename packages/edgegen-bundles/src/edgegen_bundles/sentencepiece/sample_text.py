"""Sample text: English prose to evaluate on where no text is given.

The first five chapters of Lewis Carroll's *Alice's Adventures in Wonderland* (1865), which is in the public domain, as
the Canterbury corpus has them (``alice29.txt``).
"""

from __future__ import annotations

from importlib import resources


def sample_text() -> str:
    """About 60,000 characters of English prose, with quotation marks, contractions and empty lines."""
    return resources.files(__package__).joinpath("sample_text.txt").read_text(encoding="utf-8")
