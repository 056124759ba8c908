"""Writer of the ``.litertlm`` container: a header that lists sections, and the sections, each on a block of its own.

The header is a flatbuffer whose schema comes with ``litert_lm_builder``, which can also write such files. It is not
used for that, because it puts the time and a random number into each, and here the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import flatbuffers
from litert_lm_builder import litertlm_core as core
from litert_lm_builder import litertlm_header_schema_py_generated as schema

_CHUNK = 1 << 20


class SectionType(IntEnum):
    """Types of sections, those that edgegen writes."""

    LLM_METADATA = schema.AnySectionDataType.LlmMetadataProto
    HF_TOKENIZER = schema.AnySectionDataType.HF_Tokenizer_Zlib
    SENTENCEPIECE = schema.AnySectionDataType.SP_Tokenizer
    MODEL = schema.AnySectionDataType.TFLiteModel


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the file.

    Attributes:
        type: type of the section.
        contents: its bytes; or a file that is copied in chunks.
        labels: key-value pairs of the header.
    """

    type: SectionType
    contents: bytes | Path
    labels: Mapping[str, str] = field(default_factory=dict)


def write(file: Path, sections: Iterable[Section], labels: Mapping[str, str]) -> None:
    """Write a container; holds no section from disk in memory.

    Args:
        file: the file to write.
        sections: its sections, in order.
        labels: key-value pairs of the header for the file as a whole. A ``uuid`` made from the sections is added, as
            runtimes may know a file by it.
    """
    sections = list(sections)
    places = [(1, 1)] * len(sections)  # no zeros: the flatbuffer would leave them out and change its size
    size = len(_header(sections, places, {**labels, "uuid": str(uuid.UUID(int=0))}))
    digest = hashlib.sha256()
    with file.open("wb") as stream:
        end = core.HEADER_BEGIN_BYTE_OFFSET + size
        for index, section in enumerate(sections):
            begin = _next_block(end)
            stream.seek(begin)
            _copy(section.contents, stream, digest)
            end = stream.tell()
            places[index] = (begin, end)
        identity = str(uuid.UUID(bytes=digest.digest()[:16]))
        _write_beginning(stream, _header(sections, places, {**labels, "uuid": identity}))


def size(sections: Iterable[int]) -> int:
    """Approximate size in bytes of a file with sections of these sizes."""
    end: int = core.BLOCK_SIZE  # the header's
    for nbytes in sections:
        end = _next_block(end) + nbytes
    return end


def _header(sections: list[Section], places: list[tuple[int, int]], labels: Mapping[str, str]) -> bytes:
    objects = [
        schema.SectionObjectT(
            items=_entries(section.labels), beginOffset=begin, endOffset=end, dataType=int(section.type)
        )
        for section, (begin, end) in zip(sections, places, strict=True)
    ]
    root = schema.LiteRTLMMetaDataT(
        systemMetadata=schema.SystemMetadataT(entries=_entries(labels)),
        sectionMetadata=schema.SectionMetadataT(objects=objects),
    )
    builder = flatbuffers.Builder(core.BLOCK_SIZE)
    builder.Finish(root.Pack(builder))
    return bytes(builder.Output())


def _entries(labels: Mapping[str, str]) -> list[schema.KeyValuePairT]:
    return [
        schema.KeyValuePairT(key=key, value=schema.StringValueT(text), valueType=schema.VData.StringValue)
        for key, text in labels.items()
    ]


def _write_beginning(stream: BinaryIO, header: bytes) -> None:
    """Write magic bytes, version, the offset of the header's end, and the header."""
    version = (core.LITERTLM_MAJOR_VERSION, core.LITERTLM_MINOR_VERSION, core.LITERTLM_PATCH_VERSION)
    stream.seek(0)
    stream.write(core.HEADER_MAGIC_BYTES)
    stream.write(b"".join(part.to_bytes(4, "little") for part in version))
    stream.seek(core.HEADER_END_LOCATION_BYTE_OFFSET)
    stream.write((core.HEADER_BEGIN_BYTE_OFFSET + len(header)).to_bytes(8, "little"))
    stream.write(header)


def _copy(contents: bytes | Path, stream: BinaryIO, digest: hashlib._Hash) -> None:
    source: BinaryIO = contents.open("rb") if isinstance(contents, Path) else io.BytesIO(contents)
    with source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            stream.write(chunk)


def _next_block(offset: int) -> int:
    block: int = core.BLOCK_SIZE
    return -(-offset // block) * block
