"""The output layer of all commands, so that ``--json`` and ``--quiet`` mean the same everywhere.

Data goes to stdout; notes, warnings, progress and errors go to stderr. With ``--json`` stdout carries exactly
one JSON document. Rich is imported only when something is drawn with it.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from edgegen.cli.options import option
from edgegen.errors import EdgegenError, ErrorCode

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from edgegen.plugins import Plugin

SCHEMA_VERSION = 1
"""Version of every JSON document that a command prints; raised when a field changes or goes away."""

# Rich assumes 80 columns where there is no terminal and would cut table cells; a pipe has no width.
_PIPE_WIDTH = 240

R = TypeVar("R")


@dataclass
class Output:
    """Output of a command: results, notes, warnings, errors and progress (:class:`edgegen.progress.Reporter`).

    Attributes:
        json: stdout carries one JSON document instead of text for people.
        quiet: no notes and no progress; warnings and errors stay.
    """

    json: bool = False
    quiet: bool = False
    _live: Progress | None = field(default=None, init=False, repr=False)

    def result(self, payload: Mapping[str, Any], human: Callable[[Console], None] | str) -> None:
        """Print a command's result: ``payload`` as JSON, or the form for people.

        Args:
            payload: values that JSON knows, and paths, dataclasses, sets and numpy scalars; a number that
                is not finite becomes null, because JSON has no word for it.
            human: text, or a function that draws on a rich console.
        """
        if self.json:
            _emit(sys.stdout, _document(payload))
        elif isinstance(human, str):
            _emit(sys.stdout, human if human.endswith("\n") else human + "\n")
        else:
            human(_console(sys.stdout))
            sys.stdout.flush()

    def write(self, text: str) -> None:
        """Raw data to stdout at once, for text that streams. Silent with ``--json``: the document has it."""
        if not self.json:
            _emit(sys.stdout, text)

    def note(self, text: str) -> None:
        """One line to stderr; nothing with ``--quiet``."""
        if not self.quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """One line to stderr, also with ``--quiet``."""
        self._line(f"{_paint('warning:', sys.stderr, fg='yellow', bold=True)} {text}")

    def fail(self, error: EdgegenError, hints: Sequence[str] = (), *, plugin: Plugin | None = None) -> None:
        """Print an error: for people to stderr, as a JSON document to stdout so that scripts can parse it.

        Args:
            error: its details are printed as they are.
            hints: further remedies, after the error's own.
            plugin: whose code raised it, if not core's; printed below the details.
        """
        remedies = [hint for hint in (error.hint, *hints) if hint]
        if self.json:
            body = {
                "code": error.code,
                "message": error.message,
                "details": error.details,
                "hint": "\n".join(remedies) or None,
                "plugin": plugin and {"package": plugin.distribution, "version": plugin.version},
            }
            _emit(sys.stdout, _document({"error": body}))
            return
        lines = [f"{_paint(f'error[{error.code}]:', sys.stderr, fg='red', bold=True)} {error.message}"]
        lines += [f"  {line}" for line in error.details]
        if plugin and error.code != ErrorCode.UNEXPECTED:  # whose message names it already
            lines.append(f"  raised by {plugin.distribution} {plugin.version}")
        lines += [f"{_paint('hint:', sys.stderr, fg='cyan', bold=True)} {hint}" for hint in remedies]
        _emit(sys.stderr, "\n".join(lines) + "\n")

    @contextmanager
    def stage(self, title: str, total_bytes: int | None = None) -> Iterator[Stage]:
        """Open a stage, see :meth:`edgegen.progress.Reporter.stage`; ends with one line on stderr: bytes and seconds.

        On a terminal a progress line is drawn meanwhile. A stage that raises prints nothing: the error will.
        """
        stage = Stage(title, total_bytes)
        if self._live is not None or self.quiet or not sys.stderr.isatty():
            yield stage
        else:
            with self._drawn(stage):
                yield stage
        self.note(stage.summary())

    @contextmanager
    def _drawn(self, stage: Stage) -> Iterator[None]:
        """Draw ``stage`` on the terminal while the block runs, and wipe the drawing afterwards."""
        from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
        if stage.total_bytes:
            columns += [BarColumn(), DownloadColumn()]
        columns += [Elapsed(), TextColumn("{task.fields[detail]}", markup=False)]
        progress = Progress(*columns, console=_console(sys.stderr), transient=True, refresh_per_second=8)
        stage.attach(progress, progress.add_task(stage.title, total=stage.total_bytes, detail=""))
        self._live = progress
        try:
            with progress:
                yield
        finally:
            self._live = None

    def _line(self, text: str) -> None:
        if self._live is not None:  # Printing past a live drawing would tear it.
            from rich.text import Text

            self._live.console.print(Text.from_ansi(text), highlight=False, soft_wrap=True)
        else:
            _emit(sys.stderr, text + "\n")


class Stage:
    """A running stage (:class:`edgegen.progress.Stage`); made by :meth:`Output.stage`."""

    def __init__(self, title: str, total_bytes: int | None = None) -> None:
        self.title = title
        self.total_bytes = total_bytes
        self._done_bytes = 0
        self._detail = ""
        self._started = time.perf_counter()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def attach(self, progress: Progress, task: TaskID) -> None:
        """Show progress as ``task`` of a rich ``progress``."""
        self._progress, self._task = progress, task

    def advance(self, n_bytes: int) -> None:
        """Count ``n_bytes`` more as done."""
        self._done_bytes += n_bytes
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, n_bytes)

    def detail(self, text: str) -> None:
        """Show what is being done, or the outcome; the last one stays in the closing line."""
        self._detail = text
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, detail=text)

    def summary(self) -> str:
        """The closing line, e.g. ``weights      134.5 MB    1.9 s``."""
        size = format_bytes(self._done_bytes) if self._done_bytes else ""
        seconds = f"{time.perf_counter() - self._started:.1f} s"
        return f"{self.title:<12} {size:>9} {seconds:>8}   {self._detail}".rstrip()


def output_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a click command ``--json`` and ``--quiet``; it receives the keyword ``output: Output`` instead."""

    @option("--json", "output_json", is_flag=True, group="Output", help="Print one JSON document on stdout.")
    @option(
        "-q",
        "--quiet",
        "output_quiet",
        is_flag=True,
        group="Output",
        help="Print no progress and no notes.",
    )
    @functools.wraps(command)
    def wrapper(*args: Any, output_json: bool, output_quiet: bool, **options: Any) -> R:
        return command(*args, output=Output(json=output_json, quiet=output_quiet), **options)

    return wrapper


