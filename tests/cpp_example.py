"""Builds ``examples/cpp/text_generator`` and compares what it says with ``edgegen run``, on Gemma 3 270M.

python tests/cpp_example.py build/cpp
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import weights

SOURCE = Path(__file__).parent.parent / "examples" / "cpp" / "text_generator"
PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "A list of the planets, from the sun outwards, with a sentence about each of them, for children: " * 4,
    "naïve café, 東京, 🙂:",
)


def said(*command: object) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def main(folder: Path) -> None:
    litert = importlib.util.find_spec("ai_edge_litert")
    assert litert is not None
    assert litert.origin is not None
    said("cmake", "-S", SOURCE, "-B", folder / "build", f"-DLITERT_DIR={Path(litert.origin).parent}")
    said("cmake", "--build", folder / "build")
    model = folder / "gemma3-270m"
    if not (model / "model.tflite").is_file():
        checkpoint = weights.gemma3(folder / "gemma3-270m.gguf")
        said("edgegen", "export", "gemma3-270m", "--checkpoint", checkpoint, "-o", model)
    files = ("--model", model / "model.tflite", "--tokenizer", model / "tokenizer.model", "--max-new-tokens", 32)
    program = (folder / "build" / "text_generator", *files)
    for prompt in PROMPTS:
        ours = said(*program, "--prompt", prompt)
        theirs = said("edgegen", "run", model, "--raw", "--prompt", prompt, "--max-new-tokens", 32, "--quiet")
        assert ours == theirs, f"C++ says {ours!r}, edgegen run says {theirs!r}"
        print(f"the same: {ours!r}")
    sampled = (*program, "--prompt", PROMPTS[0], "--temperature", 1)
    assert said(*sampled, "--seed", 3) == said(*sampled, "--seed", 3), "one seed, two texts"
    assert len({said(*sampled, "--seed", seed) for seed in range(3)}) > 1, "seeds make no difference"
    assert said(*sampled, "--top-k", 1) == said(*program, "--prompt", PROMPTS[0]), (
        "the most likely token is not greedy's"
    )
    cache = folder / "packed"
    cache.unlink(missing_ok=True)
    assert said(*program, "--prompt", PROMPTS[0], "--weight-cache", cache) == said(*program, "--prompt", PROMPTS[0])
    assert cache.stat().st_size > 1_000_000
    wrong = subprocess.run([program[0], "--model", "nowhere"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2, wrong
    print("sampling, weight cache and errors: in order")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
