"""Damaged checkpoints, made by a seeded fuzzer from sound ones; the same on every machine.

A checkpoint is a dict: name of a file -> its bytes, or what is there in place of a file. A mutation changes such a
dict, with a random generator at hand. :data:`CASES` lists the mutations, a row each.

What is damaged must mean something else than before. Truncations and edits of structure do so by design. A flipped bit
may fall on padding or on a field that nobody reads, so what the file says is compared by readers of this module's own,
and another bit is drawn where it says the same. Bits of weights are left alone: any number is as good as another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

# --- checkpoints as dicts -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fifo:
    """A pipe that nobody writes to."""


@dataclass(frozen=True)
class Folder:
    """A folder that is called like a file."""


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Sparse:
    """A file with a hole of zeros between its ends, which takes no room on the disk."""

    head: bytes
    size: int
    tail: bytes = b""


Entry = bytes | Fifo | Folder | Link | Sparse
Files = dict[str, Any]
Mutation = Callable[[Files, Random], None]

SAFETENSORS, INDEX = "model.safetensors", "model.safetensors.index.json"
PYTORCH, PYTORCH_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
GGUF = "tiny.gguf"
CONFIG, TOKENIZER, SETTINGS, GENERATION = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
)  # fmt: skip


def write(files: Mapping[str, Entry], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, entry in files.items():
        path = folder / name
        if isinstance(entry, Fifo):
            os.mkfifo(path)
        elif isinstance(entry, Folder):
            path.mkdir()
        elif isinstance(entry, Link):
            path.symlink_to(entry.target)
        elif isinstance(entry, Sparse):
            with path.open("wb") as file:
                file.write(entry.head)
                file.truncate(entry.size - len(entry.tail))
                file.seek(0, os.SEEK_END)
                file.write(entry.tail)
        else:
            path.write_bytes(entry)
    return folder


def digest(files: Mapping[str, Entry]) -> str:
    whole = hashlib.sha256()
    for name, entry in sorted(files.items()):
        whole.update(repr(name).encode())
        whole.update(entry if isinstance(entry, bytes) else repr(entry).encode())
    return whole.hexdigest()


# --- safetensors ----------------------------------------------------------------------------------------------------


def header_of(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<Q", content)
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header


def with_header(header: bytes, content: bytes) -> bytes:
    """Another header before the same data."""
    (length,) = struct.unpack_from("<Q", content)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def write_safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    header, data = {}, b""
    for name, numbers in tensors.items():
        raw = numbers.tobytes()
        header[name] = {"dtype": "F32", "shape": numbers.shape, "data_offsets": (len(data), len(data) + len(raw))}
        data += raw
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


# --- GGUF -----------------------------------------------------------------------------------------------------------

_KINDS = ["<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", "string", "array", "<Q", "<q", "<d"]
STRING, ARRAY, U32, F32, U64 = 8, 9, 4, 6, 10


@dataclass
class Gguf:
    """A GGUF file taken apart, so that each field can be set to anything at all.

    Attributes:
        entries: ``[key, kind of value, value]``; the value of an array is ``(kind, values)``.
        rows: of the table of tensors: ``[name, dimensions, type, offset]``, fastest dimension first.
        counts: of rows and entries, where other ones are claimed than there are.
    """

    entries: list[list[Any]]
    rows: list[list[Any]]
    data: bytes
    version: int = 3
    counts: tuple[int, int] | None = None

    @classmethod
    def read(cls, content: bytes) -> Gguf:
        stream = io.BytesIO(content)
        magic, version, tensors, entries = struct.unpack("<4sIQQ", stream.read(24))
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{magic!r} {version}")
        head = [[_text(stream), *_kind_and_value(stream)] for _ in range(entries)]
        rows = []
        for _ in range(tensors):
            name, dimensions = _text(stream), _one(stream, "<I")
            sizes = [_one(stream, "<Q") for _ in range(dimensions)]
            rows.append([name, sizes, _one(stream, "<I"), _one(stream, "<Q")])
        return cls(head, rows, content[-(-stream.tell() // 32) * 32 :], version)

    def written(self) -> bytes:
        tensors, entries = self.counts or (len(self.rows), len(self.entries))
        head = struct.pack("<4sIQQ", b"GGUF", self.version, tensors, entries)
        head += b"".join(_as_text(key) + struct.pack("<I", kind) + _as_value(kind, v) for key, kind, v in self.entries)
        for name, sizes, kind, offset in self.rows:
            head += _as_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)
        return head + bytes(-len(head) % 32) + self.data

    def get(self, key: str) -> list[Any]:
        return next(entry for entry in self.entries if entry[0] == key)

    def meaning(self) -> Any:
        """What a model is made from: names, vocabulary, training context and general remarks aside."""
        ends = sorted(offset for _, _, _, offset in self.rows)
        facts = {
            key: float(f"{value:.4g}") if kind == F32 else (kind, value)
            for key, kind, value in self.entries
            if key in _ESSENTIAL or not key.startswith(("general.", "tokenizer."))
        }
        return {**facts, "llama.context_length": 0, "llama.vocab_size": 0}, self.rows, ends


_ESSENTIAL = ("general.architecture", "general.alignment")


def _one(stream: io.BytesIO, layout: str) -> Any:
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))[0]


def _text(stream: io.BytesIO) -> str:
    length = _one(stream, "<Q")
    if length > 2**20:
        raise ValueError(f"a string of {length} bytes")
    return stream.read(length).decode()


def _kind_and_value(stream: io.BytesIO) -> tuple[int, Any]:
    kind = _one(stream, "<I")
    if kind != ARRAY:
        return kind, _value(stream, kind)
    inner, count = _one(stream, "<I"), _one(stream, "<Q")
    if count > 2**20:
        raise ValueError(f"an array of {count}")
    return kind, (inner, [_value(stream, inner) for _ in range(count)])


def _value(stream: io.BytesIO, kind: int) -> Any:
    return _text(stream) if kind == STRING else _one(stream, _KINDS[kind])


def _as_text(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def _as_value(kind: int, value: Any) -> bytes:
    if isinstance(value, bytes):  # already written
        return value
    if kind == STRING:
        return _as_text(value)
    if kind == ARRAY:
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(_as_value(inner, one) for one in values)
    return struct.pack(_KINDS[kind], value)


def with_tokenizer(content: bytes, tokenizer: Mapping[str, Any]) -> bytes:
    """The byte-level vocabulary of a ``tokenizer.json`` as GGUF metadata."""
    model, gguf = tokenizer["model"], Gguf.read(content)
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    gguf.entries += [
        ["tokenizer.ggml.model", STRING, "gpt2"],
        ["tokenizer.ggml.pre", STRING, "gpt-2"],
        ["tokenizer.ggml.tokens", ARRAY, (STRING, tokens)],
        ["tokenizer.ggml.token_type", ARRAY, (5, [3 if token in tokens[:4] else 1 for token in tokens])],
        ["tokenizer.ggml.merges", ARRAY, (STRING, merges)],
        ["tokenizer.ggml.bos_token_id", U32, 0],
        ["tokenizer.ggml.eos_token_id", U32, 1],
    ]
    return gguf.written()


# --- PyTorch --------------------------------------------------------------------------------------------------------


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
"""What code in a pickle would make, in the working folder."""


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


# --- sound checkpoints ----------------------------------------------------------------------------------------------


@dataclass
class Sound:
    """What all cases are made from.

    Attributes:
        tensors: name -> numbers.
        bases: kind of checkpoint -> its files.
    """

    tensors: dict[str, np.ndarray]
    bases: dict[str, Files]


def sound(folder: Path, floats: bytes, blocks: bytes) -> Sound:
    """All formats of one model.

    Args:
        folder: with shards of safetensors.
        floats: the model as GGUF.
        blocks: the same, in blocks of Q4_0.
    """
    sharded: Files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    shards = [name for name in sharded if name.endswith(".safetensors")]
    parts = [_arrays(sharded[name]) for name in shards]
    tensors = {name: array for part in parts for name, array in part.items()}
    beside = {name: sharded[name] for name in (CONFIG, TOKENIZER, SETTINGS, GENERATION)}
    tokenizer = json.loads(sharded[TOKENIZER])
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    weight_map = {name: file for file, part in zip(names, parts, strict=True) for name in part}
    return Sound(
        tensors,
        {
            "safetensors": {SAFETENSORS: write_safetensors(tensors), **beside},
            "sharded": sharded,
            "gguf": {GGUF: with_tokenizer(floats, tokenizer)},
            "gguf-q4": {GGUF: with_tokenizer(blocks, tokenizer)},
            "pytorch": {PYTORCH: saved(state_dict(tensors)), **beside},
            "pytorch-sharded": {
                **{name: saved(state_dict(part)) for name, part in zip(names, parts, strict=True)},
                PYTORCH_INDEX: json.dumps({"weight_map": weight_map}).encode(),
                **beside,
            },
            "pytorch-legacy": {PYTORCH: saved(state_dict(tensors), legacy=True), **beside},
            "pytorch-by-hand": {PYTORCH: write_archive(views(tensors)), **beside},
        },
    )


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    (length,) = struct.unpack_from("<Q", content)
    return {
        name: np.frombuffer(content[8 + length :][slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header_of(content).items()
        if name != "__metadata__"
    }


# --- cases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One damaged checkpoint.

    Attributes:
        name: of the row.
        category: what kind of damage.
        base: the sound checkpoint that it is made from.
        mutate: what happens to it.
        seed: of the mutation.
        meaning: what the files say, where a mutation may change nothing of that.
        named: what the command line names, below the folder.
    """

    name: str
    category: str
    base: str
    mutate: Mutation
    seed: int
    meaning: Callable[[Files], Any] | None = None
    named: str = "."

    def build(self, bases: Mapping[str, Files]) -> Files:
        """The damaged files; draws again with the next seed while they say the same as before."""
        before = bases[self.base]
        for seed in range(self.seed, self.seed + 200):
            files = dict(before)
            self.mutate(files, Random(f"{self.base} {self.name} {seed}"))
            if files != before and (self.meaning is None or self.meaning(files) != self.meaning(before)):
                return files
        raise AssertionError(f"{self.name}: nothing that is drawn changes what the checkpoint says")


