"""Debug outputs: a copy of a file whose signatures also return the output of each repeated block.

Outputs of repeated blocks are named by the module's path in the file (``blocks.3:out``). In the copy they are outputs
of the signature; everything else, weights included, is as in the original, and so are the numbers.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgegen.errors import ErrorCode, UsageError
from edgegen.tflite.writer import ALIGNMENT, DEBUG_SUFFIX


def write_debug_outputs(path: Path, signatures: Sequence[str], target: Path) -> dict[str, list[str]]:
    """Write a copy of ``path`` to ``target`` whose ``signatures`` also return the outputs of their blocks, by path.

    Returns:
        Signature -> the paths, in order.

    Raises:
        UsageError: there is no such signature, or no tensor in it bears the path of a module.
    """
    packed = _open(path)
    places = {name: _block_tensors(packed, path, name) for name in signatures}
    model = schema.ModelT.InitFromObj(packed)
    for entry in model.signatureDefs:
        found = places.get(entry.signatureKey.decode(), {})
        subgraph = model.subgraphs[entry.subgraphIndex]
        subgraph.outputs = np.array([*subgraph.outputs, *found.values()], np.int32)
        for block, place in found.items():
            tensor = schema.TensorMapT()
            tensor.name, tensor.tensorIndex = block, place
            entry.outputs.append(tensor)
    _write(model, path, target)
    return {name: list(found) for name, found in places.items()}


def _block_tensors(model: Any, path: Path, signature: str) -> dict[str, int]:
    """Path of a block -> index of its output tensor."""
    subgraph = model.Subgraphs(_definition(model, signature).SubgraphIndex())
    names = enumerate(_names(subgraph))
    places = {name.removesuffix(DEBUG_SUFFIX): place for place, name in names if name.endswith(DEBUG_SUFFIX)}
    if not places:
        raise UsageError(
            f"signature {signature} of {path} does not say where its blocks end",
            code=ErrorCode.NO_DEBUG_OUTPUTS,
            hint="export the model again; blocks are known to models of edgegen_layers and subclasses of RepeatedBlock",
        )
    return places


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        return schema.Model.GetRootAs(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), 0)


def _names(subgraph: Any) -> list[str]:
    return [subgraph.Tensors(i).Name().decode() for i in range(subgraph.TensorsLength())]


def _definition(model: Any, signature: str) -> Any:
    definitions = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
    found = [each for each in definitions if each.SignatureKey().decode() == signature]
    if not found:
        names = ", ".join(each.SignatureKey().decode() for each in definitions)
        raise UsageError(f"no signature {signature!r}; the file has {names}", code=ErrorCode.UNKNOWN_SIGNATURE)
    return found[0]


def _write(model: Any, source: Path, target: Path) -> None:
    """The head anew, then the weights of ``source``, moved as far as the head has grown."""
    outside = [buffer for buffer in model.buffers if buffer.offset > 1]
    old = min((buffer.offset for buffer in outside), default=source.stat().st_size)
    new = -(-len(_packed(model)) // ALIGNMENT) * ALIGNMENT
    for buffer in outside:
        buffer.offset += new - old
    with source.open("rb") as before, target.open("wb") as after:
        after.write(_packed(model))
        before.seek(old)
        after.seek(new)
        shutil.copyfileobj(before, after, 1 << 20)


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
