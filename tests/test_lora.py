"""Adapters of the library peft: merged at export, they change the logits exactly as peft does."""

from __future__ import annotations

import json
import shutil

import numpy as np
import peft
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from edgegen.adapters.peft import with_adapter
from edgegen.errors import UnsupportedError
from edgegen.litert.session import Session
from edgegen.weights import open_checkpoint

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]

ADAPTERS = {
    "attention": {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 8},
    "everything linear": {"target_modules": "all-linear", "r": 3, "lora_alpha": 5},
    "rank-stabilized": {"target_modules": ["o_proj"], "r": 4, "lora_alpha": 4, "use_rslora": True},
    "weight-decomposed": {"target_modules": ["q_proj", "up_proj"], "r": 4, "lora_alpha": 4, "use_dora": True},
    "other ranks": {
        "target_modules": ["q_proj", "gate_proj"],
        "r": 4,
        "lora_alpha": 4,
        "rank_pattern": {"gate_proj": 2},
        "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 16},
    },
    "trained whole": {"target_modules": ["q_proj"], "r": 4, "lora_alpha": 4, "modules_to_save": ["norm"]},
}


@pytest.fixture(scope="module", params=ADAPTERS)
def adapted(request, checkpoint, tmp_path_factory):
    """A folder with an adapter of random weights, and the logits of the model with it."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model = peft.get_peft_model(model, peft.LoraConfig(**ADAPTERS[request.param])).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "lora_magnitude" in name:
            parameter.mul_(1.5)
        elif "lora_" in name:
            parameter.normal_(std=0.3)
        elif "modules_to_save" in name:
            parameter.add_(0.5)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder, model(torch.tensor([TOKENS])).logits[0].numpy()


def logits(folder) -> np.ndarray:
    """After each token, from the exported file."""
    session = Session(folder / "model.tflite")
    state = session.new_state()
    inputs = [{"tokens": np.array([[t]], np.int32), "input_pos": np.array([i], np.int32)} for i, t in enumerate(TOKENS)]
    return np.stack([session.run("decode", each, state)["logits"][0, 0] for each in inputs])


def test_logits_are_pefts(adapted, checkpoint, edgegen, tmp_path):
    adapter, expected = adapted
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--lora", adapter,
        "--scheme", "fp32", "--cache-length", 16, "--prefill-lengths", 4, "--cache-buckets", "none",
    )  # fmt: skip
    assert result.code == 0, result.err
    np.testing.assert_allclose(logits(tmp_path / "out"), expected, rtol=1e-3, atol=1e-4)
    recipe = json.loads((tmp_path / "out" / "export.json").read_text())
    assert recipe["options"]["lora"] == str(adapter)
    assert "adapter_model.safetensors" in recipe["checkpoint"]["files"]


def with_embedding_adapter(checkpoint, folder, tied):
    """The model with an adapter in its embedding, saved with and without it."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, tie_word_embeddings=tied)
    model.save_pretrained(folder / "base")
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules=["embed_tokens"], r=4, lora_alpha=6))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.3)
    model.save_pretrained(folder / "adapter")
    return open_checkpoint(folder / "base"), model.merge_and_unload()


def test_an_adapter_of_the_embedding(checkpoint, tmp_path):
    base, expected = with_embedding_adapter(checkpoint, tmp_path, tied=False)
    merged = with_adapter(base, tmp_path / "adapter")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        np.testing.assert_allclose(merged.tensors[name].read(), expected.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_half_of_a_tied_table_cannot_be_changed(checkpoint, tmp_path):
    base, _ = with_embedding_adapter(checkpoint, tmp_path, tied=True)
    with pytest.raises(UnsupportedError, match="the model's head as well"):
        with_adapter(base, tmp_path / "adapter")


def test_rows_are_merged_as_they_are_read(adapted, checkpoint):
    adapter, _ = adapted
    merged = with_adapter(open_checkpoint(checkpoint), adapter)
    for name, tensor in merged.tensors.items():
        whole = tensor.read()
        np.testing.assert_allclose(whole[1:3], tensor.read_rows(1, 3), rtol=1e-6, err_msg=name)


@pytest.fixture
def attention(checkpoint, tmp_path):
    folder = tmp_path / "adapter"
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    peft.get_peft_model(model, peft.LoraConfig(**ADAPTERS["attention"])).save_pretrained(folder)
    return folder


def export(edgegen, checkpoint, tmp_path, adapter):
    result = edgegen("export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--lora", adapter)
    assert not (tmp_path / "out").exists()
    assert "hint:" in result.err
    return result


def change(adapter, **settings):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_a_folder_without_an_adapter(edgegen, checkpoint, tmp_path):
    assert export(edgegen, checkpoint, tmp_path, tmp_path).code == 2


def test_an_adapter_of_another_size(edgegen, checkpoint, tmp_path, attention):
    tensors = load_file(attention / "adapter_model.safetensors")
    save_file({name: np.repeat(t, 2, axis=1) if "lora_A" in name else t for name, t in tensors.items()},
              attention / "adapter_model.safetensors")  # fmt: skip
    result = export(edgegen, checkpoint, tmp_path, attention)
    assert result.code == 4
    assert "trained on another model or size" in result.err


def test_an_adapter_of_another_model(edgegen, checkpoint, tmp_path, attention):
    tensors = load_file(attention / "adapter_model.safetensors")
    renamed = {name.replace("layers", "blocks"): tensor for name, tensor in tensors.items()}
    save_file(renamed, attention / "adapter_model.safetensors")
    result = export(edgegen, checkpoint, tmp_path, attention)
    assert result.code == 4
    assert "model.blocks.0.self_attn.q_proj.weight" in result.err


def test_an_incomplete_adapter(edgegen, checkpoint, tmp_path, attention):
    tensors = load_file(attention / "adapter_model.safetensors")
    tensors.pop(next(name for name in tensors if "lora_B" in name))
    save_file(tensors, attention / "adapter_model.safetensors")
    assert export(edgegen, checkpoint, tmp_path, attention).code == 4


def test_another_kind_of_adapter(edgegen, checkpoint, tmp_path, attention):
    change(attention, peft_type="IA3")
    result = export(edgegen, checkpoint, tmp_path, attention)
    assert result.code == 3
    assert "IA3" in result.err


def test_a_rank_that_is_not_the_weights(edgegen, checkpoint, tmp_path, attention):
    change(attention, r=5)
    assert export(edgegen, checkpoint, tmp_path, attention).code == 4


def test_a_checkpoint_with_other_names(edgegen, checkpoint, tmp_path, attention):
    from tiny_gguf import write_gguf

    file = write_gguf(checkpoint, tmp_path / "tiny.gguf", {})
    result = export(edgegen, file, tmp_path, attention)
    assert result.code == 2
    assert "use the model's safetensors" in result.err
    shutil.rmtree(attention)
