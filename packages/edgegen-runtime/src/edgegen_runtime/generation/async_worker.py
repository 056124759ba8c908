"""Worker thread of a model, for generations in ``async`` programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """A single thread that makes all calls of one model, as its session wants to be used from one thread at a time.

    Several answers may be under way: they take turns, a call each. The thread starts with the first call.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgegen")

    async def stream(
        self, next_item: Callable[[], T | None], cancel: Callable[[], None], close: Callable[[], None]
    ) -> AsyncIterator[T]:
        """Items of ``next_item`` until it returns None; each call is made when the item before has been consumed.

        Args:
            next_item: called in the thread.
            cancel: called at once when the caller gives up; makes a call that is under way return soon.
            close: called in the thread afterwards, in any case.
        """
        loop = asyncio.get_running_loop()
        try:
            while (item := await loop.run_in_executor(self._executor, next_item)) is not None:
                yield item
        except (asyncio.CancelledError, GeneratorExit):
            cancel()
            raise
        finally:
            # Not awaited: whoever cancels does not wait. The thread does it before any other answer's next call.
            self._executor.submit(close)
