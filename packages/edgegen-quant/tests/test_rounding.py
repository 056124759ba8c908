"""Few bits: the search for scales, its bounds, its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgegen.errors import CheckpointError
from edgegen.weights.storage import ParameterInfo, Storage
from edgegen_quant.scale_search import SMALLEST_BLOCK_SCALE, block_scales, pack, search_scales, to_integers
from edgegen_quant.schemes import INT2_CHANNEL, INT4_BLOCK32, INT4_BLOCK64, INT4_BLOCK128, INT4_CHANNEL

CASES = [(4, 32), (4, 64), (4, None), (2, None)]
WEIGHTS = st.floats(-8, 8, width=32)
MATRICES = arrays(np.float32, st.tuples(st.integers(1, 5), st.just(64)), elements=WEIGHTS)
SUBNORMAL = np.float32(1e-40)


def restored(data: np.ndarray, scales: np.ndarray) -> np.ndarray:
    blocks = data.reshape(*scales.shape, -1).astype(np.float64)
    return (blocks * scales[..., None]).reshape(data.shape)


def errors(rows: np.ndarray, bits: int, block: int | None, **options) -> np.ndarray:
    """Squared, of each block."""
    data, scales = to_integers(rows, bits, block, **options)
    return np.square(restored(data, scales) - rows).reshape(*scales.shape, -1).sum(axis=-1)


@pytest.mark.parametrize(("bits", "block"), CASES)
@given(rows=MATRICES)
def test_integers_fit_and_scales_are_what_the_kernels_hold(rows, bits: int, block: int | None):
    data, scales = to_integers(rows, bits, block)
    assert data.min() >= -(2 ** (bits - 1))
    assert data.max() < 2 ** (bits - 1)
    if block is None:
        assert (scales >= np.finfo(np.float32).tiny).all()
    else:
        assert (scales >= SMALLEST_BLOCK_SCALE).all()
        assert (scales.astype(np.float16) == scales).all()
        assert not (scales.view(np.uint32) & 0xFFFF).any()  # bfloat16


@pytest.mark.parametrize(("bits", "block"), CASES)
@given(rows=MATRICES)
def test_the_search_never_makes_a_block_worse(rows, bits: int, block: int | None):
    found, nearest = errors(rows, bits, block), errors(rows, bits, block, search=False)
    assert (found <= nearest * (1 + 1e-4) + 1e-9).all()


@pytest.mark.parametrize(("bits", "block", "gain"), [(4, 32, 0.8), (4, 128, 0.76), (4, None, 0.6), (2, None, 0.3)])
def test_the_search_lowers_the_error_of_normal_weights(bits: int, block: int | None, gain: float):
    rows = np.random.default_rng(0).standard_normal((64, 1024)).astype(np.float32)
    assert errors(rows, bits, block).sum() < gain * errors(rows, bits, block, search=False).sum()


def test_important_columns_come_out_nearer():
    blocks = np.random.default_rng(0).standard_normal((512, 32)).astype(np.float32)
    importance = np.where(np.arange(32) % 8 == 0, 100, 1).astype(np.float32)
    plain, weighted = (
        _off(blocks, search_scales(blocks, 4, block_scales, chosen)) @ importance for chosen in (None, importance)
    )
    assert weighted.sum() < 0.8 * plain.sum()
    assert (weighted <= plain * (1 + 1e-4)).mean() > 0.95


def _off(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Squared errors of the nearest integers of 4 bits."""
    return np.square(np.clip(np.rint(blocks / scales[:, None]), -8, 7) * scales[:, None] - blocks)


@pytest.mark.parametrize(("bits", "block"), CASES)
@given(rows=MATRICES, cut=st.integers(0, 5))
def test_a_slice_gives_what_the_whole_gives(rows, cut: int, bits: int, block: int | None):
    whole = to_integers(rows, bits, block)
    parts = [to_integers(part, bits, block) for part in (rows[:cut], rows[cut:]) if len(part)]
    for index in range(2):
        assert b"".join(part[index].tobytes() for part in parts) == whole[index].tobytes()


def test_work_in_pieces_gives_what_each_row_gives_alone():
    rows = np.random.default_rng(0).standard_normal((300, 1024)).astype(np.float32)  # several pieces
    data, scales = to_integers(rows, 4, 32)
    for row in (0, 63, 64, 299):
        alone = to_integers(rows[row : row + 1], 4, 32)
        assert np.array_equal(alone[0][0], data[row])
        assert np.array_equal(alone[1][0], scales[row])


