"""Gemma decoders: RMS norm, rotary positions, GeGLU, scaled embeddings; from the second generation on, windows.

Sources: Gemma Team, 2024 (https://arxiv.org/abs/2403.08295 and https://arxiv.org/abs/2408.00118) and 2025
(https://arxiv.org/abs/2503.19786); sizes from each repository's ``config.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgegen.plugins import load, registry
from edgegen.weights import WeightMap
from edgegen.weights.weight_map import Source, concat, first_of, offset
from edgegen_layers import (
    AttentionConfig,
    DecoderLM,
    FeedForwardConfig,
    LinearScaling,
    ModelConfig,
    NormalizationConfig,
    TransformerBlockConfig,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """One row: what differs between Gemmas."""

    layers: int
    dim: int
    heads: int
    groups: int
    hidden: int
    context: int
    vocab: int
    head_dim: int = 256
    query_scalar: float | None = None
    """Scores are divided by its square root; None for ``head_dim``."""
    epsilon: float = 1e-6
    rotary_base: float = 10_000.0
    rotary_scaling: LinearScaling | None = None
    local: tuple[bool, ...] = (False,)
    """Which blocks see a window only; repeated along the layers."""
    window: int = 4096
    local_base: float | None = None
    """``rotary_base`` of the blocks with a window, which are then not scaled; None for the same as the others."""
    post_norms: bool = False
    qk_norm: bool = False
    attention_cap: float | None = None
    final_cap: float | None = None

    def config(self) -> ModelConfig:
        """This row as a model configuration."""
        norm = NormalizationConfig(epsilon=self.epsilon)
        everywhere = AttentionConfig(
            num_heads=self.heads,
            num_kv_heads=self.groups,
            head_dim=self.head_dim,
            rotary_base=self.rotary_base,
            rotary_scaling=self.rotary_scaling,
            scale=(self.query_scalar or self.head_dim) ** -0.5,
            logit_softcap=self.attention_cap,
            qk_norm=norm if self.qk_norm else None,
        )
        nearby = replace(everywhere, sliding_window=self.window)
        if self.local_base is not None:
            nearby = replace(nearby, rotary_base=self.local_base, rotary_scaling=None)
        post_norm = norm if self.post_norms else None
        return ModelConfig(
            vocab_size=self.vocab,
            num_layers=self.layers,
            max_seq_len=self.context,
            embedding_dim=self.dim,
            block_config=tuple(
                TransformerBlockConfig(
                    attn_config=nearby if self.local[i % len(self.local)] else everywhere,
                    ff_config=FeedForwardConfig(intermediate_size=self.hidden, activation="gelu_tanh"),
                    pre_attention_norm_config=norm,
                    pre_ff_norm_config=norm,
                    post_attention_norm_config=post_norm,
                    post_ff_norm_config=post_norm,
                )
                for i in range(self.layers)
            ),
            final_norm_config=norm,
            tie_embeddings=True,
            embedding_scale=math.sqrt(self.dim),
            final_logit_softcap=self.final_cap,
        )


# What all sizes of a generation have in common, by the name that checkpoints have for it.
GENERATIONS: dict[str, dict[str, Any]] = {
    "gemma": {},
    "gemma2": {"local": (True, False), "post_norms": True, "attention_cap": 50.0, "final_cap": 30.0},
    "gemma3": {
        "local": (True,) * 5 + (False,),
        "rotary_base": 1_000_000.0,
        "local_base": 10_000.0,
        "post_norms": True,
        "qk_norm": True,
    },
}
_ONE = {**GENERATIONS["gemma"], "vocab": 256_000, "context": 8192}
_TWO = {**GENERATIONS["gemma2"], "vocab": 256_000, "context": 8192}
_THREE = {**GENERATIONS["gemma3"], "vocab": 262_144, "context": 32_768, "window": 512}
_SEEING = {"vocab": 262_208, "context": 131_072, "window": 1024, "rotary_scaling": LinearScaling(factor=8.0)}

_BASES = {
    "gemma-2b": Size(layers=18, dim=2048, heads=8, groups=1, hidden=16_384, **_ONE),
    "gemma-7b": Size(layers=28, dim=3072, heads=16, groups=16, hidden=24_576, **_ONE),
    "gemma2-2b": Size(layers=26, dim=2304, heads=8, groups=4, hidden=9216, **_TWO),
    "gemma2-9b": Size(layers=42, dim=3584, heads=16, groups=8, hidden=14_336, **_TWO),
    "gemma3-270m": Size(layers=18, dim=640, heads=4, groups=1, hidden=2048, **_THREE),
    "gemma3-1b": Size(layers=26, dim=1152, heads=4, groups=1, hidden=6912, **_THREE),
    "gemma3-4b": Size(layers=34, dim=2560, heads=8, groups=4, hidden=10_240, **(_THREE | _SEEING)),
}
SIZES = {name + flavour: size for name, size in _BASES.items() for flavour in ("", "-it")}


def config(variant: str) -> ModelConfig:
    """The configuration of a listed variant; raises KeyError for any other."""
    return SIZES[variant].config()


def build(config: ModelConfig, *, layers: Mapping[str, str]) -> DecoderLM:
    """The model, on the current default device, with the attention kernel that ``layers`` names."""
    kernel = registry().layer("attention", layers.get("attention", "matmul"))
    return DecoderLM(config, load(kernel.impl)())


def huggingface(config: ModelConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``; norms are stored as what they add to 1."""

    def name(suffix: str) -> Source:  # text alone, then two ways of putting it beside a vision tower
        return first_of(*(prefix + suffix for prefix in ("model.", "language_model.model.", "model.language_model.")))

    def norm(suffix: str) -> Source:
        return offset(name(f"{suffix}norm.weight"), 1)

    layer = "layers.{i}."
    attention, mlp = layer + "self_attn.", layer + "mlp."
    post_norms = config.blocks[0].post_attention_norm_config is not None
    return WeightMap(
        {
            "embedding.weight": name("embed_tokens.weight"),
            "blocks.{i}.attention_norm.weight": norm(layer + "input_layer"),
            "blocks.{i}.attention.qkv.weight": concat(*(name(f"{attention}{part}_proj.weight") for part in "qkv")),
            "blocks.{i}.attention.query_norm.weight": norm(attention + "q_"),
            "blocks.{i}.attention.key_norm.weight": norm(attention + "k_"),
            "blocks.{i}.attention.output.weight": name(attention + "o_proj.weight"),
            "blocks.{i}.post_attention_norm.weight": norm(layer + "post_attention_layer"),
            # Without the norms after each part, the name "after attention" is that of the one before the next part.
            "blocks.{i}.feed_forward_norm.weight": norm(
                layer + ("pre_feedforward_layer" if post_norms else "post_attention_layer")
            ),
            "blocks.{i}.feed_forward.gate_up.weight": concat(
                name(mlp + "gate_proj.weight"), name(mlp + "up_proj.weight")
            ),
            "blocks.{i}.feed_forward.down.weight": name(mlp + "down_proj.weight"),
            "blocks.{i}.post_feed_forward_norm.weight": norm(layer + "post_feedforward_layer"),
            "final_norm.weight": norm(""),
        },
        # A tied head is sometimes stored a second time; what sees is not exported.
        ignore=("*lm_head.weight", "*vision_tower.*", "*multi_modal_projector.*", "*.rotary_emb.inv_freq"),
    )


