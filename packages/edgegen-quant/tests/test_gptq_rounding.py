"""Rounding that makes up for its errors: products come out nearer, and what is written stays within its bounds."""

from __future__ import annotations

import numpy as np
import pytest

from edgegen.errors import CheckpointError
from edgegen.weights.storage import Storage
from edgegen_quant.gptq import _factors
from edgegen_quant.scale_search import SMALLEST_BLOCK_SCALE
from edgegen_quant.schemes import (
    BLOCKS,
    FP16,
    INT2_CHANNEL,
    INT4_BLOCK32,
    INT4_BLOCK128,
    INT4_CHANNEL,
    INT8,
    INT8_CHANNEL,
    INT8_WEIGHT_ONLY,
)

CASES = [
    (INT8_CHANNEL, INT8, 0.7),
    (INT4_BLOCK32, BLOCKS[32], 0.5),
    (INT4_BLOCK128, BLOCKS[128], 0.5),
    (INT4_CHANNEL, Storage("int4", per_channel=True), 0.5),
    (INT2_CHANNEL, Storage("int2", per_channel=True), 0.7),
]
NAMES = [str(storage) for _, storage, _ in CASES]
BITS = {"int8": 8, "int4": 4, "int2": 2}


def inputs(columns: int, seed: int = 0) -> np.ndarray:
    """``[T, K]``, of unlike magnitudes and related to one another, as a model's are."""
    random = np.random.default_rng(seed)
    shared = random.standard_normal((2048, columns // 8)) @ random.standard_normal((columns // 8, columns))
    own = random.standard_normal((2048, columns))
    return ((shared + own) * np.exp(random.standard_normal(columns))).astype(np.float32)


def gram(x: np.ndarray) -> np.ndarray:
    return x.T @ x / np.float32(len(x))


def weights(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((rows, columns)).astype(np.float32)


def decoded(encoded, storage: Storage, columns: int) -> np.ndarray:
    bits = BITS[storage.dtype]
    codes = encoded.data.view(np.uint8)
    parts = np.stack([codes >> np.uint8(bits * place) for place in range(8 // bits)], axis=-1)
    numbers = (parts.reshape(len(codes), columns).astype(np.int16) & (2**bits - 1)).astype(np.float32)
    numbers = np.where(numbers >= 2 ** (bits - 1), numbers - 2**bits, numbers)
    scales = encoded.scales.astype(np.float32).reshape(len(codes), -1)
    return numbers * scales.repeat(columns // scales.shape[1], axis=1)


@pytest.mark.parametrize(("scheme", "storage", "most"), CASES, ids=NAMES)
def test_products_err_less_than_with_nearest_integers(scheme, storage: Storage, most: float):
    x, rows = inputs(256), weights(64, 256)
    errors = [
        np.linalg.norm(x @ (decoded(each.encode(rows, storage), storage, 256) - rows).T)
        for each in (scheme, scheme.calibrated(storage, [gram(x)]))
    ]
    assert errors[1] < most * errors[0]


def test_column_groups_different_grams_are_rounded_apart():
    x, rows, storage = inputs(384), weights(8, 384), BLOCKS[32]
    first, second = gram(x[:, :256]), gram(x[:, 256:])
    whole = INT4_BLOCK32.calibrated(storage, [first, second]).encode(rows, storage)
    alone = INT4_BLOCK32.calibrated(storage, [first]).encode(rows[:, :256], storage)
    assert np.array_equal(whole.data[:, :128], alone.data)
    assert np.array_equal(whole.scales[:, :8], alone.scales)


@pytest.mark.parametrize(("scheme", "storage", "most"), CASES, ids=NAMES)
def test_inputs_that_are_zero_or_huge_do_no_harm(scheme, storage: Storage, most: float):
    rows = weights(4, 128)
    unused = inputs(128)
    unused[:, ::3] = 0
    for x in (np.zeros((16, 128), np.float32), unused, unused * np.float32(1e6), unused[:3]):
        encoded = scheme.calibrated(storage, [gram(x)]).encode(rows, storage)
        scales = encoded.scales.astype(np.float32)
        assert np.isfinite(scales).all()
        assert (scales >= (SMALLEST_BLOCK_SCALE if storage.block else np.finfo(np.float32).tiny)).all()
        assert np.abs(decoded(encoded, storage, 128) - rows).max() < 2 * np.abs(rows).max()


def test_the_same_gives_the_same_bytes():
    x, rows = inputs(128), weights(16, 128)
    made = [INT4_BLOCK32.calibrated(BLOCKS[32], [gram(x)]).encode(rows, BLOCKS[32]) for _ in range(2)]
    assert made[0].data.tobytes() == made[1].data.tobytes()
    assert made[0].scales.tobytes() == made[1].scales.tobytes()


def test_the_rows_and_the_gram_that_come_in_are_left_alone():
    h, rows = gram(inputs(128)), weights(16, 128)
    before = h.copy(), rows.copy()
    INT4_BLOCK32.calibrated(BLOCKS[32], [h]).encode(rows, BLOCKS[32])
    assert np.array_equal(h, before[0])
    assert np.array_equal(rows, before[1])


@pytest.mark.parametrize("fine", [1, 8, 64])
def test_factors_factor_the_gram(fine: int):
    h = gram(inputs(160)) + np.eye(160, dtype=np.float32)
    unit = np.linalg.inv(np.eye(160) + _factors(h.copy(), fine))
    rest = unit @ h @ unit.T
    for start in range(0, 160, fine):
        rest[start : start + fine, start : start + fine] = 0
    assert np.abs(rest).max() < 1e-4 * np.abs(h).max()


def test_a_nan_is_refused_all_the_same():
    rows = weights(4, 128)
    rows[1, 5] = np.nan
    with pytest.raises(CheckpointError, match="NaN"):
        INT4_BLOCK32.calibrated(BLOCKS[32], [gram(inputs(128))]).encode(rows, BLOCKS[32])


def test_integers_learn_and_floats_do_not():
    assert INT8_WEIGHT_ONLY.needs_calibration(INT8_WEIGHT_ONLY.storages[0])
    assert INT4_BLOCK32.needs_calibration(BLOCKS[32])
    assert not INT4_BLOCK32.needs_calibration(Storage("float32"))
    assert not hasattr(FP16, "calibrated")
