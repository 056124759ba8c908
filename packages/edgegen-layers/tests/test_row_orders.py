"""Row orders of published projection weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen_layers.row_orders import interleaved_to_half_rotary


@given(st.integers(1, 5), st.integers(1, 8))
@settings(deadline=None, max_examples=30)
def test_rotary_order_undoes_the_converters_permutation(heads: int, half: int) -> None:
    published = np.arange(heads * 2 * half)
    # The converter's reordering, as llama.cpp documents it.
    stored = published.reshape(heads, 2, half).swapaxes(1, 2).reshape(-1)
    np.testing.assert_array_equal(stored[interleaved_to_half_rotary(heads, 2 * half)], published)


def test_rotary_order_needs_an_even_head() -> None:
    with pytest.raises(ValueError, match="even"):
        interleaved_to_half_rotary(2, 5)
