"""Adapters beside the weights: given at run time, they change the logits exactly as peft does, and can be switched."""

from __future__ import annotations

import json

import numpy as np
import peft
import pytest
import torch
from tiny_gguf import write_gguf
from transformers import AutoModelForCausalLM

from edgegen.adapters.layout import LoraLayout
from edgegen.adapters.peft import SavedAdapter
from edgegen.errors import EdgegenError, UnsupportedError, UsageError
from edgegen_runtime import LanguageModel, PrefixCache

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]

ADAPTERS = {
    "all of attention": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "r": 4, "lora_alpha": 8},
    "a lower rank, of the first block": {"target_modules": r".*layers\.0\.self_attn\.v_proj", "r": 2, "lora_alpha": 3},
    "rank-stabilized": {"target_modules": ["o_proj", "k_proj"], "r": 3, "lora_alpha": 4, "use_rslora": True},
}


@pytest.fixture(scope="module")
def make(checkpoint, tmp_path_factory):
    """Makes an adapter of random weights: its folder, and the logits ``[T, V]`` of the model with it."""

    def make(settings):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        model = peft.get_peft_model(model, peft.LoraConfig(**settings)).eval().requires_grad_(False)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
        folder = tmp_path_factory.mktemp("adapter")
        model.save_pretrained(folder)
        return folder, model(torch.tensor([TOKENS])).logits[0].numpy()

    return make


def exported(edgegen, checkpoint, folder, *options):
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", folder, "--scheme", "fp32",
        "--cache-length", 32, "--prefill-lengths", 4, "--cache-buckets", 16, *options,
    )  # fmt: skip
    assert result.code == 0, result.err
    return folder


@pytest.fixture(scope="module")
def model(edgegen, checkpoint, tmp_path_factory):
    return LanguageModel.load(exported(edgegen, checkpoint, tmp_path_factory.mktemp("model") / "out", "--lora-rank", 4))


def logits(model):
    cache = model.new_cache()
    return np.stack([cache.step(token) for token in TOKENS])


@pytest.mark.parametrize("settings", ADAPTERS.values(), ids=ADAPTERS)
def test_logits_are_pefts(model, make, settings):
    folder, expected = make(settings)
    np.testing.assert_allclose(logits(model.with_adapter(folder)), expected, rtol=1e-3, atol=1e-4)


def test_adapters_are_switched_while_texts_are_under_way(model, make):
    folder, expected = make(ADAPTERS["all of attention"])
    plain, adapted = model.new_cache(), model.with_adapter(folder).new_cache()
    for index, token in enumerate(TOKENS):
        without, with_it = plain.step(token), adapted.step(token)
        np.testing.assert_allclose(with_it, expected[index], rtol=1e-3, atol=1e-4)
        assert np.abs(without - with_it).max() > 0.1
    np.testing.assert_array_equal(logits(model.with_adapter(folder).with_adapter(None)), logits(model))


def test_a_prompt_is_read_with_the_adapter(model, make):
    """Through ``prefill`` too, and on the short cache as well as on the long one."""
    folder, expected = make(ADAPTERS["all of attention"])
    adapted = model.with_adapter(folder)
    for room in (0, 12):
        cache = adapted.new_cache()
        cache._make_room(len(TOKENS) + room)
        cache.prefill(TOKENS[:-1])
        np.testing.assert_allclose(cache.step(TOKENS[-1]), expected[-1], rtol=1e-3, atol=1e-4)


def test_a_checkpoint_with_other_names(edgegen, checkpoint, make, tmp_path):
    """Llama's GGUF files have their queries and keys reordered; an adapter follows the published order."""
    folder, expected = make(ADAPTERS["all of attention"])
    file = write_gguf(checkpoint, tmp_path / "tiny.gguf", {})
    model = LanguageModel.load(exported(edgegen, file, tmp_path / "out", "--lora-rank", 16))
    np.testing.assert_allclose(logits(model.with_adapter(folder)), expected, rtol=2e-3, atol=2e-3)


def test_a_prefix_belongs_to_its_adapter(model, make, tmp_path):
    folder, _ = make(ADAPTERS["all of attention"])
    adapted = model.with_adapter(folder)
    cache = PrefixCache(adapted)
    cache.add(TOKENS)
    cache.save(tmp_path / "prefix")
    PrefixCache(model.with_adapter(folder)).load(tmp_path / "prefix")
    with pytest.raises(UsageError, match="another model file or adapter"):
        PrefixCache(model).load(tmp_path / "prefix")


