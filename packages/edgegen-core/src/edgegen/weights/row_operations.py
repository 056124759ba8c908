"""Row operations of weight maps: each function turns lazy tensors into one, and reads only the rows asked for."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.weights.files import check_rows
from edgegen.weights.tensors import LazyTensor, RowReader

Numbers = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_GAP = 8
"""Rows apart that are still read in one go when rows are gathered: a seek costs more than reading these."""

_BLOCK_BYTES = 4 * 2**20
"""How much of a source is in memory at a time when all of it must be walked."""

_PANEL_BYTES = 64 * 2**20
"""How much of a transposed tensor is made at a time."""


class ShapeError(ValueError):
    """The checkpoint's tensors have shapes that an expression of the map cannot combine."""


# --- rows moved, numbers unchanged: also of tensors as the checkpoint packs them ------------------------------------


def stack(parts: Sequence[LazyTensor]) -> LazyTensor:
    """``[a, ...], [b, ...] -> [a + b, ...]``.

    Raises:
        ShapeError: other dimensions differ.
    """
    if any(not part.shape or part.shape[1:] != parts[0].shape[1:] for part in parts):
        raise ShapeError("not stackable: " + ", ".join(str(list(part.shape)) for part in parts))
    packed = [part.packed for part in parts if part.packed is not None]
    alike = len(packed) == len(parts) and len({(each.storage, each.unpack) for each in packed}) == 1
    own = replace(packed[0], rows=_stack([each.rows for each in packed])) if alike else None
    return replace(_stack(parts), packed=own)


def cut(tensor: LazyTensor, start: int, stop: int) -> LazyTensor:
    """Rows ``start:stop``.

    Raises:
        ShapeError: there are no such rows.
    """
    if not tensor.shape or not 0 <= start <= stop <= tensor.rows:
        raise ShapeError(f"{list(tensor.shape)} has no rows {start}:{stop}")
    return _with_packed(tensor, lambda part: _cut(part, start, stop))


def pick(tensor: LazyTensor, indices: Indices) -> LazyTensor:
    """Row ``r`` of the result is row ``indices[r]``.

    Raises:
        ShapeError: an index is none of a row.
    """
    if not tensor.shape or (indices.size and not 0 <= indices.min() <= indices.max() < tensor.rows):
        raise ShapeError(f"{list(tensor.shape)} cannot be permuted by {indices.size} indices")
    return _with_packed(tensor, lambda part: _pick(part, indices))


def _with_packed(tensor: LazyTensor, move: Callable[[LazyTensor], LazyTensor]) -> LazyTensor:
    packed = tensor.packed
    return replace(move(tensor), packed=packed and replace(packed, rows=move(packed.rows)))


def _stack(parts: Sequence[LazyTensor]) -> LazyTensor:
    ends = np.cumsum([part.rows for part in parts]).tolist()
    spans = [(part, end - part.rows, end) for part, end in zip(parts, ends, strict=True)]
    name = f"concat({', '.join(part.name for part in parts)})"

    def read_rows(start: int, stop: int) -> Numbers:
        check_rows(name, start, stop, ends[-1])
        # A part of which nothing is wanted is asked all the same: it tells whether it can be read at all.
        wanted = [(part, begin, min(max(start, begin), end), min(stop, end)) for part, begin, end in spans]
        return np.concatenate(
            [part.read_rows(low - begin, max(high, low) - begin) for part, begin, low, high in wanted]
        )

    return LazyTensor(
        name=name,
        shape=(ends[-1], *parts[0].shape[1:]),
        dtype="+".join(dict.fromkeys(part.dtype for part in parts)),
        nbytes=sum(part.nbytes for part in parts),
        read_rows=read_rows,
        computed=any(part.computed for part in parts),
    )


def _cut(tensor: LazyTensor, first: int, last: int) -> LazyTensor:
    def read_rows(start: int, stop: int) -> Numbers:
        check_rows(name, start, stop, last - first)
        return tensor.read_rows(first + start, first + stop)

    name = f"slice_rows({tensor.name}, {first}:{last})"
    return _derived(tensor, name, (last - first, *tensor.shape[1:]), read_rows)


def _pick(tensor: LazyTensor, indices: Indices) -> LazyTensor:
    def read_rows(start: int, stop: int) -> Numbers:
        check_rows(name, start, stop, indices.size)
        return _gather(tensor, indices[start:stop])

    name = f"permute_rows({tensor.name})"
    return _derived(tensor, name, (indices.size, *tensor.shape[1:]), read_rows)


def _gather(tensor: LazyTensor, picks: Indices) -> Numbers:
    """Rows in any order, read as few runs of neighbours."""
    nothing = tensor.read_rows(0, 0)
    out = np.empty((picks.size, *nothing.shape[1:]), nothing.dtype)
    order = np.argsort(picks, kind="stable")
    for run in _runs(picks[order]):
        places = order[run]
        low = int(picks[places[0]])
        high = int(picks[places[-1]]) + 1
        out[places] = tensor.read_rows(low, high)[picks[places] - low]
    return out


