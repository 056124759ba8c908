"""Aligned zip files: members lie uncompressed at aligned offsets, so that a program can map them into memory.

A member's header is filled up, as Android's ``zipalign`` does, by an extra field of the kind 0xD935 that holds the
alignment and zeros. The same members give the same bytes: no time is written.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ALIGNMENT = 1 << 14
"""Alignment of mapped members in bytes: the larger of the page sizes in use."""

_FIELD = 0xD935
_FIELD_HEADER = struct.Struct("<HHH")  # kind, size of what follows, alignment
_LOCAL = struct.Struct("<4s5H3L2H")
_LARGE_FIELD = 20  # of members that may reach 4 GiB: kind, size, and two sizes of 8 bytes
_LARGE = zipfile.ZIP64_LIMIT  # where Python's library begins to write it, at half of what needs it
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of an aligned zip.

    Attributes:
        name: ASCII name.
        contents: its bytes; or a file that is copied in chunks.
        alignment: its data begins at a multiple of this, in bytes.
    """

    name: str
    contents: bytes | Path
    alignment: int = 64

    @property
    def nbytes(self) -> int:
        return len(self.contents) if isinstance(self.contents, bytes) else self.contents.stat().st_size


def write(file: Path, members: Iterable[Member]) -> None:
    """Write an aligned zip; holds no member from disk in memory."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for member in members:
            _write_member(archive, member)


def size(members: Iterable[tuple[str, int, int]]) -> int:
    """Size in bytes of a file with members of these names, sizes and alignments; to a hundred bytes beyond 2 GiB."""
    end = directory = 0
    for name, nbytes, alignment in members:
        end = _begin(end, name, nbytes, alignment) + nbytes
        directory += 46 + len(name) + (28 if nbytes > _LARGE else 0)
    return end + directory + 22


def data_offset(stream: BinaryIO, header: int) -> int:
    """Offset of the data of the member whose header is at ``header``.

    Raises:
        ValueError: there is no header.
    """
    stream.seek(header)
    data = stream.read(_LOCAL.size)
    if len(data) < _LOCAL.size or data[:4] != b"PK\x03\x04":
        raise ValueError(f"no member begins at byte {header:,}")
    *_, name, extra = _LOCAL.unpack(data)
    return int(header + _LOCAL.size + name + extra)


def _begin(offset: int, name: str, nbytes: int, alignment: int) -> int:
    header = offset + _LOCAL.size + len(name) + (_LARGE_FIELD if nbytes > _LARGE else 0) + _FIELD_HEADER.size
    return -(-header // alignment) * alignment


def _write_member(archive: zipfile.ZipFile, member: Member) -> None:
    assert archive.fp is not None
    large = member.nbytes > _LARGE
    info = zipfile.ZipInfo(member.name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16  # Unix, wherever it is written
    here = archive.fp.tell()
    begin = _begin(here, member.name, member.nbytes, member.alignment)
    used = here + _LOCAL.size + len(member.name) + (_LARGE_FIELD if large else 0) + _FIELD_HEADER.size
    info.extra = _FIELD_HEADER.pack(_FIELD, 2 + begin - used, member.alignment) + bytes(begin - used)
    contents = member.contents
    source: BinaryIO = contents.open("rb") if isinstance(contents, Path) else io.BytesIO(contents)
    with source, archive.open(info, "w", force_zip64=large) as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
    info.extra = b""  # the directory at the end needs no filling
