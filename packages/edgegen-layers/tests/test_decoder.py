"""The decoder against transformers' Llama with the same random weights."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import KERNELS, ours, reference

from edgegen_layers import KVCache
from edgegen_layers.testing import TOKENS, expected_logits, step

ARCHITECTURES = {
    "grouped queries": {},
    "multi-query": {"num_key_value_heads": 1},
    "multi-head": {"num_key_value_heads": 4},
    "tied head": {"tie_word_embeddings": True},
    "attention biases": {"attention_bias": True},
    "feed-forward biases": {"mlp_bias": True},
    "heads wider than the model": {"head_dim": 12},
    "another rotary base": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "another epsilon": {"rms_norm_eps": 0.1},
    "another activation": {"hidden_act": "relu"},
    "one layer": {"num_hidden_layers": 1},
}
LENGTH = len(TOKENS)


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_whole_prompt_gives_the_logits_of_transformers(architecture: str, kernel: str):
    theirs = reference(**ARCHITECTURES[architecture])
    model = ours(theirs, KERNELS[kernel]())
    _, logits = step(model, model.new_cache(LENGTH + 3), 0, LENGTH)
    close(logits, expected_logits(theirs))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("architecture", ["grouped queries", "multi-query", "multi-head", "attention biases"])
def test_prefill_then_decode_up_to_the_last_slot_gives_the_same_logits(architecture: str, kernel: str):
    theirs = reference(**ARCHITECTURES[architecture])
    model = ours(theirs, KERNELS[kernel]())
    cache, nothing = step(model, model.new_cache(LENGTH), 0, 5, logits=False)
    assert nothing is None
    expected = expected_logits(theirs)
    for position in range(5, LENGTH):
        cache, logits = step(model, cache, position, position + 1)
        close(logits[0], expected[position])


MODELS = {name: ours(reference(), kernel()) for name, kernel in KERNELS.items()}


@pytest.mark.parametrize("kernel", KERNELS)
@given(cuts=st.sets(st.integers(1, LENGTH - 1)))
@settings(deadline=None, max_examples=25)
def test_prefill_in_any_split_equals_one_shot(kernel: str, cuts: set[int]):
    model = MODELS[kernel]
    whole, expected = step(model, model.new_cache(LENGTH), 0, LENGTH)
    cache, last = model.new_cache(LENGTH), None
    edges = [0, *sorted(cuts), LENGTH]
    for start, stop in pairwise(edges):
        cache, last = step(model, cache, start, stop)
    close(last[-1], expected[-1])
    for got, want in zip(cache.k + cache.v, whole.k + whole.v, strict=True):
        close(got, want)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_lies_in_later_slots_does_not_matter(kernel: str):
    model = MODELS[kernel]
    _, expected = step(model, model.new_cache(LENGTH + 8), 0, LENGTH)
    litter = model.new_cache(LENGTH + 8)
    for tensor in litter.k + litter.v:
        tensor.uniform_(-1e4, 1e4)
    _, logits = step(model, litter, 0, LENGTH)
    close(logits, expected)


def test_logits_of_a_token_do_not_depend_on_later_ones():
    model = MODELS["matmul"]
    changed = [*TOKENS[:-1], TOKENS[-1] + 1]
    _, logits = step(model, model.new_cache(LENGTH), 0, LENGTH)
    _, others = step(model, model.new_cache(LENGTH), 0, LENGTH, tokens=changed)
    assert torch.equal(logits[:-1], others[:-1])
    assert not torch.allclose(logits[-1], others[-1])


def test_the_callers_cache_is_left_as_it_was():
    model = MODELS["matmul"]
    cache = model.new_cache(LENGTH)
    updated, _ = step(model, cache, 0, 4)
    assert not any(tensor.any() for tensor in cache.k + cache.v)
    assert all(tensor.any() for tensor in updated.k + updated.v)


def test_a_tied_head_is_the_embedding_and_counted_once():
    tied = ours(reference(tie_word_embeddings=True))
    assert tied.lm_head.weight is tied.embedding.weight
    assert "lm_head.weight" not in dict(tied.named_parameters())
    untied = ours(reference())
    assert untied.lm_head.weight is not untied.embedding.weight


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_new_cache_is_empty_has_a_pair_for_each_layer_and_the_models_device(kernel: str):
    model = MODELS[kernel]
    cache = model.new_cache(7)
    shapes = model.kernel.cache_shapes(model.config.block_config.attn_config, 7)
    assert [(tuple(k.shape), tuple(v.shape)) for k, v in zip(cache.k, cache.v, strict=True)] == [shapes, shapes]
    assert not any(tensor.any() for tensor in cache.k + cache.v)
    with torch.device("meta"):
        assert ours_on_meta(kernel).new_cache(7).k[0].is_meta


def ours_on_meta(kernel: str):
    return type(MODELS[kernel])(MODELS[kernel].config, KERNELS[kernel]())


def test_signatures_have_the_names_that_runtimes_look_for():
    signatures = MODELS["matmul"].signatures([8, 2], cache_length=16)
    assert [signature.name for signature in signatures] == ["prefill_8", "prefill_2", "decode"]
    cache = ("kv_cache_k_0", "kv_cache_k_1", "kv_cache_v_0", "kv_cache_v_1")
    for signature, length in zip(signatures, (8, 2, 1), strict=True):
        assert signature.input_names == ("tokens", "input_pos", *cache)
        tokens, positions, kv_cache = signature.args
        assert (tuple(tokens.shape), tokens.dtype) == ((1, length), torch.int32)
        assert positions.tolist() == list(range(length))
        assert isinstance(kv_cache, KVCache)


def test_signatures_on_shorter_caches_take_the_prefill_lengths_that_fit():
    signatures = MODELS["sdpa"].signatures([8, 2], cache_length=16, cache_buckets=[4])
    slots = {signature.name: signature.args[2].k[0].shape[1] for signature in signatures}
    assert slots == {"prefill_8": 16, "prefill_2": 16, "decode": 16, "cache_4_prefill_2": 4, "cache_4_decode": 4}


def test_verify_signatures_come_only_when_asked_for_and_give_logits_for_each_token():
    signatures = MODELS["matmul"].signatures([8], cache_length=16, cache_buckets=[4], verify_lengths=[2, 8])
    assert [signature.name for signature in signatures] == [
        "prefill_8", "verify_2", "verify_8", "decode", "cache_4_verify_2", "cache_4_decode",
    ]  # fmt: skip
    verify = signatures[1]
    assert verify.kwargs == {"logits": True}
    assert tuple(MODELS["matmul"](*verify.args, **verify.kwargs)["logits"].shape) == (1, 2, 48)
