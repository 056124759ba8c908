"""The ring kernel: the same text as with a cache for all of it, long after the ring has gone round."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lowering import randomize

import edgegen
from edgegen.errors import UsageError
from edgegen_layers import (
    AttentionConfig,
    FeedForwardConfig,
    KVCache,
    RingAttention,
    TransformerBlockConfig,
    TransformerConfig,
    TransformerLM,
)
from edgegen_layers.ring import RESERVE

WINDOW, LENGTH = 12, 380
RING = WINDOW + RESERVE


def config(**settings) -> TransformerConfig:
    attention = AttentionConfig(num_attention_heads=4, num_kv_heads=2, head_dim=8, **settings)
    local = TransformerBlockConfig(
        attn_config=replace(attention, sliding_window=WINDOW), ff_config=FeedForwardConfig(intermediate_size=16)
    )
    blocks = (local, local, replace(local, attn_config=attention))
    return TransformerConfig(
        vocab_size=50,
        num_hidden_layers=3,
        max_position_embeddings=LENGTH,
        hidden_size=16,
        block_config=blocks,
        tie_word_embeddings=True,
    )


@pytest.fixture(scope="module")
def models():
    """With a cache for everything, and with a ring."""
    plain, ring = TransformerLM(config()), TransformerLM(config(), RingAttention())
    randomize(plain)
    ring.load_state_dict(plain.state_dict())
    return plain.eval().requires_grad_(False), ring.eval().requires_grad_(False)


def tokens(count: int) -> list[int]:
    return torch.randint(50, (count,), generator=torch.Generator().manual_seed(0)).tolist()


def logits(model: TransformerLM, text: list[int], pieces: list[int]) -> torch.Tensor:
    """After each of ``text``, read in pieces of these lengths, as often as it takes."""
    cache, rows, start = model.new_cache(LENGTH), [], 0
    while start < len(text):
        piece = text[start : start + pieces[len(rows) % len(pieces)]]
        positions = torch.arange(start, start + len(piece), dtype=torch.int32)
        outputs = model(torch.tensor([piece], dtype=torch.int32), positions, cache)
        cache = outputs["kv_cache"]
        rows.append(outputs["logits"][0])
        start += len(piece)
    return torch.cat(rows)


@pytest.mark.parametrize("pieces", [[1], [RESERVE], [37], [1, 5, 90, 2]], ids=str)
def test_the_text_is_that_of_a_whole_cache(models, pieces):
    plain, ring = models
    text = tokens(LENGTH if max(pieces) > 1 else RING + 20)
    torch.testing.assert_close(logits(ring, text, pieces), logits(plain, text, [100]), atol=1e-4, rtol=1e-4)


def test_only_windows_are_rings(models):
    shapes = [tuple(keys.shape) for keys in models[1].new_cache(LENGTH).k]
    assert shapes == [(1, 2, RING, 8), (1, 2, RING, 8), (1, 2, LENGTH, 8)]
    assert [keys.shape[2] for keys in models[1].new_cache(64).k] == [64, 64, 64]
    assert [model.max_rollback(LENGTH) for model in models] == [None, RESERVE]
    assert models[1].max_rollback(64) is None


def test_padding_and_forgotten_tokens_do_no_harm(models):
    """A call writes nonsense after the text; up to that many tokens may be read anew at their old positions."""
    plain, ring = models
    text = tokens(LENGTH)
    expected = logits(plain, text, [100])
    cache = ring.new_cache(LENGTH)
    for start in range(0, 280, 40):  # 40 are known, the rest is padding, which the next call writes over
        piece = [*text[start : start + 40], *[7] * (RESERVE - 40)]
        positions = torch.arange(start, start + RESERVE, dtype=torch.int32)
        outputs = ring(torch.tensor([piece], dtype=torch.int32), positions, cache)
        cache = outputs["kv_cache"]
        torch.testing.assert_close(outputs["logits"][0, :40], expected[start : start + 40], atol=1e-4, rtol=1e-4)


def test_in_litert(models):
    plain, ring = models
    prefill, decode = ring.signatures([64], LENGTH)
    edge = (
        edgegen.signature(prefill.name, ring, prefill.args, prefill.kwargs)
        .signature(decode.name, ring, decode.args, decode.kwargs)
        .convert(composites="all")
    )
    text = tokens(300)
    expected = logits(plain, text, [100])
    cache, start = ring.new_cache(LENGTH), 0
    while start < len(text):
        size = 64 if start + 64 <= 256 else 1
        positions = torch.arange(start, start + size, dtype=torch.int32)
        given = torch.tensor([text[start : start + size]], dtype=torch.int32)
        outputs = edge(given, positions, cache, signature="decode" if size == 1 else "prefill_64")
        cache = KVCache([outputs[f"kv_cache_k_{i}"] for i in range(3)], [outputs[f"kv_cache_v_{i}"] for i in range(3)])
        if size == 1:
            torch.testing.assert_close(outputs["logits"][0, 0], expected[start], atol=1e-3, rtol=1e-3)
        start += size


def test_a_call_of_too_many_tokens(models):
    with pytest.raises(UsageError, match=f"at most {RESERVE} tokens in a call"):
        logits(models[1], tokens(200), [RESERVE + 1])


def test_biases_by_position_are_refused():
    model = TransformerLM(config(alibi=True), RingAttention())
    with pytest.raises(UsageError, match="no biases"):
        logits(model, tokens(4), [4])
