"""The conversion report: how the checkpoint's numbers went into the file, by groups of weights of one name pattern."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from edgegen.tflite.writer import Parameter
from edgegen.weights.mismatch import pattern_of

MANTISSA = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7}
"""Bits of the mantissa of the floating-point types that checkpoints come in."""

MEANINGS = {
    "kept": "the checkpoint's own quantized numbers, bit for bit",
    "exact": "the same numbers as floats",
    "computed": "worked out from the checkpoint's numbers, as floats: a pass, an adapter or a constant changed them",
    "added": "not in the checkpoint: what edgegen adds, as floats",
    "rounded": "floats of lower precision",
    "quantized": "floats rounded to integers with scales",
    "dequantized": "quantized numbers turned into floats",
    "requantized": "quantized numbers turned into floats and quantized anew",
}
"""Conversion -> its meaning."""


@dataclass(frozen=True)
class ConversionRow:
    """A group of weights whose names differ only in numbers.

    Attributes:
        pattern: name with ``*`` for numbers, e.g. ``blocks.*.attention.qkv.weight``.
        count: number of weights.
        source: type in the checkpoint, ``Q4_0+Q6_K`` where a weight is made of several.
        storage: type in the file.
        conversion: a key of :data:`MEANINGS`.
        reason: the reason for requantizing; empty otherwise.
        nbytes: in the file.
    """

    pattern: str
    count: int
    source: str
    storage: str
    conversion: str
    reason: str
    nbytes: int


def conversion_report(
    parameters: Mapping[str, Parameter], scheme: str, changed: Collection[str] = (), added: Collection[str] = ()
) -> tuple[ConversionRow, ...]:
    """One row for each group of weights, in the order of the file.

    Args:
        parameters: by name.
        scheme: name.
        changed: parameters whose numbers a pass will change.
        added: parameters that a pass has added.
    """
    rows: dict[tuple[str, str, str, str], ConversionRow] = {}
    for name, parameter in parameters.items():
        conversion = _conversion(parameter)
        if name in added:
            conversion = "added"
        elif conversion in ("exact", "kept") and (name in changed or parameter.source.computed):
            conversion = "computed"
        pattern, source, storage = pattern_of(name), parameter.source.dtype, str(parameter.storage)
        if name in added:
            source = "none"
        key = (pattern, source, storage, conversion)
        row = rows.get(key) or ConversionRow(pattern, 0, source, storage, conversion, "", 0)
        reason = _reason(parameter, scheme) if conversion == "requantized" else row.reason
        rows[key] = replace(row, count=row.count + 1, nbytes=row.nbytes + parameter.nbytes, reason=reason)
    return tuple(rows.values())


def summaries(rows: Iterable[ConversionRow]) -> list[str]:
    """A line for each conversion: ``24 of Q4_0 -> int4-block32: kept``."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for row in rows:
        key = (row.source, row.storage, row.conversion, row.reason)
        counts[key] = counts.get(key, 0) + row.count
    return [
        f"{count} of {source} -> {storage}: {conversion}{f' ({reason})' if reason else ''}"
        for (source, storage, conversion, reason), count in counts.items()
    ]


def _conversion(parameter: Parameter) -> str:
    source, storage = parameter.source.dtype, parameter.storage.dtype
    if parameter.passthrough:
        return "kept"
    if storage.startswith("float"):
        parts = source.split("+")
        if not all(part in MANTISSA for part in parts):
            return "dequantized"
        room = MANTISSA["F32" if storage == "float32" else "F16"]
        fits = all(MANTISSA[part] <= room and not (storage == "float16" and part == "BF16") for part in parts)
        return "exact" if fits else "rounded"
    return "quantized" if all(part in MANTISSA for part in source.split("+")) else "requantized"


def _reason(parameter: Parameter, scheme: str) -> str:
    source = parameter.source
    if source.packed is not None:
        return f"{scheme} stores it so; --scheme passthrough would keep it"
    if "+" in source.dtype:
        return "made of several types"
    return f"LiteRT has no storage that holds {source.dtype} exactly"
