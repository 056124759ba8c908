"""The two files that ``torch.save`` has written: a zip archive since 1.6, and before that pickles with numbers after.

Either opens into the pickled object and the place of each storage. Nothing is loaded: the archive's storages are
stored without compression and a legacy file's follow one another, so that both are read where they lie.

Source: ``torch/serialization.py`` (``_save`` and ``_legacy_save``), and PKWARE's APPNOTE.TXT for the archive.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.files import DOWNLOAD_AGAIN, SlicedFile
from edgegen_pytorch.pickles import MOST_BYTES, DamagedError, Machine, StorageRef

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""A pickle of one number, protocol 2."""

_LOCAL_HEADER = 30
_LARGEST_DIRECTORY = 8 * 2**20
"""An entry takes about 80 bytes in the file and 600 in memory: room for 100,000 tensors."""
_LARGEST_COMMENT = 2**17
"""The end of an archive, of which a comment takes 64 KiB, is read until the file ends."""


@dataclass(frozen=True)
class Container:
    """A file that ``torch.save`` wrote.

    Attributes:
        content: the object that was saved, as :class:`edgegen_pytorch.pickles.Machine` describes it.
        spans: key of a storage -> its first byte in the file and the byte after its last.
    """

    file: SlicedFile
    content: Any
    spans: Mapping[str, tuple[int, int]]


def read_container(path: Path) -> Container:
    """Read everything but numbers.

    Raises:
        CheckpointError: it is damaged, of another kind, or wants code to be run.
    """
    file = SlicedFile(path)
    head = file.read(0, min(file.size, len(LEGACY_MAGIC))).tobytes()
    try:
        if head.startswith(ZIP_MAGIC):
            return _read_archive(file)
        if head == LEGACY_MAGIC:
            return _read_legacy(file)
    except (DamagedError, OSError) as error:
        raise CheckpointError(
            f"{path.name} is not a valid PyTorch file: {error}", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        ) from error
    raise CheckpointError(
        f"{path.name} is not a file that torch.save wrote",
        code=ErrorCode.CHECKPOINT_DAMAGED,
        hint="name a PyTorch checkpoint, or download it again",
    )


# --- archives -------------------------------------------------------------------------------------------------


class Archive:
    """The directory of a zip archive, each entry checked when it is asked for.

    Raises:
        DamagedError: there is no directory, or it makes no sense.
    """

    def __init__(self, file: SlicedFile) -> None:
        self.file = file
        try:
            with _Bounded(file.path) as raw, zipfile.ZipFile(raw) as archive:
                entries, end = archive.infolist(), archive.start_dir
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as error:
            raise DamagedError(f"the directory of its archive is damaged or missing ({error})") from error
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) < len(entries):
            raise DamagedError("its archive has two entries of one name")
        self._starts = sorted([*(entry.header_offset for entry in entries), end])
        roots = [name.removesuffix(_PICKLE) for name in self.entries if name.endswith(_PICKLE) and name.count("/") == 1]
        if len(roots) != 1:
            raise DamagedError("its archive has no data.pkl")
        self.root = f"{roots[0]}/"

    @property
    def is_torchscript(self) -> bool:
        """True for a TorchScript program."""
        return any(name.startswith((f"{self.root}code/", f"{self.root}constants.pkl")) for name in self.entries)

    def span(self, entry: zipfile.ZipInfo) -> tuple[int, int]:
        """Offset and size of an entry's bytes in the file; they are its own and not compressed.

        Raises:
            CheckpointError: they are compressed.
            DamagedError: they reach into the next entry.
        """
        name, at = entry.filename, entry.header_offset
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise CheckpointError(
                f"{self.file.path.name} has compressed or encrypted entries, which torch.save never writes",
                code=ErrorCode.UNSUPPORTED_ARCHIVE,
                hint="unpack it and pack it again without compression (zip -0), or get it from its publisher",
            )
        following = self._starts[min(bisect_right(self._starts, at), len(self._starts) - 1)]
        if not 0 <= at <= following - _LOCAL_HEADER:
            raise DamagedError(f"{name} lies outside its archive")
        stored_name = entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8 else "cp437")
        header = self.file.read(at, _LOCAL_HEADER).tobytes()
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        start = at + _LOCAL_HEADER + name_length + extra_length
        same = header.startswith(ZIP_MAGIC) and name_length == len(stored_name)
        if not same or start + entry.file_size > following or self._read_name(at, name_length) != stored_name:
            raise DamagedError(f"{name} reaches beyond its place in the archive")
        return start, start + entry.file_size

    def _read_name(self, at: int, length: int) -> bytes:
        """The name in the entry's own header, which repeats the directory's."""
        return self.file.read(at + _LOCAL_HEADER, length).tobytes()

    def read(self, name: str, limit: int) -> bytes:
        """A small entry as a whole; ``name`` is that below the root.

        Raises:
            DamagedError: it is missing, too large, or not what was written.
        """
        entry = self.entries[self.root + name]
        start, stop = self.span(entry)
        if stop - start > limit:
            raise DamagedError(f"{name} has {stop - start:,} bytes, more than any real one")
        content = self.file.read(start, stop - start).tobytes()
        if entry.CRC not in (0, zlib.crc32(content)):  # torch.serialization.set_crc32_options(False) leaves 0
            raise DamagedError(f"the checksum of {name} differs")
        return content

    def read_pickle(self) -> bytes:
        """The pickled object; see :meth:`read`."""
        return self.read("data.pkl", MOST_BYTES)


