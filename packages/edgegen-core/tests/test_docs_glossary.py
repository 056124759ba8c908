"""The glossary is in alphabetical order, and the files that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "explanation" / "glossary.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is not part of the wheel")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]


def test_terms_are_in_alphabetical_order() -> None:
    terms = [re.sub("[^a-z ]", "", term.lower()) for term, _, _ in rows()]
    assert terms == sorted(set(terms))


def test_places_exist() -> None:
    names = re.findall(r"`(edgegen\w*(?:/[\w./]+)?)`", "\n".join(where for _, _, where in rows()))
    hooks = {name for name in names if name.startswith("edgegen_") and "/" not in name}
    places = [name for name in names if name not in hooks or list(ROOT.glob(f"packages/*/src/{name}"))]
    assert [name for name in places if not list(ROOT.glob(f"packages/*/src/{name}"))] == []
