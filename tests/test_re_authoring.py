"""The tutorial that writes TinyLlama from building blocks: its code is run as it stands, on a smaller checkpoint."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

TUTORIAL = (Path(__file__).parent.parent / "docs" / "tutorials" / "re-authoring-tinyllama.md").read_text()
MODEL, *STEPS = re.findall(r"^```python\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)
SIZES = {"layers": 2, "hidden_size": 64, "heads": 4, "kv_heads": 2, "intermediate_size": 128, "vocab_size": 320}


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """A published Llama of :data:`SIZES` where the tutorial looks for its checkpoint, and its module beside it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=10_000.0, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "TinyLlama-1.1B-Chat-v1.0")
    (tmp_path / "tinyllama.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield model
    sys.modules.pop("tinyllama", None)


def smaller(code: str) -> str:
    return code.replace("TinyLlama()", f"TinyLlama(**{SIZES})")


def test_the_model_takes_about_fifty_lines_beside_its_imports_and_weight_names():
    code = [line for line in MODEL.splitlines() if line and not re.match(r"(from|import) ", line)]
    table = MODEL[MODEL.index("LAYER =") : MODEL.index("def convert")].splitlines()
    assert len(code) - len([line for line in table if line]) <= 50


@torch.no_grad()
def test_the_tutorials_code_gives_what_transformers_does(reference, tmp_path, capsys):
    names: dict = {}
    for step in STEPS:
        exec(compile(smaller(step), "tutorial", "exec"), names)
    assert (tmp_path / "tiny_llama.tflite").stat().st_size > 100_000
    assert float(re.search(r"tensor\((.*?)\)", capsys.readouterr().out)[1]) < 0.05  # 8-bit weights

    text = torch.randint(0, 320, (1, 12), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    expected = reference(text).logits
    positions = torch.arange(12, dtype=torch.int32)
    ours = names["eager"](text, positions, names["eager"].new_cache(16))["logits"]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)

    edge = names["convert"](names["model"], names["weights"], scheme="fp32", prefill=8, cache=16)
    filled = edge(text[:, :8], positions[:8], names["eager"].new_cache(16), signature="prefill_8")
    for place in range(8, 12):
        cache = names["eager"].new_cache(16)
        for layer in range(2):
            cache.k[layer].copy_(filled[f"kv_cache_k_{layer}"])
            cache.v[layer].copy_(filled[f"kv_cache_v_{layer}"])
        filled = edge(text[:, place : place + 1], positions[place : place + 1], cache, signature="decode")
        torch.testing.assert_close(filled["logits"][0], expected[:, place], atol=1e-4, rtol=1e-4)
