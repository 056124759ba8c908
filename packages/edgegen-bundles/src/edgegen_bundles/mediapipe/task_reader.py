"""Reads ``.task`` files and lets nothing pass that a client would stumble over, silently or not."""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from litert_lm_builder.runtime.proto import llm_metadata_pb2

from edgegen.errors import ErrorCode, UsageError
from edgegen.genai.file_contents import Contents, Part
from edgegen_bundles.litertlm.inspect import describe_metadata
from edgegen_bundles.mediapipe import aligned_zip
from edgegen_bundles.mediapipe.task_file import METADATA, MODEL, NO_TOKEN, TOKENIZER

_NAMES = (METADATA, TOKENIZER, MODEL)
_LEAST_ALIGNMENT = {METADATA: 1, TOKENIZER: 1, MODEL: 4096}
_CHUNK = 1 << 20
_ENCRYPTED = 1
_CACHE_PREFIXES = (("kv_cache_k_", "kv_cache_v_"), ("k_cache_", "v_cache_"))


@dataclass(frozen=True)
class Signature:
    """An entry point of the model: names of its tensors."""

    inputs: frozenset[str]
    outputs: frozenset[str]


@dataclass(frozen=True)
class Task:
    """What is in a ``.task`` file.

    Attributes:
        offsets: name of a member -> where its data begins.
        sizes: name -> bytes.
        metadata: what the file says of its model.
        tokenizer: the SentencePiece model, serialized.
        signatures: of the LiteRT model, by name.
    """

    offsets: Mapping[str, int]
    sizes: Mapping[str, int]
    metadata: llm_metadata_pb2.LlmMetadata
    tokenizer: bytes
    signatures: Mapping[str, Signature]


def read_task(file: Path, *, name: Path | None = None) -> Task:
    """Read and check.

    Args:
        name: what to call it in errors, where that is not ``file``.

    Raises:
        UsageError: it is no zip file (EG830), or something in it is not as clients need it (EG831): all that is wrong
            is listed.
    """
    shown = name or file
    try:
        with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
            offsets, problems = _members(archive, stream)
            _fail(shown, problems)
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            task = _contents(archive, stream, offsets, sizes, shown)
    except OSError as error:
        raise UsageError(f"cannot read {shown}: {error.strerror or error}", code=ErrorCode.TASK_FILE_DAMAGED) from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise UsageError(
            f"{shown} is no .task file, or damaged: {error}", code=ErrorCode.TASK_FILE_DAMAGED, hint="export it again"
        ) from error
    _fail(shown, [*_metadata_problems(task), *_signature_problems(task.signatures)])
    return task


def contents(file: Path) -> Contents:
    """The members, for ``edgegen inspect``."""
    task = read_task(file)
    details: dict[str, dict[str, str]] = {
        METADATA: describe_metadata(task.metadata),
        TOKENIZER: {"pieces": str(open_sentencepiece(task.tokenizer, str(file)).vocab_size())},
        MODEL: {"signatures": ", ".join(task.signatures)},
    }
    parts = (
        Part(name=name, offset=task.offsets[name], nbytes=task.sizes[name], details=details[name]) for name in _NAMES
    )
    return Contents(format="zip, stored", parts=tuple(parts))


def open_sentencepiece(model: bytes, name: str) -> Any:
    """Load a SentencePiece model.

    Raises:
        UsageError: it is none.
    """
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_proto=model)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"{name} is no SentencePiece model: {error}",
            code=ErrorCode.NOT_SENTENCEPIECE,
            hint="edgegen tokenizer SOURCE -o tokenizer.model makes one of a tokenizer.json",
        ) from error


def _fail(file: Path, problems: list[str]) -> None:
    if problems:
        raise UsageError(
            f"{file} is not a .task file that its clients can use",
            code=ErrorCode.TASK_FILE_INVALID,
            details=problems,
            hint="make it with edgegen export --target task, or edgegen_bundles.mediapipe.task_file.create_bundle",
        )


def _members(archive: zipfile.ZipFile, stream: Any) -> tuple[dict[str, int], list[str]]:
    """Where the data of each begins, and what is wrong."""
    problems, offsets = [], {}
    names = [info.filename for info in archive.infolist()]
    problems += [f"missing     {name}" for name in _NAMES if name not in names]
    problems += [f"unexpected  {name}" for name in sorted(set(names) - set(_NAMES))]
    problems += [f"twice       {name}" for name in _NAMES if names.count(name) > 1]
    if problems:
        return {}, problems
    for info in archive.infolist():
        name = info.filename
        if info.flag_bits & _ENCRYPTED:
            problems.append(f"{name}: is encrypted; clients have no key")
            continue
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            problems.append(f"{name}: is compressed; members are stored as they are (zip -0)")
            continue
        offset = offsets[name] = aligned_zip.data_offset(stream, info.header_offset)
        alignment = _LEAST_ALIGNMENT[name]
        if offset % alignment:
            problems.append(f"{name}: begins at byte {offset:,}; it is mapped from a multiple of {alignment:,}")
        if _checksum(stream, offset, info.file_size) != info.CRC:
            problems.append(f"{name}: its checksum does not match; the file is damaged")
    return offsets, problems


