"""References to repositories: ``org/name``, ``org/name@revision``, ``hf:org/name@revision/path/in/it``.

Only the text is looked at. ``hf://org/name`` means the same; as a path it arrives here as ``hf:/org/name``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgegen.errors import ErrorCode, UsageError

PREFIX = "hf:"
EXAMPLE = "hf:org/name, hf:org/name@revision, hf:org/name/FILE.gguf"

_PART = r"\w(?:[\w.-]*\w)?"
_REFERENCE = re.compile(
    rf"(?P<repository>{_PART}/{_PART})"
    # The hub's own references to pull requests and conversions are the only revisions with slashes.
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[\w.+-]+))?"
    r"(?:/(?P<inside>.+))?",
    re.ASCII,
)
_LONGEST = 96
"""Characters in a repository's id; the hub allows no more."""

_FILES = (".gguf", ".safetensors", ".bin", ".pt", ".ckpt", ".json")
"""Two words that end like a file are a path with a typing error; a repository called so takes the prefix."""


@dataclass(frozen=True)
class Reference:
    """A repository, or something in it.

    Attributes:
        repository: ``org/name``.
        revision: branch, tag or commit; None for the branch that the hub shows first.
        inside: path of a file or folder in it; None for all of it.
    """

    repository: str
    revision: str | None = None
    inside: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository


def detect(path: Path) -> bool:
    """True if the path names no file, but may name a repository. Never raises, imports nothing, uses no network."""
    try:
        if path.exists():
            return False
    except OSError:
        return False
    text = path.as_posix()
    if text.startswith(PREFIX):
        return True
    found = _parsed(text)
    return found is not None and found.inside is None and not found.repository.lower().endswith(_FILES)


def parse(text: str) -> Reference:
    """Parse a reference.

    Raises:
        UsageError: it names no repository, or something outside of one.
    """
    found = _parsed(re.sub(rf"^{PREFIX}/*", "", text))
    if found is None:
        raise UsageError(
            f"{text} names no repository", code=ErrorCode.INVALID_REFERENCE, hint=f"expected one of {EXAMPLE}"
        )
    if found.inside and ".." in PurePosixPath(found.inside).parts:
        raise UsageError(
            f"{text} leads out of the repository",
            code=ErrorCode.INVALID_REFERENCE,
            hint=f"name a file in it, as in {EXAMPLE}",
        )
    return found


def _parsed(text: str) -> Reference | None:
    found = _REFERENCE.fullmatch(text)
    if found is None or not _possible(found["repository"]):
        return None
    return Reference(found["repository"], found["revision"], found["inside"])


def _possible(repository: str) -> bool:
    """True if the hub's rules for ids hold, beside those on characters."""
    return (
        len(repository) <= _LONGEST
        and not any(pair in repository for pair in ("--", ".."))
        and not repository.endswith(".git")
    )
