"""Writes a program as one ``.tflite`` file: a small flatbuffer head, then each parameter, streamed once.

Parameters lie outside the flatbuffer (``Buffer.offset`` and ``Buffer.size``), so the file may exceed 2 GB and no
weight is ever held whole. The head states the scales, which are known only once the weights have been quantized;
its size, though, is known before. So it is packed twice: first with empty scales to learn where the weights begin,
and again when they are written.

Format: the TensorFlow Lite schema, version 3, as shipped with LiteRT.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from edgegen.errors import ErrorCode, PluginError
from edgegen.graph import Graph, Op, Program, Value
from edgegen.tflite.blockwise_offsets import expand_offsets, part_name, part_of, with_offsets
from edgegen.tflite.dequantize import insert_dequantize
from edgegen.tflite.operators import DTYPE_OPTIONS, ENUM_OPTIONS, OPERATORS
from edgegen.weights.storage import Encoded, Scheme, Storage
from edgegen.weights.tensors import LazyTensor

ALIGNMENT = 64
"""Alignment of weights in the file, in bytes. LiteRT refuses host memory that is aligned to less."""

DEBUG_SUFFIX = ":out"
"""Suffix of tensor names for debug outputs: ``blocks.3:out`` is the output of the module ``blocks.3``."""

SLICE_BYTES = 2 << 20
"""Bytes of a parameter, as float32, that are read, quantized and written at once."""

_WORKERS = os.cpu_count() or 1

_SLICES_AHEAD = 2 * _WORKERS
"""Slices that may be waiting to be encoded or written."""

_SLICE_COPIES = 3
"""A slice as it was read, as float32, and encoded."""

_FAR = 1 << 40
"""Stands for an offset that is not known yet; any value above 1 takes the same room in the head."""


@dataclass(frozen=True)
class Parameter:
    """A parameter on its way into the file.

    Attributes:
        source: where its rows come from.
        storage: what they are stored as.
        scheme: what encodes them; None for the file's scheme.
        role: ``linear``, ``embedding`` or ``other``, see :class:`~edgegen.weights.storage.ParameterInfo`.
    """

    source: LazyTensor
    storage: Storage
    scheme: Scheme | None = None
    role: str = "other"

    @property
    def nbytes(self) -> int:
        return self.storage.nbytes(self.source.shape)

    @property
    def passthrough(self) -> bool:
        """True if the checkpoint's own quantized numbers go into the file as they are (passthrough)."""
        return self.source.packed is not None and self.source.packed.storage == self.storage

    def encode(self, scheme: Scheme, start: int, stop: int) -> Encoded:
        """Encoded rows, by ``scheme`` unless they pass through."""
        packed = self.source.packed
        if packed is not None and self.passthrough:
            return packed.unpack(packed.rows.read_rows(start, stop))
        return scheme.encode(self.source.read_rows(start, stop), self.storage)


Pieces = list[tuple[int, npt.NDArray[Any]]]
"""Arrays with their positions in the file."""


@dataclass
class _Place:
    """Place of an array: its buffer's number, size in bytes, and offset in the file."""

    buffer: int
    nbytes: int
    offset: int = _FAR