def _runs(ascending: Indices) -> Iterator[slice]:
    breaks = np.flatnonzero(np.diff(ascending) > _GAP) + 1
    edges = [0, *breaks.tolist(), len(ascending)]
    return (slice(low, high) for low, high in pairwise(edges) if low < high)


# --- numbers changed, or moved within rows --------------------------------------------------------------------------


def reshaped(tensor: LazyTensor, shape: tuple[int, ...]) -> LazyTensor:
    """The same elements, row-major, in another shape.

    Raises:
        ShapeError: that has another number of elements.
    """
    if math.prod(shape) != math.prod(tensor.shape):
        raise ShapeError(f"{list(tensor.shape)} cannot be reshaped to {list(shape)}")
    count = shape[0] if shape else 1
    inner = shape[1:]
    row, source_row = math.prod(inner), math.prod(tensor.shape[1:])

    def read_rows(start: int, stop: int) -> Numbers:
        check_rows(name, start, stop, count)
        if not source_row:
            return np.empty((stop - start, *inner), np.float32)
        low, high = start * row, stop * row  # in elements
        first = low // source_row
        flat = tensor.read_rows(first, -(-high // source_row)).reshape(-1)
        return flat[low - first * source_row : high - first * source_row].reshape(stop - start, *inner)

    name = f"reshape({tensor.name})"
    return _derived(tensor, name, shape, read_rows)


def affine(tensor: LazyTensor, factor: float, amount: float) -> LazyTensor:
    """Every element times ``factor``, plus ``amount``."""

    def read_rows(start: int, stop: int) -> Numbers:
        return tensor.read_rows(start, stop) * np.float32(factor) + np.float32(amount)

    return replace(_derived(tensor, f"affine({tensor.name})", tensor.shape, read_rows), computed=True)


def transposed(tensor: LazyTensor) -> LazyTensor:
    """``[a, b] -> [b, a]``. Reads all of the source for every 64 MiB of the result, if rows are asked for in order.

    Raises:
        ShapeError: not of two dimensions.
    """
    if len(tensor.shape) != 2:
        raise ShapeError(f"{list(tensor.shape)} cannot be transposed")
    rows, columns = tensor.shape
    return _derived(tensor, f"transpose({tensor.name})", (columns, rows), _Panels(tensor).read_rows)


class _Panels:
    """Reads a transposed tensor.

    A row of it is a column of the source, for which all of the source must be read. So a panel of many columns is
    read at once, and kept until its rows have been asked for.
    """

    def __init__(self, source: LazyTensor) -> None:
        self._source = source
        self._step = max(1, _PANEL_BYTES // (4 * max(source.rows, 1)))  # columns in a panel
        self._panels: dict[int, Numbers] = {}
        self._taken: Counter[int] = Counter()
        self._lock = threading.Lock()

    def read_rows(self, start: int, stop: int) -> Numbers:
        rows, columns = self._source.shape
        check_rows(f"transpose({self._source.name})", start, stop, columns)
        if start == stop:
            self._source.read_rows(0, 0)  # nothing to read, but whether it can be read at all
            return np.empty((0, rows), np.float32)
        panels = range(start // self._step * self._step, stop, self._step)
        return np.concatenate([self._take(first, max(start, first), min(stop, first + self._step)) for first in panels])

    def _take(self, first: int, start: int, stop: int) -> Numbers:
        """Columns ``start:stop`` of the source as rows, out of the panel that begins at column ``first``."""
        with self._lock:
            if first not in self._panels:
                if len(self._panels) > 1:  # threads may be on both sides of a border, not further apart
                    del self._panels[next(iter(self._panels))]
                self._panels[first] = self._read(first)
            panel = self._panels[first]
            self._taken[first] += stop - start
            if self._taken[first] >= len(panel):
                del self._panels[first], self._taken[first]
        return panel[start - first : stop - first]

    def _read(self, first: int) -> Numbers:
        rows, columns = self._source.shape
        last = min(first + self._step, columns)
        panel = np.empty((last - first, rows), np.float32)
        block = max(1, _BLOCK_BYTES // (4 * columns))
        for low in range(0, rows, block):
            high = min(low + block, rows)
            panel[:, low:high] = self._source.read_rows(low, high)[:, first:last].T
        return panel


def _derived(tensor: LazyTensor, name: str, shape: tuple[int, ...], read_rows: RowReader) -> LazyTensor:
    share = math.prod(shape) / max(math.prod(tensor.shape), 1)
    nbytes = round(tensor.nbytes * share)
    return replace(tensor, name=name, shape=shape, nbytes=nbytes, read_rows=read_rows, packed=None)