_PICKLE = "/data.pkl"
_ENCRYPTED, _UTF8 = 0x1, 0x800


class _Bounded(io.FileIO):
    """Keeps ``zipfile`` from reading a directory of the size that a damaged file claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        asked = _LARGEST_COMMENT if size is None or size < 0 else size
        if asked > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile("it claims to be larger than any real one")
        return super().read(asked) or b""


def _read_archive(file: SlicedFile) -> Container:
    archive, name = Archive(file), file.path.name
    if archive.is_torchscript:
        raise CheckpointError(
            f"{name} is a TorchScript program, not a state dict",
            code=ErrorCode.NOT_A_STATE_DICT,
            hint="torch.jit.load it where you trust it, then torch.save(model.state_dict(), ...)",
        )
    if f"{archive.root}byteorder" in archive.entries and archive.read("byteorder", 16) != b"little":
        raise _big_endian(name)
    data = archive.read_pickle()
    machine = Machine(io.BytesIO(data), name)
    content = _run(machine, name, lambda: data)
    entries = {key: archive.entries.get(f"{archive.root}data/{key}") for key in machine.storages}
    missing = [key for key, entry in entries.items() if entry is None]
    if missing:
        raise DamagedError(f"its archive lacks {len(missing)} of {len(entries)} storages")
    return Container(file, content, {key: archive.span(entry) for key, entry in entries.items() if entry})


# --- legacy files ---------------------------------------------------------------------------------------------


def _read_legacy(file: SlicedFile) -> Container:
    """Five pickles (magic number, version, machine, object, keys of storages), then a count and numbers for each."""
    name = file.path.name
    with file.path.open("rb") as raw:
        _, _, writer = (Machine(raw, name).run() for _ in range(3))
        if not isinstance(writer, dict) or writer.get("little_endian") is not True:
            raise _big_endian(name)
        start, machine = raw.tell(), Machine(raw, name)
        content = _run(machine, name, lambda: file.read(start, min(file.size - start, MOST_BYTES)).tobytes())
        keys = Machine(raw, name).run()
        at = raw.tell()
    if not isinstance(keys, list) or set(map(type, keys)) - {str} or sorted(keys) != sorted(machine.storages):
        raise DamagedError("its list of storages is not that of its tensors")
    spans = {}
    for key in keys:
        spans[key] = _legacy_span(file, machine.storages[key], at)
        at = spans[key][1]
    return Container(file, content, spans)


def _legacy_span(file: SlicedFile, storage: StorageRef, at: int) -> tuple[int, int]:
    """Extent of a storage's numbers, whose count comes first, at byte ``at``."""
    start = at + 8
    stop = start + storage.count * storage.width
    if not start <= stop <= file.size:
        raise DamagedError(f"truncated: a storage ends at byte {stop:,}, the file has {file.size:,}")
    if int.from_bytes(file.read(at, 8).tobytes(), "little") != storage.count:
        raise DamagedError(f"a storage at byte {at:,} is not of the size that its tensors state")
    return start, stop


# --- both -----------------------------------------------------------------------------------------------------


def _run(machine: Machine, name: str, data: Callable[[], bytes]) -> Any:
    """The pickled object; a whole model is told as such rather than by the first class that its pickle names."""
    try:
        return machine.run()
    except CheckpointError as error:
        pickled = data()
        if b"_parameters" not in pickled or b"_modules" not in pickled:
            raise
        raise CheckpointError(
            f"{name} holds a whole pickled model, which only its code can open",
            code=ErrorCode.NOT_A_STATE_DICT,
            hint="load it where you trust it, then torch.save(model.state_dict(), ...)",
        ) from error


def _big_endian(name: str) -> CheckpointError:
    return CheckpointError(
        f"{name} was written on a big-endian machine",
        code=ErrorCode.UNSUPPORTED_ARCHIVE,
        hint="load it with torch and save it again on a usual one",
    )
