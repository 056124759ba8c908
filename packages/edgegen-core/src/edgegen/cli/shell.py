"""The command-line shell: finds a command, runs it, and turns exceptions into messages and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from edgegen._version import __version__
from edgegen.cli.failures import BROKEN_PIPE, INTERRUPTED, bug, culprit, expected, extra_hints, interruption
from edgegen.cli.output import Output
from edgegen.errors import EdgegenError, ErrorCode, PluginError, UsageError
from edgegen.plugins import load, registry
from edgegen.plugins.loading import strict
from edgegen.suggest import closest


class PluginGroup(click.Group):
    """A click group over the ``Command`` descriptors of all plugins: help needs their names only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in alphabetical order."""
        return sorted(registry().commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command.

        Raises:
            UsageError: there is none of that name.
            PluginError: it cannot be imported, or is no click command.
        """
        provided = registry().commands.get(name)
        if provided is None:
            meant = closest(name, registry().commands)
            raise UsageError(
                f"there is no command {name!r}",
                code=ErrorCode.UNKNOWN_COMMAND,
                details=[f"available   {', '.join(self.list_commands(ctx))}"],
                hint=f"did you mean edgegen {meant}?" if meant else "edgegen --help lists the commands",
            )
        reference = provided.descriptor.command
        command = load(reference)
        if not isinstance(command, click.Command):
            raise PluginError(
                f"{reference} of {provided.distribution} is {type(command).__name__}, expected click.Command",
                code=ErrorCode.NOT_A_COMMAND,
                hint="put @click.command() above the function",
            )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write names and summaries from the descriptors; click would import every command here."""
        commands = registry().commands
        rows = [(name, commands[name].descriptor.summary) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of its arguments names it, also where click's parser forgets to."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            name = ctx.invoked_subcommand
            command = self.get_command(ctx, name) if error.ctx is None and name else None
            if command is not None:
                error.ctx = click.Context(command, info_name=name, parent=ctx)
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's own, but an option in the command's place is reported as an unknown option."""
        if args[0].startswith("-"):
            raise click.NoSuchOption(args[0], ctx=ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="edgegen", message="%(prog)s %(version)s")
def edgegen(debug: bool) -> None:
    """Export PyTorch language models to LiteRT and run them."""


@dataclass(frozen=True)
class _ErrorStyle:
    """Style of errors: JSON or text, with or without traceback; read from arguments that need not parse."""

    json: bool
    debug: bool

    @classmethod
    def of(cls, args: Sequence[str]) -> _ErrorStyle:
        options = args[: args.index("--")] if "--" in args else args
        return cls(json="--json" in options, debug="--debug" in options or strict())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name; None takes the process's own.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    style = _ErrorStyle.of(args)
    output = Output(json=style.json)
    try:
        return _invoke(args or ["--help"])
    except BrokenPipeError:
        return _reader_gone()
    except (KeyboardInterrupt, click.Abort):
        output.fail(interruption())
        return INTERRUPTED
    except Exception as error:
        try:
            return _report(error, output, style)
        except BrokenPipeError:
            return _reader_gone()
        except KeyboardInterrupt:  # pressed again while an error hint was being looked for
            return INTERRUPTED


def _invoke(args: list[str]) -> int:
    # Not click's own main(): that one prints errors itself and ends the process.
    try:
        with edgegen.make_context("edgegen", args) as ctx:
            result = edgegen.invoke(ctx)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as wish:
        return wish.exit_code
    except SystemExit as wish:
        return _exit_code(wish)


def _exit_code(wish: SystemExit) -> int:
    """Exit code of a ``sys.exit`` in a command, without ending the process here."""
    if isinstance(wish.code, str):
        sys.stderr.write(wish.code + "\n")
        return 1
    return wish.code or 0


def _report(error: Exception, output: Output, style: _ErrorStyle) -> int:
    """Print an error and return the exit code that belongs to it."""
    known = expected(error)
    if style.debug:
        traceback.print_exception(error)
    if known is None:
        output.fail(bug(error, traced=style.debug), extra_hints(error), plugin=culprit(error))
        return EdgegenError.exit_code
    output.fail(known, extra_hints(error), plugin=culprit(error))
    return known.exit_code


def _reader_gone() -> int:
    """Exit code after a broken pipe; stdout is replaced, since Python flushes it once more when it ends."""
    with contextlib.suppress(OSError):  # where stdout is not a real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
