"""Damages of GGUF files."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgegen.testing.damage import (
    HUGE,
    Corpus,
    Fifo,
    Folder,
    Mutation,
    Sparse,
    edit,
    empty,
    flip,
    put,
    said,
    truncate,
)

CASES = Corpus()

GGUF = "tiny.gguf"

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
        """Metadata that a model is made from: names, vocabulary, training context and general remarks aside."""
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


for _base in ("gguf", "gguf-q4"):
    CASES.add("truncated", _base, "cut", truncate, 2)
CASES.add("truncated", "gguf", "empty", empty)


def _gguf_head(content: bytes) -> list[int]:
    """Up to the type of the last tensor: where nothing follows, a type of fewer bytes leaves no trace."""
    gguf = Gguf.read(content)
    last = content.rindex(_as_text(gguf.rows[-1][0]))
    vocabulary = content.index(b"tokenizer.ggml.model")
    return [*range(vocabulary - 8), *range(content.index(_as_text(gguf.rows[0][0])), last)]


def _said_by_gguf(content: bytes) -> Any:
    return Gguf.read(content).meaning()


for _base, _count in (("gguf", 6), ("gguf-q4", 2)):
    CASES.add("flipped", _base, f"bit in {GGUF}", flip(GGUF, _gguf_head), _count, meaning=said(_said_by_gguf, GGUF))


def _gguf(change: Callable[[Gguf], Any]) -> Mutation:
    def edited(content: bytes) -> bytes:
        gguf = Gguf.read(content)
        change(gguf)
        return gguf.written()

    return edit(GGUF, edited)


def _row(number: int, column: int, value: Any) -> Mutation:
    def change(gguf: Gguf) -> None:
        gguf.rows[number][column] = value

    return _gguf(change)


for _kind in (1, 26, 99):
    CASES.add("types", "gguf", f"type {_kind} for 0", _row(2, 2, _kind))


def _add(key: str, kind: int, value: Any) -> Mutation:
    return _gguf(lambda gguf: gguf.entries.append([key, kind, value]))


def _replace(key: str, kind: int, value: Any) -> Mutation:
    def change(gguf: Gguf) -> None:
        gguf.get(key)[1:] = [kind, value]

    return _gguf(change)


def _drop(key: str) -> Mutation:
    return _gguf(lambda gguf: gguf.entries.remove(gguf.get(key)))


def _many_tokens(content: bytes) -> Sparse:
    """Sixteen million empty tokens, in a hole of the file."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1) + _as_text("tokenizer.ggml.tokens")
    head += struct.pack("<IIQ", ARRAY, STRING, 2**24)
    return Sparse(head, 2**28)


CASES.add("sizes", "gguf", "tensors 2**60", _gguf(lambda g: setattr(g, "counts", (HUGE, len(g.entries)))))
CASES.add("sizes", "gguf", "entries 2**60", _gguf(lambda g: setattr(g, "counts", (len(g.rows), HUGE))))
CASES.add("sizes", "gguf", "version 4", _gguf(lambda g: setattr(g, "version", 4)))
CASES.add("sizes", "gguf", "offset 2**60", _row(3, 3, HUGE))
CASES.add("sizes", "gguf", "overlap", _gguf(lambda g: g.rows[3].__setitem__(3, g.rows[2][3])))
CASES.add("sizes", "gguf", "gap", _gguf(lambda g: (g.rows.pop(3), g.rows[3].__setitem__(0, "blk.0.attn_q.weight"))))
CASES.add("sizes", "gguf", "not aligned", _gguf(lambda g: g.rows[3].__setitem__(3, g.rows[3][3] + 4)))
CASES.add("sizes", "gguf", "shape of 2**60", _row(0, 1, [HUGE, HUGE]))
CASES.add("sizes", "gguf", "duplicate", _gguf(lambda g: g.rows[3].__setitem__(0, g.rows[2][0])))
CASES.add("sizes", "gguf", "name that is not UTF-8", _row(0, 0, b"token_embd.\xff\xfe"))
CASES.add("sizes", "gguf-q4", "rows that are no blocks", _row(1, 1, [40, 64]))
CASES.add("sizes", "gguf", "string of 2**60", _add("general.note", STRING, struct.pack("<Q", HUGE)))
CASES.add("sizes", "gguf", "key twice", _add("llama.block_count", U32, 2))
CASES.add("sizes", "gguf", "alignment of 0", _add("general.alignment", U32, 0))
CASES.add("sizes", "gguf", "millions of tokens", edit(GGUF, _many_tokens))

CASES.add("places", "gguf", f"pipe for {GGUF}", put(GGUF, Fifo()))
CASES.add("places", "gguf", f"folder for {GGUF}", put(GGUF, Folder()))

CASES.add("places", "gguf", "pipe that is named", put(GGUF, Fifo()), named=GGUF)

CASES.add("config", "gguf", "config: no architecture", _drop("general.architecture"))
CASES.add("config", "gguf", "config: architecture is a number", _replace("general.architecture", U32, 7))
CASES.add("config", "gguf", "config: layers is text", _replace("llama.block_count", STRING, "2"))

CASES.add(
    "tokenizer", "gguf", "tokenizer: start beyond the vocabulary", _replace("tokenizer.ggml.bos_token_id", U32, 99_999)
)
CASES.add(
    "tokenizer",
    "gguf",
    "tokenizer: merges of strangers",
    _replace("tokenizer.ggml.merges", ARRAY, (STRING, ["xyz zyx"])),
)
CASES.add(
    "tokenizer",
    "gguf",
    "tokenizer: tokens not UTF-8",
    _replace("tokenizer.ggml.tokens", ARRAY, (STRING, [b"\1\0\0\0\0\0\0\0\xff"] * 320)),
)
