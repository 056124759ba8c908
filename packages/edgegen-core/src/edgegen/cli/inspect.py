"""``edgegen inspect``: contents of an exported file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.options import GroupedCommand
from edgegen.cli.output import Output, draw_table, format_bytes, output_options
from edgegen.errors import UsageError
from edgegen.genai.provenance import read_provenance
from edgegen.plugins import load, registry

if TYPE_CHECKING:
    from rich.console import Console

    from edgegen.genai.file_contents import Contents
    from edgegen.tflite.reader import ModelSummary, TensorSummary

_COLUMNS = ("pattern", "count", "source", "storage", "conversion")

_SHOWN = 4
"""Tensors of a signature that are listed; the rest are counted."""


@click.command(
    cls=GroupedCommand,
    examples=[
        ("edgegen inspect ./smollm2", "An export: signatures with shapes, operators, bytes by storage"),
        ("edgegen inspect model.litertlm --json", "The sections of a bundle, as JSON"),
    ],
)
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE_OR_DIR")
@output_options
def inspect(path: Path, output: Output) -> None:
    """Show the signatures, operators, composites and weights of an exported model.

    FILE_OR_DIR is a .tflite file, a bundle (.litertlm, .task), or a folder that `edgegen export` wrote. For a folder,
    the conversion report (source and storage of each group of weights) is shown too. Sizes are in powers of 1000
    bytes. The model is not run.
    """
    from edgegen.tflite.reader import read_model

    readers = _readers()
    file = _model(path, readers)
    weights = _weights(path)
    if file.suffix in readers:
        contents: Contents = load(readers[file.suffix])(file)
        document = {"path": file, **asdict(contents), "conversion": weights}
        output.result(document, lambda console: _draw_contents(console, file, contents, weights))
        return
    summary = read_model(file)
    output.result({**asdict(summary), "conversion": weights}, lambda console: _draw(console, summary, weights))


def _readers() -> dict[str, str]:
    """File suffix -> reference of the export target's reader."""
    targets = registry().export_targets.values()
    return {suffix: reader for target in targets for suffix, reader in target.descriptor.contents.items()}


def _model(path: Path, readers: Iterable[str]) -> Path:
    """The file that holds the model: ``path``, or the one in the folder."""
    if not path.is_dir():
        return path
    others = (file for suffix in readers for file in sorted(path.glob(f"*{suffix}")))
    model = path / "model.tflite"
    return model if model.exists() else next(others, model)


def _weights(path: Path) -> list[dict[str, Any]]:
    """The conversion report in an export's provenance; empty where there is none that can be read."""
    try:
        rows = [dict(row) for row in read_provenance(path)["weights"]]
    except (UsageError, KeyError, TypeError, ValueError):
        return []
    return rows if all(row.keys() >= set(_COLUMNS) for row in rows) else []


def _draw(console: Console, summary: ModelSummary, weights: list[dict[str, Any]]) -> None:
    console.print(
        f"{summary.path}  {format_bytes(summary.size)}, of which {format_bytes(summary.head)} graphs and metadata"
    )
    console.print("weights")
    for storage, nbytes in summary.weights.items():
        console.print(f"  {storage:<14} {format_bytes(nbytes):>10}   {summary.weight_tensors[storage]} tensors")
    shared = summary.shared
    console.print(f"  shared between signatures: {shared['buffers']} tensors, {format_bytes(shared['bytes'])}")
    _draw_weights(console, weights)
    for signature in summary.signatures:
        console.print(f"signature {signature.name}")
        console.print(f"  inputs      {_tensors(signature.inputs)}")
        console.print(f"  outputs     {_tensors(signature.outputs)}")
        console.print(f"  operators   {_counts(signature.operators)}")
        if signature.composites:
            console.print(f"  composites  {_counts(signature.composites)}")


def _draw_contents(console: Console, file: Path, contents: Contents, weights: list[dict[str, Any]]) -> None:
    console.print(f"{file}  {format_bytes(file.stat().st_size)}, {contents.format}")
    _draw_weights(console, weights)
    for part in contents.parts:
        console.print(f"{part.name}  {format_bytes(part.nbytes)} from byte {part.offset}")
        for name, text in part.details.items():
            console.print(f"  {name:<15} {text}", markup=False)


def _draw_weights(console: Console, weights: list[dict[str, Any]]) -> None:
    rows = [[str(row[column]) for column in _COLUMNS] for row in weights]
    draw_table(console, ("weight", "tensors", "checkpoint", "file", "conversion"), rows)


def _tensors(tensors: tuple[TensorSummary, ...]) -> str:
    texts = [f"{t.name} {t.dtype}\\[{','.join(map(str, t.shape))}]" for t in tensors]
    more = [f"... {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return "; ".join([*texts[:_SHOWN], *more])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
