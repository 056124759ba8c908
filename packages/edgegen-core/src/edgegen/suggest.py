"""Closest names, for hints on misspelt ones."""

from __future__ import annotations

from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that resembles ``name`` most, or None where none comes near. Case does not count."""
    from difflib import get_close_matches  # only a failing run pays for it

    spellings = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), spellings, n=1, cutoff=0.6)
    return spellings[found[0]] if found else None
