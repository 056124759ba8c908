"""Damages of PyTorch files: archives, legacy files, and pickles with code in them."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from edgegen.testing.damage import (
    HUGE,
    Corpus,
    Fifo,
    Files,
    Link,
    Mutation,
    edit,
    edit_json,
    empty,
    flip,
    put,
    said,
    swap,
    truncate,
    without,
)

CASES = Corpus()

PYTORCH, PYTORCH_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
PYTORCH_SHARD = "pytorch_model-00002-of-00002.bin"
FIRST = "model.norm.weight"


@dataclass
class View:
    """A tensor as a pickle states it, whatever that may be."""

    name: str
    data: bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    count: int
    offset: int = 0
    key: str = ""
    storage: str = "torch FloatStorage"
    call: bytes = b""
    """Instructions in place of the tensor."""


def views(tensors: Mapping[str, np.ndarray]) -> list[View]:
    return [
        View(name, array.tobytes(), array.shape, tuple(s // 4 for s in array.strides), array.size, key=str(number))
        for number, (name, array) in enumerate(tensors.items())
    ]


def write_archive(
    tensors: Iterable[View],
    compression: int = zipfile.ZIP_STORED,
    more: Mapping[str, bytes] | None = None,
    pickled: bytes | None = None,
    without: str = "",
) -> bytes:
    tensors = list(tensors)
    entries = {"data.pkl": pickled or pickle_of(tensors), "byteorder": b"little"}
    entries |= {f"data/{view.key}": view.data for view in tensors} | {"version": b"3\n"} | dict(more or {})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            if name == without:
                continue
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content, compression)
    return file.getvalue()


def pickle_of(tensors: Iterable[View]) -> bytes:
    return (
        b"\x80\x02}" + b"".join(_as_string(view.name) + (view.call or _tensor(view)) + b"s" for view in tensors) + b"."
    )


def _tensor(view: View) -> bytes:
    module, name = view.storage.split()
    where = _as_string("storage") + f"c{module}\n{name}\n".encode() + _as_string(view.key) + _as_string("cpu")
    sizes = [b"(" + b"".join(map(_as_number, numbers)) + b"t" for numbers in (view.shape, view.strides)]
    made = b"(" + where + _as_number(view.count) + b"tQ" + _as_number(view.offset) + b"".join(sizes)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + made + b"\x89)tR"


def _as_string(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _as_number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


CANARY = "canary"
"""File that code in a pickle would make, in the working folder."""


@dataclass
class Code:
    """Pickles into a call."""

    function: Any
    arguments: tuple[Any, ...]

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def shell() -> Code:
    return Code(os.system, (f"touch {CANARY}",))


def evaluated() -> Code:
    return Code(eval, (f"open({CANARY!r}, 'w').close()",))


def executed() -> Code:
    return Code(exec, (f"import pathlib; pathlib.Path({CANARY!r}).touch()",))


def spawned() -> Code:
    import subprocess

    return Code(subprocess.check_call, (["touch", CANARY],))


def loaded() -> Code:
    """A function of torch's own, which loads what is in it without care."""
    from torch.storage import _load_from_bytes

    return Code(_load_from_bytes, (saved(shell()),))


def saved(content: Any, *, legacy: bool = False) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return _with_plain_keys(file.getvalue()) if legacy else file.getvalue()


def _with_plain_keys(content: bytes) -> bytes:
    """Legacy files name storages of floats, and sort them, by where they lay in memory, which differs each time."""
    stream, found, at = io.BytesIO(content), [], [0]
    for _ in range(5):
        texts = [argument for opcode, argument, _ in pickletools.genops(stream) if opcode.name == "BINUNICODE"]
        found.append([text for text in texts if text.isdecimal()])
        at.append(stream.tell())
    plain = {key: f"{number:03}" for number, key in enumerate(dict.fromkeys(found[3]))}
    numbers = {}
    for key in found[4]:
        count = stream.read(8)
        numbers[plain[key]] = count + stream.read(4 * int.from_bytes(count, "little"))
    head = content[: at[4]]
    for key, name in plain.items():
        head = head.replace(_as_string(key), _as_string(name))
    names = b"".join(map(_as_string, sorted(numbers)))
    return head + b"\x80\x02](" + names + b"e." + b"".join(numbers[name] for name in sorted(numbers))


