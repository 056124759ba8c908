"""An export as its ``export.json`` tells of it: to check it again, or to make it once more in another way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.job import ExportOptions

EXPORT_FILE = "export.json"


def options_of(path: Path, checkpoint: Path | None = None) -> ExportOptions:
    """What was asked for when the folder at ``path`` was exported, or the file in it.

    Args:
        path: the folder, or a file in it.
        checkpoint: where the weights are now; default: where they were.

    Raises:
        UsageError: there is no recipe, or it is damaged.
    """
    folder = path if path.is_dir() else path.parent
    try:
        recipe = json.loads((folder / EXPORT_FILE).read_text(encoding="utf-8"))
        stated = dict(recipe["options"])
        found = checkpoint or Path(recipe["checkpoint"]["path"])
        return ExportOptions(checkpoint=found, output=folder, **{name: _settled(name, stated[name]) for name in stated})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} does not say how it was made: {error!r}",
            code=ErrorCode.EXPORT_RECORD_UNREADABLE,
            hint=f"it needs the {EXPORT_FILE} that edgegen export writes; export it again",
        ) from error


def _settled(name: str, value: Any) -> Any:
    if name == "encode_lengths" and not value:
        return None  # of a model that has none
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if name in ("lora", "calibration") and value is not None else value
