"""Exceptions as errors for the person at the terminal: which code, which plugin, which remedy."""

from __future__ import annotations

import errno

import click

from edgegen._version import __version__
from edgegen.errors import EdgegenError, ErrorCode, PluginError, ResourceError, UsageError
from edgegen.plugins import Plugin, load, registry
from edgegen.plugins.calls import is_out_of_memory
from edgegen.plugins.records import CORE

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
    errno.EBUSY: "choose another folder; this one is in use, such as a mount",
    errno.EIO: "check the disk, or choose a folder on another one",
    errno.ENOMEM: "close other programs, or use a machine with more memory",
    errno.EMFILE: "raise the limit on open files: ulimit -n 4096",
}


def expected(error: Exception) -> EdgegenError | None:
    """The error as one of ours, or None where it is a bug."""
    if isinstance(error, EdgegenError):
        return error
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, ModuleNotFoundError):
        from edgegen.plugins.dependencies import missing_dependency

        plugin = culprit(error)
        return missing_dependency(error, plugin.distribution if plugin else CORE)
    if is_out_of_memory(error):
        return ResourceError("out of memory", code=ErrorCode.OUT_OF_MEMORY, hint=_MACHINE_SAID_NO[errno.ENOMEM])
    if isinstance(error, OSError) and error.errno in _MACHINE_SAID_NO:
        where = f": {error.filename}" if error.filename else ""
        message = f"{(error.strerror or 'the machine said no').lower()}{where}"
        return ResourceError(message, code=ErrorCode.FILE_SYSTEM, hint=_MACHINE_SAID_NO[error.errno])
    return None


def culprit(error: BaseException) -> Plugin | None:
    """The plugin, other than core, whose code raised the error; None where that cannot be said.

    None for what the user did wrong, whoever noticed it. A broken plugin is noticed elsewhere than in its code, unless
    that raised something.
    """
    from edgegen.plugins.culprit import plugin_of

    if isinstance(error, PluginError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, UsageError):
        return None
    try:
        return plugin_of(error, registry().plugins)
    except EdgegenError:  # the error at hand is the registry's own
        return None


def bug(error: Exception, *, traced: bool) -> EdgegenError:
    """An exception that nobody expected, as an error that says whose bug it is."""
    plugin = culprit(error)
    owner = f"{plugin.distribution} {plugin.version}" if plugin else f"{CORE} {__version__}"
    report = "please send it with a report" + (f" to the author of {plugin.distribution}" if plugin else "")
    return EdgegenError(
        f"unexpected {type(error).__name__} in {owner}: {error}",
        code=ErrorCode.UNEXPECTED,
        details=["this is a bug, not something that you did"],
        hint=None if traced else f"EDGEGEN_STRICT=1 shows the traceback; {report}",
    )


def interruption() -> EdgegenError:
    """The error shown after Ctrl-C."""
    return EdgegenError("interrupted", code=ErrorCode.INTERRUPTED)


def extra_hints(error: BaseException) -> list[str]:
    """Remedies from plugins. One that fails is left out: it must not hide the error in question."""
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
    return UsageError(message, code=ErrorCode.INVALID_ARGUMENT, hint=f"{path} --help shows what it takes")
