"""Runs tasks in child processes, so that a kernel that crashes takes one task with it and not the whole run."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

TIMEOUT = 60.0
"""Seconds after which a task is given up."""


def forked(tasks: Sequence[str], work: Callable[[str], Any], workers: int = 2) -> Iterator[tuple[str, Any]]:
    """``(task, work(task))`` as they come; the result is an exception where the child died."""
    pending, begun = list(tasks), dict[int, float]()
    running: dict[int, tuple[str, int, bytes]] = {}
    while pending or running:
        while pending and len(running) < workers:
            task = pending.pop(0)
            reader, child = _start(task, work)
            running[reader] = (task, child, b"")
            begun[reader] = time.monotonic()
        for reader in running:
            if time.monotonic() - begun[reader] > TIMEOUT:
                os.kill(running[reader][1], signal.SIGKILL)
        for reader in select.select(list(running), [], [], 1.0)[0]:
            task, child, received = running.pop(reader)
            data = os.read(reader, 1 << 20)
            if data:
                running[reader] = (task, child, received + data)
                continue
            os.close(reader)
            _, status = os.waitpid(child, 0)
            yield task, pickle.loads(received) if received else RuntimeError(f"the process ended with {status}")


def _start(task: str, work: Callable[[str], Any]) -> tuple[int, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return reader, child
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # LiteRT's log
        result: Any = work(task)
    except BaseException as error:
        result = RuntimeError(f"{type(error).__name__}: {error}")
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(result))
    os._exit(0)
