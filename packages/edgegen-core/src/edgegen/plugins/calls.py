"""Calls into a plugin's code: what fails in them names the plugin, and what they return is checked."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from edgegen.errors import EdgegenError, ErrorCode, PluginError

T = TypeVar("T")

_HINT = "report it to the plugin's author; EDGEGEN_STRICT=1 shows the traceback"


@contextmanager
def plugin_code(owner: str, what: str) -> Iterator[None]:
    """A block that calls one function of a plugin and nothing else.

    Args:
        owner: for the message: the part and the package that it comes from, ``family acme (edgegen-acme)``.
        what: the function, ``builder``.

    Raises:
        PluginError: the function raised something other than an :class:`EdgegenError`, or does not take the arguments.
    """
    try:
        yield
    except (EdgegenError, MemoryError, OSError, ModuleNotFoundError):
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise PluginError(
            f"{what} of {owner} failed: {type(error).__name__}: {error}",
            code=ErrorCode.PLUGIN_FAILED,
            details=[origin(error)],
            hint=_HINT,
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """True if memory is what lacked: PyTorch says so with a RuntimeError."""
    return isinstance(error, MemoryError) or (type(error) is RuntimeError and "can't allocate memory" in str(error))


def returned(value: object, kind: type[T], owner: str, what: str) -> T:
    """``value``, which the function ``what`` of ``owner`` returned, as a ``kind``.

    Raises:
        PluginError: it is something else.
    """
    if not isinstance(value, kind):
        raise bad_return(owner, what, f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def returned_list(value: Any, kind: type[T], owner: str, what: str) -> list[T]:
    """The same for a list of one element or more."""
    found = [returned(each, kind, owner, what) for each in returned(value, list, owner, what)]
    if not found:
        raise bad_return(owner, what, "nothing")
    return found


def bad_return(owner: str, what: str, returned: str) -> PluginError:
    """The error for a function ``what`` of ``owner`` that returned what makes no sense, in words."""
    return PluginError(f"{what} of {owner} returned {returned}", code=ErrorCode.PLUGIN_FAILED, hint=_HINT)


def origin(error: BaseException) -> str:
    """``file:line`` that raised ``error``: the innermost frame of a module that is not PyTorch's, nor called by it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name != "__torch_dispatch__"]
    outside = [frame for frame in frames if "/torch/" not in frame.filename.replace("\\", "/")]
    return "{0.filename}:{0.lineno}".format((outside or frames)[-1])
