"""Opening GGUF files as a checkpoint: one file, a folder with one, or numbered parts."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError, UsageError
from edgegen.weights import Checkpoint, LazyTensor
from edgegen.weights.files import SlicedFile, check_rows, summarize
from edgegen.weights.tensors import RowReader
from edgegen_gguf.header import MAGIC, Header, TensorInfo, read_header
from edgegen_gguf.packed import packed
from edgegen_gguf.tokenizer import read_tokenizer

FORMAT = NAMING = "gguf"
HARMLESS_KEYS = (
    "general.*",
    "quantize.*",
    "split.*",
    "tokenizer.*",
    "GGUF.*",
    "*.vocab_size",
)
"""Patterns of metadata keys that change nothing: all that is not the architecture's own."""

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
"""Names of parts, as llama.cpp's gguf-split writes them."""

_PLAIN: dict[GGMLQuantizationType, str] = {
    GGMLQuantizationType.F32: "<f4",
    GGMLQuantizationType.F16: "<f2",
    GGMLQuantizationType.F64: "<f8",
    GGMLQuantizationType.I8: "i1",
    GGMLQuantizationType.I16: "<i2",
    GGMLQuantizationType.I32: "<i4",
    GGMLQuantizationType.I64: "<i8",
}
"""Types that are numbers already; the package dequantizes the others."""

_CHUNK = 2**18
"""Elements dequantized at a time: enough to make numpy's overhead small, few enough for the caches."""

Float32 = npt.NDArray[np.float32]


def detect(path: Path) -> bool:
    """True for a GGUF file or a folder with one. Never raises."""
    try:
        if path.is_dir():
            return any(path.glob("*.gguf"))
        if not path.is_file():
            return False
        with path.open("rb") as file:
            # A damaged .gguf is still ours: the message about the damage helps more than "no such format".
            return file.read(len(MAGIC)) == MAGIC or path.suffix == ".gguf"
    except OSError:
        return False


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file, a folder or any of the parts of a split model; reads headers only.

    Raises:
        CheckpointError: a file is damaged or a part is missing.
        UnsupportedError: a version or tensor type that cannot be read.
        UsageError: the folder holds several models.
    """
    files = _parts(_model_in(path) if path.is_dir() else path)
    headers = [read_header(file) for file in files]
    first = headers[0]
    _check_split(headers)
    return Checkpoint(
        path=path,
        format=FORMAT,
        naming=NAMING,
        tensors=_tensors(headers),
        config=first.config,
        harmless_keys=HARMLESS_KEYS,
        license=str(first.config.get("general.license", "unknown")),
        files=tuple(files),
        tokenizer=lambda: read_tokenizer(first),
    )


def _model_in(folder: Path) -> Path:
    """The one model in a folder: a file, or the first part of several."""
    files = sorted(folder.glob("*.gguf"))
    models = [file for file in files if not (part := _PART.fullmatch(file.name)) or int(part["number"]) == 1]
    if len(models) > 1:
        raise UsageError(
            f"{folder} holds {len(models)} GGUF models",
            code=ErrorCode.CHECKPOINT_AMBIGUOUS,
            details=summarize(file.name for file in models),
            hint="name one of the files",
        )
    if not files:
        raise CheckpointError(
            f"no .gguf file in {folder}",
            code=ErrorCode.UNRECOGNIZED_CHECKPOINT,
            hint="name a GGUF file or a folder with one",
        )
    return (models or files)[0]


def _parts(path: Path) -> list[Path]:
    """All files of the model that this file belongs to."""
    part = _PART.fullmatch(path.name)
    if not part:
        return [path]
    count = int(part["count"])
    # Looked for on disk rather than generated, for the count is only as trustworthy as the file's name.
    found = {
        int(other["number"]): file
        for file in path.parent.glob("*.gguf")
        if (other := _PART.fullmatch(file.name)) and (other["stem"], other["count"]) == (part["stem"], part["count"])
    }
    missing = [number for number in range(1, count + 1) if number not in found]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {count} parts of {part['stem']} are missing",
            code=ErrorCode.SHARDS_MISSING,
            details=summarize(f"{part['stem']}-{number:05d}-of-{count:05d}.gguf" for number in missing),
            hint=f"download them into {path.parent}",
        )
    return [found[number] for number in range(1, count + 1)]


def _check_split(headers: list[Header]) -> None:
    """The parts belong together: llama.cpp writes how many there are into each, and the tensors' total."""
    stated = headers[0].metadata.get("split.count", 1)
    if stated not in (0, 1) and stated != len(headers):
        raise CheckpointError(
            f"{headers[0].path.name} is one of {stated} parts, but is not named as one",
            code=ErrorCode.SHARDS_MISSING,
            hint="keep the names that the parts were published under (...-00001-of-00003.gguf)",
        )
    total = headers[0].metadata.get("split.tensors.count")
    found = sum(len(header.tensors) for header in headers)
    if total is not None and total != found:
        raise CheckpointError(
            f"the parts of {headers[0].path.name} hold {found} tensors instead of {total}",
            code=ErrorCode.CHECKPOINT_DAMAGED,
            hint="the parts are from different models; download them again",
        )


