"""``--layer attention=ring``: a model with a sliding window says the same on caches that forget what it cannot see."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from edgegen_runtime import LanguageModel, PrefixCache

WINDOW, LENGTH = 8, 240


@pytest.fixture(scope="module")
def windowed(checkpoint, tmp_path_factory):
    """A tiny Mistral of random weights."""
    folder = tmp_path_factory.mktemp("windowed")
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=LENGTH, sliding_window=WINDOW, initializer_range=0.2,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    for file in checkpoint.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def export(edgegen, windowed, tmp_path_factory):
    def run(kernel, *options):
        folder = tmp_path_factory.mktemp(kernel) / "out"
        return folder, edgegen(
            "export", "llama", "--checkpoint", windowed, "-o", folder, "--scheme", "fp32",
            "--cache-length", LENGTH, "--prefill-lengths", "8,32", "--layer", f"attention={kernel}", *options,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def models(export):
    """With whole caches and with rings."""
    loaded = []
    for kernel in ("matmul", "ring"):
        folder, result = export(kernel, "--cache-buckets", 64, "--verify-lengths", 4)
        assert result.code == 0, result.err
        loaded.append(LanguageModel.load(folder))
    return loaded


def tokens(count, seed=0):
    return torch.randint(2, 320, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def continued(model, prompt, **config):
    return list(model.generate(prompt, max_new_tokens=40, ignore_eos=True, **config))


@pytest.mark.parametrize("length", [5, 60, 150, 190])
def test_the_text_is_the_same(models, length):
    plain, ring = (continued(model, tokens(length)) for model in models)
    assert plain == ring


def test_the_cache_is_smaller(models):
    plain, ring = (model.new_cache() for model in models)
    for cache in (plain, ring):
        cache.prefill(tokens(100))
    assert ring._state.nbytes * LENGTH == plain._state.nbytes * (WINDOW + 128)
    assert json.loads((models[1].exported.folder / "manifest.json").read_text())["max_rollback_tokens"] == 128


def test_what_the_ring_has_lost_is_read_again(models):
    """A prefix that is far behind cannot be gone back to; one that is near can."""
    plain, ring = models
    text = tokens(180)
    cache = PrefixCache(ring, entries=1)
    assert continued(ring, text, cache=cache) == continued(plain, text)
    for kept, reused in ((10, 0), (150, 150)):
        prompt = [*text[:kept], *tokens(20, seed=1)]
        cache = PrefixCache(ring, entries=1)
        cache.add(text)
        generation = ring.generate(prompt, max_new_tokens=20, ignore_eos=True, cache=cache)
        assert list(generation) == continued(plain, prompt)[:20]
        assert generation.timings.reused_tokens == reused


def test_a_prefix_on_disk(models, tmp_path):
    plain, ring = models
    text = tokens(170)
    cache = PrefixCache(ring)
    cache.add(text)
    cache.save(tmp_path / "prefix")
    again = PrefixCache(ring)
    again.load(tmp_path / "prefix")
    prompt = [*text, *tokens(5, seed=1)]
    generation = ring.generate(prompt, max_new_tokens=20, ignore_eos=True, cache=again)
    assert list(generation) == continued(plain, prompt)[:20]
    assert generation.timings.reused_tokens == 170


@pytest.mark.parametrize("target", ["litertlm", "task"])
def test_a_client_that_keeps_everything(export, target):
    folder, result = export("ring", "--target", target)
    assert result.code == 3
    assert "leave out --layer attention=ring" in result.err
    assert not folder.exists()


def test_too_long_a_call(export):
    _, result = export("ring", "--prefill-lengths", 200)
    assert result.code == 2
    assert "at most 128 tokens in a call" in result.err
