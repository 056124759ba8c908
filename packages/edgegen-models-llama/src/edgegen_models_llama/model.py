"""Llama-shaped decoders: RMS norm, rotary positions, grouped-query attention, SwiGLU.

Sources: Touvron et al., 2023 (https://arxiv.org/abs/2302.13971); sizes from each repository's ``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgegen.checkpoints import Checkpoint, WeightMap
from edgegen.checkpoints.settings import Settings
from edgegen.checkpoints.weight_map import concat, interleaved_to_half_rotary, permute_rows
from edgegen.errors import CheckpointError
from edgegen.plugins import load, registry
from edgegen_layers import (
    AttentionConfig,
    DecoderLM,
    FeedForwardConfig,
    ModelConfig,
    NormalizationConfig,
    TransformerBlockConfig,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """One row: what differs between Llama-shaped models."""

    layers: int
    dim: int
    heads: int
    groups: int
    hidden: int
    context: int
    vocab: int = 49_152
    head_dim: int | None = None
    rotary_base: float = 10_000.0
    epsilon: float = 1e-5
    tied: bool = True

    def config(self) -> ModelConfig:
        """This row as a model configuration."""
        norm = NormalizationConfig(epsilon=self.epsilon)
        block = TransformerBlockConfig(
            attn_config=AttentionConfig(
                num_heads=self.heads,
                num_query_groups=self.groups,
                head_dim=self.head_dim or self.dim // self.heads,
                rotary_base=self.rotary_base,
            ),
            ff_config=FeedForwardConfig(intermediate_size=self.hidden),
            pre_attention_norm_config=norm,
            pre_ff_norm_config=norm,
        )
        return ModelConfig(
            vocab_size=self.vocab,
            num_layers=self.layers,
            max_seq_len=self.context,
            embedding_dim=self.dim,
            block_config=block,
            final_norm_config=norm,
            tie_embeddings=self.tied,
        )


_SMOLLM2_135M = Size(layers=30, dim=576, heads=9, groups=3, hidden=1536, context=8192, rotary_base=100_000.0)

SIZES: dict[str, Size] = {
    "smollm2-135m": _SMOLLM2_135M,
    "smollm2-135m-instruct": _SMOLLM2_135M,
    "smollm-135m": Size(layers=30, dim=576, heads=9, groups=3, hidden=1536, context=2048),
    "smollm-360m": Size(layers=32, dim=960, heads=15, groups=5, hidden=2560, context=2048),
    "smollm-1.7b": Size(layers=24, dim=2048, heads=32, groups=32, hidden=8192, context=2048),
    "tinyllama-1.1b": Size(
        layers=22, dim=2048, heads=32, groups=4, hidden=5632, context=2048, vocab=32_000, tied=False
    ),
}


def config(variant: str) -> ModelConfig:
    """The configuration of a listed variant; raises KeyError for any other."""
    return SIZES[variant].config()


def read_config(checkpoint: Checkpoint) -> ModelConfig | None:
    """What ``config.json`` or GGUF metadata says; None where there is neither.

    Raises:
        CheckpointError: it is no Llama, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    size = _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)
    return size.config()


