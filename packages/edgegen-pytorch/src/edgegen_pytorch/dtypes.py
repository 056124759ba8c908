"""Element types by the names that PyTorch's pickles use: of storages (``torch.FloatStorage``) and of dtypes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgegen.weights.dtypes import DECODERS as COMMON
from edgegen.weights.dtypes import Decoder, Float32, plain

UNTYPED = "untyped"
"""The type of a storage that is just bytes; the tensor on it names its own."""

STORAGES: Mapping[str, tuple[str, int]] = {
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "DoubleStorage": ("F64", 8),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "ShortStorage": ("I16", 2),
    "IntStorage": ("I32", 4),
    "LongStorage": ("I64", 8),
    "BoolStorage": ("BOOL", 1),
    "ComplexFloatStorage": ("C64", 8),
    "ComplexDoubleStorage": ("C128", 16),
    "QInt8Storage": ("QI8", 1),
    "QUInt8Storage": ("QU8", 1),
    "QInt32Storage": ("QI32", 4),
    "QUInt4x2Storage": ("QU4x2", 1),
    "QUInt2x4Storage": ("QU2x4", 1),
}
"""Class of a storage in ``torch`` or ``torch.cuda`` -> name here, bytes an element."""

DTYPES: Mapping[str, tuple[str, int]] = {
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1),
    "float8_e4m3fnuz": ("F8_E4M3FNUZ", 1),
    "float8_e5m2fnuz": ("F8_E5M2FNUZ", 1),
    "float8_e8m0fnu": ("F8_E8M0", 1),
    "float4_e2m1fn_x2": ("F4_E2M1x2", 1),
    "float64": ("F64", 8),
    "float32": ("F32", 4),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "complex32": ("C32", 4),
    "complex64": ("C64", 8),
    "complex128": ("C128", 16),
    "uint8": ("U8", 1),
    "uint16": ("U16", 2),
    "uint32": ("U32", 4),
    "uint64": ("U64", 8),
    "int8": ("I8", 1),
    "int16": ("I16", 2),
    "int32": ("I32", 4),
    "int64": ("I64", 8),
    "bool": ("BOOL", 1),
    "qint8": ("QI8", 1),
    "quint8": ("QU8", 1),
    "qint32": ("QI32", 4),
    "quint4x2": ("QU4x2", 1),
    "quint2x4": ("QU2x4", 1),
    "bits8": ("BITS8", 1),
    "bits16": ("BITS16", 2),
    "bits1x8": ("BITS1x8", 1),
    "bits2x4": ("BITS2x4", 1),
    "bits4x2": ("BITS4x2", 1),
    **{f"{kind}{bits}": (f"{kind[0].upper()}{bits}", 1) for kind in ("int", "uint") for bits in range(1, 8)},
}
"""dtype in ``torch`` -> name here, bytes an element."""


def _table(values: Float32) -> Decoder:
    """The decoder of a type of one byte, given what each of the 256 stands for."""
    return Decoder(1, lambda raw: values[raw])


def _e4m3() -> Float32:
    """Sign, four bits of exponent biased by 7, three of mantissa; no infinities, and all ones is not a number.

    Source: Micikevicius and others, 2022 (https://arxiv.org/abs/2209.05433), table 1.
    """
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 0xF, byte & 0x7
    magnitude = np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent - 10), mantissa * 2.0**-9)
    magnitude[byte & 0x7F == 0x7F] = np.nan
    return np.where(byte & 0x80, -magnitude, magnitude).astype(np.float32)


def _e5m2() -> Float32:
    """The upper half of a float16, of the same paper."""
    halves: npt.NDArray[np.float16] = (np.arange(256, dtype="<u2") << 8).view("<f2")
    return halves.astype(np.float32)


DECODERS: Mapping[str, Decoder] = {
    **COMMON,
    "U16": plain("<u2"),
    "U32": plain("<u4"),
    "U64": plain("<u8"),
    "F8_E4M3": _table(_e4m3()),
    "F8_E5M2": _table(_e5m2()),
}
"""Storage types that can be read; a tensor of any other is refused when its rows are read."""
