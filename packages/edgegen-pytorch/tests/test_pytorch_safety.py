"""Files that nobody should trust: nothing in them is run, and whatever is wrong ends in a sentence."""

from __future__ import annotations

import pickle
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_files import Canary, little_memory, save, tensor_pickle, write_archive

from edgegen.errors import CheckpointError
from edgegen_pytorch.pickles import ALLOWED
from edgegen_pytorch.reader import detect, open_checkpoint

WEIGHT = torch.arange(24.0).reshape(6, 4)
HONEST = tensor_pickle(24, (6, 4), (4, 1))
DATA = {"data/0": WEIGHT.numpy().tobytes()}


def refused(path: Path, match: str) -> CheckpointError:
    with pytest.raises(CheckpointError, match=match) as caught:
        open_checkpoint(path)
    assert caught.value.hint
    assert len(str(caught.value)) < 1000
    return caught.value


def test_the_honest_file_opens(tmp_path: Path) -> None:
    tensors = open_checkpoint(write_archive(tmp_path / "m.pt", HONEST, DATA)).tensors
    np.testing.assert_array_equal(tensors["w"].read(), WEIGHT)


# --- code -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_wants_to_run_code_is_refused_and_runs_none(legacy: bool, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    file = save(tmp_path / "m.bin", {"w": WEIGHT, "x": Canary(canary)}, legacy)
    error = refused(file, r"wants to run code: its pickle names 'posix.mkdir'")
    assert "never runs code" in str(error.hint)
    assert "safetensors" in str(error.hint)
    assert detect(file)
    assert not canary.exists()
    torch.load(file, weights_only=False)  # it would have
    assert canary.exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.getattr", "torch.load", "nt.system"])
def test_names_that_are_not_needed_are_refused(name: str, tmp_path: Path) -> None:
    module, _, function = name.rpartition(".")
    pickled = f"\x80\x02c{module}\n{function}\nX\x01\0\0\0a\x85R.".encode("latin-1")
    refused(write_archive(tmp_path / "m.pt", pickled), name)


def test_every_name_that_is_let_through_is_let_through_by_torch() -> None:
    from torch._weights_only_unpickler import _get_allowed_globals

    strangers = ALLOWED - set(_get_allowed_globals())
    assert all(name.startswith("torch.cuda.Q") for name in strangers)


def test_calls_of_harmless_names_make_nothing(tmp_path: Path) -> None:
    """torch would allocate a terabyte here."""
    call = b"X\x01\0\0\0bc__builtin__\nbytearray\n\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85Rs"
    tensors = open_checkpoint(write_archive(tmp_path / "m.pt", HONEST[:-1] + call + b".", DATA)).tensors
    assert list(tensors) == ["w"]


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_pickled_model_is_told_as_such(legacy: bool, tmp_path: Path) -> None:
    error = refused(save(tmp_path / "m.pt", torch.nn.Linear(2, 2), legacy), "whole pickled model")
    assert "state_dict()" in str(error.hint)


def test_torchscript_is_told_as_such(tmp_path: Path) -> None:
    for entry in ("code/__torch__.py", "constants.pkl"):
        error = refused(write_archive(tmp_path / "m.pt", HONEST, {**DATA, entry: b""}), "TorchScript")
        assert "state_dict()" in str(error.hint)


# --- archives ---------------------------------------------------------------------------------------------------


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    refused(write_archive(tmp_path / "m.pt", HONEST, DATA, compression=zipfile.ZIP_DEFLATED), "compressed")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "m.pt", bytes(200 * 2**20), compression=zipfile.ZIP_DEFLATED)
    with little_memory(2**20):
        refused(file, "compressed")
        assert detect(file)


def test_a_pickle_larger_than_any_real_one_is_not_read(tmp_path: Path) -> None:
    refused(write_archive(tmp_path / "m.pt", bytes(65 * 2**20)), "data.pkl has 68,157,440 bytes")


