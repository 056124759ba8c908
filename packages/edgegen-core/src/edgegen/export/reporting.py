"""Progress reports of an export."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Stage(Protocol):
    """A stage of work in progress."""

    def advance(self, n_bytes: int) -> None:
        """Count ``n_bytes`` more of the stage's total as done."""
        ...

    def detail(self, text: str) -> None:
        """Set the text shown beside the stage once it is done."""
        ...


class Reporter(Protocol):
    """A listener to the stages of an export; :class:`edgegen.cli.output.Output` is one."""

    def stage(self, title: str, total_bytes: int | None = None) -> AbstractContextManager[Stage]:
        """A context manager that yields the :class:`Stage`.

        Args:
            title: shown to people.
            total_bytes: what :meth:`Stage.advance` adds up to; None where that is not known.
        """
        ...

    def warn(self, text: str) -> None:
        """Show something that the user should know, though it stops nothing."""
        ...
