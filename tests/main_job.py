"""The main job, run from installed packages alone: export real weights, ask a question, expect the answer."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from smollm2 import checkpoint


def edgegen(*arguments: str) -> str:
    command = [sys.executable, "-m", "edgegen", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "smollm2"
        edgegen("export", "smollm2-135m-instruct", "--checkpoint", str(checkpoint()), "-o", str(output))
        answer = edgegen("run", str(output), "--prompt", "What is the capital of France?")
        print(answer)
        assert "Paris" in answer, answer


if __name__ == "__main__":
    main()
