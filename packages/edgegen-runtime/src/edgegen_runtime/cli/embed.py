"""``edgegen embed``: text embeddings with an exported encoder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, output_options
from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.cli.shared_options import MODEL, THREADS, WEIGHT_CACHE, read_stdin

if TYPE_CHECKING:
    from edgegen_runtime.embedding.embedder import Vectors

_DIGITS = 7
"""Significant digits of printed numbers: enough to tell float32 values of a unit vector apart."""

EXAMPLES = (
    ('edgegen embed minilm "A cat sits." "A dog runs."', "One vector a text, a JSON list on each line"),
    ('edgegen embed minilm --similarity "A cat sits." "A kitten rests."', "Cosine similarity of each pair"),
    ("edgegen embed minilm --truncate --json < sentences.txt", "Vectors of the lines of a file, as one JSON document"),
)


@click.command(cls=GroupedCommand, examples=EXAMPLES)
@MODEL
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@option(
    "--similarity", is_flag=True, group="Embedding",
    help="Print the cosine similarity of every pair of texts instead of vectors.",
)  # fmt: skip
@option(
    "--truncate", is_flag=True, group="Embedding",
    help="Cut texts that are longer than the longest signature, last token kept, instead of refusing them.",
)  # fmt: skip
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
    """Embed each TEXT, or each line of stdin, as a vector.

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
    document: dict[str, Any] = {"model": loaded.exported.name, "dimensions": loaded.dimensions, "texts": list(texts)}
    if similarity:
        matrix = cosines(vectors, vectors)
        output.result({**document, "similarity": _rounded(matrix)}, _table(matrix, texts))
    else:
        rows = _rounded(vectors)
        output.result({**document, "vectors": rows}, "".join(f"{json.dumps(row)}\n" for row in rows))


def _rounded(array: Vectors) -> list[list[float]]:
    """Lists of numbers with :data:`_DIGITS` significant digits."""
    return [[float(f"{value:.{_DIGITS}g}") for value in row] for row in array]


def _table(matrix: Vectors, texts: tuple[str, ...]) -> str:
    return "".join(
        "  ".join(f"{value:6.3f}" for value in row) + f"  {text}\n" for row, text in zip(matrix, texts, strict=True)
    )
