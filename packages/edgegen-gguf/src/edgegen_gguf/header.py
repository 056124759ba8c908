"""The head of a GGUF file: metadata and the table of tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).

The ``gguf`` package has a reader too, but it makes a numpy array for every string of the vocabulary: 2.7 s
and 163 MB for the 49 k tokens of SmolLM2, against 0.02 s and 2 MB here, where long arrays are stepped
over and decoded only when a tokenizer is asked for. It also trusts counts and lengths; here each is checked
against the file before it is used. Types, sizes and key names still come from the package.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import (
    GGML_QUANT_SIZES,
    GGUF_DEFAULT_ALIGNMENT,
    GGUF_MAGIC,
    GGMLQuantizationType,
    GGUFValueType,
)

from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError
from edgegen.weights.files import DOWNLOAD_AGAIN, regular_file_size

MAGIC = struct.pack("<I", GGUF_MAGIC)
VERSIONS = (2, 3)

_NUMBERS: Mapping[GGUFValueType, str] = {
    GGUFValueType.UINT8: "<u1",
    GGUFValueType.INT8: "<i1",
    GGUFValueType.UINT16: "<u2",
    GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4",
    GGUFValueType.INT32: "<i4",
    GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "<u8",
    GGUFValueType.INT64: "<i8",
    GGUFValueType.FLOAT64: "<f8",
}

# Limits that real files stay far below; beyond them a count is damage, and believing it costs time and
# memory.
_LONGEST_NAME = 2**16 - 1
_LONGEST_STRING = 16 * 2**20
_LONGEST_ARRAY = 2**21  # half a million merges is the most so far
_MOST_DIMENSIONS = 4
_SHORT_ARRAY = 1024
"""Arrays up to this length (a value for each layer, rope sections) are part of the configuration."""


class DamagedError(ValueError):
    """The bytes do not make sense; turned into a CheckpointError that names the file."""


@dataclass(frozen=True)
class Array:
    """A metadata array that was stepped over: where it is, not what is in it."""

    kind: GGUFValueType
    count: int
    offset: int


@dataclass(frozen=True)
class TensorInfo:
    """One row of the tensor table.

    Attributes:
        shape: in PyTorch's order, slowest dimension first (the file has it the other way round).
        kind: storage type.
        offset: of the first byte, from the start of the file.
        nbytes: size in the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """Header of a GGUF file: metadata and the table of tensors.

    Attributes:
        metadata: scalars, strings and short arrays as Python values; the rest as :class:`Array`.
        tensors: the table, in the file's order.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The metadata without the long arrays."""
        return {key: value for key, value in self.metadata.items() if not isinstance(value, Array)}

    def strings(self, key: str) -> list[str] | None:
        """An array of strings, decoded now; None where the key is absent or holds something else.

        Raises:
            CheckpointError: a string is not UTF-8.
        """
        value = self.metadata.get(key)
        if not isinstance(value, Array):
            return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None
        if value.kind is not GGUFValueType.STRING:
            return None
        with _Cursor(self.path) as cursor:
            cursor.at = value.offset
            return [cursor.string() for _ in range(value.count)]

    def numbers(self, key: str) -> npt.NDArray[Any] | None:
        """An array of numbers, read now; None where the key is absent or holds something else."""
        value = self.metadata.get(key)
        if not isinstance(value, Array):
            numeric = isinstance(value, list) and not any(isinstance(item, str) for item in value)
            return np.asarray(value) if numeric else None
        if value.kind not in _NUMBERS:
            return None
        with _Cursor(self.path) as cursor:
            cursor.at = value.offset
            return cursor.numbers(_NUMBERS[value.kind], value.count)


