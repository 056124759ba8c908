"""The weights in a ``.tflite`` file, read back as the numbers that its kernels multiply with."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgegen.tflite.blockwise_offsets import part_of
from edgegen.weights.storage import BITS
from edgegen.weights.tensors import LazyTensor

Numbers = npt.NDArray[Any]

_TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")}


def read_weights(path: Path) -> dict[str, LazyTensor]:
    """Name -> rows as float32, of all parameters that lie behind the file's head; ``dtype`` is how they are stored.

    Nothing is read before rows are asked for.
    """
    with path.open("rb") as file:
        contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tensors = _tensors(schema.Model.GetRootAs(contents, 0), np.frombuffer(contents, np.uint8))
    parts: dict[str, dict[str, _Array]] = {}
    for name, array in tensors.items():
        parameter, part = part_of(name)
        parts.setdefault(parameter, {})[part] = array
    return {name: _lazy(name, arrays) for name, arrays in parts.items() if "data" in arrays}


@dataclass(frozen=True)
class _Array:
    """A tensor as the file keeps it."""

    shape: tuple[int, ...]
    dtype: str
    data: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32] | None

    @property
    def columns(self) -> int:
        """Numbers in a row."""
        return int(np.prod(self.shape[1:], dtype=np.int64))

    def rows(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """As they are, without scales, ``[rows, columns]``."""
        bits = BITS[self.dtype]
        row = self.columns * bits // 8
        data = self.data[start * row : stop * row]
        if bits >= 8:
            return data.view(self.dtype).reshape(-1, self.columns).astype(np.float32)
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        numbers = (data[:, None] >> shifts) & ((1 << bits) - 1)
        signed = numbers.astype(np.int8) - ((numbers >> (bits - 1)).astype(np.int8) << bits)
        return signed.reshape(-1, self.columns).astype(np.float32)


def _tensors(model: Any, contents: npt.NDArray[np.uint8]) -> dict[str, _Array]:
    found = {}
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        for tensor in (graph.Tensors(i) for i in range(graph.TensorsLength())):
            buffer = model.Buffers(tensor.Buffer())
            name = tensor.Name().decode()
            if buffer.Offset() < 2 or name in found:
                continue
            shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
            quantization = tensor.Quantization()
            scales = None if quantization is None or not quantization.ScaleLength() else quantization.ScaleAsNumpy()
            data = contents[buffer.Offset() : buffer.Offset() + buffer.Size()]
            found[name] = _Array(shape, _TYPES[tensor.Type()], data, scales)
    return found


def _lazy(name: str, parts: Mapping[str, _Array]) -> LazyTensor:
    whole = parts["data"]

    def read_rows(start: int, stop: int) -> npt.NDArray[np.float32]:
        rows = whole.rows(start, stop)
        if whole.scales is not None:
            rows *= whole.scales[start:stop, None]
        for part, combine in (("scales", np.multiply), ("offsets", np.add)):
            if part in parts:
                each = parts[part].rows(start, stop)
                rows = combine(rows.reshape(*each.shape, -1), each[:, :, None]).reshape(rows.shape)
        return rows.reshape(stop - start, *whole.shape[1:])

    scaled = "-channel" if whole.scales is not None else "-block" if "scales" in parts else ""
    return LazyTensor(name, whole.shape, whole.dtype + scaled, whole.data.nbytes, read_rows)