def _checksum(stream: Any, offset: int, nbytes: int) -> int:
    stream.seek(offset)
    checksum = 0
    while nbytes > 0 and (chunk := stream.read(min(_CHUNK, nbytes))):
        checksum = zlib.crc32(chunk, checksum)
        nbytes -= len(chunk)
    return checksum


def _contents(
    archive: zipfile.ZipFile, stream: Any, offsets: Mapping[str, int], sizes: Mapping[str, int], shown: Path
) -> Task:
    try:
        metadata = llm_metadata_pb2.LlmMetadata.FromString(archive.read(METADATA))
    except DecodeError as error:
        _fail(shown, [f"{METADATA}: is no LlmMetadata: {error}"])
        raise
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        signatures = _signatures(data, offsets[MODEL], sizes[MODEL])
    return Task(offsets, sizes, metadata, archive.read(TOKENIZER), signatures)


def _signatures(data: mmap.mmap, offset: int, nbytes: int) -> dict[str, Signature]:
    """Empty where it is no LiteRT model."""
    with memoryview(data) as whole, whole[offset : offset + nbytes] as part:
        if bytes(part[4:8]) != b"TFL3":
            return {}
        try:
            return _signatures_of(part)
        except (struct.error, IndexError, AttributeError, UnicodeDecodeError, TypeError) as error:
            error.__traceback__ = None  # its frames hold the view, which is to be closed
            return {}


def _signatures_of(part: memoryview) -> dict[str, Signature]:
    model = schema.Model.GetRootAs(part, 0)
    return {
        one.SignatureKey().decode(): Signature(
            frozenset(one.Inputs(i).Name().decode() for i in range(one.InputsLength())),
            frozenset(one.Outputs(i).Name().decode() for i in range(one.OutputsLength())),
        )
        for one in map(model.SignatureDefs, range(model.SignatureDefsLength()))
    }


def _metadata_problems(task: Task) -> Iterator[str]:
    try:
        pieces = open_sentencepiece(task.tokenizer, TOKENIZER)
    except UsageError as error:
        yield f"{TOKENIZER}: {error.message}"
        return
    metadata = task.metadata
    if not metadata.HasField("start_token"):
        yield f"{METADATA}: has no start_token; state one, or the id {NO_TOKEN} for none"
    else:
        yield from _token_problems(pieces, "start_token", metadata.start_token, none=True)
    if not metadata.stop_tokens:
        yield f"{METADATA}: has no stop_tokens; a text would never end"
    for token in metadata.stop_tokens:
        yield from _token_problems(pieces, "stop_tokens", token)


def _token_problems(pieces: Any, field: str, token: Any, *, none: bool = False) -> Iterator[str]:
    ids = list(token.token_ids.ids)
    if token.WhichOneof("token_union") == "token_str":
        found = pieces.piece_to_id(token.token_str)
        if pieces.id_to_piece(found) != token.token_str:
            yield f"{METADATA}: {field} {token.token_str!r} is no piece of the tokenizer"
    elif not ids:
        yield f"{METADATA}: {field} is empty; clients take its first id"
    elif not (none and ids == [NO_TOKEN]):
        size = pieces.vocab_size()
        yield from (f"{METADATA}: {field} {i} is no piece; there are {size:,}" for i in ids if not 0 <= i < size)


def _signature_problems(signatures: Mapping[str, Signature]) -> Iterator[str]:
    if not signatures:
        yield f"{MODEL}: is no LiteRT model with signatures"
        return
    if "decode" not in signatures:
        yield f"{MODEL}: has no signature 'decode', but {', '.join(sorted(signatures))}"
    prefills = [name for name in signatures if name.startswith("prefill")]
    if not prefills:
        yield f"{MODEL}: has no signature whose name begins with 'prefill', but {', '.join(sorted(signatures))}"
    for name in (*prefills, *({"decode"} & set(signatures))):
        one = signatures[name]
        for choices in (("tokens", "token_ids", "embeddings"), ("input_pos", "positions")):
            if one.inputs.isdisjoint(choices):
                yield f"{MODEL}: {name} has no input {' or '.join(choices)}, but {', '.join(sorted(one.inputs))}"
        caches = {x for pair in _CACHE_PREFIXES for prefix in pair for x in one.inputs if x.startswith(prefix)}
        if not caches:
            yield f"{MODEL}: {name} has no inputs kv_cache_k_<layer>, kv_cache_v_<layer>"
        lost = sorted(caches - one.outputs)
        if lost:
            yield f"{MODEL}: {name} takes {', '.join(lost)} and gives none back under the name"
    if "decode" in signatures and "logits" not in signatures["decode"].outputs:
        yield f"{MODEL}: decode has no output 'logits', but {', '.join(sorted(signatures['decode'].outputs))}"
