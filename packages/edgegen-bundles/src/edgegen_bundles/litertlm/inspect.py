"""What a ``.litertlm`` file holds, whoever wrote it: read with the builder's own reader, for ``edgegen inspect``."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from litert_lm_builder import litertlm_core as core
from litert_lm_builder import litertlm_header_schema_py_generated as schema
from litert_lm_builder import litertlm_peek as peek
from litert_lm_builder.runtime.proto import llm_metadata_pb2

from edgegen.errors import ErrorCode, UsageError
from edgegen.genai.file_contents import Contents, Part

_NAMES = {value: name for name, value in vars(schema.AnySectionDataType).items() if isinstance(value, int)}


def contents(file: Path) -> Contents:
    """List the sections.

    Raises:
        UsageError: there is no such file, or it is no ``.litertlm`` file, or a part of it is missing.
    """
    try:
        version = io.StringIO()
        header = peek.read_litertlm_header(str(file), version)
        return Contents(
            format=" ".join(version.getvalue().replace("Version: ", "").split()),
            parts=(_system(header), *(_part(file, section) for section in _sections(header))),
        )
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", code=ErrorCode.FILE_UNREADABLE) from error
    except (ValueError, struct.error, IndexError, TypeError) as error:
        raise UsageError(f"{file} is no .litertlm file, or damaged", code=ErrorCode.LITERTLM_DAMAGED) from error


def llm_metadata(file: Path) -> llm_metadata_pb2.LlmMetadata:
    """What the file tells LiteRT-LM of its model."""
    header = peek.read_litertlm_header(str(file), io.StringIO())
    kind = schema.AnySectionDataType.LlmMetadataProto
    [section] = [section for section in _sections(header) if section.DataType() == kind]
    return llm_metadata_pb2.LlmMetadata.FromString(read(file, section.BeginOffset(), section.EndOffset()))


def read(file: Path, begin: int, end: int) -> bytes:
    """Some bytes of a file; ValueError where it is too short."""
    with file.open("rb") as stream:
        stream.seek(begin)
        data = stream.read(end - begin)
    if len(data) != end - begin:
        raise ValueError(f"{file} ends before byte {end}")
    return data


def _sections(header: schema.LiteRTLMMetaData) -> list[schema.SectionObject]:
    table = header.SectionMetadata()
    return [table.Objects(index) for index in range(table.ObjectsLength())]


def _system(header: schema.LiteRTLMMetaData) -> Part:
    table = header.SystemMetadata()
    entries = [table.Entries(index) for index in range(table.EntriesLength())]
    begin = core.HEADER_BEGIN_BYTE_OFFSET
    return Part(name="Header", offset=0, nbytes=begin + len(header._tab.Bytes), details=_labels(entries))


def _part(file: Path, section: schema.SectionObject) -> Part:
    begin, end = section.BeginOffset(), section.EndOffset()
    if not 0 < begin <= end <= file.stat().st_size:
        raise ValueError(f"a section from byte {begin} to {end} is not inside {file}")
    details = _labels([section.Items(index) for index in range(section.ItemsLength())])
    if section.DataType() == schema.AnySectionDataType.LlmMetadataProto:
        details |= describe_metadata(llm_metadata_pb2.LlmMetadata.FromString(read(file, begin, end)))
    name = _NAMES.get(section.DataType(), f"section of type {section.DataType()}")
    return Part(name=name, offset=begin, nbytes=end - begin, details=details)


def _labels(entries: list[schema.KeyValuePair]) -> dict[str, str]:
    pairs = [peek.kvp_to_dict(entry) for entry in entries]
    return {str(pair["key"]): str(pair["value"]) for pair in pairs}


def describe_metadata(metadata: llm_metadata_pb2.LlmMetadata) -> dict[str, str]:
    """The fields that decide how a text begins, ends and is laid out."""
    stops = [_token(stop) for stop in metadata.stop_tokens]
    lines = len(metadata.jinja_prompt_template.splitlines())
    return {
        "model type": metadata.llm_model_type.WhichOneof("model_type") or "none",
        "start token": _token(metadata.start_token) if metadata.HasField("start_token") else "none",
        "stop tokens": ", ".join(stops) or "none",
        "max tokens": str(metadata.max_num_tokens),
        "chat template": f"{lines} lines" if lines else "none",
    }


def _token(token: llm_metadata_pb2.token__pb2.TokenUnion) -> str:
    return token.token_str or " ".join("none" if index < 0 else str(index) for index in token.token_ids.ids)
