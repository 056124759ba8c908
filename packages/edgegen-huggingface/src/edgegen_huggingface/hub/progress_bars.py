"""Progress of downloads: into the caller's stage where there is one, else the client's own bars, on a terminal only."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub.utils.tqdm import tqdm as client_bar

from edgegen.cli.output import format_bytes
from edgegen.progress import SILENT, Stage, current_stage


@contextmanager
def shown(title: str, size: int) -> Iterator[type[Any] | None]:
    """The class of bars for a download of ``size`` bytes in the block; None for the client's own."""
    stage = current_stage()
    if stage is None and sys.stderr.isatty():
        yield None
    elif stage is None:
        with SILENT.stage(title) as stage:
            yield _bar_class(stage, title, size)
    else:
        if size:
            stage.detail(f"{title}: {format_bytes(size)}")
        yield _bar_class(stage, title, size)


def _bar_class(stage: Stage, title: str, size: int) -> type[Any]:
    """A bar that draws nothing and reports bytes to ``stage``.

    Of the bars that the client makes for one download, some count files and several count the same bytes (received,
    written): the one that is furthest counts.
    """
    lock = threading.Lock()
    done = 0

    class Bar(client_bar):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            self._bytes = 0
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal done
            with lock:
                self._bytes += int(n or 0) if self._counts_bytes else 0
                if self._bytes > done:
                    stage.advance(self._bytes - done)
                    done = self._bytes
                    stage.detail(f"{title}: {format_bytes(done)} of {format_bytes(size)}")
            return None

    return Bar
