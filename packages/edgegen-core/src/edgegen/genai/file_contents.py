"""What a file that an export target wrote holds, in the form in which ``edgegen inspect`` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a file.

    Attributes:
        name: what it is.
        offset: where it begins, in bytes.
        nbytes: how long it is.
        details: what else there is to say, name -> text.
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
