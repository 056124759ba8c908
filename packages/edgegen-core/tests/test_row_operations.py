"""Rows of tensors moved about: lazily, and the checkpoint's own packed form along with the numbers."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

from edgegen.weights import row_operations
from edgegen.weights.row_operations import affine, cut, pick, reshaped, stack, transposed
from edgegen.weights.storage import Encoded, Storage
from edgegen.weights.tensors import LazyTensor, Packed

BLOCKS = Storage("int4", block=32)


def unpack(rows: np.ndarray) -> Encoded:
    return Encoded(rows)


def tensor(array: np.ndarray, reads: list[int] | None = None) -> LazyTensor:
    def read_rows(start: int, stop: int) -> np.ndarray:
        if reads is not None:
            reads.append(stop - start)
        return array[start:stop]

    return LazyTensor("t", array.shape, str(array.dtype), array.nbytes, read_rows)


def packed_tensor(first: int, rows: int, storage: Storage = BLOCKS) -> LazyTensor:
    """Row ``r`` of its packed form is ``[r, r, r]``."""
    own = np.repeat(np.arange(first, first + rows, dtype=np.uint8)[:, None], 3, axis=1)
    numbers = np.repeat(np.arange(first, first + rows, dtype=np.float32)[:, None], 4, axis=1)
    return LazyTensor("t", (rows, 4), "Q", 0, lambda a, b: numbers[a:b], Packed(storage, tensor(own), unpack))


def own_rows(moved: LazyTensor) -> list[int]:
    assert moved.packed is not None
    rows = moved.packed.rows
    assert rows.rows == moved.rows
    assert moved.read()[:, 0].tolist() == rows.read_rows(0, rows.rows)[:, 0].tolist()
    result: list[int] = rows.read_rows(0, rows.rows)[:, 2].tolist()
    return result


def test_the_packed_form_moves_with_the_rows():
    both = stack([packed_tensor(0, 3), packed_tensor(10, 2)])
    assert own_rows(both) == [0, 1, 2, 10, 11]
    assert own_rows(cut(both, 1, 4)) == [1, 2, 10]
    assert own_rows(pick(cut(both, 1, 4), np.array([2, 0, 0]))) == [10, 1, 1]
    assert pick(both, np.array([4, 1])).packed.rows.read_rows(0, 2).dtype == np.uint8


def test_the_packed_form_ends_where_numbers_change():
    one = packed_tensor(0, 4)
    assert transposed(one).packed is None
    assert reshaped(one, (2, 8)).packed is None
    assert affine(one, 2.0, 0.0).packed is None


def test_parts_that_are_packed_differently_are_not_packed_together():
    assert stack([packed_tensor(0, 2), packed_tensor(2, 2, Storage("int4", block=64))]).packed is None
    assert stack([packed_tensor(0, 2), tensor(np.zeros((2, 4), np.float32))]).packed is None


@pytest.fixture
def small_panels(monkeypatch):
    monkeypatch.setattr(row_operations, "_PANEL_BYTES", 4 * 100 * 16)  # 16 columns of 100 rows
    monkeypatch.setattr(row_operations, "_BLOCK_BYTES", 4 * 50 * 7)


def test_a_transposed_tensor_reads_its_source_once_for_each_panel(small_panels):
    array, reads = np.random.default_rng(0).normal(size=(100, 50)).astype(np.float32), []
    turned = transposed(tensor(array, reads))
    result = np.concatenate([turned.read_rows(i, min(i + 3, 50)) for i in range(0, 50, 3)])
    np.testing.assert_array_equal(result, array.T)
    assert sum(reads) == 4 * 100  # ceil(50 / 16) panels
    assert max(reads) <= 7


def test_a_transposed_tensor_may_be_read_by_several_threads(small_panels):
    array = np.random.default_rng(0).normal(size=(100, 50)).astype(np.float32)
    turned, wrong = transposed(tensor(array)), []

    def read(offset: int) -> None:
        for i in range(offset, 50, 2):
            if not np.array_equal(turned.read_rows(i, i + 1)[0], array[:, i]):
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_transposed_table_of_a_large_vocabulary_takes_little_memory():
    rows, columns = 2304, 65_536  # 604 MB as float32
    source = LazyTensor("t", (rows, columns), "F32", 0, lambda a, b: np.ones((b - a, columns), np.float32))
    turned = transposed(source)
    tracemalloc.start()
    turned.read_rows(0, 512)
    turned.read_rows(40_000, 40_512)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6


def test_shapes_that_cannot_be_transposed():
    with pytest.raises(row_operations.ShapeError, match="transposed"):
        transposed(tensor(np.zeros((2, 3, 4), np.float32)))
