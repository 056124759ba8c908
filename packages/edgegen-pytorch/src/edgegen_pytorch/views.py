"""Tensors as the pickle states them, checked against their storages, and read by rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from edgegen.weights import LazyTensor
from edgegen.weights.dtypes import Decoder, Float32, refuser
from edgegen.weights.files import SlicedFile, check_rows
from edgegen.weights.tensors import RowReader
from edgegen_pytorch.containers import Container
from edgegen_pytorch.dtypes import DECODERS
from edgegen_pytorch.pickles import DamagedError, TensorRef

_LARGEST_EMPTY = 2**40
"""Elements that an empty tensor may have in its other dimensions."""

_BLOCK_BYTES = 4 * 2**20
"""Bytes that are read at a time where elements are not contiguous."""

Sizes = tuple[int, ...]


def lazy_tensor(container: Container, name: str, ref: TensorRef) -> LazyTensor:
    """A tensor of the file, to be read when asked for.

    Raises:
        DamagedError: it reaches beyond its storage, or its sizes make no sense.
    """
    file = container.file
    start, stop = container.spans[ref.storage.key]
    if not 0 <= ref.storage.count * ref.storage.width <= stop - start:
        raise DamagedError(f"the storage of {name!r} claims {ref.storage.count:,} elements, more than there are")
    _check_sizes(name, ref, file.size)
    first = start + ref.offset * ref.width
    if math.prod(ref.shape) and not start <= first <= first + _extent(ref.shape, ref.strides) * ref.width <= stop:
        raise DamagedError(f"{name!r} reaches beyond its storage")
    decoder = DECODERS.get(ref.dtype)
    return LazyTensor(
        name=name,
        shape=ref.shape,
        dtype=ref.dtype,
        nbytes=math.prod(ref.shape) * ref.width,
        read_rows=_row_reader(file, name, ref, first, decoder)
        if decoder
        else refuser(name, file.path.name, ref.dtype, DECODERS),
    )


def _check_sizes(name: str, ref: TensorRef, file_size: int) -> None:
    sizes = (ref.offset, *ref.shape, *ref.strides)
    if len(ref.shape) != len(ref.strides) or min(sizes) < 0:
        raise DamagedError(f"{name!r} has sizes or strides that no tensor has")
    # A view may repeat elements (stride 0), but none in a state dict is larger than the file.
    limit = file_size // ref.width if math.prod(ref.shape) else _LARGEST_EMPTY
    if math.prod(max(size, 1) for size in ref.shape) > limit:
        raise DamagedError(f"{name!r} claims to be larger than the file")


def _row_reader(file: SlicedFile, name: str, ref: TensorRef, first: int, decoder: Decoder) -> RowReader:
    rows, inner = (ref.shape[0], ref.shape[1:]) if ref.shape else (1, ())
    row_stride, inner_strides = (ref.strides[0], ref.strides[1:]) if ref.shape else (1, ())

    def read_rows(start: int, stop: int) -> Float32:
        check_rows(name, start, stop, rows)
        shape = (stop - start, *inner)
        at = first + start * row_stride * ref.width
        return decoder.decode(_read(file, at, shape, (row_stride, *inner_strides), ref.width)).reshape(shape)

    return read_rows


def _read(file: SlicedFile, at: int, shape: Sizes, strides: Sizes, width: int) -> npt.NDArray[np.uint8]:
    """The bytes of a view, row-major, whatever order they have in the file."""
    if not math.prod(shape):
        return np.empty(0, np.uint8)
    extent = _extent(shape, strides)
    if extent == math.prod(shape) and strides == _contiguous(shape):
        return file.read(at, extent * width)
    out = np.empty(shape, f"u{width}")
    _fill(out, file, at, strides)
    return out.reshape(-1).view(np.uint8)


def _fill(out: npt.NDArray[Any], file: SlicedFile, at: int, strides: Sizes) -> None:
    """Read the stretch that the view covers; in halves, where that is long and holds more than is wanted."""
    width, extent = out.itemsize, _extent(out.shape, strides)
    if extent <= out.size or extent * width <= _BLOCK_BYTES:
        stretch = file.read(at, extent * width).view(out.dtype)
        out[...] = as_strided(stretch, out.shape, [stride * width for stride in strides])
        return
    axis = max(range(out.ndim), key=lambda axis: (out.shape[axis] - 1) * strides[axis])
    halves = np.array_split(out, 2, axis)
    _fill(halves[0], file, at, strides)
    _fill(halves[1], file, at + halves[0].shape[axis] * strides[axis] * width, strides)


def _extent(shape: Sizes, strides: Sizes) -> int:
    """Elements from the first to the last of a view that is not empty."""
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _contiguous(shape: Sizes) -> Sizes:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
