"""Checkpoints as they are in the wild: other names, stale files, keys that tools add, weights that others quantized."""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from adapters import write_random_adapter
from safetensors.torch import load_file, save_file

from edgegen.adapters.peft import with_adapter
from edgegen.errors import CheckpointError, EdgegenError, UnsupportedError
from edgegen.family_calls import stated_config
from edgegen.plugins import registry
from edgegen.weights import open_checkpoint
from edgegen_layers.testing import TOKENS, expected_logits, load_published, random_model, save, step

LLAMA = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def llama(tied: bool = False):
    return random_model(transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, tie_word_embeddings=tied)))


def renamed(folder: Path, rename) -> Path:
    """A saved checkpoint with other names; None leaves a tensor out."""
    tensors = {rename(name): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    tensors.pop(None, None)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def check(folder: Path, theirs, family: str = "llama") -> None:
    model = load_published(family, folder)
    _, logits = step(model, model.new_cache(len(TOKENS)), 0, len(TOKENS))
    torch.testing.assert_close(logits, expected_logits(theirs), atol=1e-4, rtol=1e-4)


def refusal(folder: Path, error: type[EdgegenError] = UnsupportedError) -> EdgegenError:
    with pytest.raises(error) as caught:
        open_checkpoint(folder)
    return caught.value


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: name.replace("model.layers.", "model.layers._orig_mod."),
        lambda name: f"model.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: name.replace(".mlp.", "._checkpoint_wrapped_module.mlp."),
    ],
    ids=["module", "_orig_mod", "both", "compiled blocks", "Lightning", "peft", "checkpointed"],
)
@pytest.mark.parametrize("tied", [False, True])
def test_wrappers_names_are_taken_off(rename, tied, tmp_path):
    theirs = llama(tied)
    check(renamed(save(theirs, tmp_path), rename), theirs)


def test_a_tied_model_without_its_head_s_prefix_is_taken(tmp_path):
    theirs = llama(tied=True)
    check(renamed(save(theirs, tmp_path), lambda name: name.removeprefix("model.")), theirs)


def test_a_base_model_without_a_head_says_what_is_missing(tmp_path):
    folder = renamed(save(llama(), tmp_path), lambda n: None if n.startswith("lm_head") else n.removeprefix("model."))
    with pytest.raises(CheckpointError) as caught:
        load_published("llama", folder)
    assert any("lm_head" in line for line in caught.value.details)


def test_a_tied_table_may_have_the_head_s_name(tmp_path):
    theirs = llama(tied=True)
    folder = renamed(save(theirs, tmp_path), lambda n: "lm_head.weight" if n == "model.embed_tokens.weight" else n)
    check(folder, theirs)


