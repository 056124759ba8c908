"""``edgegen tokenizer``: a tokenizer as a SentencePiece model, and how far the two agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.output import Output, format_bytes, output_options

if TYPE_CHECKING:
    from rich.console import Console

    from edgegen_bundles.sentencepiece import Comparison, Conversion


_SPECIAL = ("CONTROL", "USER_DEFINED", "UNKNOWN")
"""Types of pieces that may begin or end a text."""


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output-file", type=click.Path(dir_okay=False, path_type=Path), help="Model to write.")
@click.option("--text", type=click.Path(dir_okay=False, path_type=Path), help="To compare on. Default: an own one.")
@click.option("--pairs", type=click.IntRange(min=1), default=1000, show_default=True, help="Random pairs of tokens.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the pairs.")
@output_options
def tokenizer(source: Path, output_file: Path | None, text: Path | None, pairs: int, seed: int, output: Output) -> None:
    """Convert a BPE tokenizer to a SentencePiece model, and say how far the two agree.

    SOURCE is a tokenizer.json, a folder with one, or a checkpoint that has a tokenizer. A SentencePiece model is shown
    and written as it is.
    """
    from edgegen_bundles.sentencepiece import compare, convert
    from edgegen_bundles.sentencepiece.tokenizer_source import find_tokenizer
    from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, SENTENCEPIECE_FILE
    from edgegen_runtime.evaluation.sample_text import sample_text

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
    """Write beside and rename; what to say of it."""
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
    kinds = pb.ModelProto.SentencePiece.Type
    counts = Counter(kinds.Name(piece.type).lower() for piece in proto.pieces)
    special = [piece.piece for piece in proto.pieces if kinds.Name(piece.type) in _SPECIAL]
    kind = pb.TrainerSpec.ModelType.Name(proto.trainer_spec.model_type).lower()
    return {"model_type": kind, "pieces": len(proto.pieces), "kinds": dict(counts.most_common()), "special": special}


def _counts(facts: dict[str, Any]) -> str:
    kinds = ", ".join(f"{count:,} {kind.replace('_', '-')}" for kind, count in facts["kinds"].items())
    return f"{facts['model_type']}, {facts['pieces']:,} pieces ({kinds})"


def _document(conversion: Conversion, comparison: Comparison) -> dict[str, Any]:
    figures = {key: value for key, value in vars(comparison).items() if key != "mismatches"}
    return {
        "tokens_in_vocabulary": conversion.source.size,
        "steering_pieces": conversion.steering,
        "partial_characters": conversion.unspellable,
        "never_made": conversion.unused,
        "unreachable": conversion.unreachable,
        "comparison": figures,
        "constructs": [
            {
                "construct": one.construct.label,
                "reason": one.construct.reason,
                "count": one.count,
                "example": asdict(one.example),
            }
            for one in comparison.mismatches
        ],
    }


def _draw(
    console: Console, facts: dict[str, Any], conversion: Conversion, comparison: Comparison, written: str
) -> None:
    from edgegen_bundles.sentencepiece import percent

    c = comparison
    lines = [
        f"{_counts(facts)}, of which {conversion.steering:,} only steer",
        f"not matched strictly {c.strictly}/{c.pairs} pairs: {percent(c.strictly, c.pairs)}, "
        f"loosely {c.loosely}/{c.pairs} pairs: {percent(c.loosely, c.pairs)}",
        f"text: {c.tokens_differing} of {c.tokens:,} tokens differ: {percent(c.tokens_differing, c.tokens)}; "
        f"{c.passages_differing} of {c.passages} passages; {c.passages_decoded_differently} decode to another text",
    ]
    if conversion.unspellable:
        lines.append(f"{conversion.unspellable:,} tokens hold part of a character; no text becomes them")
    if conversion.unreachable:
        lines.append(f"{conversion.unreachable:,} tokens are not reached, not even from their own text")
    for one in comparison.mismatches:
        lines += [
            f"{one.construct.label}: {one.count}, as {one.construct.reason}",
            f"  in             {one.example.text!r}",
            f"  tokenizer      {' '.join(map(repr, one.example.tokenizer))}",
            f"  SentencePiece  {' '.join(map(repr, one.example.sentencepiece))}",
        ]
    console.print("\n".join(lines) + written, markup=False, soft_wrap=True)