def gguf(config: ModelConfig) -> WeightMap:
    """Names as llama.cpp's converter writes them; it has added 1 to norms, and leaves rows in their order."""
    layer = "blk.{i}."
    return WeightMap(
        {
            "embedding.weight": "token_embd.weight",
            "blocks.{i}.attention_norm.weight": layer + "attn_norm.weight",
            "blocks.{i}.attention.qkv.weight": concat(*(f"{layer}attn_{part}.weight" for part in "qkv")),
            "blocks.{i}.attention.query_norm.weight": layer + "attn_q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": layer + "attn_k_norm.weight",
            "blocks.{i}.attention.output.weight": layer + "attn_output.weight",
            "blocks.{i}.post_attention_norm.weight": layer + "post_attention_norm.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": concat(layer + "ffn_gate.weight", layer + "ffn_up.weight"),
            "blocks.{i}.feed_forward.down.weight": layer + "ffn_down.weight",
            "blocks.{i}.post_feed_forward_norm.weight": layer + "post_ffw_norm.weight",
            "final_norm.weight": "output_norm.weight",
        },
        ignore=("output.weight",),
    )


def gemma_pytorch(config: ModelConfig) -> WeightMap:
    """Names as in Gemma's own PyTorch code: queries, keys and values are one, norms are what they add to 1."""
    layer = "model.layers.{i}."
    attention, mlp = layer + "self_attn.", layer + "mlp."
    post_norms = config.blocks[0].post_attention_norm_config is not None
    before_mlp = "pre_feedforward" if post_norms else "post_attention"  # as in huggingface's names
    return WeightMap(
        {
            "embedding.weight": first_of("embedder.weight", "text_token_embedder.weight"),  # alone, beside a tower
            "blocks.{i}.attention_norm.weight": offset(layer + "input_layernorm.weight", 1),
            "blocks.{i}.attention.qkv.weight": attention + "qkv_proj.weight",
            "blocks.{i}.attention.query_norm.weight": offset(attention + "query_norm.weight", 1),
            "blocks.{i}.attention.key_norm.weight": offset(attention + "key_norm.weight", 1),
            "blocks.{i}.attention.output.weight": attention + "o_proj.weight",
            "blocks.{i}.post_attention_norm.weight": offset(layer + "post_attention_layernorm.weight", 1),
            "blocks.{i}.feed_forward_norm.weight": offset(f"{layer}{before_mlp}_layernorm.weight", 1),
            "blocks.{i}.feed_forward.gate_up.weight": concat(mlp + "gate_proj.weight", mlp + "up_proj.weight"),
            "blocks.{i}.feed_forward.down.weight": mlp + "down_proj.weight",
            "blocks.{i}.post_feed_forward_norm.weight": offset(layer + "post_feedforward_layernorm.weight", 1),
            "final_norm.weight": offset("model.norm.weight", 1),
        },
        ignore=("*freqs_cis", "siglip_vision_model.*", "mm_input_projection.*", "mm_soft_embedding_norm.*"),
    )