def read_header(path: Path) -> Header:
    """Parse the head of a file; touches no tensor data.

    Raises:
        CheckpointError: not GGUF, truncated, or nonsense in it.
        UnsupportedError: a version, byte order or tensor type that cannot be read.
    """
    with _Cursor(path) as cursor:
        _check_start(cursor)
        tensor_count, metadata_count = cursor.count(smallest=24), cursor.count(smallest=13)
        metadata: dict[str, Any] = {}
        for _ in range(metadata_count):
            key = cursor.string(_LONGEST_NAME)
            if key in metadata:
                raise DamagedError(f"metadata key {key!r} appears twice")
            metadata[key] = _value(cursor)
        rows = [_table_row(cursor) for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
        data = _align(cursor.at, alignment)
        tensors = tuple(_tensor_info(row, data, cursor.size) for row in rows)
        _check_places(tensors, data, alignment)
        if len({tensor.name for tensor in tensors}) < len(tensors):
            raise DamagedError("two tensors have one name")
        return Header(path=path, metadata=metadata, tensors=tensors)


class _Cursor:
    """Reads values one after the other; every length is checked against the end of the file first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = regular_file_size(path)
        self.at = 0

    def __enter__(self) -> _Cursor:
        # The map lives only while the head is parsed, so it costs no memory later.
        with self.path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._bytes.close()
        if isinstance(error, DamagedError):
            raise CheckpointError(
                f"{self.path.name} is not a valid GGUF file: {error}",
                code=ErrorCode.CHECKPOINT_DAMAGED,
                hint=DOWNLOAD_AGAIN,
            ) from error

    def take(self, nbytes: int) -> int:
        """Step over bytes and return where they start."""
        start = self.at
        if nbytes > self.size - start:
            raise DamagedError(f"truncated: {nbytes:,} bytes expected at {start:,}, the file has {self.size:,}")
        self.at = start + nbytes
        return start

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack_from(self._bytes, self.take(layout.size))

    def count(self, smallest: int) -> int:
        """A number of things of which each takes at least ``smallest`` bytes."""
        (count,) = self.unpack(_UINT64)
        if count * smallest > self.size - self.at:
            raise DamagedError(f"it claims {count:,} entries, more than the file can hold")
        return int(count)

    def string(self, longest: int = _LONGEST_STRING) -> str:
        start, stop = self._string_span(longest)
        try:
            return self._bytes[start:stop].decode("utf-8")
        except UnicodeDecodeError as error:
            raise DamagedError(f"a string at {start:,} is not UTF-8") from error

    def skip_strings(self, count: int) -> None:
        # A vocabulary has hundreds of thousands of them: the one loop here that is worth keeping tight.
        data, size, at, length_at = self._bytes, self.size, self.at, _UINT64.unpack_from
        for _ in range(count):
            if at + 8 > size:
                raise DamagedError("truncated within an array of strings")
            at += 8 + length_at(data, at)[0]
        self.at = self.size if at > size else at
        self.take(at - self.at)

    def numbers(self, dtype: str, count: int) -> npt.NDArray[Any]:
        start = self.take(count * np.dtype(dtype).itemsize)
        return np.frombuffer(self._bytes[start : self.at], dtype)

    def _string_span(self, longest: int) -> tuple[int, int]:
        (length,) = self.unpack(_UINT64)
        if length > longest:
            raise DamagedError(f"a string of {length:,} bytes at {self.at:,}")
        start = self.take(length)
        return start, self.at


_UINT32, _UINT64, _KIND_AND_OFFSET = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<IQ")


def _check_start(cursor: _Cursor) -> None:
    name = cursor.path.name
    (magic,), (version,) = cursor.unpack(struct.Struct("4s")), cursor.unpack(_UINT32)
    if magic != MAGIC:
        raise CheckpointError(
            f"{name} is not a GGUF file",
            code=ErrorCode.CHECKPOINT_DAMAGED,
            hint="name a file that starts with the bytes GGUF",
        )
    if version & 0xFFFF == 0:
        raise UnsupportedError(
            f"{name} is a big-endian GGUF file",
            code=ErrorCode.UNSUPPORTED_FILE_VERSION,
            hint="use the little-endian one",
        )
    if version not in VERSIONS:
        raise UnsupportedError(
            f"{name} has GGUF version {version}; versions {VERSIONS} can be read",
            code=ErrorCode.UNSUPPORTED_FILE_VERSION,
            hint="convert the model again with a current llama.cpp" if version < 2 else "update edgegen-gguf",
        )


def _value(cursor: _Cursor) -> Any:
    """One metadata value."""
    kind = _value_kind(cursor)
    if kind is GGUFValueType.STRING:
        return cursor.string()
    if kind is not GGUFValueType.ARRAY:
        return cursor.numbers(_NUMBERS[kind], 1)[0].item()
    kind = _value_kind(cursor)
    if kind is GGUFValueType.ARRAY:
        raise DamagedError("an array of arrays, which no converter writes")
    is_string = kind is GGUFValueType.STRING
    count = cursor.count(smallest=8 if is_string else np.dtype(_NUMBERS[kind]).itemsize)
    if count > _LONGEST_ARRAY:
        raise DamagedError(f"an array of {count:,} values")
    if count <= _SHORT_ARRAY:
        return [cursor.string() for _ in range(count)] if is_string else cursor.numbers(_NUMBERS[kind], count).tolist()
    array = Array(kind, count, cursor.at)
    if is_string:
        cursor.skip_strings(count)
    else:
        cursor.take(count * np.dtype(_NUMBERS[kind]).itemsize)
    return array


def _value_kind(cursor: _Cursor) -> GGUFValueType:
    (number,) = cursor.unpack(_UINT32)
    try:
        return GGUFValueType(number)
    except ValueError as error:
        raise DamagedError(f"a metadata value of unknown type {number}") from error


def _table_row(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape in PyTorch's order, number of the storage type, offset from the start of the data."""
    name = cursor.string(_LONGEST_NAME)
    (dimensions,) = cursor.unpack(_UINT32)
    if dimensions > _MOST_DIMENSIONS:
        raise DamagedError(f"{name!r} has {dimensions} dimensions")
    shape = cursor.unpack(struct.Struct(f"<{dimensions}Q"))[::-1]
    kind, offset = cursor.unpack(_KIND_AND_OFFSET)
    return name, shape, kind, offset


def _tensor_info(row: tuple[str, tuple[int, ...], int, int], data: int, size: int) -> TensorInfo:
    name, shape, number, offset = row
    try:
        kind = GGMLQuantizationType(number)
    except ValueError as error:
        raise UnsupportedError(
            f"{name} has the unknown tensor type {number}",
            code=ErrorCode.UNSUPPORTED_STORAGE,
            hint="a newer gguf package may know it: pip install --upgrade gguf",
        ) from error
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if (shape[-1] if shape else 1) % block:
        raise DamagedError(f"{name!r} has rows of {shape[-1:]} elements, which {kind.name} cannot store")
    nbytes = math.prod(shape) // block * block_bytes
    if data + offset + nbytes > size:
        raise DamagedError(f"truncated: {name!r} ends at byte {data + offset + nbytes:,}, the file has {size:,}")
    return TensorInfo(name, shape, kind, data + offset, nbytes)


def _check_places(tensors: Iterable[TensorInfo], data: int, alignment: int) -> None:
    """Tensors follow one another without gaps, as llama.cpp demands: anything else is a damaged offset or shape."""
    expected = data
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != expected:
            raise DamagedError(f"{tensor.name!r} begins at byte {tensor.offset:,}, expected {expected:,}")
        expected = _align(tensor.offset + tensor.nbytes, alignment)


def _align(position: int, alignment: Any) -> int:
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1) or alignment > 2**20:
        raise DamagedError(f"an alignment of {alignment}")
    return -(-position // alignment) * alignment