def draw_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table without lines, which ``awk`` can cut as well; nothing where there are no rows."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text, because a cell's brackets are no markup
    console.print(table)


def format_bytes(count: int) -> str:
    """Bytes for people, in powers of 1000: ``134.5 MB``."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def format_count(count: int) -> str:
    """A number of parameters for people: ``135 M``, ``1.1 B``."""
    if count < 1000:
        return str(count)
    if count < 999_500:
        return f"{count / 1e3:.0f} K"
    if count < 999_500_000:
        return f"{count / 1e6:.0f} M"
    return f"{count / 1e9:.1f} B"


def _emit(stream: IO[str], text: str) -> None:
    stream.write(text)
    stream.flush()


def _paint(text: str, stream: IO[str], **style: Any) -> str:
    plain = not stream.isatty() or bool(os.environ.get("NO_COLOR"))
    return text if plain else click.style(text, **style)


def _console(stream: IO[str]) -> Console:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False, emoji=False)


def _document(payload: Mapping[str, Any]) -> str:
    whole = {"schema_version": SCHEMA_VERSION, **_plain(payload)}
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """``value`` in the types that JSON knows."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return _plain(_unpacked(value))


def _unpacked(value: Any) -> Any:
    """One layer of ``value`` taken off; raises TypeError for what :meth:`Output.result` does not take."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy to ask
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not go into JSON")
