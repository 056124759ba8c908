"""Progress: through edgegen where it listens, else the client's own bars, on a terminal only."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import constants
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from huggingface_hub.utils.tqdm import tqdm as bar

from edgegen.cli.output import format_bytes
from edgegen.weights import progress


@contextmanager
def shown(title: str, size: int) -> Iterator[type[Any] | None]:
    """The class of bars to download ``size`` bytes with in the block; None for the client's own."""
    listener = progress.listener()
    if listener is None and sys.stderr.isatty():
        yield None
        return
    with _silenced():
        if listener is None:
            yield None
        else:
            news = _News(listener, title, size)
            yield _counter(news.advance)
            news.advance(size - news.received)  # older clients count files only


class _News:
    """Tells the size at once, and how much of it is here whenever more has come."""

    def __init__(self, listener: progress.Listener, title: str, size: int) -> None:
        self.received = 0
        self._listener, self._title, self._size = listener, title, size
        if size:
            listener.detail(f"{title}: {format_bytes(size)}")

    def advance(self, n_bytes: int) -> None:
        if n_bytes > 0:
            self.received += n_bytes
            self._listener.advance(n_bytes)
            self._listener.detail(f"{self._title}: {format_bytes(self.received)} of {format_bytes(self._size)}")


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep the client from drawing, without a lasting effect on a program that uses it too."""
    if are_progress_bars_disabled() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None:
        yield  # off already, or the environment has decided
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _counter(advance: Callable[[int], None]) -> type[Any]:
    """A bar that draws nothing and tells how many bytes came.

    Of the bars that the client makes for one download, some count files and several may count the same bytes: the one
    that is furthest tells.
    """
    lock = threading.Lock()
    told = 0

    class Counter(bar):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            self._bytes = 0
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal told
            if self._counts_bytes:
                with lock:
                    self._bytes += int(n or 0)
                    news = max(0, self._bytes - told)
                    told += news
                    if news:
                        advance(news)
            return None

    return Counter