CASES: list[Case] = []

BASES = (
    "safetensors", "sharded", "gguf", "gguf-q4", "pytorch", "pytorch-sharded", "pytorch-legacy", "pytorch-by-hand",
)  # fmt: skip

LEAST = {
    "truncated": (20, 5), "flipped": (30, 10), "code": (20, 5), "types": (10, 4), "sizes": (30, 20), "shards": (10, 5),
    "paths": (8, 3), "places": (10, 4), "config": (20, 8), "tokenizer": (15, 6),
}  # fmt: skip
"""Category -> how many rows and distinct messages there must be."""


def _rows(
    category: str, base: str, what: str, mutate: Mutation, count: int = 1, *, meaning: Any = None, named: str = "."
) -> None:
    for number in range(count):
        name = f"{base}: {what}" + (f" {number + 1}" if count > 1 else "")
        CASES.append(Case(name, category, base, mutate, 1000 * number, meaning, named))


def _weights(files: Files) -> list[str]:
    return [name for name in files if name.endswith((".safetensors", ".bin", ".gguf"))]


def _set(name: str, entry: Entry) -> Mutation:
    def mutate(files: Files, random: Random) -> None:
        files[name] = entry

    return mutate


def _edit(name: str, change: Callable[[bytes], Entry]) -> Mutation:
    def mutate(files: Files, random: Random) -> None:
        files[name] = change(files[name])

    return mutate


