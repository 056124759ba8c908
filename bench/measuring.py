"""What the scripts of this folder share: running a command as a whole process, and printing what came out.

Only the standard library is imported here and in the scripts that measure processes. Linux counts into a child's peak
memory that of the process it was forked from, so the parent has to stay smaller than anything it measures.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ProcessRun:
    """One command, from start to exit.

    Attributes:
        seconds: on the wall.
        cpu_seconds: of all its threads, in user and kernel mode.
        peak_bytes: most resident memory, what it mapped from files included.
        stdout: what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stdout: str


def run(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, limit: int | None = None
) -> ProcessRun:
    """Run ``command`` and measure it.

    Args:
        command: program and arguments.
        environment: variables to set beside those of this process.
        limit: bytes of memory that it may have, pages of files included; Linux only, and only for root.

    Raises:
        SystemExit: it failed; with the end of what it said.
    """
    limited = contextlib.nullcontext(None) if limit is None else control_group(limit)
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr, limited as group:
        begin = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **(environment or {})},
        )
        if group is not None:
            (group / "cgroup.procs").write_text(str(child.pid))
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            stdout.seek(0)
            stderr.seek(0)
            words = " ".join(map(str, command))
            said = f"{stdout.read()[-2000:]}{stderr.read()[-4000:]}"
            raise SystemExit(f"{words}\nexited with {child.returncode}:\n{said}")
        stdout.seek(0)
        peak = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
        return ProcessRun(seconds, usage.ru_utime + usage.ru_stime, peak, stdout.read())


@contextlib.contextmanager
def control_group(limit: int) -> Iterator[Path]:
    """A Linux control group whose processes have ``limit`` bytes of memory between them, and no swap."""
    root = Path("/sys/fs/cgroup")
    old = root / "memory"
    group = (old if old.is_dir() else root) / f"edgegen-bench-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")).write_text(str(limit))
    except OSError as error:
        raise SystemExit(f"memory cannot be limited here: {error}") from error
    try:
        yield group
    finally:
        group.rmdir()


def environment(name: str, requirements: Sequence[str], *, variables: Mapping[str, str] | None = None) -> Path:
    """Make an environment of that name under ``build/bench`` unless it is there; its folder with the executables.

    Args:
        name: of the folder.
        requirements: as pip takes them.
        variables: of the process environment to set for pip, such as how to compile.
    """
    folder = BUILD / name
    executables = folder / ("Scripts" if sys.platform == "win32" else "bin")
    wanted = "\n".join(requirements)
    complete = folder / "complete.txt"
    if not (complete.is_file() and complete.read_text() == wanted):
        note(f"installing {', '.join(requirements)} into {folder.relative_to(ROOT)}")
        venv.create(folder, with_pip=True, clear=True)
        command = [executables / "python", "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(command, check=True, env={**os.environ, **(variables or {})})
        complete.write_text(wanted)
    return executables


def median(values: Sequence[float]) -> float:
    """Median of the values, one for each run."""
    return statistics.median(values)


def note(text: str) -> None:
    """Progress: to standard error, so that standard output stays data."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the timings depend on; load is what else ran in the last minute, as a number of busy cores."""
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}


def report(document: Mapping[str, Any], header: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    """Print ``rows`` as a table, or ``document`` as JSON."""
    if as_json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=2))
        return
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    for line in (header, *rows):
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join((first, *others)).rstrip())


def megabytes(count: float) -> str:
    """A number of bytes, in units of 10^6."""
    return f"{count / 1e6:,.0f} MB"