def test_the_same_weights_give_the_same_bytes():
    rows = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    assert len({b"".join(part.tobytes() for part in to_integers(rows.copy(), 4, 32)) for _ in range(3)}) == 1


@given(rows=MATRICES)
def test_the_rows_that_come_in_are_left_alone(rows):
    before = rows.copy()
    to_integers(rows, 4, 32)
    assert np.array_equal(rows, before)


@pytest.mark.parametrize("number", [0.0, -0.0, 1e-45, SUBNORMAL, 1e-12])
@pytest.mark.parametrize(("bits", "block"), CASES)
def test_zeros_and_next_to_nothing_have_a_normal_scale(bits: int, block: int | None, number: float):
    data, scales = to_integers(np.full((2, 64), number, np.float32), bits, block)
    assert (scales > 0).all()
    assert np.isfinite(scales).all()
    assert np.abs(restored(data, scales)).max() <= 2e-12


@pytest.mark.parametrize("number", [1.0, -1.0, 0.3, -57.0, 65504.0, -65504.0])
@pytest.mark.parametrize(("bits", "block"), CASES)
def test_a_block_of_one_number_keeps_it(bits: int, block: int | None, number: float):
    data, scales = to_integers(np.full((1, 64), number, np.float32), bits, block)
    np.testing.assert_allclose(restored(data, scales), number, rtol=1e-6 if block is None else 2.0**-8)


def test_what_the_grid_holds_is_kept_exactly():
    expected = np.tile(np.arange(-8, 8, dtype=np.int8), (3, 4))
    rows = expected * np.float32(0.125)
    for block in (32, 64, None):
        data, scales = to_integers(rows, 4, block)
        assert np.array_equal(data, expected)
        assert (scales == 0.125).all()


def test_scales_of_blocks_round_to_the_nearest_bfloat16():
    generator = np.random.default_rng(0)
    scales = np.exp(generator.uniform(-9, 9, 1000)).astype(np.float32)
    snapped = block_scales(scales)
    assert (np.abs(snapped / scales - 1) <= 2.0**-8)[scales > SMALLEST_BLOCK_SCALE].all()
    assert np.array_equal(block_scales(snapped), snapped)


def test_bytes_have_the_first_number_in_the_lowest_bits():
    assert pack(np.array([[1, 2, -1, -8]], np.int8), 4).tolist() == [[0x21, 0x8F]]
    assert pack(np.array([[0, 1, -1, -2]], np.int8), 2).tolist() == [[0b10_11_01_00]]
    assert pack(np.array([[-1, 5]], np.int8), 8).tolist() == [[-1, 5]]


@pytest.mark.parametrize(
    ("scheme", "columns", "expected"),
    [
        (INT4_BLOCK128, 256, "int4-block128"),
        (INT4_BLOCK128, 192, "int4-block64"),
        (INT4_BLOCK128, 96, "int4-block32"),
        (INT4_BLOCK128, 100, "int8-channel"),
        (INT4_BLOCK64, 128, "int4-block64"),
        (INT4_BLOCK64, 96, "int4-block32"),
        (INT4_BLOCK32, 96, "int4-block32"),
        (INT4_BLOCK32, 48, "int8-channel"),
        (INT4_CHANNEL, 6, "int4-channel"),
        (INT4_CHANNEL, 7, "int8-channel"),
        (INT2_CHANNEL, 8, "int2-channel"),
        (INT2_CHANNEL, 6, "int8-channel"),
    ],
)
def test_columns_that_do_not_divide_fall_back_to_what_does(scheme, columns: int, expected: str):
    storage = scheme.storage(ParameterInfo("weight", (3, columns), "linear"))
    assert str(storage) == expected
    rows = np.random.default_rng(0).standard_normal((3, columns)).astype(np.float32)
    encoded = scheme.encode(rows, storage)
    assert encoded.data.nbytes + (encoded.scales.nbytes if storage.block else 0) == storage.nbytes(rows.shape)


@pytest.mark.parametrize("scheme", [INT4_BLOCK32, INT4_CHANNEL, INT2_CHANNEL])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(scheme, number: float):
    rows = np.ones((2, 32), np.float32)
    rows[1, 3] = number
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        scheme.encode(rows, scheme.storage(ParameterInfo("weight", rows.shape, "linear")))


def test_blocks_beyond_float16_are_refused():
    with pytest.raises(CheckpointError, match="65504") as caught:
        INT4_BLOCK32.encode(np.full((1, 32), 70000, np.float32), Storage("int4", block=32))
    assert "int8-channel" in caught.value.hint