@dataclass
class _Slot:
    """Places of a parameter's arrays, and its channel scales as they become known."""

    parameter: Parameter
    places: dict[str, _Place]
    quantization: _Quantization | None

    def encoded(self, scheme: Scheme, start: int, stop: int) -> Pieces:
        """Rows as they go into the file."""
        encoded = self.parameter.encode(scheme, start, stop)
        self._check(encoded, start, stop)
        if self.quantization is not None:
            self.quantization.scales[start:stop] = encoded.scales
        rows = self.parameter.source.rows
        return [
            (place.offset + start * (place.nbytes // rows), getattr(encoded, part))
            for part, place in self.places.items()
        ]

    def _check(self, encoded: Encoded, start: int, stop: int) -> None:
        """Refuse what is not what the storage says: the file's head has been laid out for that."""
        storage, shape = self.parameter.storage, self.parameter.source.shape
        name, rows = self.parameter.source.name, self.parameter.source.rows
        packed = "uint8" if storage.dtype in ("int4", "int2") else storage.dtype
        for part, place in self.places.items():
            array = getattr(encoded, part, None)
            dtype = packed if part == "data" else "float16" if part == "scales" else storage.offsets
            nbytes = place.nbytes // rows * (stop - start)
            if not isinstance(array, np.ndarray) or array.dtype.name != dtype or array.nbytes != nbytes:
                found = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
                raise _lie(name, storage, f"{part} are {found} where {nbytes} bytes of {dtype} belong")
            if not array.flags.c_contiguous:
                raise _lie(name, storage, f"{part} are not contiguous")
        if self.quantization is not None:
            scales = encoded.scales
            if not isinstance(scales, np.ndarray) or scales.shape != (stop - start,):
                given = list(scales.shape) if isinstance(scales, np.ndarray) else type(scales).__name__
                raise _lie(name, storage, f"scales are {given} for {stop - start} rows of {list(shape)}")
            if not (np.isfinite(scales).all() and (scales > 0).all()):
                raise _lie(name, storage, "scales are not all positive numbers")


def _lie(name: str, storage: Storage, what: str) -> PluginError:
    return PluginError(
        f"the scheme that encodes {name} as {storage} gave something else: {what}",
        code=ErrorCode.PLUGIN_FAILED,
        hint="report it to the scheme's author; see edgegen.weights.storage.Encoded",
    )


Progress = Callable[[int], None]


def write_model(
    program: Program,
    parameters: Mapping[str, Parameter],
    scheme: Scheme,
    path: Path,
    progress: Progress = lambda nbytes: None,
) -> None:
    """Write ``program`` to ``path``, with the contents of ``parameters`` encoded by ``scheme``.

    The file appears under its name only when it is whole. ``progress`` is told the bytes of weights as they are
    written.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with ModelFile(program, parameters, scheme, path) as file:
        file.write_rest(progress)


class ModelFile:
    """A file that is being written, with parameters in any order. Arguments are those of :func:`write_model`.

    A context manager: the file appears under its name at the end, if nothing went wrong.
    """

    def __init__(self, program: Program, parameters: Mapping[str, Parameter], scheme: Scheme, path: Path) -> None:
        self._head, _ = _laid_out(program, parameters)
        self._left = dict(self._head.slots)
        self._scheme, self._path = scheme, path
        self._partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> ModelFile:
        self._file = self._partial.open("wb")
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            with self._file:
                if error is None:
                    assert not self._left
                    self._file.write(self._head.pack())
            if error is None:
                self._partial.replace(self._path)
        finally:
            self._partial.unlink(missing_ok=True)

    @property
    def bytes_left(self) -> int:
        """Bytes of the parameters that are not written yet."""
        return sum(slot.parameter.nbytes for slot in self._left.values())

    def write(self, name: str, scheme: Scheme) -> None:
        """Write a parameter, encoded by ``scheme``."""
        slot = self._left.pop(name)
        for _, start, stop in _slices([slot]):
            self._put(slot.encoded(scheme, start, stop))

    def write_rest(self, progress: Progress = lambda nbytes: None) -> None:
        """Write all that were not written yet; ``progress`` is told the bytes."""
        for pieces in _encode_all(self._left.values(), self._scheme):
            progress(self._put(pieces))
        self._left.clear()

    def _put(self, pieces: Pieces) -> int:
        return sum(_write_all(self._file.fileno(), array, start) for start, array in pieces)


def _write_all(file: int, array: npt.NDArray[Any], start: int) -> int:
    """Write an array at an offset, in as many pieces as the system takes it in; returns its bytes."""
    view = array.reshape(-1).view(np.uint8).data
    written = 0
    while written < len(view):
        count = os.pwrite(file, view[written:], start + written)
        if count <= 0:
            raise OSError(errno.EIO, "the disk took none of it")
        written += count
    return written


def written_size(program: Program, parameters: Mapping[str, Parameter]) -> int:
    """Bytes of the file that :func:`write_model` would write."""
    return _laid_out(program, parameters)[1]


def memory_needed() -> int:
    """Bytes that are in memory while weights are written, beside what was there before."""
    return (_SLICES_AHEAD + 1) * _SLICE_COPIES * SLICE_BYTES


def _laid_out(program: Program, parameters: Mapping[str, Parameter]) -> tuple[_Head, int]:
    """The head with a place for everything, and the size of the file."""
    storages = {name: parameter.storage for name, parameter in parameters.items()}
    head = _Head(program, storages, parameters)
    position = len(head.pack())
    for place in head.places():
        place.offset = position = -(-position // ALIGNMENT) * ALIGNMENT
        position += place.nbytes
    return head, position


def _encode_all(slots: Iterable[_Slot], scheme: Scheme) -> Iterator[Pieces]:
    """Every slice, encoded on all cores, in order, a few slices ahead at most."""
    with ThreadPoolExecutor(_WORKERS) as pool, contextlib.ExitStack() as stack:
        pending: deque[Future[Pieces]] = deque()
        stack.callback(lambda: [future.cancel() for future in pending])
        for slot, start, stop in _slices(slots):
            pending.append(pool.submit(slot.encoded, slot.parameter.scheme or scheme, start, stop))
            if len(pending) > _SLICES_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _slices(slots: Iterable[_Slot]) -> Iterator[tuple[_Slot, int, int]]:
    for slot in slots:
        source = slot.parameter.source
        row_bytes = 4 * max(1, int(np.prod(source.shape[1:], dtype=np.int64)))
        step = max(1, SLICE_BYTES // row_bytes)
        for start in range(0, source.rows, step):
            yield slot, start, min(start + step, source.rows)


class _Quantization(schema.QuantizationParametersT):  # type: ignore[misc]
    """Scales of one parameter, written once however many signatures use it. Zero points are all 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = np.ones(channels, np.float32)
        self._packed: tuple[Any, int] | None = None

    def Pack(self, builder: Any) -> int:
        if self._packed is None or self._packed[0] is not builder:
            self._packed = (builder, self._pack(builder))
        return self._packed[1]

    def _pack(self, builder: Any) -> int:
        # Scales must not be shared by contents: before they are known all are alike, and the head would grow later.
        scales = flatbuffers.Builder.CreateNumpyVector(builder, self.scales)
        zeros = builder.CreateNumpyVector(np.zeros(len(self.scales), np.int64))
        schema.QuantizationParametersStart(builder)
        schema.QuantizationParametersAddScale(builder, scales)
        schema.QuantizationParametersAddZeroPoint(builder, zeros)
        return int(schema.QuantizationParametersEnd(builder))


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal strings and equal vectors once: signatures repeat names, shapes and zero points."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self._strings: dict[str, int] = {}
        self._vectors: dict[tuple[str, bytes], int] = {}

    def CreateString(self, text: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        if text not in self._strings:
            self._strings[text] = int(super().CreateString(text, encoding, errors))
        return self._strings[text]

    def CreateNumpyVector(self, vector: Any) -> int:
        key = (vector.dtype.str, vector.tobytes())
        if key not in self._vectors:
            self._vectors[key] = int(super().CreateNumpyVector(vector))
        return self._vectors[key]


@dataclass
class _Head:
    """The flatbuffer, but for what is known only after the weights are written."""

    program: Program
    storages: Mapping[str, Storage]
    parameters: Mapping[str, Parameter]
    slots: dict[str, _Slot] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._constants: dict[bytes, int] = {}
        self._opcodes: dict[str, int] = {}
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 means "no data"
        storages = with_offsets(self.storages)
        graphs = [insert_dequantize(expand_offsets(graph, storages), storages) for graph in self.program.graphs()]
        self._subgraph_index = {id(source): i for i, source in enumerate(self.program.graphs())}
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.description = "edgegen"
        self._model.buffers = self._buffers
        self._model.signatureDefs = []
        self._model.subgraphs = []
        for index, graph in enumerate(graphs):
            subgraph, indices = self._subgraph(graph)
            self._model.subgraphs.append(subgraph)
            if index < len(self.program.signatures):
                self._model.signatureDefs.append(_signature(graph, index, indices))
        self._model.operatorCodes = [_operator_code(kind) for kind in self._opcodes]
        self._model.metadata = [self._metadata(name, data) for name, data in self.program.metadata.items()]

    def places(self) -> Iterator[_Place]:
        """Places of all arrays of all parameters, in file order."""
        return (place for slot in self.slots.values() for place in slot.places.values())

    def pack(self) -> bytes:
        """The head as bytes; always the same number of them."""
        for place in self.places():
            buffer = self._buffers[place.buffer]
            buffer.offset, buffer.size = place.offset, place.nbytes
        builder = _SharingBuilder()
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _subgraph(self, graph: Graph) -> tuple[Any, dict[Value, int]]:
        indices = {value: i for i, value in enumerate(graph.values())}
        subgraph = schema.SubGraphT()
        subgraph.name = graph.name
        subgraph.tensors = [self._tensor(value) for value in indices]
        for path, value in graph.debug_outputs.items():
            subgraph.tensors[indices[value]].name = path + DEBUG_SUFFIX
        self._add_block_scales(subgraph, indices)
        subgraph.inputs = _int32(indices[value] for value in graph.inputs.values())
        subgraph.outputs = _int32(indices[value] for value in graph.outputs.values())
        subgraph.operators = [self._operator(op, indices) for op in graph.ops]
        return subgraph, indices

    def _tensor(self, value: Value) -> Any:
        dtype, place = value.dtype, None
        tensor = schema.TensorT()
        if value.parameter is not None:
            name, part = part_of(value.parameter)
            slot = self._slot(name)
            place, storage = slot.places[part], slot.parameter.storage
            if part == "data":
                dtype, tensor.quantization = storage.dtype, slot.quantization
            else:
                dtype = storage.offsets or dtype
        tensor.name = value.name
        tensor.shape = _int32(value.shape)
        if value.dynamic:
            tensor.shapeSignature = _int32(-1 if axis in value.dynamic else n for axis, n in enumerate(value.shape))
        tensor.hasRank = True
        tensor.type = getattr(schema.TensorType, dtype.upper())
        if place is not None:
            tensor.buffer = place.buffer
        elif value.constant is not None:
            tensor.buffer = self._constant(np.ascontiguousarray(value.constant).tobytes())
        return tensor

    def _add_block_scales(self, subgraph: Any, indices: Mapping[Value, int]) -> None:
        """Scales of blocks are tensors of their own, which no operator takes: the weight names them by number."""
        for value, index in indices.items():
            storage = self.storages.get(value.parameter or "")
            if storage is None or storage.block is None:
                continue
            assert value.parameter is not None
            scales = schema.TensorT()
            scales.name = part_name(value.parameter, "scales")
            scales.shape = _int32((value.shape[0], value.shape[1] // storage.block))
            scales.hasRank = True
            scales.type = schema.TensorType.FLOAT16
            scales.buffer = self._slot(value.parameter).places["scales"].buffer
            blocks = schema.BlockwiseQuantizationT()
            blocks.scales, blocks.zeroPoints, blocks.blockSize = len(subgraph.tensors), -1, storage.block
            quantization = schema.QuantizationParametersT()
            quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
            quantization.details = blocks
            subgraph.tensors[index].quantization = quantization
            subgraph.tensors.append(scales)

    def _slot(self, name: str) -> _Slot:
        if name not in self.slots:
            parameter = self.parameters[name]
            quantization = _Quantization(parameter.source.rows) if parameter.storage.per_channel else None
            places = {}
            for part, nbytes in parameter.storage.parts(parameter.source.shape).items():
                self._buffers.append(schema.BufferT())
                places[part] = _Place(len(self._buffers) - 1, nbytes)
            self.slots[name] = _Slot(parameter, places, quantization)
        return self.slots[name]

    def _constant(self, data: bytes) -> int:
        if data not in self._constants:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data, np.uint8)
            self._buffers.append(buffer)
            self._constants[data] = len(self._buffers) - 1
        return self._constants[data]

    def _operator(self, op: Op, indices: Mapping[Value, int]) -> Any:
        spec = OPERATORS[op.kind]
        operator = schema.OperatorT()
        operator.opcodeIndex = self._opcodes.setdefault(op.kind, len(self._opcodes))
        operator.inputs = _int32(-1 if value is None else indices[value] for value in op.inputs)
        operator.outputs = _int32(indices[value] for value in op.outputs)
        if op.body is not None:
            operator.builtinOptions2Type = schema.BuiltinOptions2.StableHLOCompositeOptions
            operator.builtinOptions2 = self._composite(op)
        elif spec.options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, spec.options)
            operator.builtinOptions = _options(spec.options, op.options)
        return operator

    def _composite(self, op: Op) -> Any:
        options = schema.StableHLOCompositeOptionsT()
        options.name = op.options["name"]
        options.decompositionSubgraphIndex = self._subgraph_index[id(op.body)]
        options.compositeAttributes = np.frombuffer(_flexbuffer(op.options["attributes"]), np.uint8)
        options.version = 1
        return options

    def _metadata(self, name: str, data: bytes) -> Any:
        metadata = schema.MetadataT()
        metadata.name, metadata.buffer = name, self._constant(data)
        return metadata


def _signature(graph: Graph, index: int, indices: Mapping[Value, int]) -> Any:
    def tensor_map(name: str, value: Value) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, indices[value]
        return entry

    signature = schema.SignatureDefT()
    signature.signatureKey = graph.name
    signature.subgraphIndex = index
    signature.inputs = [tensor_map(name, value) for name, value in graph.inputs.items()]
    signature.outputs = [tensor_map(name, value) for name, value in graph.outputs.items()]
    return signature


def _operator_code(kind: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)  # what readers from before 2020 look at
    code.version = OPERATORS[kind].version
    return code


def _options(table: str, options: Mapping[str, Any]) -> Any:
    result = getattr(schema, f"{table}T")()
    for name, value in options.items():
        if name in ENUM_OPTIONS:
            value = getattr(getattr(schema, ENUM_OPTIONS[name]), value)
        elif name in DTYPE_OPTIONS:
            value = getattr(schema.TensorType, value.upper())
        if not hasattr(result, name):
            raise ValueError(f"{table} has no field {name}")
        setattr(result, name, value)
    return result


def _flexbuffer(attributes: Mapping[str, Any]) -> bytes:
    """A composite's attributes. Floats take 4 bytes: XNNPACK reads them through a ``const float *``."""
    builder = flexbuffers.Builder()
    _add_attribute(builder, attributes)
    return bytes(builder.Finish())


def _add_attribute(builder: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        with builder.Map():
            for key in sorted(value):
                builder.Key(key)
                _add_attribute(builder, value[key])
    elif isinstance(value, list | tuple):
        with builder.Vector():
            for item in value:
                _add_attribute(builder, item)
    elif isinstance(value, float):
        builder.Float(value, 4)
    else:
        builder.Add(value)


def _int32(numbers: Any) -> Any:
    # The object API copies numpy vectors whole and lists element by element.
    return np.fromiter(numbers, np.int32)