def test_on_the_command_line(edgegen, model, make):
    folder, _ = make(ADAPTERS["all of attention"])
    ask = ("run", model.exported.folder, "--raw", "--prompt", "ab", "--max-new-tokens", 8, "--json")
    plain, adapted = edgegen(*ask), edgegen(*ask, "--adapter", folder)
    assert (plain.code, adapted.code) == (0, 0), adapted.err
    generation = model.with_adapter(folder).generate("ab", max_new_tokens=8)
    assert adapted.json["token_ids"] == list(generation) != plain.json["token_ids"]


def refused(model, folder, kind, text) -> EdgegenError:
    with pytest.raises(kind, match=text) as caught:
        model.with_adapter(folder)
    assert caught.value.hint
    return caught.value


def test_what_cannot_stay_apart(model, make):
    folder, _ = make({"target_modules": ["q_proj", "up_proj"], "r": 2})
    error = refused(model, folder, UnsupportedError, "only merging can")
    assert "model.layers.0.mlp.up_proj.weight" in "".join(error.details)
    folder, _ = make({"target_modules": ["q_proj"], "r": 2, "use_dora": True})
    refused(model, folder, UnsupportedError, "only merging can")


def test_too_high_a_rank(model, make):
    folder, _ = make({"target_modules": ["q_proj"], "r": 8})
    assert "--lora-rank 8" in refused(model, folder, UsageError, "rank 8").hint


def test_a_folder_that_is_none(model, tmp_path):
    refused(model, tmp_path, UsageError, "is no adapter")


def test_a_model_that_takes_none(edgegen, checkpoint, make, tmp_path):
    folder, _ = make(ADAPTERS["all of attention"])
    plain = LanguageModel.load(exported(edgegen, checkpoint, tmp_path / "out"))
    assert "--lora-rank" in refused(plain, folder, UsageError, "not exported for adapters").hint


def test_an_adapter_of_another_size(model, make):
    """As its layout says: the same adapter does not fit a model whose heads are others."""
    folder, _ = make(ADAPTERS["all of attention"])
    layout = LoraLayout.open(model.exported.folder).as_json()
    layout["projections"]["q"][0]["inputs"] = 96
    (model.exported.folder / "lora.json").rename(model.exported.folder / "kept.json")
    try:
        (model.exported.folder / "lora.json").write_text(json.dumps(layout))
        refused(model, folder, UsageError, "64 inputs and 64 outputs")
        (model.exported.folder / "lora.json").write_text("{}")
        refused(model, folder, UsageError, "is damaged")
    finally:
        (model.exported.folder / "kept.json").rename(model.exported.folder / "lora.json")


def test_the_layout_says_which_weights(model, make):
    layout = LoraLayout.open(model.exported.folder)
    folder, _ = make(ADAPTERS["all of attention"])
    rows = {name: [(row.module, row.rows) for row in found] for name, found in layout.projections.items()}
    assert rows["k"][1] == ("model.layers.1.self_attn.k_proj", ((0, 32),))
    assert rows["o"][0] == ("model.layers.0.self_attn.o_proj", ((0, 64),))
    factors = layout.factors(SavedAdapter.open(folder))
    assert factors.keys() == layout.zeros().keys()
    assert factors["lora_atten_v_b_prime_weight_1"].shape == (4, 32)


def test_a_bundle_with_adapters(edgegen, checkpoint, make, tmp_path):
    folder, _ = make(ADAPTERS["all of attention"])
    options = ("--target", "litertlm", "--no-verify")
    exported(edgegen, checkpoint, tmp_path / "out", "--lora-rank", 16, *options)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"tiny-100k.litertlm", "lora.json", "no-adapter.tflite", "README.md", "export.json"}
    result = edgegen("adapter", folder, tmp_path / "out", "-o", tmp_path / "adapter.tflite", "--json")
    assert result.code == 0, result.err
    assert result.json["tensors"] == 2 * 4 * 2
    factors = LoraLayout.open(tmp_path / "out").factors(SavedAdapter.open(folder))
    data = (tmp_path / "adapter.tflite").read_bytes()
    assert all(array.tobytes() in data for array in factors.values())


def test_a_bundle_of_a_rank_that_the_client_refuses(edgegen, checkpoint, tmp_path):
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--target", "litertlm",
        "--lora-rank", 8,
    )  # fmt: skip
    assert result.code == 3
    assert "--lora-rank 16" in result.err
    assert not (tmp_path / "out").exists()
