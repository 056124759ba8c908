"""``edgegen embed``: texts to vectors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.output import Output, output_options
from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.cli.run import MODEL, THREADS, WEIGHT_CACHE, read_stdin

if TYPE_CHECKING:
    from edgegen_runtime.embedding.embedder import Vectors

_DIGITS = 7
"""Enough to tell float32 numbers of a unit vector apart."""


@click.command()
@MODEL
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--similarity", is_flag=True, help="Print the cosine of every pair of texts instead of vectors.")
@click.option("--truncate", is_flag=True, help="Leave out what is too long of a text, instead of refusing it.")
@THREADS
@WEIGHT_CACHE
@output_options
def embed(
    model: Path,
    *,
    texts: tuple[str, ...],
    similarity: bool,
    truncate: bool,
    threads: int | None,
    weight_cache: Path | None,
    output: Output,
) -> None:
    """Make a vector of each TEXT, or of each line of stdin.

    DIR_OR_FILE is a folder that `edgegen export` wrote from an encoder, or the .tflite file in it. Each vector is a
    line on stdout, a JSON list.
    """
    from edgegen_runtime.embedding.embedder import Embedder
    from edgegen_runtime.embedding.embedder import similarity as cosines

    if not texts:
        if sys.stdin.isatty():
            raise UsageError("there is no text", code=ErrorCode.NO_PROMPT, hint="give texts, or pipe lines in")
        texts = tuple(line for line in read_stdin().splitlines() if line.strip())
    with output.stage("load"):
        loaded = Embedder.load(model, threads=threads, weight_cache=weight_cache)
    vectors = loaded.embed(texts, truncate=truncate)
    document: dict[str, Any] = {"model": loaded.bundle.name, "dimensions": loaded.dimensions, "texts": list(texts)}
    if similarity:
        matrix = cosines(vectors, vectors)
        output.result({**document, "similarity": _rounded(matrix)}, _table(matrix, texts))
    else:
        rows = _rounded(vectors)
        output.result({**document, "vectors": rows}, "".join(f"{json.dumps(row)}\n" for row in rows))


def _rounded(array: Vectors) -> list[list[float]]:
    """Without the digits that say nothing."""
    return [[float(f"{value:.{_DIGITS}g}") for value in row] for row in array]


def _table(matrix: Vectors, texts: tuple[str, ...]) -> str:
    return "".join(
        "  ".join(f"{value:6.3f}" for value in row) + f"  {text}\n" for row, text in zip(matrix, texts, strict=True)
    )
