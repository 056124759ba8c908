"""Heads and widths of OpenELM's blocks."""

from __future__ import annotations

import pytest

from edgegen_models_openelm.openelm import config
from edgegen_models_openelm.variants import near


def test_heads_and_widths_of_the_blocks_are_the_published_ones():
    sizes = config("openelm-1.1b")
    assert sizes.num_attention_heads == (16,) * 3 + (20,) * 7 + (24,) * 8 + (28,) * 6 + (32,) * 4
    assert sizes.num_key_value_heads == (4,) * 3 + (5,) * 7 + (6,) * 8 + (7,) * 6 + (8,) * 4
    assert sizes.intermediate_size[:3] == (1024, 1280, 1536)
    assert sizes.intermediate_size[12:16] == (4096, 4608, 4608, 5120)
    assert sizes.intermediate_size[-1] == 8192


@pytest.mark.parametrize(
    ("width", "step", "expected"),
    [(1100, 256, 1024), (13, 8, 16), (100, 256, 256), (1, 8, 8), (600, 256, 768), (300, 256, 512), (12, 8, 16)],
)
def test_widths_are_multiples_that_lose_little(width: int, step: int, expected: int):
    assert near(width, step) == expected
