"""LiteRT's log, kept off the terminal.

LiteRT writes two dozen lines to the process's standard error for every model that it loads and offers no switch. They
are kept aside and shown only when something goes wrong.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

SHOW_LOG = "EDGEGEN_LITERT_LOG"
"""Environment variable: set to 1 to see LiteRT's own log."""


@contextmanager
def quiet_stderr() -> Iterator[list[str]]:
    """Divert file descriptor 2 of the whole process; the list holds LiteRT's error lines afterwards."""
    lines: list[str] = []
    if os.environ.get(SHOW_LOG) == "1":
        yield lines
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            log.seek(0)
            text = log.read().decode(errors="replace")
            lines += [line for line in text.splitlines() if line.startswith("ERROR")]


def quiet_exit() -> None:
    """Also hide LiteRT's log at exit, which comes after Python's own cleanup."""

    def divert() -> None:
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    if os.environ.get(SHOW_LOG) != "1":
        atexit.register(divert)
