"""Numbers as files store them, and as float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.weights.tensors import RowReader

Float32 = npt.NDArray[np.float32]


class Decoder(NamedTuple):
    """How one storage type is read.

    Attributes:
        width: bytes an element.
        decode: little-endian bytes -> float32, one number for each element.
    """

    width: int
    decode: Callable[[npt.NDArray[np.uint8]], Float32]


def plain(dtype: str) -> Decoder:
    """The decoder of a type that numpy has."""
    return Decoder(np.dtype(dtype).itemsize, lambda raw: raw.view(dtype).astype(np.float32, copy=False))


def _widen_bfloat16(raw: npt.NDArray[np.uint8]) -> Float32:
    # bfloat16 is the upper half of a float32.
    wide = raw.view("<u2").astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)


DECODERS: Mapping[str, Decoder] = {
    "F32": plain("<f4"),
    "BF16": Decoder(2, _widen_bfloat16),
    "F16": plain("<f2"),
    "F64": plain("<f8"),
    "I8": plain("i1"),
    "U8": plain("u1"),
    "I16": plain("<i2"),
    "I32": plain("<i4"),
    "I64": plain("<i8"),
    "BOOL": plain("u1"),
}
"""Storage type, by the name that safetensors gave it -> its decoder."""


def refuser(tensor: str, file: str, dtype: str, readable: Iterable[str]) -> RowReader:
    """Stands in for a storage type that has no decoder; a model that does not use the tensor never notices."""

    def read_rows(start: int, stop: int) -> Float32:
        raise UnsupportedError(
            f"{tensor} in {file} is stored as {dtype}, which edgegen cannot read",
            code=ErrorCode.UNSUPPORTED_STORAGE,
            details=(f"readable: {', '.join(readable)}",),
            hint="convert the checkpoint to one of these, BF16 for example",
        )

    return read_rows
