"""llama.cpp's quantized files of a model beside ours: the same weights, the same text, the same measures.

The float model is what a GGUF checkpoint dequantizes to. It is written as a GGUF file in float32, which llama.cpp's own
quantizer turns into Q8_0 and Q4_0: as it does by default, which is with more bits for the embedding, and ``pure``. Ours
is the same model exported to ``fp32`` and the folders that are named. All read the token ids that ``edgegen evaluate``
reads and are judged by the same code, llama.cpp's by what its own float32 says, and ours by what ours says. These two
have to agree, or else the script fails: only then is the same thing measured twice. Then all decode in turn.

A GGUF file has the tokenizer in it, 2 MB of SmolLM2's; a ``.tflite`` file has not. llama.cpp is built from source, with
clang, since gcc 12's build of it crashes on quantized models on some machines, in an environment under
``build/bench/``, which takes some minutes; that is kept. Where other work takes cores away, ``--threads 1`` is the
fairer comparison.

    python bench/llama_cpp.py CHECKPOINT [DIR...]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import BUILD, environment, machine, median, note, report, run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

REQUIREMENTS = ("llama-cpp-python==0.3.36", "gguf==0.19.0")
COMPILE = {"CC": "clang", "CXX": "clang++", "CMAKE_ARGS": "-DGGML_NATIVE=ON"}
KINDS = (("Q8_0", False), ("Q4_0", False), ("Q4_0", True))
"""llama.cpp's types, and whether all of the model is to be of that type."""

AGREEMENT = 1e-3
"""Most that the perplexities of both float models may differ, relative to one another."""

PROMPT, DECODE, RUNS = 32, 32, 3
"""Of each turn: as ``edgegen evaluate`` measures the speed of decoding."""


