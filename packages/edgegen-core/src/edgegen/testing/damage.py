"""Damaged checkpoints for the tests of checkpoint formats, made by a seeded fuzzer from sound ones.

A checkpoint is a dict: file name -> its bytes, or a :class:`Fifo`, :class:`Folder`, :class:`Link` or :class:`Sparse` in
place of a file. A mutation changes such a dict, given a random generator, the same on every machine::

    CASES = Corpus()
    CASES.add("truncated", "acme", "cut", truncate, 2)
    CASES.add("sizes", "acme", "header of 2**60", edit("model.acme", lambda c: struct.pack("<Q", HUGE) + c[8:]))

    for case in CASES:
        write(case.build({"acme": {"model.acme": sound}}), folder)  # must be refused in a sentence, at once

Damage must mean something. Truncations and edits of structure do by design; a flipped bit may fall on padding or on a
field that nobody reads, so a case may have a ``meaning``, and another bit is drawn where the files still mean the same.
Bits of weights are left alone: any number is as good as another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any


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


def write(files: Mapping[str, Entry], folder: Path) -> Path:
    """Write a checkpoint into a new folder."""
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
    """SHA-256 of all names and contents."""
    whole = hashlib.sha256()
    for name, entry in sorted(files.items()):
        whole.update(repr(name).encode())
        whole.update(entry if isinstance(entry, bytes) else repr(entry).encode())
    return whole.hexdigest()


HUGE = 2**60
"""A size that nothing has."""

DEEP = b"[" * 100_000 + b"]" * 100_000
"""JSON that no recursive parser survives."""


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


class Corpus(list[Case]):
    """A list of cases, which grows by rows."""

    def add(
        self,
        category: str,
        base: str,
        what: str,
        mutate: Mutation,
        count: int = 1,
        *,
        meaning: Callable[[Files], Any] | None = None,
        named: str = ".",
    ) -> None:
        """Add ``count`` cases with seeds of their own; see :class:`Case`."""
        for number in range(count):
            name = f"{base}: {what}" + (f" {number + 1}" if count > 1 else "")
            self.append(Case(name, category, base, mutate, 1000 * number, meaning, named))


def _weights(files: Files) -> list[str]:
    return [name for name in files if name.endswith((".safetensors", ".bin", ".gguf"))]


def put(name: str, entry: Entry) -> Mutation:
    """A mutation that puts ``entry`` in the place of a file."""

    def mutate(files: Files, random: Random) -> None:
        files[name] = entry

    return mutate


def edit(name: str, change: Callable[[bytes], Entry]) -> Mutation:
    """A mutation that changes the bytes of a file."""

    def mutate(files: Files, random: Random) -> None:
        files[name] = change(files[name])

    return mutate


def edit_json(name: str, change: Callable[[Any], Any]) -> Mutation:
    """A mutation of a JSON file by ``change``, which edits the document in place or returns another one."""

    def edited(content: bytes) -> bytes:
        document = json.loads(content)
        other = change(document)
        return json.dumps(document if other is None else other).encode()

    return edit(name, edited)


def merged(**values: Any) -> Callable[[Any], Any]:
    """A change of a JSON object that sets some of its keys."""
    return lambda document: {**document, **values}


def truncate(files: Files, random: Random) -> None:
    """Cut a file of weights; half of the cuts are in its first 3,000 bytes, which come before the numbers."""
    name = random.choice(_weights(files))
    content = files[name]
    # Half of the cuts in what comes before the numbers, which is a small part of each file.
    files[name] = content[: random.randrange(1, 3000 if random.random() < 0.5 else len(content))]


def empty(files: Files, random: Random) -> None:
    """Empty a file of weights."""
    files[random.choice(_weights(files))] = b""


def flip(name: str, places: Callable[[bytes], list[int]]) -> Mutation:
    """A mutation that flips a bit at one of the places."""

    def mutate(files: Files, random: Random) -> None:
        content = bytearray(files[name])
        content[random.choice(places(files[name]))] ^= 1 << random.randrange(8)
        files[name] = bytes(content)

    return mutate


def without(name: str) -> Mutation:
    """A mutation that removes a file."""

    def mutate(files: Files, random: Random) -> None:
        del files[name]

    return mutate


def said(read: Callable[[bytes], Any], name: str) -> Callable[[Files], Any]:
    """The meaning of a file as ``read`` has it, or the type of the exception that it raises."""

    def meaning(files: Files) -> Any:
        try:
            return read(files[name])
        except Exception as error:
            return type(error).__name__

    return meaning


def swap(files: Files, random: Random) -> None:
    """Exchange the contents of two files of weights."""
    first, second = [name for name in files if name.endswith((".safetensors", ".bin"))]
    files[first], files[second] = files[second], files[first]
