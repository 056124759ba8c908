"""Help texts of commands: options in named groups, and examples to copy.

::

    @click.command(cls=GroupedCommand, examples=[("edgegen run ./smollm2 -p Hi", "Answer one prompt")])
    @option("--top-k", type=int, default=0, group="Sampling", help="Sample among the K most likely tokens; 0: all.")
    def run(top_k: int) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

UNGROUPED = "Options"
"""Heading of the options without a group; the last section of options, with ``--help``."""


class GroupedOption(click.Option):
    """An option that names the section of the help it is listed in.

    Args:
        group: the section's heading, capitalised; None lists the option under :data:`UNGROUPED`.
    """

    def __init__(self, *args: Any, group: str | None = None, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group


def option(*declarations: str, group: str | None = None, **attributes: Any) -> Callable[[F], F]:
    """``click.option`` with a ``group``; takes everything else that ``click.option`` takes."""
    return click.option(*declarations, cls=GroupedOption, group=group, **attributes)


class GroupedCommand(click.Command):
    """A command whose help lists its options by group, in order of appearance, and ends with examples.

    Args:
        examples: pairs of a command line, ``edgegen`` included, and what it does.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group of options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        ungrouped: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                group = getattr(parameter, "group", None)
                (ungrouped if group is None else sections.setdefault(group, [])).append(record)
        for heading, records in [*sections.items(), (UNGROUPED, ungrouped)]:
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, unwrapped so that they can be copied, and the epilog after them."""
        if self.examples:
            with formatter.section("Examples"):
                indent = " " * formatter.current_indent
                for number, (line, purpose) in enumerate(self.examples):
                    formatter.write(f"{chr(10) if number else ''}{indent}# {purpose}\n{indent}{line}\n")
        super().format_epilog(ctx, formatter)