class Recorded:
    """Logits that llama.cpp has written down, in the place of a model and of its cache.

    They can be read only in the order in which they were written.
    """

    def __init__(self, logits: npt.NDArray[np.float32]) -> None:
        self.logits = logits
        self.vocab_size = logits.shape[1]
        self.at = 0

    def new_cache(self) -> Recorded:
        return Recorded(self.logits)

    def rollback(self, position: int) -> None:
        """The next window is the next one that was written."""

    def verify_length(self, count: int) -> int:
        return count

    def verify(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        self.at += len(token_ids)
        return self.logits[self.at - len(token_ids) : self.at]

    def step(self, token_id: int) -> npt.NDArray[np.float32]:
        return self.verify([token_id])[0]


class LlamaCpp:
    """llama.cpp in its environment, and a folder to work in."""

    def __init__(self, work: Path, threads: int) -> None:
        self.python = environment("llama-cpp-env", REQUIREMENTS, variables=COMPILE) / "python"
        self.work = work
        self.threads = threads

    def step(self, name: str, **arguments: Any) -> Any:
        script = Path(__file__).with_name("llama_cpp_once.py")
        return json.loads(run([self.python, "-I", script, name, json.dumps(arguments, default=str)]).stdout)

    def files(self, checkpoint: Path) -> dict[str, Path]:
        """The model in float32 and in each of the types, by the names of their rows; float32 comes first."""
        note("writing the model in float32 for llama.cpp")
        exact = self.work / "F32.gguf"
        self.step("widen", source=checkpoint, target=exact)
        found = {"llama.cpp F32": exact}
        for kind, pure in KINDS:
            file = self.work / f"{kind}{'-pure' * pure}.gguf"
            made = self.step("quantize", source=exact, target=file, kind=kind, pure=pure, threads=self.threads)
            found[f"llama.cpp {kind}, embedding {made['embedding']}"] = file
        return found

    def read(self, model: Path, pieces: Sequence[Sequence[int]]) -> Recorded:
        """Let it read the windows."""
        import numpy as np

        windows, logits = self.work / "windows.json", model.with_suffix(".npy")
        windows.write_text(json.dumps(pieces))
        self.step("read", model=model, windows=windows, logits=logits, threads=self.threads)
        return Recorded(np.load(logits, mmap_mode="r"))

    def speed(self, model: Path) -> float:
        found = self.step("speed", model=model, prompt=PROMPT, decode=DECODE, runs=RUNS, threads=self.threads)
        return float(found["decode_tokens_per_second"])


def edgegen(*words: str | Path) -> Any:
    return json.loads(run([sys.executable, "-m", "edgegen", *words, "--json", "--quiet"]).stdout)


def export(checkpoint: Path, folder: Path) -> Path:
    """Our float32 export, with a signature that reads a text quickly."""
    variant = edgegen("checkpoint", checkpoint)["candidates"][0]["variant"]
    note(f"exporting {variant} to fp32")
    lengths = ("--prefill-lengths", "8", "--cache-buckets", "none", "--verify-lengths", "64")
    edgegen("export", variant, "--checkpoint", checkpoint, "-o", folder, "--scheme", "fp32", *lengths, "--no-verify")
    return folder


def our_speed(folder: Path, threads: int) -> float:
    options = {"--prompt-tokens": PROMPT, "--decode-tokens": DECODE, "--runs": RUNS, "--threads": threads}
    words = [str(word) for option in options.items() for word in option]
    return float(edgegen("bench", folder, *words)["decode_tokens_per_second"]["median"])


def qualities(
    llama: LlamaCpp, files: dict[str, Path], folders: dict[str, Path], tokens: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """How our float32 is predicted by llama.cpp's, and the quality of every row.

    Raises:
        SystemExit: both float models differ.
    """
    from edgegen_runtime.evaluation.evaluation import evaluate, windows
    from edgegen_runtime.evaluation.sample_text import sample_text
    from edgegen_runtime.generation.language_model import LanguageModel

    ours = [LanguageModel.load(folder, threads=llama.threads) for folder in folders.values()]
    exact = ours[0]
    length = min(model.exported.cache_length for model in ours)
    pieces = windows(exact, " ".join(sample_text().split()), tokens, length)
    note(f"reading {tokens} tokens with ours")
    found = dict(zip(folders, evaluate(ours, exact, pieces), strict=True))
    theirs: Recorded | None = None
    for name, file in files.items():
        note(f"reading {tokens} tokens with {name}")
        recorded = llama.read(file, pieces)
        if theirs is None:
            theirs = recorded
            (agreement,) = evaluate([recorded], exact, pieces)
        (found[name],) = evaluate([recorded], theirs, pieces)
    change = agreement.perplexity / found[next(iter(folders))].perplexity - 1
    note(f"llama.cpp's float32 to ours: perplexity {change:+.1e}, divergence {agreement.divergence:.1e}")
    if abs(change) > AGREEMENT:
        raise SystemExit(f"perplexities in float32 differ: {agreement.perplexity} is llama.cpp's, {found}")
    compared = {"perplexity_change": change, "divergence": agreement.divergence, "top1": agreement.top1}
    return compared, {name: asdict(quality) for name, quality in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a GGUF file of a model that edgegen knows")
    parser.add_argument("exports", metavar="DIR", nargs="*", type=Path, help="exports of it to other schemes")
    parser.add_argument("--tokens", type=int, default=1024, help="to read (default %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of decoding; 0 for none (default %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="(default %(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    state = machine()
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="llama-cpp-", dir=BUILD) as folder:
        work = Path(folder)
        llama = LlamaCpp(work, arguments.threads)
        files = llama.files(arguments.checkpoint)
        folders = {"edgegen fp32": export(arguments.checkpoint, work / "fp32")}
        folders |= {f"edgegen {path.resolve().name}": path for path in arguments.exports}
        agreement, found = qualities(llama, files, folders, arguments.tokens)
        speeds: dict[str, list[float]] = {name: [] for name in found}
        for turn in range(arguments.turns):
            note(f"decoding, turn {turn + 1} of {arguments.turns}")
            for name in found:
                fast = llama.speed(files[name]) if name in files else our_speed(folders[name], llama.threads)
                speeds[name].append(fast)
        sizes = {name: path.stat().st_size for name, path in files.items()}
        sizes |= {name: (path / "model.tflite").stat().st_size for name, path in folders.items()}
    results = [
        {"row": name, **quality, "file_bytes": sizes[name], "decode_tokens_per_second": speeds[name]}
        for name, quality in found.items()
    ]
    rows = [
        [
            result["row"],
            f"{result['perplexity']:.3f}",
            f"{result['divergence']:.4f}",
            f"{result['top1']:.1%}",
            f"{result['file_bytes'] / 1e6:.1f} MB",
            f"{median(speeds[result['row']]):.0f} tok/s" if arguments.turns else "",
        ]
        for result in results
    ]
    document = {
        "benchmark": "llama_cpp",
        "requirements": REQUIREMENTS,
        **state,
        "threads": arguments.threads,
        "tokens": arguments.tokens,
        "float32": agreement,
        "results": results,
    }
    report(document, ["scheme", "perplexity", "divergence", "top-1", "file", "decode"], rows, as_json=arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
