"""Zip files whose members lie where they can be mapped."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zipfile

import pytest

from edgegen_bundles.mediapipe import aligned_zip
from edgegen_bundles.mediapipe.aligned_zip import Member, data_offset, size, write


@pytest.fixture
def big(tmp_path):
    file = tmp_path / "big"
    file.write_bytes(random.Random(1).randbytes(3_000_001))
    return file


def members(big):
    return (
        Member(name="A", contents=b"first"),
        Member(name="EMPTY", contents=b""),
        Member(name="BIG", contents=big, alignment=1 << 14),
        Member(name="Z", contents=b"last", alignment=4096),
    )


def offsets(file):
    with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
        return {info.filename: data_offset(stream, info.header_offset) for info in archive.infolist()}


def test_others_read_it_and_members_begin_at_round_addresses(big, tmp_path):
    file = tmp_path / "file"
    write(file, members(big))
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "A": b"first", "EMPTY": b"", "BIG": big.read_bytes(), "Z": b"last",
        }  # fmt: skip
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    found = offsets(file)
    for member in members(big):
        assert found[member.name] % member.alignment == 0
        begin = found[member.name]
        contents = member.contents if isinstance(member.contents, bytes) else member.contents.read_bytes()
        assert file.read_bytes()[begin : begin + member.nbytes] == contents


def test_the_size_is_known_beforehand_and_bytes_are_the_same_again(big, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write(one, members(big))
    write(two, members(big))
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size == size((m.name, m.nbytes, m.alignment) for m in members(big))


@pytest.mark.parametrize("filling", range(0, 64, 7))
def test_any_length_before_it_is_filled_up(big, tmp_path, filling):
    file = tmp_path / "file"
    write(file, (Member(name="A", contents=bytes(filling)), Member(name="BIG", contents=big, alignment=64)))
    assert offsets(file)["BIG"] % 64 == 0
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None


def test_a_member_is_not_held_in_memory(big, tmp_path):
    tracemalloc.start()
    write(tmp_path / "file", members(big))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < big.stat().st_size


def test_large_members_have_sizes_of_eight_bytes(big, tmp_path, monkeypatch):
    """As beyond 4 GiB, with the limits moved down."""
    monkeypatch.setattr(aligned_zip, "_LARGE", 1_000_000)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1_000_000)
    file = tmp_path / "file"
    write(file, members(big))
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.read("BIG") == big.read_bytes()
        assert archive.read("Z") == b"last"  # begins beyond the limit
        header = archive.getinfo("BIG").header_offset
    assert offsets(file)["BIG"] % (1 << 14) == 0
    assert file.stat().st_size >= size((m.name, m.nbytes, m.alignment) for m in members(big))
    data = file.read_bytes()
    compressed, plain, name_length, extra_length = struct.unpack_from("<LLHH", data, header + 18)
    assert (compressed, plain) == (0xFFFFFFFF, 0xFFFFFFFF)
    extra = data[header + 30 + name_length :][:extra_length]
    fields = {}
    while extra:
        kind, length = struct.unpack_from("<HH", extra)
        fields[kind], extra = extra[4 : 4 + length], extra[4 + length :]
    assert struct.unpack("<QQ", fields[1]) == (3_000_001, 3_000_001)
    assert set(fields) == {1, 0xD935}


def test_what_is_no_member_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"nothing of the kind, for longer than a header is")
    with file.open("rb") as stream, pytest.raises(ValueError, match="no member"):
        data_offset(stream, 0)