def _edit_json(name: str, change: Callable[[Any], Any]) -> Mutation:
    """Change the document in place, or put another in its place."""

    def edit(content: bytes) -> bytes:
        document = json.loads(content)
        other = change(document)
        return json.dumps(document if other is None else other).encode()

    return _edit(name, edit)


def _with(**values: Any) -> Callable[[Any], Any]:
    return lambda document: {**document, **values}


# --- truncated ---


def _truncate(files: Files, random: Random) -> None:
    name = random.choice(_weights(files))
    content = files[name]
    # Half of the cuts in what comes before the numbers, which is a small part of each file.
    files[name] = content[: random.randrange(1, 3000 if random.random() < 0.5 else len(content))]


def _empty(files: Files, random: Random) -> None:
    files[random.choice(_weights(files))] = b""


for _base in BASES[:-1]:
    _rows("truncated", _base, "cut", _truncate, 2)
for _base in ("safetensors", "gguf", "pytorch", "pytorch-sharded"):
    _rows("truncated", _base, "empty", _empty)
_rows("truncated", "sharded", "cut index", _edit(INDEX, lambda content: content[:-40]))
_rows("truncated", "safetensors", "one byte short", _edit(SAFETENSORS, lambda content: content[:-1]))
_rows("truncated", "pytorch", "one byte short", _edit(PYTORCH, lambda content: content[:-1]))

