"""8 bits with a scale for each output channel: rounding, slices, damaged weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgegen.errors import CheckpointError
from edgegen.weights.storage import Rows, Storage
from edgegen_quant.schemes import INT8_CHANNEL

INT8 = Storage("int8", per_channel=True)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 12))
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
MATRICES = arrays(np.float32, SHAPES, elements=FINITE | st.floats(-4, 4, width=32))
SMALLEST_NORMAL = np.finfo(np.float32).tiny


def encode(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    encoded = INT8_CHANNEL.encode(rows, INT8)
    assert encoded.scales is not None
    return encoded.data, encoded.scales


@given(MATRICES)
def test_no_element_is_off_by_more_than_half_a_scale(rows: Rows):
    data, scales = encode(rows)
    restored = data * scales[:, None].astype(np.float64)
    assert (np.abs(restored - rows) <= scales[:, None] * 0.5001).all()


@given(MATRICES)
def test_the_scale_of_a_row_is_its_largest_magnitude_over_127(rows: Rows):
    _, scales = encode(rows)
    expected = np.maximum(np.abs(rows.astype(np.float64)).max(axis=1) / 127, SMALLEST_NORMAL)
    assert scales.dtype == np.float32
    np.testing.assert_allclose(scales, expected, rtol=1e-6)


@given(MATRICES)
def test_the_range_is_symmetric(rows: Rows):
    data, scales = encode(rows)
    assert data.dtype == np.int8
    assert data.min() >= -127
    used = scales > SMALLEST_NORMAL
    assert (np.abs(data[used].astype(int)).max(axis=1, initial=0) == 127).all()


@given(MATRICES, st.data())
def test_a_slice_gives_the_bytes_that_the_whole_gives(rows: Rows, data: st.DataObject):
    cut = data.draw(st.integers(0, len(rows)))
    whole, scales = encode(rows)
    parts = [encode(part) for part in (rows[:cut], rows[cut:])]
    assert b"".join(part.tobytes() for part, _ in parts) == whole.tobytes()
    assert b"".join(part.tobytes() for _, part in parts) == scales.tobytes()


@given(MATRICES)
def test_the_rows_that_come_in_are_left_alone(rows: Rows):
    before = rows.copy()
    encode(rows)
    assert np.array_equal(rows, before)


def test_known_values():
    data, scales = encode(np.array([[127, -63.4, 0.5, 1.5], [-1, 1, 0, 0.5]], np.float32))
    assert data.tolist() == [[127, -63, 0, 2], [-127, 127, 0, 64]]  # halves go to the even neighbour
    np.testing.assert_allclose(scales, [1, 1 / 127], rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, 1e-40])
def test_a_row_of_zeros_or_next_to_nothing_has_a_normal_scale_above_zero(value: float):
    data, scales = encode(np.full((1, 4), value, np.float32))
    assert scales[0] >= SMALLEST_NORMAL
    assert not data.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 2])
def test_nan_and_infinity_are_refused(value: float, row: int):
    rows = np.ones((3, 4), np.float32)
    rows[row, 1] = value
    with pytest.raises(CheckpointError, match="NaN or infinity") as caught:
        encode(rows)
    assert caught.value.hint is not None


def test_results_are_contiguous_whatever_comes_in():
    rows = np.asfortranarray(np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32))
    data, _ = encode(rows)
    assert data.flags.c_contiguous
