"""What became of the checkpoint's numbers on their way into the file, kind of weight by kind of weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from edgegen.tflite.writer import Parameter
from edgegen.weights.mismatch import pattern_of

MANTISSA = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7}
"""Bits after the point in the floating-point types that checkpoints come in."""

MEANINGS = {
    "kept": "the checkpoint's own quantized numbers, bit for bit",
    "exact": "the same numbers as floats",
    "rounded": "floats of lower precision",
    "quantized": "floats rounded to integers with scales",
    "dequantized": "quantized numbers turned into floats",
    "requantized": "quantized numbers turned into floats and quantized anew",
}
"""How -> what that says."""


@dataclass(frozen=True)
class Transfer:
    """A kind of weight: those whose names differ only in numbers.

    Attributes:
        kind: name with ``*`` for numbers, e.g. ``blocks.*.attention.qkv.weight``.
        count: how many there are.
        source: type in the checkpoint, ``Q4_0+Q6_K`` where a weight is made of several.
        storage: type in the file.
        how: a key of :data:`MEANINGS`.
        why: the reason for requantizing; empty otherwise.
        nbytes: in the file.
    """

    kind: str
    count: int
    source: str
    storage: str
    how: str
    why: str
    nbytes: int


def transfers(parameters: Mapping[str, Parameter], scheme: str) -> tuple[Transfer, ...]:
    """One row for each kind, in the order of the file."""
    rows: dict[tuple[str, str, str], Transfer] = {}
    for name, parameter in parameters.items():
        how = _how(parameter)
        key = (pattern_of(name), parameter.source.dtype, str(parameter.storage))
        before = rows.get(key) or Transfer(*key[:1], 0, *key[1:], how, "", 0)
        rows[key] = replace(before, count=before.count + 1, nbytes=before.nbytes + parameter.nbytes)
        if how == "requantized":
            rows[key] = replace(rows[key], why=_why(parameter, scheme))
    return tuple(rows.values())


def summaries(rows: Iterable[Transfer]) -> list[str]:
    """A line for each way that numbers went: ``24 of Q4_0 -> int4-block32: kept``."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for row in rows:
        key = (row.source, row.storage, row.how, row.why)
        counts[key] = counts.get(key, 0) + row.count
    return [
        f"{count} of {source} -> {storage}: {how}{f' ({why})' if why else ''}"
        for (source, storage, how, why), count in counts.items()
    ]


def _how(parameter: Parameter) -> str:
    source, storage = parameter.source.dtype, parameter.storage.dtype
    if parameter.kept:
        return "kept"
    if storage.startswith("float"):
        parts = source.split("+")
        if not all(part in MANTISSA for part in parts):
            return "dequantized"
        room = MANTISSA["F32" if storage == "float32" else "F16"]
        fits = all(MANTISSA[part] <= room and not (storage == "float16" and part == "BF16") for part in parts)
        return "exact" if fits else "rounded"
    return "quantized" if all(part in MANTISSA for part in source.split("+")) else "requantized"


def _why(parameter: Parameter, scheme: str) -> str:
    source = parameter.source
    if source.packed is not None:
        return f"{scheme} stores it so; --scheme keep would keep it"
    if "+" in source.dtype:
        return "made of several types"
    return f"LiteRT has no storage that holds {source.dtype} exactly"