# --- flipped bits ---


def _flip(name: str, places: Callable[[bytes], list[int]]) -> Mutation:
    """Flip a bit at one of the places."""

    def mutate(files: Files, random: Random) -> None:
        content = bytearray(files[name])
        content[random.choice(places(files[name]))] ^= 1 << random.randrange(8)
        files[name] = bytes(content)

    return mutate


def _safetensors_head(content: bytes) -> list[int]:
    return list(range(8 + struct.unpack_from("<Q", content)[0]))


def _gguf_head(content: bytes) -> list[int]:
    """Up to the type of the last tensor: where nothing follows, a type of fewer bytes leaves no trace."""
    gguf = Gguf.read(content)
    last = content.rindex(_as_text(gguf.rows[-1][0]))
    vocabulary = content.index(b"tokenizer.ggml.model")
    return [*range(vocabulary - 8), *range(content.index(_as_text(gguf.rows[0][0])), last)]


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


def _said(read: Callable[[bytes], Any], name: str) -> Callable[[Files], Any]:
    def meaning(files: Files) -> Any:
        try:
            return read(files[name])
        except Exception as error:
            return type(error).__name__

    return meaning


def _said_by_header(content: bytes) -> Any:
    return {**header_of(content), "__metadata__": None}


def _said_by_index(content: bytes) -> Any:
    return json.loads(content)["weight_map"]


def _said_by_gguf(content: bytes) -> Any:
    return Gguf.read(content).meaning()


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


_ARCHITECTURE = (
    "attention_bias", "head_dim", "hidden_act", "hidden_size", "intermediate_size", "mlp_bias", "model_type",
    "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_parameters",
    "tie_word_embeddings", "vocab_size",
)  # fmt: skip


def _said_by_config(content: bytes) -> Any:
    document = json.loads(content)
    return {key: document.get(key, "absent") for key in _ARCHITECTURE}


_SHARD, _PYTORCH_SHARD = "model-00002-of-00002.safetensors", "pytorch_model-00002-of-00002.bin"
for _base, _name, _places, _read, _count in (
    ("safetensors", SAFETENSORS, _safetensors_head, _said_by_header, 5),
    ("sharded", _SHARD, _safetensors_head, _said_by_header, 2),
    ("sharded", INDEX, lambda content: list(range(len(content))), _said_by_index, 2),
    ("gguf", GGUF, _gguf_head, _said_by_gguf, 6),
    ("gguf-q4", GGUF, _gguf_head, _said_by_gguf, 2),
    ("pytorch", PYTORCH, _archive_head, _said_by_archive, 5),
    ("pytorch-sharded", _PYTORCH_SHARD, _archive_head, _said_by_archive, 1),
    ("pytorch-sharded", PYTORCH_INDEX, lambda content: list(range(len(content))), _said_by_index, 1),
    ("pytorch-legacy", PYTORCH, _legacy_names, lambda content: content, 4),
    ("safetensors", CONFIG, lambda content: list(range(len(content))), _said_by_config, 2),
):
    _rows("flipped", _base, f"bit in {_name}", _flip(_name, _places), _count, meaning=_said(_read, _name))

# --- code ---

FIRST = "model.norm.weight"


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

for _make in (shell, evaluated, executed, spawned, loaded):
    _rows("code", "pytorch", f"{_make.__name__}", _save_with(_make))
for _make in (shell, evaluated, loaded):
    _rows("code", "pytorch-legacy", f"{_make.__name__}", _save_with(_make, legacy=True))
