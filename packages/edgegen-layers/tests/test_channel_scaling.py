"""Channels that a decoder says can be scaled: it computes the same with any scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lowering import randomize

from edgegen.weights.module import module_weights
from edgegen_layers import (
    AttentionConfig,
    FeedForwardConfig,
    NormalizationConfig,
    TransformerBlockConfig,
    TransformerConfig,
    TransformerLM,
)
from edgegen_quant.ptq.smoothquant_pass import scale

LAYERS, DIM = 2, 32
RMS, CENTRED, LAYER = NormalizationConfig(), NormalizationConfig(scale_shift=1.0), NormalizationConfig(kind="layer")
ATTENTION = AttentionConfig(num_attention_heads=4, num_kv_heads=2, head_dim=8)
BIASED = replace(ATTENTION, qkv_use_bias=True, output_proj_use_bias=True)
GATED = FeedForwardConfig(intermediate_size=48)
PLAIN = FeedForwardConfig(intermediate_size=48, activation="gelu", gated=False, use_bias=True)
LLAMA = TransformerBlockConfig(attn_config=ATTENTION, ff_config=GATED)
GEMMA = TransformerBlockConfig(
    attn_config=replace(ATTENTION, num_kv_heads=1, qk_norm=CENTRED),
    ff_config=replace(GATED, activation="gelu_tanh"),
    pre_attention_norm_config=CENTRED,
    pre_ff_norm_config=CENTRED,
    post_attention_norm_config=CENTRED,
    post_ff_norm_config=CENTRED,
)
PHI = TransformerBlockConfig(
    attn_config=replace(BIASED, qkv_fused=False),
    ff_config=PLAIN,
    pre_attention_norm_config=LAYER,
    parallel_residual=True,
)
QWEN = replace(LLAMA, attn_config=replace(ATTENTION, qkv_use_bias=True), ff_config=replace(GATED, use_bias=True))
MIXTURE = replace(LLAMA, ff_config=replace(GATED, num_experts=3, num_experts_per_token=2))
UNSCALED = NormalizationConfig(kind="layer", with_scale=False)
OLMO = replace(LLAMA, pre_attention_norm_config=UNSCALED, pre_ff_norm_config=UNSCALED)


def config(block: TransformerBlockConfig, norm: NormalizationConfig = RMS, **settings) -> TransformerConfig:
    return TransformerConfig(
        vocab_size=40,
        num_hidden_layers=LAYERS,
        max_position_embeddings=16,
        hidden_size=DIM,
        block_config=block,
        final_norm_config=norm,
        **settings,
    )


CONFIGS = {
    "llama": (config(LLAMA, tie_word_embeddings=True), 4 * LAYERS + 1),
    "gemma": (config(GEMMA, CENTRED, tie_word_embeddings=True, embedding_scale=5.0), 4 * LAYERS + 1),
    "phi": (config(PHI, LAYER, lm_head_use_bias=True), 2 * LAYERS + 1),  # attention and feed-forward share a norm
    "qwen": (config(QWEN), 4 * LAYERS + 1),
    "mixture": (config(MIXTURE), 6 * LAYERS + 1),  # three experts
    "unscaled": (config(OLMO, UNSCALED), 2 * LAYERS),  # norms without weights to divide
}


def logits(model: TransformerLM) -> np.ndarray:
    tokens = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]], dtype=torch.int32)
    with torch.no_grad():
        positions = torch.arange(tokens.shape[1], dtype=torch.int32)
        return model(tokens, positions, model.new_cache(8))["logits"].numpy()


@pytest.mark.parametrize("name", CONFIGS)
def test_scaled_channels_change_no_logits(name):
    sizes, count = CONFIGS[name]
    model = TransformerLM(sizes)
    randomize(model)
    before = logits(model)
    offered = model.scaling_groups()
    assert len(offered) == count
    for channels in offered:
        if channels.added:
            model.add_scales(channels.added)
    sources = module_weights(model)
    generator = np.random.default_rng(0)
    for channels in offered:
        columns = sources[channels.consumers[0]].shape[1] // channels.copies
        scale(sources, channels, generator.uniform(0.25, 4, columns).astype(np.float32))
    scaled = {name: torch.from_numpy(source.read()) for name, source in sources.items()}
    touched = {name for channels in offered for name in channels.consumers}
    assert all(not torch.allclose(scaled[name], model.get_parameter(name), rtol=0.1) for name in touched)
    with torch.no_grad():
        for parameter, contents in scaled.items():
            model.get_parameter(parameter).copy_(contents)
    np.testing.assert_allclose(logits(model), before, rtol=1e-4, atol=1e-5 * np.abs(before).max())


def test_every_channel_counts():
    """Each is left out of one's producers in turn: the logits change, so the comparison above can fail."""
    for index in range(4):
        model = TransformerLM(CONFIGS["qwen"][0])
        randomize(model)
        before, sources = logits(model), module_weights(model)
        channels = model.scaling_groups()[index]
        columns = np.full(sources[channels.consumers[0]].shape[1] // channels.copies, 2, np.float32)
        scale(sources, replace(channels, producers=()), columns)
        with torch.no_grad():
            for name in channels.consumers:
                model.get_parameter(name).copy_(torch.from_numpy(sources[name].read()))
        assert np.abs(logits(model) - before).max() > 1e-3 * np.abs(before).max()
