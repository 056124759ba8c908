"""Weights as floating-point numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgegen.errors import CheckpointError
from edgegen.quantization.float_schemes import FP32
from edgegen.weights.storage import FLOAT32, Rows, Storage
from edgegen_quant.schemes import FP16, INT8_CHANNEL

FLOAT16 = Storage("float16")
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 12))


@pytest.mark.parametrize("scheme", [FP32, FP16, INT8_CHANNEL])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_by_every_scheme(scheme, number):
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        scheme.encode(np.array([[1, number]], np.float32), FLOAT32)


@given(arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_float32_keeps_every_bit(rows: Rows):
    for scheme in (FP32, FP16, INT8_CHANNEL):
        encoded = scheme.encode(rows, FLOAT32)
        assert encoded.scales is None
        assert encoded.data.tobytes() == rows.tobytes()


@given(arrays(np.float32, SHAPES, elements=st.floats(-65504, 65504, width=32)))
def test_float16_rounds_to_nearest(rows: Rows):
    encoded = FP16.encode(rows, FLOAT16)
    assert encoded.data.dtype == np.float16
    assert encoded.scales is None
    error = np.abs(encoded.data.astype(np.float64) - rows)
    assert (error <= np.maximum(np.abs(rows) * 2.0**-11, 2.0**-25)).all()


@pytest.mark.parametrize("value", [65520.0, -65520.0, 1e10])
@pytest.mark.parametrize("neighbour", [0.0, np.inf])
def test_what_float16_cannot_hold_is_refused_without_a_warning(value: float, neighbour: float):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match="65504") as caught:
            FP16.encode(np.array([[1, value], [neighbour, 0]], np.float32), FLOAT16)
    assert "fp32" in str(caught.value.hint)


def test_the_largest_float16_is_not_refused():
    assert FP16.encode(np.array([[65504, -65504]], np.float32), FLOAT16).data.tolist() == [[65504, -65504]]