@pytest.mark.parametrize("same", [True, False])
def test_a_head_beside_a_tied_table_counts_if_it_differs(same, tmp_path):
    save(llama(tied=True), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    table = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = table.clone() if same else table.flip(0).contiguous()
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    check(tmp_path, theirs)


def test_an_unmerged_adapter_is_named(tmp_path):
    save(llama(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.lora_A.default.weight"] = torch.zeros(2, 32)
    save_file(tensors, tmp_path / "model.safetensors")
    assert "not merged" in refusal(tmp_path).message


def test_a_single_file_comes_before_an_index_that_an_earlier_save_has_left(tmp_path):
    first, second = llama(), llama()
    with torch.no_grad():
        second.model.norm.weight += 1
    first.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = {path: path.read_bytes() for path in tmp_path.glob("model-*")}
    index = (tmp_path / "model.safetensors.index.json").read_bytes()
    second.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_bytes(index)
    check(tmp_path, second)
    for path, contents in shards.items():
        path.write_bytes(contents)
    check(tmp_path, second)


HARMLESS = [
    {"unsloth_fixed": True}, {"unsloth_version": "2026.4.7"}, {"neftune_noise_alpha": 5},
    {"tokenizer_class": "LlamaTokenizer"}, {"chunk_size_feed_forward": 0}, {"is_decoder": False},
    {"torchscript": False}, {"tie_encoder_decoder": False}, {"add_cross_attention": False}, {"pruned_heads": {}},
    {"max_length": 20}, {"do_sample": True}, {"temperature": 0.6}, {"top_p": 0.9}, {"repetition_penalty": 1.0},
    {"attn_implementation": "sdpa"}, {"model_max_length": 4096}, {"max_sequence_length": 2048},
    {"gradient_checkpointing": False}, {"use_mrope": False}, {"base_model_tp_plan": {}}, {"license": "mit"},
    {"keys_to_ignore_at_inference": []}, {"quantization_config": None}, {"problem_type": "x"},
    {"finetuning_task": "sft"}, {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
]  # fmt: skip


@pytest.mark.parametrize("extra", HARMLESS, ids=str)
def test_keys_that_tools_add_and_that_change_nothing_are_taken(extra, tmp_path):
    theirs = llama()
    save(theirs, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | extra))
    check(tmp_path, theirs)
    # The oracle: the changed file makes transformers compute the same.
    if "quantization_config" not in extra:
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
        torch.testing.assert_close(expected_logits(again), expected_logits(theirs), atol=1e-5, rtol=1e-5)


QWEN2_5 = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
    "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864,
    "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 14,
    "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
    "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
    "transformers_version": "4.43.1", "use_mrope": False, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip


def test_the_published_configuration_of_qwen_2_5_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN2_5))
    save_file({"model.norm.weight": torch.ones(896)}, tmp_path / "model.safetensors")
    config = stated_config(open_checkpoint(tmp_path), registry().family("qwen"))
    assert (config.hidden_size, config.sliding_window, config.tie_word_embeddings) == (896, None, True)


QUANTIZED = {
    "GPTQ": (["qweight", "qzeros", "scales", "g_idx"], {"quant_method": "gptq", "bits": 4, "group_size": 128}),
    "AWQ": (["qweight", "qzeros", "scales"], {"quant_method": "awq", "bits": 4, "group_size": 128}),
    "bitsandbytes": (["weight.absmax", "weight.quant_map"], {"quant_method": "bitsandbytes"}),
    "FP8": (["weight_scale_inv"], {"quant_method": "fp8"}),
    "compressed-tensors": (["weight_packed", "weight_scale"], {"quant_method": "compressed-tensors"}),
    "MLX": (["weight", "scales", "biases"], None),
}


@pytest.mark.parametrize("way", QUANTIZED)
def test_a_quantized_checkpoint_is_named_as_such(way, tmp_path):
    endings, settings = QUANTIZED[way]
    save(llama(), tmp_path)
    module = "model.layers.0.mlp.down_proj"
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[f"{module}.weight"]
    tensors |= {f"{module}.{ending}": torch.zeros(4, 4, dtype=torch.int32) for ending in endings}
    save_file(tensors, tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    stated = {} if settings is None else {"quantization_config": settings}
    (tmp_path / "config.json").write_text(json.dumps(config | stated))
    error = refusal(tmp_path)
    assert f"quantized already: {way}" in error.message
    for number in (settings or {}).values():
        assert isinstance(number, str) or str(number) in error.message


PREFIXES = ("model.", "model.language_model.", "language_model.model.")


@pytest.mark.parametrize(("base", "trained"), list(itertools.product(PREFIXES, PREFIXES)))
def test_adapters_fit_models_that_see_images_whatever_their_prefixes(base, trained, tmp_path):
    module = "layers.0.self_attn.q_proj"
    folder, adapter = tmp_path / "base", tmp_path / "adapter"
    folder.mkdir()
    weight = torch.randn(6, 4)
    save_file({f"{base}{module}.weight": weight}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    write_random_adapter(adapter, {f"{trained}{module}": (6, 4)}, seed=0, rank=2)
    factors = load_file(adapter / "adapter_model.safetensors")
    up, down = (next(t for name, t in factors.items() if f"lora_{side}" in name) for side in "BA")
    merged = with_adapter(open_checkpoint(folder), adapter).tensors[f"model.{module}.weight"].read()
    np.testing.assert_allclose(merged, (weight + up @ down).numpy(), atol=1e-5)


@pytest.fixture
def adapter(tmp_path) -> Path:
    write_random_adapter(tmp_path / "adapter", {"model.layers.0.self_attn.q_proj": (32, 32)}, seed=0, rank=4)
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"init_lora_weights": "pissa"}, "began as 'pissa'"),
        ({"init_lora_weights": "pissa_niter_4"}, "began as 'pissa_niter_4'"),
        ({"init_lora_weights": "olora"}, "began as 'olora'"),
        ({"init_lora_weights": "corda"}, "began as 'corda'"),
        ({"init_lora_weights": "loftq"}, "began as 'loftq'"),
        ({"init_lora_weights": "lora_ga"}, "began as 'lora_ga'"),
        ({"init_lora_weights": "mica"}, "began as 'mica'"),
        ({"alora_invocation_tokens": [1, 2]}, "text after certain tokens"),
        ({"lora_bias": True}, "adds biases"),
        ({"bias": "all"}, "trains biases"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "repeats layers"),
        ({"trainable_token_indices": [3]}, "single rows"),
        ({"use_bdlora": {"a": 1}}, "use_bdlora"),
        ({"peft_type": "IA3"}, "of type IA3"),
        ({"invented_later": "x"}, "a setting that is not known here"),
    ],
)
def test_adapters_that_are_more_than_a_product_are_refused_with_the_reason(setting, says, adapter, tmp_path):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | setting))
    with pytest.raises(UnsupportedError, match=says):
        with_adapter(open_checkpoint(save(llama(), tmp_path)), adapter)


