"""``edgegen list-plugins``: installed plugins and their descriptors."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.options import GroupedCommand
from edgegen.cli.output import Output, draw_table, output_options
from edgegen.descriptors import LayerImpl
from edgegen.plugins import Plugin, Registry, registry

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = ("plugin", "status", "package", "provides")


@click.command(
    "list-plugins",
    cls=GroupedCommand,
    examples=[
        ("edgegen list-plugins", "Families, schemes, formats, targets and commands, by plugin"),
        ("edgegen list-plugins --json", "The same as JSON, with modules and problems"),
    ],
)
@output_options
def list_plugins(output: Output) -> None:
    """List the installed plugins, their packages and what they provide.

    A plugin is listed as broken if anything of it was refused; the rest of it works. `edgegen doctor` explains.
    """
    known = registry()
    plugins = [_entry(known, plugin) for plugin in known.plugins]
    output.result({"plugins": plugins}, lambda console: _draw(console, plugins))


def _entry(known: Registry, plugin: Plugin) -> dict[str, Any]:
    provides: dict[str, list[str]] = defaultdict(list)
    for kind, item in known.provided():
        if (item.plugin, item.distribution) == (plugin.name, plugin.distribution):
            provides[kind].append(_name(item.descriptor))
    return {
        "name": plugin.name,
        "status": plugin.status,
        "package": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "provides": provides,
        "problems": [problem.message for problem in known.problems if _at_fault(problem.plugin, plugin)],
    }


def _name(descriptor: Any) -> str:
    """A layer's name is unique within its block only."""
    return f"{descriptor.block}/{descriptor.name}" if isinstance(descriptor, LayerImpl) else descriptor.name


def _at_fault(accused: Plugin, plugin: Plugin) -> bool:
    return (accused.name, accused.distribution) == (plugin.name, plugin.distribution)


def _draw(console: Console, plugins: list[dict[str, Any]]) -> None:
    rows = [
        (
            entry["name"],
            entry["status"],
            f"{entry['package']} {entry['version']}",
            _summary(entry["provides"]),
        )
        for entry in plugins
    ]
    draw_table(console, _COLUMNS, rows)
    if any(entry["problems"] for entry in plugins):
        console.print("edgegen doctor explains what is broken")


def _summary(provides: dict[str, list[str]]) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in provides.items()) or "nothing"
