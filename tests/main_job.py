"""The main jobs, run from installed packages alone: export real weights, ask, expect the answer; convert a module.

``python tests/main_job.py smollm2|gemma3|core``
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import weights

QUESTION = ("--prompt", "Name the capital of France.")
BEGINNING = ("--raw", "--max-new-tokens", "12", "--prompt", "The capital of France is")


def edgegen(*arguments: str) -> str:
    command = [sys.executable, "-m", "edgegen", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def convert() -> None:
    """Convert a module with core alone."""
    import torch
    from torch import nn

    from edgegen import convert
    from edgegen.plugins import registry

    assert [plugin.name for plugin in registry().plugins] == ["core"]
    model, x = nn.Linear(4, 4), torch.rand(2, 4)
    torch.testing.assert_close(convert(model, (x,))(x)["output"], model(x), rtol=1e-5, atol=1e-5)
    print("core converts alone")


def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if name == "smollm2":
            variant, checkpoint, asked, expected = "smollm2-135m-instruct", weights.smollm2(), QUESTION, "Paris"
        else:  # a base model: it continues a text, and knows less
            checkpoint = weights.gemma3(Path(folder) / "gemma3.gguf")
            variant, asked, expected = "gemma3-270m", BEGINNING, "the capital of"
        output = str(Path(folder) / "out")
        edgegen("export", variant, "--checkpoint", str(checkpoint), "-o", output)
        answer = edgegen("run", output, *asked)
        print(answer)
        assert expected in answer, answer


if __name__ == "__main__":
    convert() if sys.argv[1] == "core" else main(sys.argv[1])
