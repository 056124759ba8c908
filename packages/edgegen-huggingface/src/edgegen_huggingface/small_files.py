"""Files of a repository that need not be there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgegen.weights.files import read_json_object


def is_there(path: Path) -> bool:
    """True if anything has the name: a pipe or a broken link is damage rather than absence."""
    return os.path.lexists(path)


def optional_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or an empty one where there is no file.

    Raises:
        CheckpointError: the file is not a JSON object, or no file.
    """
    return read_json_object(path) if is_there(path) else {}