def test_big_endian_archives_are_refused(tmp_path: Path) -> None:
    refused(write_archive(tmp_path / "m.pt", HONEST, {**DATA, "byteorder": b"big"}), "big-endian")
    open_checkpoint(write_archive(tmp_path / "m.pt", HONEST, {**DATA, "byteorder": b"little"}))


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(tmp_path / "m.pt", "no data.pkl")
    (tmp_path / "m.pt").write_bytes(b"hello")
    refused(tmp_path / "m.pt", "not a file that torch.save wrote")
    (tmp_path / "m.pt").write_bytes(b"")
    refused(tmp_path / "m.pt", "empty")


def test_a_missing_storage_is_told(tmp_path: Path) -> None:
    refused(write_archive(tmp_path / "m.pt", HONEST), "lacks 1 of 1 storages")


def patched_directory(path: Path, name: str, field: int, layout: str, *values: int) -> None:
    """Change a field of an entry in the directory, not in the entry's own header."""
    content = bytearray(path.read_bytes())
    at = content.rindex(f"archive/{name}".encode()) - 46  # the last mention is the directory's
    struct.pack_into(layout, content, at + field, *values)
    path.write_bytes(content)


def test_entries_that_overlap_or_reach_out_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    two = {**DATA, "data/1": bytes(400)}
    for size in (130, 2**31):
        patched_directory(write_archive(file, HONEST, two), "data/0", 20, "<II", size, size)
        refused(file, "reaches beyond its place")
    patched_directory(write_archive(file, HONEST, two), "data/0", 42, "<I", 0)  # now data.pkl, which is another
    refused(file, "reaches beyond its place")
    patched_directory(write_archive(file, HONEST, two), "data/0", 42, "<I", 2**31)
    refused(file, "outside its archive")


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "m.pt", HONEST, {**DATA, "data/1": b""})
    file.write_bytes(file.read_bytes().replace(b"archive/data/1", b"archive/data/0"))
    refused(file, "two entries of one name")