_rows("code", "pytorch", "deep in a dict", _save_with(shell, nested=True))
_rows("code", "pytorch-sharded", "in the last shard", _save_with(shell, file=_PYTORCH_SHARD))
_rows("code", "pytorch-legacy", "in place of the version", _legacy_part(1))
_rows("code", "pytorch-legacy", "in place of the machine", _legacy_part(2))
_rows("code", "pytorch-legacy", "in place of the keys", _legacy_part(4))
_rows("code", "pytorch", "bare pickle", _set(PYTORCH, pickle.dumps(shell(), protocol=2)))
_rows("code", "safetensors", "a pickle by another name", _set(SAFETENSORS, pickle.dumps(shell(), protocol=2)))
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
for _what, _call in _CALLS.items():
    _rows("code", "pytorch-by-hand", _what, _first(call=_call))

# --- types ---


def _retype(dtype: Any) -> Mutation:
    def change(content: bytes) -> bytes:
        header = header_of(content)
        header["model.layers.1.self_attn.o_proj.weight"]["dtype"] = dtype
        return with_header(json.dumps(header).encode(), content)

    return _edit(SAFETENSORS, change)


for _dtype in ("F16", "I32", "U32", "F33", None):
    _rows("types", "safetensors", f"{_dtype!r} for F32", _retype(_dtype))
for _storage in ("torch IntStorage", "torch LongStorage", "torch.storage UntypedStorage"):
    _rows("types", "pytorch-by-hand", _storage, _first(storage=_storage))


def _gguf(change: Callable[[Gguf], Any]) -> Mutation:
    def edit(content: bytes) -> bytes:
        gguf = Gguf.read(content)
        change(gguf)
        return gguf.written()

    return _edit(GGUF, edit)


def _row(number: int, column: int, value: Any) -> Mutation:
    def change(gguf: Gguf) -> None:
        gguf.rows[number][column] = value

    return _gguf(change)


for _kind in (1, 26, 99):
    _rows("types", "gguf", f"type {_kind} for 0", _row(2, 2, _kind))

# --- counts, lengths, shapes, offsets ---


