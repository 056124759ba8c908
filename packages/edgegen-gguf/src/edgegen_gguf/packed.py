"""Quantized blocks that a LiteRT file can hold as they are.

Both kinds here keep 4-bit codes ``c`` from 0 to 15 for 32 neighbours of a row, with a float16 scale ``d``:

- ``Q4_0`` means ``d * (c - 8)``. Its scale is negative about as often as not: the quantizer maps the number of largest
  magnitude to code 0.
- ``Q4_1`` means ``d * c + m``, with a float16 minimum ``m``.

LiteRT's blocks mean ``s * q`` with ``q`` from -8 to 7 and ``s`` positive. With an offset ``o`` for each block, which
:mod:`edgegen.tflite.blockwise_offsets` adds in the graph, ``s * q + o`` says the same: ``q = c - 8`` where the scale is
positive, ``q = 7 - c`` where it is negative.

Source: ``block_q4_0`` and ``block_q4_1`` in ggml's ``ggml-common.h``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import LazyTensor
from edgegen.weights.files import SlicedFile, check_rows
from edgegen.weights.storage import Encoded, Storage
from edgegen.weights.tensors import Packed
from edgegen_gguf.header import TensorInfo

Bytes = npt.NDArray[np.uint8]

BLOCK = 32

_FOR_EMPTY = np.float16(2.0**-14)
"""Scale of a block whose numbers are all alike: XNNPACK wants a normal number, and it multiplies zeros."""


def packed(file: SlicedFile, info: TensorInfo) -> Packed | None:
    """The tensor's blocks, if LiteRT has a way to hold them; matrices only."""
    if info.kind not in _UNPACK or len(info.shape) != 2:
        return None
    storage, unpack = _UNPACK[info.kind]
    rows = info.shape[0]
    row_bytes = info.nbytes // max(rows, 1)

    def read_rows(start: int, stop: int) -> Bytes:
        check_rows(info.name, start, stop, rows)
        raw = file.read(info.offset + start * row_bytes, (stop - start) * row_bytes)
        return raw.reshape(stop - start, row_bytes)

    return Packed(storage, LazyTensor(info.name, (rows, row_bytes), info.kind.name, info.nbytes, read_rows), unpack)


def unpack_q4_0(rows: Bytes) -> Encoded:
    """Rows of ``Q4_0`` blocks: 2 bytes of scale, 16 of codes. Offsets are float16, and exact."""
    scales, codes = _split(rows, GGMLQuantizationType.Q4_0, 1)
    data, negative = _signed(scales, codes)
    sizes = np.abs(scales)
    return Encoded(data, _normal(sizes), np.where(negative, sizes, np.float16(0)))


def unpack_q4_1(rows: Bytes) -> Encoded:
    """Rows of ``Q4_1`` blocks: 2 bytes of scale, 2 of minimum, 16 of codes. Offsets are float32."""
    numbers, codes = _split(rows, GGMLQuantizationType.Q4_1, 2)
    scales, minima = numbers[..., 0], numbers[..., 1]
    data, negative = _signed(scales, codes)
    # d * c + m = |d| * q + o, where c = q + 8, or 7 - q for a negative scale.
    steps = scales.astype(np.float32) * np.where(negative, np.float32(7), np.float32(8))
    return Encoded(data, _normal(np.abs(scales)), minima.astype(np.float32) + steps)


def _split(rows: Bytes, kind: GGMLQuantizationType, numbers: int) -> tuple[npt.NDArray[Any], Bytes]:
    """Float16 numbers ``[rows, blocks(, numbers)]`` and bytes of codes ``[rows, blocks, 16]``."""
    blocks = rows.reshape(len(rows), -1, GGML_QUANT_SIZES[kind][1])
    head = np.ascontiguousarray(blocks[..., : 2 * numbers]).view("<f2")
    if not np.isfinite(head).all():
        raise CheckpointError(
            "weights contain NaN or infinity", code=ErrorCode.WEIGHTS_NOT_FINITE, hint="the checkpoint is damaged"
        )
    return head[..., 0] if numbers == 1 else head, blocks[..., 2 * numbers :]


def _signed(scales: npt.NDArray[np.float16], codes: Bytes) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """Codes as signed 4-bit numbers, two neighbours a byte, and which blocks count downwards.

    ggml keeps neighbours ``j`` and ``j + 16`` in byte ``j``, LiteRT ``2j`` and ``2j + 1``.
    """
    negative = np.signbit(scales)
    # Flipping the highest bit subtracts 8; flipping the others instead gives 7 - c.
    flips = np.where(negative, np.uint8(0x77), np.uint8(0x88))
    flipped = np.where((scales == 0)[..., None], np.uint8(0), codes ^ flips[..., None])
    low, high = flipped & 0x0F, flipped >> 4
    neighbours = np.concatenate([low, high], axis=-1)
    pairs = neighbours[..., 0::2] | neighbours[..., 1::2] << 4
    return pairs.reshape(len(pairs), -1), negative


def _normal(sizes: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    return np.where(sizes == 0, _FOR_EMPTY, sizes)


_UNPACK = {
    GGMLQuantizationType.Q4_0: (Storage("int4", block=BLOCK, offsets="float16"), unpack_q4_0),
    GGMLQuantizationType.Q4_1: (Storage("int4", block=BLOCK, offsets="float32"), unpack_q4_1),
}
