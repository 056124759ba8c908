"""Decoders that are unlike Llama, put together from the same blocks: parity with transformers, eager and exported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from lowering import randomize

from edgegen.weights import WeightMap, open_checkpoint
from edgegen.weights.module import parameter_shapes
from edgegen.weights.weight_map import concat, permute_rows, transpose
from edgegen_layers import (
    AttentionConfig,
    FeedForwardConfig,
    NormalizationConfig,
    TransformerBlockConfig,
    TransformerConfig,
    TransformerLM,
)
from edgegen_layers.row_orders import interleaved_qkv
from edgegen_layers.testing import check_parity

VOCAB, DIM, HEADS, LAYERS, LENGTH = 48, 32, 4, 2, 16
HEAD = DIM // HEADS
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9]

NORM = NormalizationConfig(kind="layer")
ATTENTION = AttentionConfig(
    num_attention_heads=HEADS,
    num_kv_heads=HEADS,
    head_dim=HEAD,
    partial_rotary_factor=0.0,
    qkv_use_bias=True,
    output_proj_use_bias=True,
)
BLOCK = TransformerBlockConfig(
    attn_config=ATTENTION,
    ff_config=FeedForwardConfig(intermediate_size=4 * DIM, activation="gelu_tanh", gated=False, use_bias=True),
    pre_attention_norm_config=NORM,
    pre_ff_norm_config=NORM,
)
CONFIG = TransformerConfig(
    vocab_size=VOCAB,
    num_hidden_layers=LAYERS,
    max_position_embeddings=LENGTH,
    hidden_size=DIM,
    block_config=BLOCK,
    final_norm_config=NORM,
    tie_word_embeddings=True,
)


def both(names: dict[str, object]) -> dict[str, object]:
    """Each rule for weights and for biases."""
    return {
        f"{ours}.{kind}": theirs(kind) if callable(theirs) else f"{theirs}.{kind}"
        for ours, theirs in names.items()
        for kind in ("weight", "bias")
    }


def gpt2():
    """A table of positions; matrices stored the other way round."""
    sizes = {"vocab_size": VOCAB, "n_positions": LENGTH, "n_embd": DIM, "n_layer": LAYERS, "n_head": HEADS}
    layer = "transformer.h.{i}."

    def flipped(name):
        return lambda kind: transpose(f"{layer}{name}.weight") if kind == "weight" else f"{layer}{name}.bias"

    names = {
        "blocks.{i}.attention_norm": layer + "ln_1",
        "blocks.{i}.feed_forward_norm": layer + "ln_2",
        "blocks.{i}.attention.qkv": flipped("attn.c_attn"),
        "blocks.{i}.attention.output": flipped("attn.c_proj"),
        "blocks.{i}.feed_forward.up": flipped("mlp.c_fc"),
        "blocks.{i}.feed_forward.down": flipped("mlp.c_proj"),
        "final_norm": "transformer.ln_f",
    }
    tables = {"embedding.weight": "transformer.wte.weight", "positions.weight": "transformer.wpe.weight"}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    return model, replace(CONFIG, learned_positions=True), WeightMap(both(names) | tables)


def bloom():
    """ALiBi, a norm of the embeddings, projections fused head by head."""
    sizes = {"vocab_size": VOCAB, "hidden_size": DIM, "n_layer": LAYERS, "n_head": HEADS}
    layer = "transformer.h.{i}."

    def qkv(kind):
        fused = f"{layer}self_attention.query_key_value.{kind}"
        return permute_rows(fused, interleaved_qkv(HEADS, HEADS, HEAD))

    names = {
        "embedding_norm": "transformer.word_embeddings_layernorm",
        "blocks.{i}.attention_norm": layer + "input_layernorm",
        "blocks.{i}.feed_forward_norm": layer + "post_attention_layernorm",
        "blocks.{i}.attention.qkv": qkv,
        "blocks.{i}.attention.output": layer + "self_attention.dense",
        "blocks.{i}.feed_forward.up": layer + "mlp.dense_h_to_4h",
        "blocks.{i}.feed_forward.down": layer + "mlp.dense_4h_to_h",
        "final_norm": "transformer.ln_f",
    }
    tables = {"embedding.weight": "transformer.word_embeddings.weight"}
    block = replace(BLOCK, attn_config=replace(ATTENTION, alibi=True))
    config = replace(CONFIG, block_config=block, embedding_norm_config=NORM)
    return transformers.BloomForCausalLM(transformers.BloomConfig(**sizes)), config, WeightMap(both(names) | tables)


def gptj():
    """Rotary positions that turn neighbours, on a part of each head; attention and feed-forward side by side."""
    sizes = {
        "vocab_size": VOCAB, "n_positions": LENGTH, "n_embd": DIM, "n_layer": LAYERS, "n_head": HEADS, "rotary_dim": 4,
    }  # fmt: skip
    layer = "transformer.h.{i}."
    names = {
        "blocks.{i}.attention_norm": layer + "ln_1",
        "blocks.{i}.feed_forward.up": layer + "mlp.fc_in",
        "blocks.{i}.feed_forward.down": layer + "mlp.fc_out",
        "final_norm": "transformer.ln_f",
        "lm_head": "lm_head",
    }
    rules = both(names) | {
        "embedding.weight": "transformer.wte.weight",
        "blocks.{i}.attention.qkv.weight": concat(*(f"{layer}attn.{part}_proj.weight" for part in "qkv")),
        "blocks.{i}.attention.output.weight": layer + "attn.out_proj.weight",
    }
    attention = replace(
        ATTENTION, partial_rotary_factor=0.5, rotary_interleaved=True, qkv_use_bias=False, output_proj_use_bias=False
    )
    block = replace(BLOCK, attn_config=attention, parallel_residual=True)
    config = replace(CONFIG, block_config=block, tie_word_embeddings=False, lm_head_use_bias=True)
    model = transformers.GPTJForCausalLM(transformers.GPTJConfig(**sizes, tie_word_embeddings=False))
    return model, config, WeightMap(rules)


def falcon():
    """Fewer key/value heads, fused group by group; two norms side by side; no biases."""
    sizes = {
        "vocab_size": VOCAB, "hidden_size": DIM, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_kv_heads": 2, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 1, "bias": False,
        "max_position_embeddings": LENGTH,
    }  # fmt: skip
    layer = "transformer.h.{i}."
    names = {"blocks.{i}.attention_norm": layer + "input_layernorm", "final_norm": "transformer.ln_f"}
    fused = layer + "self_attention.query_key_value.weight"
    rules = both(names) | {
        "embedding.weight": "transformer.word_embeddings.weight",
        "blocks.{i}.attention.qkv.weight": permute_rows(fused, interleaved_qkv(HEADS, 2, HEAD)),
        "blocks.{i}.attention.output.weight": layer + "self_attention.dense.weight",
        "blocks.{i}.feed_forward.up.weight": layer + "mlp.dense_h_to_4h.weight",
        "blocks.{i}.feed_forward.down.weight": layer + "mlp.dense_4h_to_h.weight",
    }
    attention = AttentionConfig(num_attention_heads=HEADS, num_kv_heads=2, head_dim=HEAD)
    feed_forward = FeedForwardConfig(intermediate_size=4 * DIM, activation="gelu", gated=False)
    block = replace(BLOCK, attn_config=attention, ff_config=feed_forward, parallel_residual=True)
    config = replace(CONFIG, block_config=block)
    return transformers.FalconForCausalLM(transformers.FalconConfig(**sizes)), config, WeightMap(rules)


ARCHITECTURES = [gpt2, bloom, gptj, falcon]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda make: make.__name__)
def test_parity(architecture, tmp_path):
    theirs, config, weight_map = architecture()
    randomize(theirs)
    theirs = theirs.eval().requires_grad_(False)
    theirs.save_pretrained(tmp_path)
    model = TransformerLM(config).eval().requires_grad_(False)
    sources = weight_map.resolve(open_checkpoint(tmp_path), parameter_shapes(model), architecture.__name__)
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(sources[name].read())))
    check_parity(model, TOKENS, theirs(torch.tensor([TOKENS])).logits[0], tolerance=5e-4)
