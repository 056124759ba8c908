"""``edgegen list-models``: variants of all installed model families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.options import GroupedCommand
from edgegen.cli.output import Output, draw_table, format_count, output_options
from edgegen.plugins import Problem, Registry, registry

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = ("model", "family", "parameters", "context", "scheme", "licence", "package")


@click.command(
    "list-models",
    cls=GroupedCommand,
    examples=[
        ("edgegen list-models", "Names to export, with parameters, trained context and licence"),
        ("edgegen list-models --json", "The same as JSON, with sources and versions"),
    ],
)
@output_options
def list_models(output: Output) -> None:
    """List the models that can be exported: name, family, parameters, trained context in tokens, quantization scheme.

    Other sizes of a listed family can be exported too, by the family's name, where the checkpoint has its config.json.
    """
    known = registry()
    models = [_model(known, name) for name in known.variants]
    broken = [_broken(problem) for problem in known.problems]
    output.result({"models": models, "broken": broken}, lambda console: _draw(console, models, broken))


def _model(known: Registry, name: str) -> dict[str, Any]:
    family, variant = known.variant(name)
    provided = known.variants[name]
    return {
        "name": name,
        "family": family.name,
        "task": family.task,
        "parameters": variant.parameters,
        "context_length": variant.context_length,
        "scheme": variant.scheme,
        "license": variant.license,
        "source": variant.source,
        "package": provided.distribution,
        "version": provided.version,
    }


def _broken(problem: Problem) -> dict[str, Any]:
    return {
        "plugin": problem.plugin.name,
        "package": problem.plugin.distribution,
        "version": problem.plugin.version,
        "message": problem.message,
    }


def _draw(console: Console, models: list[dict[str, Any]], broken: list[dict[str, Any]]) -> None:
    draw_table(console, _COLUMNS, [_row(model) for model in models])
    if not models:
        console.print("No models yet; a package of a family adds some: pip install edgegen-models-llama")
    for problem in broken:
        head = f"{problem['plugin']} ({problem['package']} {problem['version']})"
        console.print(f"broken: {head}: {problem['message']}", style="red", markup=False, soft_wrap=True)
    if broken:
        console.print("edgegen doctor explains what to do", soft_wrap=True)


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    return (
        model["name"],
        model["family"],
        format_count(model["parameters"]),
        str(model["context_length"]),
        model["scheme"],
        model["license"],
        f"{model['package']} {model['version']}",
    )
