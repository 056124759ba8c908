"""The two Phi architectures: Phi-1 and 2 with a parallel residual, Phi-3 and 4 mini much like Llama.

Sources: Javaheripi et al., 2023 (Phi-2); Abdin et al., 2024 (https://arxiv.org/abs/2404.14219); sizes from each
repository's ``config.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgegen.weights import WeightMap
from edgegen.weights.weight_map import SourceLike, concat, first_of
from edgegen_layers import (
    AttentionConfig,
    DecoderLM,
    FeedForwardConfig,
    FrequencyScaling,
    ModelConfig,
    NormalizationConfig,
    TransformerBlockConfig,
)
from edgegen_layers.families import llama
from edgegen_models_phi import factors


@dataclass(frozen=True, kw_only=True)
class PhiConfig(ModelConfig):
    """A Phi model; the blocks hold the short rotary factors.

    Attributes:
        long_factors: what replaces them where ``max_seq_len`` is beyond ``original_length``; None for none.
        original_length: the context before it was extended, in tokens.
    """

    long_factors: tuple[float, ...] | None = None
    original_length: int | None = None

    def for_its_context(self) -> PhiConfig:
        """The same with the long factors in place, if it is for texts that need them."""
        block = self.blocks[0]
        scaling = block.attn_config.rotary_scaling
        if not isinstance(scaling, FrequencyScaling) or not self.long_factors or not self.original_length:
            return self
        if self.max_seq_len <= self.original_length:
            return self
        stretched = replace(block.attn_config, rotary_scaling=replace(scaling, factors=self.long_factors))
        return replace(self, block_config=replace(block, attn_config=stretched))


@dataclass(frozen=True, kw_only=True)
class LongRope:
    """Rotary factors for texts up to ``original`` tokens and for longer ones, up to ``extended``."""

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int = 4096
    extended: int = 131_072

    @property
    def scaling(self) -> FrequencyScaling:
        ratio = max(1.0, self.extended / self.original)
        amplitude = math.sqrt(1 + math.log(ratio) / math.log(self.original))
        return FrequencyScaling(factors=self.short, attention_factor=amplitude)


@dataclass(frozen=True, kw_only=True)
class Size:
    """One row. ``parallel`` is all of Phi-1 and 2: parallel residual, layer norms, biases, plain feed-forward."""

    layers: int
    dim: int
    heads: int
    groups: int
    hidden: int
    context: int
    vocab: int
    parallel: bool = False
    rotary: float = 1.0
    rotary_base: float = 10_000.0
    epsilon: float = 1e-5
    tied: bool = False
    qk_norm: bool = False
    window: int | None = None
    long_rope: LongRope | None = None

    def config(self) -> PhiConfig:
        """This row as a model configuration."""
        norm = NormalizationConfig(kind="layer" if self.parallel else "rms", epsilon=self.epsilon)
        activation = "gelu_tanh" if self.parallel else "silu"
        scaled = self.long_rope
        block = TransformerBlockConfig(
            attn_config=AttentionConfig(
                num_heads=self.heads,
                num_kv_heads=self.groups,
                head_dim=self.dim // self.heads,
                rotary_base=self.rotary_base,
                rotary_percentage=self.rotary,
                rotary_scaling=scaled.scaling if scaled else None,
                qkv_use_bias=self.parallel,
                output_proj_use_bias=self.parallel,
                sliding_window=self.window,
                qk_norm=norm if self.qk_norm else None,
            ),
            ff_config=FeedForwardConfig(
                intermediate_size=self.hidden,
                activation=activation,
                gated=not self.parallel,
                use_bias=self.parallel,
            ),
            pre_attention_norm_config=norm,
            pre_ff_norm_config=norm,
            parallel_residual=self.parallel,
        )
        return PhiConfig(
            vocab_size=self.vocab,
            num_layers=self.layers,
            max_seq_len=self.context,
            embedding_dim=self.dim,
            block_config=block,
            final_norm_config=norm,
            tie_embeddings=self.tied,
            lm_head_use_bias=self.parallel,
            long_factors=scaled.long if scaled else None,
            original_length=scaled.original if scaled else None,
        )


_PHI_3_MINI = Size(layers=32, dim=3072, heads=32, groups=32, hidden=8192, context=4096, vocab=32_064, window=2047)
_PHI_3_5_MINI = replace(
    _PHI_3_MINI, window=None, long_rope=LongRope(short=factors.PHI_3_5_MINI_SHORT, long=factors.PHI_3_5_MINI_LONG)
)
_PHI_4_MINI = replace(
    _PHI_3_5_MINI,
    heads=24,
    groups=8,
    vocab=200_064,
    rotary=0.75,
    tied=True,
    long_rope=LongRope(short=factors.PHI_4_MINI_SHORT, long=factors.PHI_4_MINI_LONG),
)

SIZES: dict[str, Size] = {
    "phi-2": Size(
        layers=32,
        dim=2560,
        heads=32,
        groups=32,
        hidden=10_240,
        context=2048,
        vocab=51_200,
        parallel=True,
        rotary=0.4,
    ),
    "phi-3-mini": _PHI_3_MINI,
    "phi-3.5-mini": _PHI_3_5_MINI,
    "phi-3.5-mini-128k": replace(_PHI_3_5_MINI, context=131_072),
    "phi-4-mini": _PHI_4_MINI,
    "phi-4-mini-128k": replace(_PHI_4_MINI, context=131_072),
}


def config(variant: str) -> PhiConfig:
    """The configuration of a listed variant; raises KeyError for any other."""
    return SIZES[variant].config()


def build(config: PhiConfig, *, layers: Mapping[str, str]) -> DecoderLM:
    """As :func:`edgegen_layers.families.llama.build`, with the rotary factors that the context asks for."""
    return llama.build(config.for_its_context(), layers=layers)


def huggingface(config: PhiConfig) -> WeightMap:
    """Names as in the repositories' safetensors; Phi-3's fused tensors have our order of rows."""
    layer = "model.layers.{i}."
    attention = layer + "self_attn."
    rules: dict[str, SourceLike] = {
        "embedding.weight": "model.embed_tokens.weight",
        "blocks.{i}.attention_norm.weight": layer + "input_layernorm.weight",
        "lm_head.weight": "lm_head.weight",
    }
    if not config.blocks[0].parallel_residual:
        rules |= {
            "blocks.{i}.attention.qkv.weight": attention + "qkv_proj.weight",
            "blocks.{i}.attention.output.weight": attention + "o_proj.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "post_attention_layernorm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": layer + "mlp.gate_up_proj.weight",
            "blocks.{i}.feed_forward.down.weight": layer + "mlp.down_proj.weight",
            "final_norm.weight": "model.norm.weight",
        }
        return WeightMap(rules, ignore=_unused(config, "lm_head.weight"))
    rules |= {"blocks.{i}.attention_norm.bias": layer + "input_layernorm.bias", "lm_head.bias": "lm_head.bias"}
    projections = [attention + f"{name}_proj." for name in "qkv"]
    for kind in ("weight", "bias"):
        rules |= {
            f"blocks.{{i}}.attention.qkv.{kind}": concat(*(name + kind for name in projections)),
            f"blocks.{{i}}.attention.query_norm.{kind}": f"{attention}q_layernorm.{kind}",
            f"blocks.{{i}}.attention.key_norm.{kind}": f"{attention}k_layernorm.{kind}",
            f"blocks.{{i}}.attention.output.{kind}": f"{attention}dense.{kind}",
            f"blocks.{{i}}.feed_forward.up.{kind}": f"{layer}mlp.fc1.{kind}",
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{layer}mlp.fc2.{kind}",
            f"final_norm.{kind}": f"model.final_layernorm.{kind}",
        }
    return WeightMap(rules, ignore=_unused(config, "lm_head.weight"))


def gguf(config: PhiConfig) -> WeightMap:
    """Names as llama.cpp's converter writes them: queries, keys and values fused or, of late for Phi-2, apart."""
    layer = "blk.{i}."
    parallel = config.blocks[0].parallel_residual
    feed_forward = "up" if parallel else "gate_up"
    rules: dict[str, SourceLike] = {
        "embedding.weight": "token_embd.weight",
        "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
        "lm_head.bias": "output.bias",
        "lm_head.weight": "output.weight",
    }
    for kind in ("weight", "bias"):
        rules |= {
            f"blocks.{{i}}.attention_norm.{kind}": f"{layer}attn_norm.{kind}",
            f"blocks.{{i}}.attention.qkv.{kind}": first_of(
                f"{layer}attn_qkv.{kind}", concat(*(f"{layer}attn_{name}.{kind}" for name in "qkv"))
            ),
            f"blocks.{{i}}.attention.output.{kind}": f"{layer}attn_output.{kind}",
            f"blocks.{{i}}.feed_forward.{feed_forward}.{kind}": f"{layer}ffn_up.{kind}",
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{layer}ffn_down.{kind}",
            f"final_norm.{kind}": f"output_norm.{kind}",
        }
    # The rotary factors are part of the configuration, which is checked against the file's.
    scaled = config.original_length is not None
    return WeightMap(rules, ignore=(*_unused(config, "output.weight"), *(("rope_factors_*.weight",) if scaled else ())))


def _unused(config: PhiConfig, head: str) -> tuple[str, ...]:
    """A tied head is sometimes stored a second time."""
    return ("*.rotary_emb.inv_freq", *((head,) if config.tie_embeddings else ()))