def state_dict(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}


for _base in ("pytorch", "pytorch-sharded", "pytorch-legacy"):
    CASES.add("truncated", _base, "cut", truncate, 2)
for _base in ("pytorch", "pytorch-sharded"):
    CASES.add("truncated", _base, "empty", empty)
CASES.add("truncated", "pytorch", "one byte short", edit(PYTORCH, lambda content: content[:-1]))


def _archive_head(content: bytes) -> list[int]:
    """The pickle, and the directory."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickled = next(entry for entry in archive.infolist() if entry.filename.endswith("data.pkl"))
        return [*range(pickled.header_offset, pickled.header_offset + 2000), *range(archive.start_dir, len(content))]


def _legacy_names(content: bytes) -> list[int]:
    """Of tensors and functions, and the keys of storages; a stride or a flag of another value is as legal."""
    stream, places = io.BytesIO(content), []
    for _ in range(5):
        for opcode, argument, at in pickletools.genops(stream):
            if opcode.name == "GLOBAL":
                places += range(at, at + 2 + len(argument))
            elif opcode.name == "BINUNICODE" and (argument.isdecimal() or argument.endswith(".weight")):
                places += range(at + 5, at + 5 + len(argument))
    return places


def _said_by_archive(content: bytes) -> Any:
    """Name -> how and what is stored there, by the directory; the checksum is the pickle's alone."""
    if content[-22:-18] != b"PK\x05\x06":
        return None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        said = {}
        for entry in archive.infolist():
            _, name = entry.filename.split("/", 1)
            if name == "data.pkl":
                said[name] = archive.read(entry.filename)
            elif name.startswith("data/"):
                local = content[entry.header_offset : entry.header_offset + 30]
                said[name] = (local[:4], local[26:28], entry.header_offset, entry.file_size, entry.compress_type)
        return said


def _said_by_index(content: bytes) -> Any:
    return json.loads(content)["weight_map"]


for _base, _name, _places, _read, _count in (
    ("pytorch", PYTORCH, _archive_head, _said_by_archive, 5),
    ("pytorch-sharded", PYTORCH_SHARD, _archive_head, _said_by_archive, 1),
    ("pytorch-sharded", PYTORCH_INDEX, lambda content: list(range(len(content))), _said_by_index, 1),
    ("pytorch-legacy", PYTORCH, _legacy_names, lambda content: content, 4),
):
    CASES.add("flipped", _base, f"bit in {_name}", flip(_name, _places), _count, meaning=said(_read, _name))


def _save_with(make: Callable[[], Any], *, legacy: bool = False, nested: bool = False, file: str = PYTORCH) -> Mutation:
    """Code beside the weights, which are all there."""

    def mutate(files: Files, random: Random) -> None:
        import torch

        whole = torch.load(io.BytesIO(files[file]), weights_only=True)
        content = {"model": {**whole, "deep": [{"er": (make(),)}]}} if nested else {**whole, "step": make()}
        files[file] = saved(content, legacy=legacy)

    return mutate


def _archive(change: Callable[[list[View]], Any], **options: Any) -> Mutation:
    """Change tensors of the archive written by hand, the first of which is ``FIRST``."""

    def mutate(files: Files, random: Random) -> None:
        import torch

        whole = torch.load(io.BytesIO(files[PYTORCH]), weights_only=True)
        tensors = views({name: whole[name].numpy() for name in sorted(whole, key=lambda name: name != FIRST)})
        change(tensors)
        files[PYTORCH] = write_archive(tensors, **options)

    return mutate


def _first(**values: Any) -> Mutation:
    def change(tensors: list[View]) -> None:
        tensors[0] = dataclasses.replace(tensors[0], **values)

    return _archive(change)


def _legacy_part(number: int) -> Mutation:
    """Code in one of the five pickles of a legacy file: magic number, version, machine, object, keys."""

    def mutate(files: Files, random: Random) -> None:
        stream, parts = io.BytesIO(files[PYTORCH]), []
        for _ in range(5):
            start = stream.tell()
            list(pickletools.genops(stream))
            parts.append(files[PYTORCH][start : stream.tell()])
        parts[number] = pickle.dumps(shell(), protocol=2)
        files[PYTORCH] = b"".join(parts) + stream.read()

    return mutate


