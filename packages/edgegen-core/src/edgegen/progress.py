"""Progress of long work: the one protocol through which stages are reported.

A stage is a step with a title and, if known, a number of bytes to process. The command line draws stages
(:class:`edgegen.cli.output.Output` implements :class:`Reporter`); from Python, :data:`SILENT` does for none::

    with reporter.stage("weights", total_bytes=270_000_000) as stage:
        stage.detail("blocks.1")
        stage.advance(4096)

Code that is called without a reporter, such as a checkpoint format's ``open``, asks for the stage that its caller is
in: :func:`current_stage`. Listing local files takes no time, but downloading them takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol


class Stage(Protocol):
    """A running step of the work. Its methods may be called from any thread."""

    def advance(self, n_bytes: int) -> None:
        """Count ``n_bytes`` more as done."""
        ...

    def detail(self, text: str) -> None:
        """Show what is being done, in a few words; replaces the previous detail."""
        ...


class Reporter(Protocol):
    """The receiver of progress: opens stages and takes warnings."""

    def stage(self, title: str, total_bytes: int | None = None) -> AbstractContextManager[Stage]:
        """Open a stage, which ends with the block.

        Args:
            title: a word or two, lower case, such as ``weights``.
            total_bytes: bytes that :meth:`Stage.advance` will count up to; None if unknown.
        """
        ...

    def warn(self, text: str) -> None:
        """Tell the user something that they should know, though it stops nothing."""
        ...


class _Silent:
    def stage(self, title: str, total_bytes: int | None = None) -> AbstractContextManager[Stage]:
        return _nothing()

    def warn(self, text: str) -> None:
        pass

    def advance(self, n_bytes: int) -> None:
        pass

    def detail(self, text: str) -> None:
        pass


@contextmanager
def _nothing() -> Iterator[Stage]:
    yield _SILENT


_SILENT = _Silent()

SILENT: Reporter = _SILENT
"""A reporter that shows nothing."""

_current: ContextVar[Stage | None] = ContextVar("stage", default=None)


@contextmanager
def reporting_to(stage: Stage) -> Iterator[None]:
    """Make ``stage`` the current one in the block."""
    token = _current.set(stage)
    try:
        yield
    finally:
        _current.reset(token)


def current_stage() -> Stage | None:
    """The stage that the caller is in, if any. Threads do not inherit it: ask before starting them."""
    return _current.get()
