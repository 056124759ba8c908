"""Reads what a ``.tflite`` file holds, without running it and without reading its weights."""

from __future__ import annotations

import math
import mmap
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgegen.errors import ErrorCode, UsageError
from edgegen.tflite.blockwise_offsets import part_of

IDENTIFIER = b"TFL3"


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


_TYPES = _names(schema.TensorType)
_OPERATORS = _names(schema.BuiltinOperator)


@dataclass(frozen=True)
class TensorSummary:
    """A signature's tensor; an axis of open length is -1."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class SignatureSummary:
    """One entry point of the file.

    Attributes:
        operators: how often each kind occurs.
        composites: how often each named composite occurs.
    """

    name: str
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    operators: dict[str, int]
    composites: dict[str, int]


@dataclass(frozen=True)
class ModelSummary:
    """Summary of a ``.tflite`` file, made by :func:`read_model`.

    Attributes:
        size: bytes of the whole file.
        head: bytes of it that are not weights: graphs, names, scales.
        weights: storage -> bytes, each buffer counted once.
        weight_tensors: storage -> number of such buffers.
        shared: buffers that more than one signature uses, and their bytes.
        metadata: names of the file's metadata entries.
    """

    path: str
    size: int
    head: int
    signatures: tuple[SignatureSummary, ...]
    weights: dict[str, int] = field(default_factory=dict)
    weight_tensors: dict[str, int] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    metadata: tuple[str, ...] = ()


def read_model(path: Path) -> ModelSummary:
    """Summarize the file at ``path``.

    Raises:
        UsageError: there is no such file, or it is no LiteRT model.
    """
    if not path.is_file():
        raise UsageError(f"no such file: {path}", code=ErrorCode.FILE_UNREADABLE)
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(8)[4:] != IDENTIFIER:
            raise UsageError(
                f"{path} is not a LiteRT model",
                code=ErrorCode.MODEL_FILE_DAMAGED,
                hint="name the model.tflite of an export",
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
            try:
                return _summary(schema.Model.GetRootAs(contents, 0), path, size)
            except Exception as error:
                raise UsageError(
                    f"{path} is damaged: {error}",
                    code=ErrorCode.MODEL_FILE_DAMAGED,
                    hint="it may be truncated; export it again",
                ) from error


def _summary(model: Any, path: Path, size: int) -> ModelSummary:
    signatures = tuple(_signature(model, model.SignatureDefs(i)) for i in range(model.SignatureDefsLength()))
    buffers, users = _weights(model)
    weights: Counter[str] = Counter()
    for storage, nbytes in buffers.values():
        weights[storage] += nbytes
    shared = [index for index, subgraphs in users.items() if len(subgraphs) > 1]
    outside = [model.Buffers(i).Offset() for i in buffers if model.Buffers(i).Offset() > 1]
    if any(model.Buffers(i).Offset() + model.Buffers(i).Size() > size for i in buffers):
        raise ValueError("weights lie beyond the end of the file")
    return ModelSummary(
        path=str(path),
        size=size,
        head=min(outside, default=size),
        signatures=signatures,
        weights=dict(sorted(weights.items())),
        weight_tensors=dict(sorted(Counter(storage for storage, _ in buffers.values()).items())),
        shared={"buffers": len(shared), "bytes": sum(buffers[index][1] for index in shared)},
        metadata=tuple(model.Metadata(i).Name().decode() for i in range(model.MetadataLength())),
    )


def _signature(model: Any, definition: Any) -> SignatureSummary:
    subgraph = model.Subgraphs(definition.SubgraphIndex())

    def tensors(length: int, entry: Any) -> tuple[TensorSummary, ...]:
        return tuple(_tensor(entry(i).Name().decode(), subgraph.Tensors(entry(i).TensorIndex())) for i in range(length))

    operators: Counter[str] = Counter()
    composites: Counter[str] = Counter()
    for i in range(subgraph.OperatorsLength()):
        operator = subgraph.Operators(i)
        kind = _OPERATORS[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
        operators[kind] += 1
        if kind == "STABLEHLO_COMPOSITE":
            options = schema.StableHLOCompositeOptions()
            table = operator.BuiltinOptions2()
            options.Init(table.Bytes, table.Pos)
            composites[options.Name().decode()] += 1
    return SignatureSummary(
        definition.SignatureKey().decode(),
        tensors(definition.InputsLength(), definition.Inputs),
        tensors(definition.OutputsLength(), definition.Outputs),
        dict(operators.most_common()),
        dict(composites.most_common()),
    )


def _tensor(name: str, tensor: Any) -> TensorSummary:
    length, axis = tensor.ShapeLength(), tensor.Shape
    if tensor.ShapeSignatureLength():
        length, axis = tensor.ShapeSignatureLength(), tensor.ShapeSignature
    shape = tuple(int(axis(i)) for i in range(length))
    return TensorSummary(name, shape, _TYPES[tensor.Type()].lower())


def _weights(model: Any) -> tuple[dict[int, tuple[str, int]], dict[int, set[int]]]:
    """Buffers with contents: index -> (storage, bytes), and index -> the subgraphs that use it."""
    buffers: dict[int, tuple[str, int]] = {}
    users: dict[int, set[int]] = {}
    for index in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(index)
        for i in range(subgraph.TensorsLength()):
            tensor = subgraph.Tensors(i)
            number = tensor.Buffer()
            buffer = model.Buffers(number)
            if buffer.Offset() < 2 and not buffer.DataLength():
                continue
            users.setdefault(number, set()).add(index)
            if number not in buffers:
                buffers[number] = (_storage(tensor), buffer.Size() or buffer.DataLength())
    return buffers, users


def _storage(tensor: Any) -> str:
    """``int8-channel``, ``float32``, ...: the tensor's type, and how finely it is scaled."""
    dtype = _TYPES[tensor.Type()].lower()
    _, part = part_of(tensor.Name().decode())
    if part != "data":
        return f"{dtype}-{part}"
    quantization = tensor.Quantization()
    if quantization is not None and quantization.DetailsType() == schema.QuantizationDetails.BlockwiseQuantization:
        details, blocks = quantization.Details(), schema.BlockwiseQuantization()
        blocks.Init(details.Bytes, details.Pos)
        return f"{dtype}-block{blocks.BlockSize()}"
    scales = 0 if quantization is None else quantization.ScaleLength()
    if not scales:
        return dtype
    return f"{dtype}-channel" if scales > 1 or _elements(tensor) == 1 else f"{dtype}-tensor"


def _elements(tensor: Any) -> int:
    return math.prod(tensor.Shape(i) for i in range(tensor.ShapeLength()))
