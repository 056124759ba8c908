"""SmolLM2-135M-Instruct: what edgegen exports says what the reference says."""

from __future__ import annotations

import json

import pytest
import torch

pytestmark = pytest.mark.real_weights

PROMPT = "The capital of France is"
COUNT = 32


@pytest.fixture(scope="module")
def reference(smollm2) -> list[int]:
    """32 greedy tokens of transformers, on the dequantized weights in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": smollm2.parent, "gguf_file": smollm2.name}
    ids = AutoTokenizer.from_pretrained(**where)(PROMPT, return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    out = model.generate(ids, max_new_tokens=COUNT, min_new_tokens=COUNT, do_sample=False, eos_token_id=None)
    return out[0, ids.shape[1] :].tolist()


@pytest.fixture(scope="module", params=["fp32", "int8-channel", "passthrough"])
def real(request, smollm2, edgegen, tmp_path_factory):
    output = tmp_path_factory.mktemp(request.param) / "smollm2"
    result = edgegen(
        "export", "smollm2-135m-instruct", "--checkpoint", smollm2, "-o", output, "--scheme", request.param
    )
    assert result.code == 0, result.err
    return output


def test_greedy_tokens_are_the_references(real, reference, edgegen):
    result = edgegen("run", real, "--raw", "--prompt", PROMPT, "--max-new-tokens", COUNT, "--ignore-eos", "--json")
    assert result.code == 0, result.err
    exact = json.loads((real / "export.json").read_text())["options"]["scheme"] == "fp32"
    agreeing = COUNT if exact else 10
    assert result.json["token_ids"][:agreeing] == reference[:agreeing]


def test_it_answers_a_question(real, edgegen):
    result = edgegen("run", real, "--prompt", "Name the capital of France.")
    assert result.code == 0, result.err
    assert "Paris" in result.out


def test_the_file_is_hardly_larger_than_its_weights(real, edgegen):
    summary = edgegen("inspect", real, "--json").json
    assert summary["size"] <= 1.02 * sum(summary["weights"].values())
