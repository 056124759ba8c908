"""Tiny Llamas with random weights: transformers' own, and the same weights in our layers."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from edgegen_layers import (
    AttentionConfig,
    AttentionKernel,
    FeedForwardConfig,
    MatmulAttention,
    NormalizationConfig,
    SdpaAttention,
    TransformerBlockConfig,
    TransformerConfig,
    TransformerLM,
)
from edgegen_layers.testing import random_model

KERNELS: dict[str, type[AttentionKernel]] = {"matmul": MatmulAttention, "sdpa": SdpaAttention}


def reference(**overrides) -> LlamaForCausalLM:
    sizes = {
        "vocab_size": 48,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "attn_implementation": "eager",
    }
    return random_model(LlamaForCausalLM(LlamaConfig(**{**sizes, **overrides})))


def ours(model: LlamaForCausalLM, kernel: AttentionKernel | None = None) -> TransformerLM:
    """The same architecture and weights in our layers."""
    c = model.config
    norm = NormalizationConfig(epsilon=c.rms_norm_eps)
    attention = AttentionConfig(
        num_attention_heads=c.num_attention_heads,
        num_kv_heads=c.num_key_value_heads,
        head_dim=c.head_dim,
        rope_theta=c.rope_parameters["rope_theta"],
        qkv_use_bias=c.attention_bias,
        output_proj_use_bias=c.attention_bias,
    )
    block = TransformerBlockConfig(
        attn_config=attention,
        ff_config=FeedForwardConfig(
            intermediate_size=c.intermediate_size, activation=c.hidden_act, use_bias=c.mlp_bias
        ),
        pre_attention_norm_config=norm,
        pre_ff_norm_config=norm,
    )
    config = TransformerConfig(
        vocab_size=c.vocab_size,
        num_hidden_layers=c.num_hidden_layers,
        max_position_embeddings=c.max_position_embeddings,
        hidden_size=c.hidden_size,
        block_config=block,
        final_norm_config=norm,
        tie_word_embeddings=c.tie_word_embeddings,
    )
    decoder = TransformerLM(config, kernel).eval().requires_grad_(False)
    decoder.load_state_dict(dict(_weights(model.state_dict(), decoder)))
    return decoder


def _weights(theirs: dict[str, torch.Tensor], decoder: TransformerLM):
    parts = {
        "attention_norm": ["input_layernorm"],
        "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "attention.output": ["self_attn.o_proj"],
        "feed_forward_norm": ["post_attention_layernorm"],
        "feed_forward.gate_up": ["mlp.gate_proj", "mlp.up_proj"],
        "feed_forward.down": ["mlp.down_proj"],
    }
    whole = {"embedding": "model.embed_tokens", "final_norm": "model.norm", "lm_head": "lm_head"}
    for name in decoder.state_dict():
        module, kind = name.rsplit(".", 1)
        if module in whole:
            yield name, theirs[f"{whole[module]}.{kind}"]
        else:
            _, number, part = module.split(".", 2)
            yield name, torch.cat([theirs[f"model.layers.{number}.{their}.{kind}"] for their in parts[part]])