_COMMAND = _as_string(f"touch {CANARY}")

_CALLS = {
    "by instruction i": b"(" + _COMMAND + b"iposix\nsystem\n",
    "by a stacked name": _as_string("posix") + _as_string("system") + b"\x93" + _COMMAND + b"\x85R",
    "by attributes": b"ctorch._utils\n_rebuild_parameter\ncposix\nsystem\n" + _COMMAND + b"\x85b",
    "through a wrapper": b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nN" + _COMMAND + b"\x85NtR",
    "terabyte by a harmless name": b"c__builtin__\nbytearray\n\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85R",
    "persistent id": _COMMAND + b"Q",
    "persistent id as text": b"Ptouch canary\n",
    "persistent id that calls": b"(" + _as_string("storage") + b"cposix\nsystem\n" + _COMMAND * 2 + b"K\x01tQ",
    "itself in itself": b"]q\x07h\x07a",
}

for _make in (shell, evaluated, executed, spawned, loaded):
    CASES.add("code", "pytorch", f"{_make.__name__}", _save_with(_make))
for _make in (shell, evaluated, loaded):
    CASES.add("code", "pytorch-legacy", f"{_make.__name__}", _save_with(_make, legacy=True))
CASES.add("code", "pytorch", "deep in a dict", _save_with(shell, nested=True))
CASES.add("code", "pytorch-sharded", "in the last shard", _save_with(shell, file=PYTORCH_SHARD))
CASES.add("code", "pytorch-legacy", "in place of the version", _legacy_part(1))
CASES.add("code", "pytorch-legacy", "in place of the machine", _legacy_part(2))
CASES.add("code", "pytorch-legacy", "in place of the keys", _legacy_part(4))
CASES.add("code", "pytorch", "bare pickle", put(PYTORCH, pickle.dumps(shell(), protocol=2)))
for _what, _call in _CALLS.items():
    CASES.add("code", "pytorch-by-hand", _what, _first(call=_call))

for _storage in ("torch IntStorage", "torch LongStorage", "torch.storage UntypedStorage"):
    CASES.add("types", "pytorch-by-hand", _storage, _first(storage=_storage))

CASES.add("sizes", "pytorch-by-hand", "storage of 2**60", _first(count=HUGE))
CASES.add("sizes", "pytorch-by-hand", "shape of 2**60", _first(shape=(HUGE,), strides=(0,)))
CASES.add("sizes", "pytorch-by-hand", "offset of 2**60", _first(offset=HUGE))
CASES.add(
    "sizes", "pytorch-by-hand", "string of 4 GB", _archive(lambda tensors: None, pickled=b"\x80\x02}X\xff\xff\xff\xffa")
)
CASES.add(
    "sizes", "pytorch-by-hand", "marks without end", _archive(lambda tensors: None, pickled=b"\x80\x02" + b"(" * 2**21)
)
CASES.add(
    "sizes", "pytorch-by-hand", "zip bomb",
    _archive(lambda tensors: None, compression=zipfile.ZIP_DEFLATED, more={"data/bomb": bytes(2**27)}),
)  # fmt: skip
CASES.add("sizes", "pytorch-by-hand", "storage missing", _archive(lambda tensors: None, without="data/3"))
CASES.add(
    "sizes", "pytorch-by-hand", "entry twice",
    edit(PYTORCH, lambda content: content.replace(b"archive/data/11", b"archive/data/10")),
)  # fmt: skip

CASES.add("shards", "pytorch-sharded", "missing", without(PYTORCH_SHARD))
CASES.add("shards", "pytorch-sharded", "swapped", swap)

CASES.add("shards", "pytorch-sharded", "index of no tensors", put(PYTORCH_INDEX, b'{"weight_map": {}}'))

CASES.add(
    "paths", "pytorch-sharded", "names ../x", edit_json(PYTORCH_INDEX, lambda i: i["weight_map"].update(x="../x"))
)

CASES.add("places", "pytorch", f"pipe for {PYTORCH}", put(PYTORCH, Fifo()))
CASES.add("places", "pytorch", f"loop for {PYTORCH}", put(PYTORCH, Link(PYTORCH)))