def _entry(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    """Change the header of a safetensors file."""

    def edit(content: bytes) -> bytes:
        header = header_of(content)
        change(header)
        return with_header(json.dumps(header).encode(), content)

    return _edit(SAFETENSORS, edit)


def _first_entry(**values: Any) -> Mutation:
    return _entry(lambda header: header[FIRST].update(values))


def _duplicate(header: dict[str, Any]) -> str:
    text = json.dumps(header)
    return text.replace("layers.1.mlp.up_proj", "layers.0.mlp.up_proj")


def _overlap(header: dict[str, Any]) -> None:
    header["model.layers.0.mlp.up_proj.weight"]["data_offsets"] = header["model.layers.1.mlp.up_proj.weight"][
        "data_offsets"
    ]


HUGE = 2**60
DEEP = b"[" * 100_000 + b"]" * 100_000

_rows("sizes", "safetensors", "header of 100 MB", _edit(SAFETENSORS, lambda c: struct.pack("<Q", 10**8) + c[8:]))
_rows("sizes", "safetensors", "header of 2**60", _edit(SAFETENSORS, lambda c: struct.pack("<Q", HUGE) + c[8:]))
_rows("sizes", "safetensors", "header of 0", _edit(SAFETENSORS, lambda c: struct.pack("<Q", 0) + c[8:]))
_rows(
    "sizes", "safetensors", "header of 90 MB that is there",
    _set(SAFETENSORS, Sparse(struct.pack("<Q", 90 * 2**20) + b"{", 90 * 2**20 + 8)),
)  # fmt: skip
_rows("sizes", "safetensors", "deep header", _edit(SAFETENSORS, lambda c: with_header(b'{"a":' + DEEP + b"}", c)))
_rows("sizes", "safetensors", "header that is a list", _edit(SAFETENSORS, lambda c: with_header(b"[]", c)))
_rows("sizes", "safetensors", "shape of 2**60", _first_entry(shape=[HUGE]))
_rows("sizes", "safetensors", "offsets of 2**60", _first_entry(data_offsets=[HUGE, HUGE + 256]))
_rows("sizes", "safetensors", "overlap", _entry(_overlap))
_rows("sizes", "safetensors", "gap", _entry(lambda header: header.pop("model.layers.0.mlp.up_proj.weight")))
_rows(
    "sizes", "safetensors", "duplicate", _edit(SAFETENSORS, lambda c: with_header(_duplicate(header_of(c)).encode(), c))
)
_rows("sizes", "safetensors", "surplus", _edit(SAFETENSORS, lambda content: content + b"surplus"))

_rows("sizes", "gguf", "tensors 2**60", _gguf(lambda g: setattr(g, "counts", (HUGE, len(g.entries)))))
_rows("sizes", "gguf", "entries 2**60", _gguf(lambda g: setattr(g, "counts", (len(g.rows), HUGE))))
_rows("sizes", "gguf", "version 4", _gguf(lambda g: setattr(g, "version", 4)))
_rows("sizes", "gguf", "offset 2**60", _row(3, 3, HUGE))
_rows("sizes", "gguf", "overlap", _gguf(lambda g: g.rows[3].__setitem__(3, g.rows[2][3])))
_rows("sizes", "gguf", "gap", _gguf(lambda g: (g.rows.pop(3), g.rows[3].__setitem__(0, "blk.0.attn_q.weight"))))
_rows("sizes", "gguf", "not aligned", _gguf(lambda g: g.rows[3].__setitem__(3, g.rows[3][3] + 4)))
_rows("sizes", "gguf", "shape of 2**60", _row(0, 1, [HUGE, HUGE]))
_rows("sizes", "gguf", "duplicate", _gguf(lambda g: g.rows[3].__setitem__(0, g.rows[2][0])))
_rows("sizes", "gguf", "name that is not UTF-8", _row(0, 0, b"token_embd.\xff\xfe"))
_rows("sizes", "gguf-q4", "rows that are no blocks", _row(1, 1, [40, 64]))


def _add(key: str, kind: int, value: Any) -> Mutation:
    return _gguf(lambda gguf: gguf.entries.append([key, kind, value]))


def _replace(key: str, kind: int, value: Any) -> Mutation:
    def change(gguf: Gguf) -> None:
        gguf.get(key)[1:] = [kind, value]

    return _gguf(change)


def _drop(key: str) -> Mutation:
    return _gguf(lambda gguf: gguf.entries.remove(gguf.get(key)))


_rows("sizes", "gguf", "string of 2**60", _add("general.note", STRING, struct.pack("<Q", HUGE)))
_rows("sizes", "gguf", "key twice", _add("llama.block_count", U32, 2))
_rows("sizes", "gguf", "alignment of 0", _add("general.alignment", U32, 0))


def _many_tokens(content: bytes) -> Sparse:
    """Sixteen million empty tokens, in a hole of the file."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1) + _as_text("tokenizer.ggml.tokens")
    head += struct.pack("<IIQ", ARRAY, STRING, 2**24)
    return Sparse(head, 2**28)


_rows("sizes", "gguf", "millions of tokens", _edit(GGUF, _many_tokens))

_rows("sizes", "pytorch-by-hand", "storage of 2**60", _first(count=HUGE))
_rows("sizes", "pytorch-by-hand", "shape of 2**60", _first(shape=(HUGE,), strides=(0,)))
_rows("sizes", "pytorch-by-hand", "offset of 2**60", _first(offset=HUGE))
_rows(
    "sizes", "pytorch-by-hand", "string of 4 GB", _archive(lambda tensors: None, pickled=b"\x80\x02}X\xff\xff\xff\xffa")
)
_rows(
    "sizes", "pytorch-by-hand", "marks without end", _archive(lambda tensors: None, pickled=b"\x80\x02" + b"(" * 2**21)
)
_rows(
    "sizes", "pytorch-by-hand", "zip bomb",
    _archive(lambda tensors: None, compression=zipfile.ZIP_DEFLATED, more={"data/bomb": bytes(2**27)}),
)  # fmt: skip
_rows("sizes", "pytorch-by-hand", "storage missing", _archive(lambda tensors: None, without="data/3"))
_rows(
    "sizes", "pytorch-by-hand", "entry twice",
    _edit(PYTORCH, lambda content: content.replace(b"archive/data/11", b"archive/data/10")),
)  # fmt: skip

# --- shards and paths ---


def _shard_named(name: str) -> Mutation:
    def change(index: dict[str, Any]) -> None:
        index["weight_map"][FIRST] = name

    return _edit_json(INDEX, change)


def _without(name: str) -> Mutation:
    def mutate(files: Files, random: Random) -> None:
        del files[name]

    return mutate


def _swap(files: Files, random: Random) -> None:
    first, second = [name for name in files if name.endswith((".safetensors", ".bin"))]
    files[first], files[second] = files[second], files[first]


def _many(value: str, count: int) -> bytes:
    return b'{"weight_map":{' + b",".join(b'"%x":"%s"' % (i, value.encode()) for i in range(count)) + b"}}"


for _index, _base, _one_shard in ((INDEX, "sharded", _SHARD), (PYTORCH_INDEX, "pytorch-sharded", _PYTORCH_SHARD)):
    _rows("shards", _base, "missing", _without(_one_shard))
    _rows("shards", _base, "swapped", _swap)
_rows("shards", "sharded", "index is a list", _set(INDEX, b"[]"))
_rows("shards", "pytorch-sharded", "index of no tensors", _set(PYTORCH_INDEX, b'{"weight_map": {}}'))
_rows("shards", "sharded", "no index", _without(INDEX))
_rows("shards", "sharded", "weight_map of numbers", _edit_json(INDEX, _with(weight_map={FIRST: 7})))
_rows("shards", "sharded", "index lists too much", _edit_json(INDEX, lambda i: i["weight_map"].update(more=_SHARD)))
_rows("shards", "sharded", "million entries", _set(INDEX, _many(_SHARD, 10**6)))
_rows("shards", "sharded", "million short entries", _set(INDEX, _many("a", 10**6)))
_rows("shards", "sharded", "index is not UTF-8", _set(INDEX, b'{"weight_map": {"\xff\xfe": "a"}}'))
for _path in ("../model.safetensors", "/etc/passwd", "..\\model.safetensors", "..", "", "a\0b", "x" * 5000):
    _rows("paths", "sharded", f"names {_path[:25]!r}", _shard_named(_path))
_rows("paths", "sharded", "names itself", _shard_named(INDEX))
_rows("paths", "pytorch-sharded", "names ../x", _edit_json(PYTORCH_INDEX, lambda i: i["weight_map"].update(x="../x")))

# --- what is no file ---

for _base, _name in (
    ("safetensors", SAFETENSORS), ("sharded", _SHARD), ("gguf", GGUF), ("pytorch", PYTORCH), ("safetensors", CONFIG),
    ("safetensors", TOKENIZER),
):  # fmt: skip
    _rows("places", _base, f"pipe for {_name}", _set(_name, Fifo()))
    if _base not in ("sharded", "gguf"):
        _rows("places", _base, f"loop for {_name}", _set(_name, Link(_name)))
for _base, _name in (("safetensors", SAFETENSORS), ("gguf", GGUF), ("safetensors", CONFIG), ("safetensors", TOKENIZER)):
    _rows("places", _base, f"folder for {_name}", _set(_name, Folder()))
_rows("places", "sharded", "link to nowhere", _set(_SHARD, Link("gone")))
_rows("places", "gguf", "pipe that is named", _set(GGUF, Fifo()), named=GGUF)
_rows("places", "sharded", "folder for the index", _set(INDEX, Folder()))

# --- what lies beside the weights ---

_CONFIGS: dict[str, Any] = {
    "list": lambda document: [document],
    "eps NaN": _with(rms_norm_eps=float("nan")),
    "eps of 400 digits": _with(rms_norm_eps=10**400),
    "rope is a list": _with(rope_parameters=[1, 2]),
    "rope scaling is a list": _with(rope_scaling=[["rope_type", "linear"]] * 2),
    "rope of text": _with(
        rope_parameters={
            "rope_type": "llama3",
            "factor": "8",
            "low_freq_factor": [],
            "high_freq_factor": 0,
            "original_max_position_embeddings": None,
        }
    ),
    "hidden_size 2**60": _with(hidden_size=HUGE, head_dim=None),
    "no heads": _with(num_attention_heads=0, head_dim=None),
    "layers 2**60": _with(num_hidden_layers=HUGE),
    "layers 10**8": _with(num_hidden_layers=10**8),
    "text part is a number": _with(text_config=7, num_hidden_layers=None),
    "surrogate": _with(**{"\ud800": "\udfff"}),
    "long value": _with(surprise=["x" * 1000] * 1000),
}
_BYTES = {
    "not UTF-8": b'{"hidden_size": "\xff\xfe"}',
    "deep": b'{"hidden_size": ' + DEEP + b"}",
    "number of 5000 digits": b'{"hidden_size": ' + b"9" * 5000 + b"}",
    "300 MB": Sparse(b"{", 300 * 2**20, b"}"),
}
for _what, _change in _CONFIGS.items():
    _rows("config", "safetensors", f"config: {_what}", _edit_json(CONFIG, _change))
_rows(
    "config",
    "safetensors",
    "config: deep, but not too deep",
    _edit(CONFIG, lambda c: c.rstrip()[:-1] + b',"x":' + b"[" * 900 + b"]" * 900 + b"}"),
)
for _what, _content in _BYTES.items():
    _rows("config", "safetensors", f"config: {_what}", _set(CONFIG, _content))
_rows("config", "gguf", "config: no architecture", _drop("general.architecture"))
_rows("config", "gguf", "config: architecture is a number", _replace("general.architecture", U32, 7))
_rows("config", "gguf", "config: layers is text", _replace("llama.block_count", STRING, "2"))

_TOKENIZERS: dict[str, Any] = {
    "list": lambda document: [document],
    "empty object": lambda document: {"version": "1.0"},
    "added tokens of text": _with(added_tokens=["<s>", "</s>"]),
    "id of 10**30": _with(added_tokens=[{"id": 10**30, "content": "<s>"}]),
    "ids are negative": lambda document: document["model"].update(vocab={"<s>": -1, "</s>": -2}),
    "post-processor of numbers": _with(post_processor={"type": "TemplateProcessing", "single": [1]}),
}
for _what, _change in _TOKENIZERS.items():
    _rows("tokenizer", "safetensors", f"tokenizer: {_what}", _edit_json(TOKENIZER, _change))
for _what, _content in _BYTES.items():
    _rows("tokenizer", "safetensors", f"tokenizer: {_what}", _set(TOKENIZER, _content))
_rows("tokenizer", "safetensors", "cut", _edit(TOKENIZER, lambda content: content[: len(content) // 2]))
_rows("tokenizer", "safetensors", "settings are a list", _set(SETTINGS, b"[]"))
_rows("tokenizer", "safetensors", "template of surrogates", _edit_json(SETTINGS, _with(chat_template="\ud800")))
_rows("tokenizer", "safetensors", "template is not UTF-8", _set("chat_template.jinja", b"\xff\xfe"))
_rows(
    "tokenizer", "safetensors", "id of 5000 digits",
    _edit_json(SETTINGS, _with(added_tokens_decoder={"9" * 5000: {"content": "<s>"}})),
)  # fmt: skip
_rows(
    "tokenizer",
    "safetensors",
    "start beyond the vocabulary",
    _edit_json(SETTINGS, _with(added_tokens_decoder={"99999": {"content": "<s>"}})),
)
_rows("tokenizer", "safetensors", "generation is NaN", _set(GENERATION, b"NaN"))
_rows(
    "tokenizer", "gguf", "tokenizer: start beyond the vocabulary", _replace("tokenizer.ggml.bos_token_id", U32, 99_999)
)
_rows(
    "tokenizer",
    "gguf",
    "tokenizer: merges of strangers",
    _replace("tokenizer.ggml.merges", ARRAY, (STRING, ["xyz zyx"])),
)
_rows(
    "tokenizer",
    "gguf",
    "tokenizer: tokens not UTF-8",
    _replace("tokenizer.ggml.tokens", ARRAY, (STRING, [b"\1\0\0\0\0\0\0\0\xff"] * 320)),
)