def test_every_setting_of_peft_is_accounted_for(adapter, tmp_path):
    """With its default each is harmless; what peft adds later is refused until it is known here."""
    from peft import LoraConfig

    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(LoraConfig(r=4, lora_alpha=4).to_dict(), default=str))
    assert with_adapter(open_checkpoint(save(llama(), tmp_path)), adapter).tensors


def test_a_vocabulary_that_grew_is_the_reason(adapter, tmp_path):
    factors = load_file(adapter / "adapter_model.safetensors")
    factors["base_model.model.model.embed_tokens.weight"] = torch.zeros(50, 32)
    save_file(factors, adapter / "adapter_model.safetensors")
    with pytest.raises(UnsupportedError, match="vocabulary of 50 tokens, and the model has 48"):
        with_adapter(open_checkpoint(save(llama(), tmp_path)), adapter)


def test_an_adapter_may_be_a_pickle(adapter, tmp_path):
    base = open_checkpoint(save(llama(), tmp_path))
    expected = with_adapter(base, adapter).tensors["model.layers.0.self_attn.q_proj.weight"].read()
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    got = with_adapter(base, adapter).tensors["model.layers.0.self_attn.q_proj.weight"].read()
    np.testing.assert_array_equal(got, expected)


def test_a_key_that_the_user_vouches_for_is_recorded(edgegen, checkpoint, tmp_path):
    folder, out = tmp_path / "model", tmp_path / "out"
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"surprise": 7}))
    command = ("export", "tiny-100k", "--checkpoint", folder, "-o", out, "--no-verify")
    result = edgegen(*command)
    assert "surprise = 7" in result.err
    assert "--allow-key surprise" in result.err
    assert edgegen(*command, "--allow-key", "surprise").code == 0
    assert json.loads((out / "export.json").read_text())["options"]["allow_keys"] == ["surprise"]
    assert "`surprise`" in (out / "README.md").read_text()
    assert "has no effect" in edgegen(*command, "--allow-key", "other").err


def test_a_checkpoint_without_a_tokenizer_says_so(edgegen, checkpoint, tmp_path):
    folder, out = tmp_path / "model", tmp_path / "out"
    folder.mkdir()
    for path in checkpoint.iterdir():
        if not path.name.startswith(("tokenizer", "chat_template")):
            (folder / path.name).write_bytes(path.read_bytes())
    result = edgegen("export", "tiny-100k", "--checkpoint", folder, "-o", out, "--no-verify")
    assert result.code == 0
    assert "warning: " in result.err
    assert "tokenizer.json beside the weights" in result.err
    assert "tokenizer" in (out / "README.md").read_text()


def test_a_variant_s_number_of_parameters_is_checked(edgegen, tmp_path):
    wider = transformers.LlamaConfig(
        vocab_size=320, hidden_size=96, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=24, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    folder = save(random_model(transformers.LlamaForCausalLM(wider)), tmp_path / "model")
    result = edgegen("export", "tiny-wider", "--checkpoint", folder, "-o", tmp_path / "out", "--dry-run")
    assert result.code == 0, result.err
    assert "says 94,528: report it to the plugin's author" in result.err
