"""Heads and widths of OpenELM's blocks."""

from __future__ import annotations

import pytest

from edgegen_models_openelm.model import SIZES, near


def test_heads_and_widths_of_the_blocks_are_the_published_ones():
    size = SIZES["openelm-1.1b"]
    assert size.heads == (16,) * 3 + (20,) * 7 + (24,) * 8 + (28,) * 6 + (32,) * 4
    assert size.groups == (4,) * 3 + (5,) * 7 + (6,) * 8 + (7,) * 6 + (8,) * 4
    assert size.hidden[:3] == (1024, 1280, 1536)
    assert size.hidden[12:16] == (4096, 4608, 4608, 5120)
    assert size.hidden[-1] == 8192


@pytest.mark.parametrize(
    ("width", "step", "expected"),
    [(1100, 256, 1024), (13, 8, 16), (100, 256, 256), (1, 8, 8), (600, 256, 768), (300, 256, 512), (12, 8, 16)],
)
def test_widths_are_multiples_that_lose_little(width: int, step: int, expected: int):
    assert near(width, step) == expected
