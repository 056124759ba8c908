"""Contents of a file that an export target wrote, for ``edgegen inspect``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a file.

    Attributes:
        name: section's name.
        offset: where it begins, in bytes.
        nbytes: length in bytes.
        details: further facts, name -> text.
    """

    name: str
    offset: int
    nbytes: int
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A container file.

    Attributes:
        format: with its version, for people.
        parts: in the order of the file.
    """

    format: str
    parts: tuple[Part, ...]
