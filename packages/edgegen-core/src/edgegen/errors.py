"""Every error that edgegen raises on purpose, each with the exit code that the command line ends with.

An error says what was wrong, what was expected and how to fix it::

    raise CheckpointError(
        "checkpoint does not match smollm2-135m (format safetensors)",
        code="EG204",
        details=("missing     blocks.*.attn.q.weight   18 tensors",),
        hint="looks like gguf naming; add --checkpoint-format gguf",
    )
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class EdgegenError(Exception):
    """Base of all expected failures; anything else that escapes is a bug of ours (exit code 1).

    Args:
        message: one line, lower case, no trailing period: what was wrong.
        code: stable identifier, ``EG`` and three digits; the first digit names the part.
        details: further lines, already aligned, printed below the message as they are.
        hint: one line, how to fix it: a command, an option, the closest name that exists.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "EG000"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Iterable[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = tuple(details)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message, *(f"  {line}" for line in self.details)]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class UsageError(EdgegenError):
    """The caller asked for something that does not exist or makes no sense."""

    exit_code = 2
    default_code = "EG100"


class PluginError(UsageError):
    """A plugin is broken, or two plugins claim one name."""

    default_code = "EG110"


class UnsupportedError(EdgegenError):
    """The input is valid, but this version cannot express it (an operator, a tensor type)."""

    exit_code = 3
    default_code = "EG300"


class CheckpointError(EdgegenError):
    """A checkpoint is damaged, incomplete or not the one the model expects."""

    exit_code = 4
    default_code = "EG200"


class VerificationError(EdgegenError):
    """The exported file does not compute what the eager model computes."""

    exit_code = 5
    default_code = "EG500"


class ResourceError(EdgegenError):
    """Disk, memory, network, permissions: the machine, or another one, said no."""

    exit_code = 6
    default_code = "EG600"
