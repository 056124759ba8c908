"""The two Phi architectures. Phi-1 and 2: layer norms, biases, attention and a plain feed-forward side by side.
Phi-3 and 4 mini: Llama with rotary positions on a part of each head, stretched for long texts by LongRoPE.

Reading ``config.json`` and GGUF metadata is :mod:`edgegen_models_phi.checkpoint_config`.

Sources: Javaheripi et al., 2023 (Phi-2); Abdin et al., 2024 (https://arxiv.org/abs/2404.14219); Ding et al., 2024
(LongRoPE, https://arxiv.org/abs/2402.13753); names as in transformers' ``modeling_phi.py`` and ``modeling_phi3.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from edgegen.weights import WeightMap
from edgegen.weights.weight_map import SourceLike, concat, first_of
from edgegen_layers import AttentionInputs, DecoderBlock, DecoderLM, FrequencyScaling, KVCache, LayerChoices
from edgegen_layers.config import HIDDEN_ACTS, AttentionConfig, FeedForwardConfig, NormalizationConfig
from edgegen_layers.families.huggingface_names import embedding_table, unused
from edgegen_layers.families.llama import Llama, LlamaConfig
from edgegen_layers.kernels import AttentionKernel
from edgegen_layers.lora import AttentionLora, LoraWeights
from edgegen_layers.rotary_scaling import RotaryScaling
from edgegen_models_phi.variants import CONFIGS


@dataclass(frozen=True, kw_only=True)
class Phi2Config:
    """Hyper-parameters of Phi-1 and 2, as ``config.json`` names them.

    Attributes:
        hidden_act: activation of the feed-forward layer, a key of :data:`edgegen_layers.config.HIDDEN_ACTS`.
        partial_rotary_factor: share of each head's channels that are rotated.
        rope_scaling: of the rotary frequencies; None for none.
        qk_layernorm: True for norms of each head's queries and keys.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    hidden_act: str = "gelu_new"
    partial_rotary_factor: float = 0.5
    rope_scaling: RotaryScaling | None = None
    rope_theta: float = 10_000.0
    layer_norm_eps: float = 1e-5
    qk_layernorm: bool = False
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        _ = self.attention  # refuses sizes that contradict each other, before a model is built

    @property
    def norm(self) -> NormalizationConfig:
        """Every normalization."""
        return NormalizationConfig(kind="layer", epsilon=self.layer_norm_eps)

    @property
    def attention(self) -> AttentionConfig:
        """Self-attention of every block."""
        return AttentionConfig(
            num_attention_heads=self.num_attention_heads,
            num_kv_heads=self.num_key_value_heads,
            head_dim=self.hidden_size // self.num_attention_heads,
            rope_theta=self.rope_theta,
            rope_scaling=self.rope_scaling,
            partial_rotary_factor=self.partial_rotary_factor,
            qkv_use_bias=True,
            output_proj_use_bias=True,
            qk_norm=self.norm if self.qk_layernorm else None,
        )

    @property
    def mlp(self) -> FeedForwardConfig:
        """Feed-forward layer of every block."""
        size, activation = self.intermediate_size, HIDDEN_ACTS[self.hidden_act]
        return FeedForwardConfig(intermediate_size=size, activation=activation, gated=False, use_bias=True)


class Phi2Block(DecoderBlock):
    """One layer: attention and feed-forward read the same normalized input, and both are added to the residual."""

    def __init__(self, config: Phi2Config, kernel: AttentionKernel, layers: LayerChoices) -> None:
        super().__init__(config.attention, config, kernel, layers.key)
        self.attention_norm = layers.norm(config.hidden_size, config.norm)
        self.attention = layers.mixer(config.hidden_size, config.attention, kernel)
        self.feed_forward_norm = None
        self.feed_forward = layers.mlp(config.hidden_size, config.mlp)

    def forward(
        self,
        x: torch.Tensor,  # [1, T, D]
        inputs: AttentionInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        normalized = self.attention_norm(x)
        attended, keys, values = self.attention(normalized, inputs, keys, values, lora)
        return x + attended + self.feed_forward(normalized), keys, values


class Phi2(DecoderLM):
    """The language model: embeddings, blocks, a last norm, a head with a bias."""

    config: Phi2Config

    def __init__(self, config: Phi2Config, layers: LayerChoices) -> None:
        super().__init__(config, layers.attention(config.attention))
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Phi2Block(config, self.kernel, layers) for _ in range(config.num_hidden_layers))
        self.final_norm = layers.norm(config.hidden_size, config.norm)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=True)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embedding.weight

    def forward(
        self,
        tokens: torch.Tensor,  # [1, T] int32
        input_pos: torch.Tensor,  # [T] int32
        kv_cache: KVCache,
        lora_atten: LoraWeights | None = None,
        *,
        logits: bool = True,
    ) -> dict[str, torch.Tensor | KVCache]:
        inputs = self.attention_inputs(input_pos, kv_cache)
        x = self.scale_channels(self.embedding(tokens))  # [1, T, D]
        x, updated = self.run_blocks(x, inputs, kv_cache, lora_atten)
        if not logits:
            return {"kv_cache": updated}
        return {"kv_cache": updated, "logits": self.lm_head(self.final_norm(x))}  # [1, T, V]


