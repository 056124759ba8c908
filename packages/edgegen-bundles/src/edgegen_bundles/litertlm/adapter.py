"""Adapters as LiteRT-LM takes them: a ``.tflite`` file of tensors without operators, given when a session is made.

LiteRT-LM finds the tensors by the names of the model's inputs, and the rank in an entry of the metadata that has no
contents: the number of its buffer *is* the rank. The tensors lie outside the flatbuffer, and since the file is mapped
into memory by pages, it ends on a page's end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgegen.errors import ErrorCode, ResourceError, UnsupportedError

RANKS = (16, 32)
"""What LiteRT-LM 0.18 has been seen to take; it refuses 4."""

_ALIGNMENT = 64
_PAGE = 4096
_FAR = 1 << 40
"""Where a buffer is said to be until its place is known; takes as many bytes as the real place."""

Tensors = Mapping[str, npt.NDArray[np.float32]]


def check_rank(rank: int) -> None:
    """Refuse a rank that LiteRT-LM does not take.

    Raises:
        UnsupportedError: it does not.
    """
    if rank not in RANKS:
        raise UnsupportedError(
            f"LiteRT-LM takes adapters of rank {' or '.join(map(str, RANKS))}, not {rank}",
            code=ErrorCode.ADAPTER_RANK_UNSUPPORTED,
            hint=f"export with --lora-rank {RANKS[0]}: adapters of lower ranks are filled up with zeros",
        )


def write_adapter(path: Path, rank: int, tensors: Tensors) -> None:
    """Write an adapter to ``path``, whole or not at all.

    Args:
        path: the file.
        rank: of all of them.
        tensors: by the names of the model's inputs.

    Raises:
        UnsupportedError: LiteRT-LM takes no such rank.
        ResourceError: the file cannot be written.
    """
    check_rank(rank)
    places = dict.fromkeys(tensors, _FAR)
    end = len(_head(rank, tensors, places))
    for name, tensor in tensors.items():
        places[name] = -(-end // _ALIGNMENT) * _ALIGNMENT
        end = places[name] + tensor.nbytes
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(_head(rank, tensors, places))
            for name, tensor in tensors.items():
                file.seek(places[name])
                file.write(np.ascontiguousarray(tensor).data)
            file.truncate(-(-end // _PAGE) * _PAGE)
        beside.replace(path)
    except OSError as error:
        raise ResourceError(
            f"cannot write {path}: {error}", code=ErrorCode.FILE_SYSTEM, hint="name another file with -o"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _head(rank: int, tensors: Tensors, places: Mapping[str, int]) -> bytes:
    """The flatbuffer; as long for any places as for others, but for 0."""
    model, subgraph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, "edgegen adapter"
    model.buffers, subgraph.tensors = [schema.BufferT()], []
    for name, array in tensors.items():
        tensor, buffer = schema.TensorT(), schema.BufferT()
        buffer.offset, buffer.size = places[name], array.nbytes
        tensor.name, tensor.shape, tensor.type = name, np.array(array.shape, np.int32), schema.TensorType.FLOAT32
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
        subgraph.tensors.append(tensor)
    # The rank must be the number of a buffer that there is.
    model.buffers += [schema.BufferT() for _ in range(rank + 1 - len(model.buffers))]
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = "lora_rank", rank
    model.subgraphs, model.metadata = [subgraph], [metadata]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