def test_a_directory_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "m.pt", HONEST, DATA)
    content = bytearray(file.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    struct.pack_into("<II", content, end + 12, 2**30, 0)
    with file.open("wb") as opened:  # a file with a hole, large enough for the claim
        opened.write(content[:4])
        opened.seek(2**30 - 4)
        opened.write(content[end:])
    with little_memory(2**20):
        refused(file, "directory of its archive")


def test_files_without_checksums_open(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        file = save(tmp_path / "m.pt", {"w": WEIGHT})
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(open_checkpoint(file).tensors["w"].read(), WEIGHT)


# --- pickles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pickled", "match"),
    [
        (tensor_pickle(25, (6, 4), (4, 1)), "claims 25 elements"),
        (tensor_pickle(2**60, (6, 4), (4, 1)), "claims 1,152,921,504,606,846,976 elements"),
        (tensor_pickle(-1, (6, 4), (4, 1)), "claims -1 elements"),
        (tensor_pickle(24, (7, 4), (4, 1)), "beyond its storage"),
        (tensor_pickle(24, (6, 4), (5, 1)), "beyond its storage"),
        (tensor_pickle(24, (6, 4), (4, 1), offset=1), "beyond its storage"),
        (tensor_pickle(24, (6, 4), (4, 1), offset=-1), "sizes or strides"),
        (tensor_pickle(24, (6, 4), (4, -1)), "sizes or strides"),
        (tensor_pickle(24, (-6, 4), (4, 1)), "sizes or strides"),
        (tensor_pickle(24, (6, 4), (1,)), "sizes or strides"),
        (tensor_pickle(24, (1,) * 40, (1,) * 40), "40 dimensions"),
        (tensor_pickle(24, (2**40, 2**40), (0, 0)), "larger than the file"),
        (tensor_pickle(24, (0, 2**40, 2**40), (0, 0, 0)), "larger than the file"),
        (tensor_pickle(24, (2**2000,), (2**2000,)), "larger than the file"),
        (tensor_pickle(24, (6, 4), (4, 1), name="w" * 5000), "name of 5,000"),
        (tensor_pickle(24, (6, 4), (4, 1), key="../0"), "lacks 1 of 1 storages"),
        (b"\x80\x02", "truncated"),
        (b"\x80\x02.", "fails"),
        (b"\x80\x02}X\xff\xff\xff\xffa", "larger than any real one"),
        (b"\x80\x02ctorch", "of no end"),
        (b"\x80\x02" + b"}" * 1_100_000, "1,000,000 instructions"),
        (b"\x80\x02" + b"(" * 1_100_000, "1,000,000 instructions"),
        (b"\x80\x02K\x01K\x02s.", "fails"),
        (b"\x80\x02}(K\x01u.", "fails"),
        (b"\x80\x02h\x07.", "fails"),
        (b"\x80\x02)\x86.", "too few values"),
        (b"\x80\x02ctorch\nSize\n(" + b"N" * 20 + b"tR.", "passes 20 arguments"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "Python 2"),
        (b"\x80\x02}X\x01\0\0\0aK\x01s}b.", "holds no tensors"),
        (b"\x80\x02X\x02\0\0\0\xff\xfe.", "fails"),
        (b"\x80\x02K\x05Q.", "where a tuple belongs"),
        (pickle.dumps({"w": 1}, protocol=4), "pickle protocol 4"),
        (b"\x80\x02\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "torch.save does not write"),
    ],
)
def test_absurd_pickles_are_explained_at_once(pickled: bytes, match: str, tmp_path: Path) -> None:
    file = write_archive(tmp_path / "m.pt", pickled, DATA)
    started = time.perf_counter()
    refused(file, match)
    assert time.perf_counter() - started < 60  # not for ever, on any machine


def test_a_key_that_would_take_forever_to_hash_is_left_out(tmp_path: Path) -> None:
    deep = b")" + b"".join(b"q\x00h\x00\x86" for _ in range(200))
    file = write_archive(tmp_path / "m.pt", HONEST[:-1] + deep + b"Ns.", DATA)
    assert list(open_checkpoint(file).tensors) == ["w"]


def test_one_dict_under_many_keys_is_looked_through_once(tmp_path: Path) -> None:
    def text(number: int) -> bytes:
        return b"X\x06\0\0\0%06d" % number

    large = b"}q\x00(" + b"".join(text(number) + b"N" for number in range(40_000)) + b"u"
    many = b"}(" + text(0) + large + b"".join(text(number) + b"h\x00" for number in range(1, 40_000)) + b"u."
    started = time.perf_counter()
    refused(write_archive(tmp_path / "m.pt", b"\x80\x02" + many), "holds no tensors")
    assert time.perf_counter() - started < 60  # not for ever, on any machine


def test_plain_pickles_of_other_things_are_refused(tmp_path: Path) -> None:
    refused(
        write_archive(tmp_path / "m.pt", pickle.dumps({"a": np.zeros(3)}, protocol=2), DATA),
        "wants to run code: .*numpy",
    )


# --- chance -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["zip", "legacy"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    weights = {"w": WEIGHT, "half": WEIGHT.half().t(), "scalar": torch.tensor(1.5), "tied": WEIGHT[1:3]}
    return save(tmp_path / "whole.pt", {"model_state_dict": weights, "epoch": 3}, request.param).read_bytes()


def test_every_truncation_is_a_checkpoint_error(whole: bytes, tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    for length in np.random.default_rng(0).integers(0, len(whole), 100):
        file.write_bytes(whole[:length])
        detect(file)
        refused(file, r"m.pt")


def test_flipped_bits_end_in_a_checkpoint_error_or_in_weights(whole: bytes, tmp_path: Path) -> None:
    file, random = tmp_path / "m.pt", np.random.default_rng(1)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(0, len(whole))] ^= 1 << random.integers(0, 8)
        file.write_bytes(damaged)
        detect(file)
        try:
            for tensor in open_checkpoint(file).tensors.values():
                tensor.read()
            outcomes["read"] += 1
        except CheckpointError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


def test_a_flipped_bit_in_the_names_and_shapes_is_always_noticed(tmp_path: Path) -> None:
    file = save(tmp_path / "m.pt", {"w": WEIGHT})
    whole = file.read_bytes()
    start = whole.index(b"\x80\x02")
    stop = whole.index(b"s.PK", start)
    for at in range(start, stop, 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        refused(file, r"m.pt")


def test_a_file_that_shrinks_after_opening_is_an_error(tmp_path: Path) -> None:
    file = save(tmp_path / "m.pt", {"w": WEIGHT})
    tensor = open_checkpoint(file).tensors["w"]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="changed after it was opened"):
        tensor.read()
