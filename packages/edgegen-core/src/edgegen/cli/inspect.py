"""``edgegen inspect``: what an exported file holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegen.cli.output import Output, format_bytes, output_options

if TYPE_CHECKING:
    from rich.console import Console

    from edgegen.tflite.reader import ModelSummary, TensorSummary

_SHOWN = 4
"""Tensors of one kind that are listed before the rest are only counted."""


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE_OR_DIR")
@output_options
def inspect(path: Path, output: Output) -> None:
    """Show signatures with shapes and dtypes, operators, composites, and bytes by storage."""
    from edgegen.tflite.reader import read_model

    summary = read_model(path / "model.tflite" if path.is_dir() else path)
    output.result(asdict(summary), lambda console: _draw(console, summary))


def _draw(console: Console, summary: ModelSummary) -> None:
    console.print(f"{summary.path}  {format_bytes(summary.size)}, of which {format_bytes(summary.head)} head")
    console.print("weights")
    for storage, nbytes in summary.weights.items():
        console.print(f"  {storage:<14} {format_bytes(nbytes):>10}   {summary.weight_tensors[storage]} tensors")
    shared = summary.shared
    console.print(f"  shared between signatures: {shared['buffers']} tensors, {format_bytes(shared['bytes'])}")
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