def _read_json(checkpoint: Checkpoint) -> Size:
    settings = Settings(checkpoint)
    settings.expect("model_type", "llama")
    settings.expect("hidden_act", "silu")
    for absent in ("attention_bias", "mlp_bias", "rope_interleaved"):
        settings.expect(absent, False)
    settings.expect("rope_scaling")
    rope = settings.take("rope_parameters", dict, {})
    if rope.get("rope_type", "default") != "default":
        raise CheckpointError(f"rotary scaling {rope['rope_type']!r} of {checkpoint.path} is not known", code="EG207")
    heads = settings.take("num_attention_heads", int)
    dim = settings.take("hidden_size", int)
    size = Size(
        layers=settings.take("num_hidden_layers", int),
        dim=dim,
        heads=heads,
        groups=settings.take("num_key_value_heads", int, heads),
        hidden=settings.take("intermediate_size", int),
        context=settings.take("max_position_embeddings", int),
        vocab=settings.take("vocab_size", int),
        head_dim=settings.take("head_dim", int, dim // heads),
        rotary_base=float(rope.get("rope_theta") or settings.take("rope_theta", float, 10_000.0)),
        epsilon=settings.take("rms_norm_eps", float),
        tied=settings.take("tie_word_embeddings", bool, False),
    )
    settings.take("rope_theta", float, 0.0)
    settings.finish()
    return size


def _read_gguf(checkpoint: Checkpoint) -> Size:
    Settings(checkpoint).expect("general.architecture", "llama")
    settings = Settings(checkpoint, prefix="llama.")
    settings.expect("rope.scaling.type", "none")
    heads = settings.take("attention.head_count", int)
    dim = settings.take("embedding_length", int)
    head_dim = settings.take("rope.dimension_count", int, dim // heads)
    settings.expect("attention.key_length", head_dim)
    settings.expect("attention.value_length", head_dim)
    table = checkpoint.tensors.get("token_embd.weight")
    size = Size(
        layers=settings.take("block_count", int),
        dim=dim,
        heads=heads,
        groups=settings.take("attention.head_count_kv", int, heads),
        hidden=settings.take("feed_forward_length", int),
        context=settings.take("context_length", int),
        vocab=table.rows if table else settings.take("vocab_size", int),
        head_dim=head_dim,
        rotary_base=settings.take("rope.freq_base", float, 10_000.0),
        epsilon=settings.take("attention.layer_norm_rms_epsilon", float),
        tied="output.weight" not in checkpoint.tensors,
    )
    settings.finish()
    return size


def build(config: ModelConfig, *, layers: Mapping[str, str]) -> DecoderLM:
    """The model, on the current default device, with the attention kernel that ``layers`` names."""
    kernel = registry().layer("attention", layers.get("attention", "matmul"))
    return DecoderLM(config, load(kernel.impl)())


def huggingface(config: ModelConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``."""
    layer = "model.layers.{i}."
    attention, mlp = layer + "self_attn.", layer + "mlp."
    return WeightMap(
        {
            "embedding.weight": "model.embed_tokens.weight",
            "blocks.{i}.attention_norm.weight": layer + "input_layernorm.weight",
            "blocks.{i}.attention.qkv.weight": concat(
                attention + "q_proj.weight", attention + "k_proj.weight", attention + "v_proj.weight"
            ),
            "blocks.{i}.attention.output.weight": attention + "o_proj.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "post_attention_layernorm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": concat(mlp + "gate_proj.weight", mlp + "up_proj.weight"),
            "blocks.{i}.feed_forward.down.weight": mlp + "down_proj.weight",
            "final_norm.weight": "model.norm.weight",
            "lm_head.weight": "lm_head.weight",
        },
        # A tied head is sometimes stored a second time.
        ignore=("*.rotary_emb.inv_freq", *(("lm_head.weight",) if config.tie_embeddings else ())),
    )


def gguf(config: ModelConfig) -> WeightMap:
    """Names as llama.cpp's converter writes them; it also reorders the rows of queries and keys."""
    layer = "blk.{i}."
    attention = config.blocks[0].attn_config
    return WeightMap(
        {
            "embedding.weight": "token_embd.weight",
            "blocks.{i}.attention_norm.weight": layer + "attn_norm.weight",
            "blocks.{i}.attention.qkv.weight": concat(
                permute_rows(
                    layer + "attn_q.weight",
                    interleaved_to_half_rotary(attention.num_heads, attention.head_dim),
                ),
                permute_rows(
                    layer + "attn_k.weight",
                    interleaved_to_half_rotary(attention.num_query_groups, attention.head_dim),
                ),
                layer + "attn_v.weight",
            ),
            "blocks.{i}.attention.output.weight": layer + "attn_output.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": concat(layer + "ffn_gate.weight", layer + "ffn_up.weight"),
            "blocks.{i}.feed_forward.down.weight": layer + "ffn_down.weight",
            "final_norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight",
        },
        ignore=("output.weight",) if config.tie_embeddings else (),
    )
