"""``export.json``: how an exported folder was made; read here, without torch.

:mod:`edgegen.export.provenance` writes it. Folders of schema version 1 have a ``recipe.json`` with other names in
it, which is read as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgegen.errors import ErrorCode, UsageError

EXPORT_FILE = "export.json"
EXPORT_FILES = (EXPORT_FILE, "recipe.json")
SCHEMA_VERSION = 2

_OPTIONS = {"short_caches": "cache_buckets", "speculate": "verify_lengths"}
"""Options of schema version 1 -> their names today."""

_SCHEMES = {"keep": "passthrough"}
"""Schemes of schema version 1 -> their names today."""

_ROW = {"kind": "pattern", "how": "conversion", "why": "reason"}
"""Fields of the conversion report of schema version 1 -> their names today."""

_PASSES = {"smoothquant": ("equalize", "equalization"), "gptq": ("calibrate", "calibration")}
"""Weight passes -> the option and the field of schema version 1."""


def is_export(folder: Path) -> bool:
    """True if the folder says that it is an export."""
    return any((folder / name).is_file() for name in EXPORT_FILES)


def read_provenance(path: Path) -> dict[str, Any]:
    """The document of an exported folder, in the form of this version.

    Args:
        path: the folder, or a file in it.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    folder = path if path.is_dir() else path.parent
    file = next((folder / name for name in EXPORT_FILES if (folder / name).is_file()), None)
    if file is None:
        if not path.exists():
            raise UsageError(
                f"no such file or folder: {path}",
                code=ErrorCode.NOT_AN_EXPORT,
                hint="name a folder that edgegen export wrote (its -o DIR)",
            )
        raise unreadable(folder, f"it has no {EXPORT_FILE}")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        version = document["schema_version"]
        if version not in (1, SCHEMA_VERSION):
            raise ValueError(f"schema_version is {version!r}; this version reads 1 and {SCHEMA_VERSION}")
        return _migrated(document) if version == 1 else dict(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable(folder, f"{file.name}: {describe(error)}") from error


def describe(error: Exception) -> str:
    """An error of reading a document, for people."""
    return f"no field {error}" if isinstance(error, KeyError) else str(error)


def unreadable(folder: Path, reason: str) -> UsageError:
    """The error for a folder whose provenance is missing or damaged."""
    return UsageError(
        f"{folder} does not say how it was made: {reason}",
        code=ErrorCode.EXPORT_RECORD_UNREADABLE,
        hint=f"it needs the {EXPORT_FILE} that edgegen export writes; export it again",
    )


def _migrated(document: dict[str, Any]) -> dict[str, Any]:
    """A document of schema version 1 with today's names."""
    options = {_OPTIONS.get(name, name): value for name, value in document["options"].items()}
    options["weight_passes"] = {name: bool(options.pop(option, False)) for name, (option, _) in _PASSES.items()}
    options["scheme"] = _SCHEMES.get(options["scheme"], options["scheme"])
    reports = {name: document.get(field) for name, (_, field) in _PASSES.items()}
    passes = {
        name: {"transforms_weights": name == "smoothquant", "report": report}
        for name, report in reports.items()
        if report
    }
    return {
        **document,
        "options": options,
        "passes": passes,
        "weights": [
            {_ROW.get(name, name): value for name, value in row.items()} for row in document.get("weights", ())
        ],
        "calibration": document.get("text"),
    }
