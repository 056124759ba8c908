"""Weight files among many, grouped into models by their names alone.

For places that hold more than a checkpoint, before a byte of it is read: an installed package, a repository that is
not downloaded yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

INDEX_SUFFIX = ".index.json"

# Python gives .pth a meaning of its own: installed packages carry such files to extend the import path.
_KINDS = {
    ".safetensors": "safetensors",
    ".bin": "pytorch",
    ".pt": "pytorch",
    ".ckpt": "pytorch",
    ".gguf": "gguf",
}
"""Suffix -> container format."""

_TRAINING_STATE = ("training_args", "optimizer", "scheduler", "scaler", "rng_state")
"""Stems of files with a trainer's state, which have the suffixes of weights."""

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The files of one model: a single one, or parts with or without an index.

    Attributes:
        kind: ``safetensors``, ``pytorch`` or ``gguf``.
        folder: their directory, ``.`` for the outermost.
        stem: common part of their names, e.g. ``model``.
        files: their paths with forward slashes, an index first.
        parts: number of parts according to the names; 0 where they are not numbered.
    """

    kind: str
    folder: str
    stem: str
    files: tuple[str, ...]
    parts: int = 0

    @property
    def indexed(self) -> bool:
        """True if an index lists the parts."""
        return self.files[0].endswith(INDEX_SUFFIX)

    @property
    def complete(self) -> bool:
        """True if all numbered parts are there."""
        return not self.parts or len(self.files) - self.indexed >= self.parts

    @property
    def entry(self) -> str:
        """The path to open: the index, the first part of a GGUF, the only file; else the folder."""
        alone = len(self.files) == 1 or self.indexed or self.kind == "gguf"
        return self.files[0] if alone else self.folder


def find_weights(names: Iterable[str]) -> list[Weights]:
    """Models among the files, in the order of their paths.

    Args:
        names: relative paths with forward slashes.
    """
    groups: dict[tuple[str, str, str, bool], list[_Name]] = {}
    for name in sorted(names):
        parsed = _Name.parse(name)
        if parsed:
            groups.setdefault((parsed.folder, parsed.suffix, parsed.stem, parsed.shared), []).append(parsed)
    _give_lone_indexes_their_parts(groups)
    return [_weights(group) for group in groups.values()]


@dataclass(frozen=True)
class _Name:
    """A parsed path; ``count`` is 0 without a part number."""

    path: str
    folder: str
    stem: str
    suffix: str
    index: bool
    count: int

    @classmethod
    def parse(cls, path: str) -> _Name | None:
        """Parse a path; None where its name is not that of weights."""
        pure = PurePosixPath(path)
        file = PurePosixPath(pure.name.removesuffix(INDEX_SUFFIX))
        if file.suffix not in _KINDS or file.stem.startswith(_TRAINING_STATE):
            return None
        part = _PART.fullmatch(file.stem)
        return cls(
            path=path,
            folder=str(pure.parent),
            stem=part["stem"] if part else file.stem,
            suffix=file.suffix,
            index=pure.name.endswith(INDEX_SUFFIX),
            count=int(part["count"]) if part else 0,
        )

    @property
    def shared(self) -> bool:
        """True for one file of several that make a model."""
        return self.index or self.count > 0


def _give_lone_indexes_their_parts(groups: dict[tuple[str, str, str, bool], list[_Name]]) -> None:
    """Assign all files of its format in the folder to an index whose parts are not numbered."""
    for (folder, suffix, _, shared), group in list(groups.items()):
        if shared and all(name.index for name in group):
            for other in [key for key in groups if key[:2] == (folder, suffix) and not key[3]]:
                group += groups.pop(other)


def _weights(group: list[_Name]) -> Weights:
    ordered = sorted(group, key=lambda name: not name.index)
    first = ordered[0]
    return Weights(
        kind=_KINDS[first.suffix],
        folder=first.folder,
        stem=first.stem,
        files=tuple(name.path for name in ordered),
        parts=max(name.count for name in ordered),
    )
