"""Files around and beyond 2 and 4 GB, where 31- and 32-bit offsets end, in every runtime that reads them.

Exports TinyLlama's shapes in several schemes and has each file continue the same tokens greedily in LiteRT's
CompiledModel and Interpreter, in a C++ program on LiteRT's C library (``large_files.cc``, built with g++) and in
LiteRT-LM (in an environment of its own under ``build/bench/``). Weights are random, so what they say is nonsense, but
all must say the same. Signatures are ``prefill_8`` and ``decode`` on a cache of 64.

Takes 16 GB of disk with fp32, of which the checkpoint's 2 GB and the environment stay. Without a cache for packed
weights, Interpreter and the C++ program pack them once for each signature: up to three times the file in memory.

    python bench/large_files.py --schemes int8-channel,fp16
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import BUILD, ProcessRun, environment, machine, megabytes, note, report, run

MODEL = "tinyllama-1.1b"
SCHEMES = ("int8-channel", "fp16", "fp32")
LITERT_LM = ("litert-lm==0.18.1", "litert-lm-builder==0.18.1")
VOCABULARY = 32_000
STOP_TOKEN = 2
TOKEN_IDS = (1, 450, 7483, 310, 3444, 338)
COUNT = 12
HERE = Path(__file__).parent

Runtime = Callable[[Path], ProcessRun]
"""Continues ``TOKEN_IDS`` with a ``.tflite`` file; prints numbers alone, or words of ``word_tokenizer``."""


def export(scheme: str, output: Path) -> Path:
    checkpoint = BUILD / "shapes" / MODEL
    run([sys.executable, HERE / "shapes.py", MODEL, checkpoint])
    run(
        [
            *(sys.executable, "-m", "edgegen", "export", MODEL, "--checkpoint", checkpoint, "-o", output),
            *("--scheme", scheme, "--prefill-lengths", "8", "--cache-length", "64", "--cache-buckets", "none"),
            *("--no-verify", "--no-weight-pass", "smoothquant", "--quiet"),
        ]
    )
    return output / "model.tflite"


def word_tokenizer(path: Path) -> Path:
    """Write a ``tokenizer.json`` that has the word ``t7`` for token 7, so that any text can be read back as tokens."""
    vocabulary = {f"t{token_id}": token_id for token_id in range(VOCABULARY)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "t0"},
    }
    path.write_text(json.dumps(tokenizer))
    return path


def compile_program(program: Path) -> Path:
    """Build ``large_files.cc`` against the library in LiteRT's Python package, without importing that."""
    package = importlib.util.find_spec("ai_edge_litert")
    assert package is not None
    assert package.origin is not None
    library = Path(package.origin).with_name("libLiteRt.so")
    flags = ["-std=c++17", "-O2", "-Wall", f"-Wl,-rpath,{library.parent}"]
    run(["g++", HERE / "large_files.cc", library, *flags, "-o", program])
    return program


def runtimes(folder: Path) -> dict[str, Runtime]:
    ids = ",".join(map(str, TOKEN_IDS))
    words = " ".join(f"t{token_id}" for token_id in TOKEN_IDS)
    program = compile_program(folder / "large_files")
    tokenizer = word_tokenizer(folder / "tokenizer.json")
    python = environment("litert-lm-env", LITERT_LM) / "python"

    def in_python(name: str) -> Runtime:
        return lambda model: run([sys.executable, HERE / "large_files_once.py", name, model, ids, str(COUNT)])

    def in_litert_lm(model: Path) -> ProcessRun:
        # Beside the model lie the bundle and the packed weights: as large again, each.
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            options = ("--stop-token", str(STOP_TOKEN), "--count", str(COUNT), "--folder", beside)
            return run([python, HERE / "large_files_lm.py", model, tokenizer, words, *options])

    return {
        "CompiledModel": in_python("CompiledModel"),
        "Interpreter": in_python("Interpreter"),
        "C++": lambda model: run([program, model, ids, str(COUNT)]),
        "LiteRT-LM": in_litert_lm,
    }


def said(output: str) -> list[int]:
    """The tokens in what a runtime printed, up to one that ends a text."""
    token_ids = [int(number) for number in re.findall(r"\d+", output)]
    return token_ids[: token_ids.index(STOP_TOKEN)] if STOP_TOKEN in token_ids else token_ids


def attempt(runtime: Runtime, model: Path) -> dict[str, Any]:
    try:
        done = runtime(model)
    except SystemExit as failure:
        return {"error": str(failure)}
    return {"seconds": done.seconds, "peak_bytes": done.peak_bytes, "token_ids": said(done.stdout)[:COUNT]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemes", default=",".join(SCHEMES), help="one file each; separated by commas")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    state = machine()
    results: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        available = runtimes(Path(folder))
        for scheme in arguments.schemes.split(","):
            note(f"exporting {MODEL} in {scheme}")
            with tempfile.TemporaryDirectory(dir=folder) as exported:
                model = export(scheme, Path(exported) / "model")
                expected: list[int] | None = None
                for name, runtime in available.items():
                    note(f"running it in {name}")
                    result = attempt(runtime, model)
                    expected = expected or result.get("token_ids")
                    result["ok"] = bool(expected) and result.get("token_ids") == expected
                    size = model.stat().st_size
                    results.append({"scheme": scheme, "file_bytes": size, "runtime": name, **result})
                    cells = ["failed", "", ""]
                    if "token_ids" in result:
                        agreed = f"{COUNT} tokens agree" if result["ok"] else "other tokens"
                        cells = [agreed, f"{result['seconds']:.1f} s", megabytes(result["peak_bytes"])]
                    rows.append([scheme, megabytes(size), name, *cells])
    document = {"benchmark": "large_files", "model": MODEL, **state, "results": results}
    header = ["scheme", "file", "runtime", "result", "whole process", "peak memory"]
    report(document, header, rows, as_json=arguments.json)
    for result in results:
        if "error" in result:
            note(f"{result['scheme']} in {result['runtime']}: {result['error']}")
    return 0 if all(result["ok"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