@dataclass(frozen=True, kw_only=True)
class Phi3Config(LlamaConfig):
    """Hyper-parameters of Phi-3 and 4 mini: Llama's, and those of its rotary positions.

    Attributes:
        partial_rotary_factor: share of each head's channels that are rotated.
        rope_scaling: LongRoPE's factors for texts up to ``original_max_position_embeddings``; None for none.
        long_factor: factors that replace them where ``max_position_embeddings`` is beyond that.
        original_max_position_embeddings: context before it was extended, in tokens.
        extended_max_position_embeddings: context that it was extended to, in tokens.
    """

    partial_rotary_factor: float = 1.0
    long_factor: tuple[float, ...] | None = None
    original_max_position_embeddings: int | None = None
    extended_max_position_embeddings: int | None = None

    @property
    def attention(self) -> AttentionConfig:
        """Self-attention of every block, with the rotary factors that the context asks for."""
        scaling, original = self.rope_scaling, self.original_max_position_embeddings
        extended = original is not None and self.max_position_embeddings > original
        if isinstance(scaling, FrequencyScaling) and self.long_factor and extended:
            scaling = replace(scaling, factors=self.long_factor)
        return replace(super().attention, rope_scaling=scaling, partial_rotary_factor=self.partial_rotary_factor)


PhiConfig = Phi2Config | Phi3Config


def config(variant: str) -> PhiConfig:
    """Configuration of a listed variant; raises KeyError for any other."""
    model_type, row = CONFIGS[variant]
    return Phi2Config(**row) if model_type == "phi" else Phi3Config(**row)


def config_for_context(config: PhiConfig, cache_length: int) -> PhiConfig:
    """The long rotary factors for a cache beyond the original context: a text may then be longer than that."""
    if not isinstance(config, Phi3Config) or config.original_max_position_embeddings is None:
        return config
    if cache_length <= config.original_max_position_embeddings:
        return config
    extended = config.extended_max_position_embeddings or config.max_position_embeddings
    return replace(config, max_position_embeddings=extended)


def build(config: PhiConfig, *, layers: Mapping[str, str]) -> Phi2 | Llama:
    """The model, on the current default device, with the implementations that ``layers`` names."""
    if isinstance(config, Phi3Config):
        return LayerChoices(layers).build(Llama, config)
    return LayerChoices(layers).build(Phi2, config)


def huggingface(config: PhiConfig) -> WeightMap:
    """Names as in the repositories' safetensors; Phi-3's fused tensors have our order of rows."""
    layer = "model.layers.{i}."
    attention = layer + "self_attn."
    rules: dict[str, SourceLike] = {
        "embedding.weight": embedding_table(config.tie_word_embeddings),
        "blocks.{i}.attention_norm.weight": layer + "input_layernorm.weight",
        "lm_head.weight": "lm_head.weight",
    }
    if isinstance(config, Phi3Config):
        rules |= {
            "blocks.{i}.attention.qkv.weight": attention + "qkv_proj.weight",
            "blocks.{i}.attention.output.weight": attention + "o_proj.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "post_attention_layernorm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": layer + "mlp.gate_up_proj.weight",
            "blocks.{i}.feed_forward.down.weight": layer + "mlp.down_proj.weight",
            "final_norm.weight": "model.norm.weight",
        }
        return WeightMap(rules, ignore=unused(config.tie_word_embeddings))
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
    return WeightMap(rules, ignore=unused(config.tie_word_embeddings))


def gguf(config: PhiConfig) -> WeightMap:
    """Names as llama.cpp's converter writes them: queries, keys and values fused or, of late for Phi-2, apart."""
    layer = "blk.{i}."
    feed_forward = "gate_up" if isinstance(config, Phi3Config) else "up"
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
    factors = ("rope_factors_*.weight",) if isinstance(config, Phi3Config) and config.rope_scaling else ()
    return WeightMap(rules, ignore=(*unused(config.tie_word_embeddings, "output.weight"), *factors))
