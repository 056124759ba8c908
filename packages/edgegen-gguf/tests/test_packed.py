"""Blocks that go into a LiteRT file as they are: the same numbers, whatever the sign of their scales."""

from __future__ import annotations

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quantize

from edgegen.errors import CheckpointError
from edgegen_gguf.packed import BLOCK, unpack_q4_0, unpack_q4_1

UNPACK = {"Q4_0": unpack_q4_0, "Q4_1": unpack_q4_1}


def quantized(kind: str, rows: int = 64, columns: int = 256) -> np.ndarray:
    numbers = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    numbers[3, :BLOCK] = 0
    numbers[4, :BLOCK] = 0.25
    return quantize(numbers, GGMLQuantizationType[kind])


def meaning(encoded) -> np.ndarray:
    """What LiteRT's lookup makes of a row, and what the graph adds."""
    rows = len(encoded.data)
    nibbles = np.stack([encoded.data & 15, encoded.data >> 4], axis=-1).reshape(rows, -1).astype(np.int8)
    signed = np.where(nibbles > 7, nibbles - 16, nibbles).reshape(rows, -1, BLOCK)
    scaled = signed * encoded.scales.astype(np.float64)[..., None] + encoded.offsets.astype(np.float64)[..., None]
    return scaled.reshape(rows, -1)


@pytest.mark.parametrize("kind", UNPACK)
def test_the_numbers_are_the_same(kind):
    raw = quantized(kind)
    encoded = UNPACK[kind](raw)
    expected = dequantize(raw, GGMLQuantizationType[kind])
    np.testing.assert_allclose(
        meaning(encoded), expected, rtol=0 if kind == "Q4_0" else 1e-6, atol=0 if kind == "Q4_0" else 1e-7
    )
    assert encoded.data.shape == (64, 128)
    assert encoded.data.dtype == np.uint8


def test_both_signs_of_scales_occur():
    encoded = unpack_q4_0(quantized("Q4_0"))
    assert 0.3 < (encoded.offsets > 0).mean() < 0.7


@pytest.mark.parametrize("kind", UNPACK)
def test_scales_are_what_xnnpack_takes(kind):
    encoded = UNPACK[kind](quantized(kind))
    assert encoded.scales.dtype == np.float16
    assert (encoded.scales > 0).all()


def test_codes_are_kept_bit_for_bit():
    raw = quantized("Q4_0").reshape(64, 8, 18)
    encoded = unpack_q4_0(raw.reshape(64, -1))
    scales = raw[..., :2].copy().view("<f2")[..., 0]
    negative = np.signbit(scales)
    codes = np.concatenate([raw[..., 2:] & 15, raw[..., 2:] >> 4], axis=-1)
    nibbles = np.stack([encoded.data & 15, encoded.data >> 4], axis=-1).reshape(64, 8, BLOCK)
    back = np.where(negative[..., None], 7 ^ nibbles, 8 ^ nibbles)
    np.testing.assert_array_equal(back[scales != 0], codes[scales != 0])


@pytest.mark.parametrize("kind", UNPACK)
def test_a_scale_that_is_no_number_is_damage(kind):
    raw = quantized(kind)
    raw[0, :2] = np.frombuffer(np.float16("nan").tobytes(), np.uint8)
    with pytest.raises(CheckpointError, match="NaN"):
        UNPACK[kind](raw)