def _tensors(headers: list[Header]) -> dict[str, LazyTensor]:
    tensors: dict[str, LazyTensor] = {}
    for header in headers:
        file = SlicedFile(header.path)
        for info in header.tensors:
            if info.name in tensors:
                raise CheckpointError(
                    f"{info.name} is in more than one part of {headers[0].path.name}",
                    code=ErrorCode.CHECKPOINT_DAMAGED,
                    hint="the parts are from different models; download them again",
                )
            tensors[info.name] = LazyTensor(
                name=info.name,
                shape=info.shape,
                dtype=info.kind.name,
                nbytes=info.nbytes,
                read_rows=_reader(file, info),
                packed=packed(file, info),
            )
    return tensors


def _reader(file: SlicedFile, info: TensorInfo) -> RowReader:
    rows = info.shape[0] if info.shape else 1
    inner = info.shape[1:]
    row = math.prod(inner)
    block, block_bytes = GGML_QUANT_SIZES[info.kind]

    def read_rows(start: int, stop: int) -> Float32:
        check_rows(info.name, start, stop, rows)
        if not _can_decode(info.kind):
            raise UnsupportedError(
                f"{info.name} in {file.path.name} is stored as {info.kind.name}, which gguf cannot decode",
                code=ErrorCode.UNSUPPORTED_STORAGE,
                hint="use a file of another quantization, Q8_0 or F16 for example",
            )
        # Quantized blocks run along a row, but a vector's row is one element: widen to whole blocks, then
        # cut.
        first, last = start * row // block, -(-stop * row // block)
        raw = file.read(info.offset + first * block_bytes, (last - first) * block_bytes)
        values = _to_float32(raw, info.kind)
        return values[start * row - first * block :][: (stop - start) * row].reshape(stop - start, *inner)

    return read_rows


def _to_float32(raw: npt.NDArray[np.uint8], kind: GGMLQuantizationType) -> Float32:
    """Whole blocks of a storage type as numbers."""
    if kind in _PLAIN:
        return raw.view(_PLAIN[kind]).astype(np.float32, copy=False)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    blocks, step = raw.size // block_bytes, _CHUNK // block
    out = np.empty(blocks * block, np.float32)
    for low in range(0, blocks, step):
        chunk = raw[low * block_bytes : (low + step) * block_bytes]
        out[low * block : (low + step) * block] = dequantize(chunk, kind)
    return out


@cache
def _can_decode(kind: GGMLQuantizationType) -> bool:
    """Tried on one block of zeros: the package has no list of the types it dequantizes."""
    try:
        _to_float32(np.zeros(GGML_QUANT_SIZES[kind][1], np.uint8), kind)
    except NotImplementedError:
        return False
    return True
