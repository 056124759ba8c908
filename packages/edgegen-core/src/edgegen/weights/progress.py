"""Who hears how far the opening of a checkpoint has come.

A format's ``open`` takes a path and nothing else, which suits files on disk: reading their heads takes no time. One
that fetches the files first takes minutes, so the listener is ambient::

    if heard := progress.listener():
        heard.detail("downloading acme/tiny: 2 files, 1.2 GB")
        heard.advance(4096)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """A running stage of the work; :class:`edgegen.cli.output.Stage` is one."""

    def advance(self, n_bytes: int) -> None:
        """``n_bytes`` more are here. May be called from any thread."""
        ...

    def detail(self, text: str) -> None:
        """What is being done, in a few words."""
        ...


_current: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let ``listener`` hear of checkpoints that are opened in the block."""
    token = _current.set(listener)
    try:
        yield
    finally:
        _current.reset(token)


def listener() -> Listener | None:
    """Who listens, if anyone does. Threads that are started have to be told: they do not inherit it."""
    return _current.get()
