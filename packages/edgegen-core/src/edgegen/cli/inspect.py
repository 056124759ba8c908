"""``edgegen inspect``: what an exported file holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.output import Output, draw_table, format_bytes, output_options

if TYPE_CHECKING:
    from rich.console import Console

    from edgegen.tflite.reader import ModelSummary, TensorSummary

_COLUMNS = ("kind", "count", "source", "storage", "how")

_SHOWN = 4
"""Tensors of one kind that are listed before the rest are only counted."""


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE_OR_DIR")
@output_options
def inspect(path: Path, output: Output) -> None:
    """Show signatures, operators, composites, bytes by storage, and where each kind of weight came from."""
    from edgegen.tflite.reader import read_model

    summary = read_model(path / "model.tflite" if path.is_dir() else path)
    weights = _weights(path)
    output.result({**asdict(summary), "weight_kinds": weights}, lambda console: _draw(console, summary, weights))


def _weights(path: Path) -> list[dict[str, Any]]:
    """What became of each kind of weight, as the recipe beside the model tells; empty where there is none."""
    try:
        recipe = json.loads((path / "recipe.json").read_text(encoding="utf-8"))
        return [dict(row) for row in recipe["weights"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _draw(console: Console, summary: ModelSummary, weights: list[dict[str, Any]]) -> None:
    console.print(f"{summary.path}  {format_bytes(summary.size)}, of which {format_bytes(summary.head)} head")
    console.print("weights")
    for storage, nbytes in summary.weights.items():
        console.print(f"  {storage:<14} {format_bytes(nbytes):>10}   {summary.weight_tensors[storage]} tensors")
    shared = summary.shared
    console.print(f"  shared between signatures: {shared['buffers']} tensors, {format_bytes(shared['bytes'])}")
    rows = [[str(row[column]) for column in _COLUMNS] for row in weights]
    draw_table(console, ("weight", "tensors", "checkpoint", "file", "how"), rows)
    for signature in summary.signatures:
        console.print(f"signature {signature.name}")
        console.print(f"  inputs      {_tensors(signature.inputs)}")
        console.print(f"  outputs     {_tensors(signature.outputs)}")
        console.print(f"  operators   {_counts(signature.operators)}")
        if signature.composites:
            console.print(f"  composites  {_counts(signature.composites)}")


def _tensors(tensors: tuple[TensorSummary, ...]) -> str:
    texts = [f"{t.name} {t.dtype}\\[{','.join(map(str, t.shape))}]" for t in tensors]
    more = [f"... {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return "; ".join([*texts[:_SHOWN], *more])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
