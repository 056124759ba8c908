"""The options of an earlier export: to verify it again, or to make it once more in another way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgegen.export.options import ExportOptions
from edgegen.genai.provenance import describe, read_provenance, unreadable

_PATHS = ("lora", "calibration")


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
    if name == "encode_lengths" and not value:
        return None  # of a model that has none
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping):
        return dict(value)
    return Path(value) if name in _PATHS and value is not None else value
