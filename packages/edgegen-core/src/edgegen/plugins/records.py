"""Records of the registry: plugins, what they provide, and their problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from edgegen.errors import ErrorCode

D_co = TypeVar("D_co", covariant=True)

CORE = "edgegen-core"
"""Distribution whose plugins are core's own."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """An entry point in the group ``edgegen``.

    Attributes:
        name: of the entry point.
        module: that the entry point names.
        distribution: the installed package that it belongs to.
        version: of that package.
        heavy: large libraries that importing it brought in, which slows every command down.
        seconds: how long importing it took.
        status: ``broken`` where anything of it was refused; what is sound in it works nevertheless.
    """

    name: str
    module: str
    distribution: str
    version: str
    status: Literal["ok", "broken", "disabled"] = "ok"
    heavy: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def title(self) -> str:
        """Name in messages: ``plugin gguf (edgegen-gguf 0.1.0)``."""
        return f"plugin {self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True, kw_only=True)
class Provided(Generic[D_co]):
    """A descriptor, and the plugin that it comes from."""

    descriptor: D_co
    plugin: str
    distribution: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A part of a plugin that was refused.

    Attributes:
        code: which rule was broken, see :class:`edgegen.errors.ErrorCode`.
        plugin: the plugin at fault.
        message: one line: what was wrong and what became of it.
        remedy: one line: how to fix it.
        conflict: True where two plugins are sound, and claim one name.
        location: ``file:line`` where it happened, or empty.
        traceback: of the exception behind it, or empty.
    """

    code: ErrorCode
    plugin: Plugin
    message: str
    remedy: str
    conflict: bool = False
    location: str = ""
    traceback: str = ""
