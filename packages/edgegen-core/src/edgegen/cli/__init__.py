"""The command line: ``edgegen COMMAND``. Commands come from plugins and are imported when they are called.

Exit codes: 0 ok, 1 a bug of ours, 2 usage, 3 unsupported, 4 checkpoint, 5 verification failed, 6 resources,
130 interrupted, 141 the reader of our output went away.
"""

from __future__ import annotations

from edgegen.cli.shell import main

__all__ = ["main"]
