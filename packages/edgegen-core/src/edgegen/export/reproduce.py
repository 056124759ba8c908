"""The options of an earlier export: to verify it again, or to make it once more in another way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgegen.export.options import ExportOptions
from edgegen.genai.provenance import describe, read_provenance, unreadable

_PATHS = ("lora", "calibration")
_OPTIONAL = (*_PATHS, "lora_rank")
_NUMBERS = ("cache_length", "lora_rank")
_LENGTHS = ("encode_lengths", "prefill_lengths", "cache_buckets", "verify_lengths")
_NAMES = ("allow_keys",)
_MAPPINGS = {"layers": str, "weight_passes": bool}


def reproduce(path: Path, checkpoint: Path | None = None) -> ExportOptions:
    """The options that an exported folder was made with.

    Args:
        path: the folder, or a file in it.
        checkpoint: where the weights are now; default: where they were.

    Raises:
        UsageError: it does not say how it was made, or that is damaged.
    """
    folder = path if path.is_dir() else path.parent
    document = read_provenance(path)
    try:
        options = {name: _value(name, value) for name, value in document["options"].items()}
        found = checkpoint or Path(document["checkpoint"]["path"])
        return ExportOptions(checkpoint=found, output=folder, **options)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(folder, describe(error)) from error


def _value(name: str, value: Any) -> Any:
    """An option from its JSON; raises ValueError where that is of another type."""
    if name == "encode_lengths" and not value:
        return None  # of a model that has none
    if value is None and name in _OPTIONAL:
        return None
    if name in _LENGTHS:
        expected, sound = "a list of integers", isinstance(value, list) and all(type(each) is int for each in value)
    elif name in _NAMES:
        expected, sound = "a list of strings", isinstance(value, list) and all(isinstance(each, str) for each in value)
    elif name in _MAPPINGS:
        of = _MAPPINGS[name]
        sound = isinstance(value, Mapping) and all(isinstance(each, of) for each in value.values())
        expected = f"an object of {of.__name__}"
    else:
        of = int if name in _NUMBERS else str
        expected, sound = of.__name__, type(value) is of
    if not sound:
        raise ValueError(f"options.{name} is {value!r}, not {expected}")
    if name in (*_LENGTHS, *_NAMES):
        return tuple(value)
    return Path(value) if name in _PATHS else value
