"""What an exception means to the person at the terminal."""

from __future__ import annotations

import errno

import click

from edgegen.errors import EdgegenError, ResourceError, UsageError
from edgegen.plugins import load, registry

INTERRUPTED = 130
BROKEN_PIPE = 141
"""128 + SIGPIPE, as other programs in a pipeline end."""

_MACHINE_SAID_NO = {
    errno.EACCES: "choose another folder, or change the permissions",
    errno.EPERM: "choose another folder, or change the permissions",
    errno.EROFS: "choose a folder on a file system that is writable",
    errno.ENOSPC: "make room on the disk, or choose a folder on another one",
    errno.EDQUOT: "make room in your quota, or choose a folder on another disk",
    errno.EFBIG: "choose a file system that takes files of this size",
    errno.ENOMEM: "close other programs, or use a machine with more memory",
    errno.EMFILE: "raise the limit on open files: ulimit -n 4096",
}


def expected(error: Exception) -> EdgegenError | None:
    """The error as one of ours, or None where it is a bug."""
    if isinstance(error, EdgegenError):
        return error
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, MemoryError):
        return ResourceError("out of memory", code="EG602", hint=_MACHINE_SAID_NO[errno.ENOMEM])
    if isinstance(error, OSError) and error.errno in _MACHINE_SAID_NO:
        where = f": {error.filename}" if error.filename else ""
        message = f"{(error.strerror or 'the machine said no').lower()}{where}"
        return ResourceError(message, code="EG601", hint=_MACHINE_SAID_NO[error.errno])
    return None


def bug(error: Exception, *, traced: bool) -> EdgegenError:
    """What to say about an exception that nobody expected."""
    return EdgegenError(
        f"unexpected {type(error).__name__}: {error}",
        details=["this is a bug in edgegen or in one of its plugins, not in what you did"],
        hint=None if traced else "EDGEGEN_STRICT=1 shows the traceback; please send it with a report",
    )


def interruption() -> EdgegenError:
    """What to say after Ctrl-C."""
    return EdgegenError("interrupted", code=f"EG{INTERRUPTED}")


def extra_hints(error: BaseException) -> list[str]:
    """Remedies that plugins know. One that fails is left out: it must not hide the error in question."""
    try:
        providers = list(registry().error_hints.values())
    except EdgegenError:  # the error at hand is the registry's own
        return []
    hints = (_hint(provided.descriptor.hint, error) for provided in providers)
    return [hint for hint in hints if hint]


def _hint(reference: str, error: BaseException) -> str | None:
    try:
        hint = load(reference)(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None
    return hint if isinstance(hint, str) else None


def _usage(error: click.ClickException) -> UsageError:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "edgegen"
    return UsageError(message, hint=f"{path} --help shows what it takes")
