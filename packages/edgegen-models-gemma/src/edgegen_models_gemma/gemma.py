"""Gemma: RMS norm, rotary positions, GeGLU, scaled embeddings; from the second generation on sliding windows and norms
after each part, in the third norms of queries and keys.

Reading ``config.json`` and GGUF metadata is :mod:`edgegen_models_gemma.checkpoint_config`.

Sources: Gemma Team, 2024 (https://arxiv.org/abs/2403.08295 and https://arxiv.org/abs/2408.00118) and 2025
(https://arxiv.org/abs/2503.19786); names as in transformers' ``modeling_gemma3.py`` and Gemma's own PyTorch code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgegen.weights import WeightMap
from edgegen.weights.weight_map import Source, SourceLike, add, concat
from edgegen_layers import AttentionInputs, DecoderBlock, DecoderLM, KVCache
from edgegen_layers.config import HIDDEN_ACTS, AttentionConfig, FeedForwardConfig, NormalizationConfig
from edgegen_layers.families.huggingface_names import embedding_table, unused
from edgegen_layers.kernels import AttentionKernel, softcap
from edgegen_layers.layer_choices import LayerChoices, Norm
from edgegen_layers.lora import AttentionLora, LoraWeights
from edgegen_layers.rotary_scaling import RotaryScaling
from edgegen_models_gemma.variants import CONFIGS


@dataclass(frozen=True, kw_only=True)
class GemmaConfig:
    """Hyper-parameters, as ``config.json`` names them.

    Attributes:
        layer_types: ``sliding_attention`` or ``full_attention`` of each block.
        query_pre_attn_scalar: scores are divided by its square root.
        hidden_activation: activation of the feed-forward layer, a key of :data:`edgegen_layers.config.HIDDEN_ACTS`.
        rope_local_base_freq: ``rope_theta`` of the blocks with a window, which are then not scaled; None for the same
            as the others.
        rope_scaling: of the rotary frequencies; None for none.
        sliding_window: how many tokens back a block with a window sees, itself included.
        attn_logit_softcapping: scores are squashed into ``(-cap, cap)``, like logits by ``final_logit_softcapping``.
        attention_bias: True for biases of attention's projections.
        post_norms: True for norms after attention and after feed-forward (Gemma 2 and 3).
        qk_norm: True for norms of each head's queries and keys (Gemma 3).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    layer_types: tuple[str, ...]
    query_pre_attn_scalar: float
    hidden_activation: str = "gelu_pytorch_tanh"
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_local_base_freq: float | None = None
    rope_scaling: RotaryScaling | None = None
    sliding_window: int | None = None
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None
    attention_bias: bool = False
    post_norms: bool = False
    qk_norm: bool = False
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        if len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(f"{len(self.layer_types)} layer_types for {self.num_hidden_layers} layers")
        self.attention("full_attention")  # refuses sizes that contradict each other, before a model is built

    @property
    def norm(self) -> NormalizationConfig:
        """Every normalization."""
        return NormalizationConfig(kind="rms", epsilon=self.rms_norm_eps)

    def attention(self, layer_type: str) -> AttentionConfig:
        """Self-attention of a block of that type."""
        local = layer_type == "sliding_attention"
        own_rope = self.rope_local_base_freq if local else None
        return AttentionConfig(
            num_attention_heads=self.num_attention_heads,
            num_kv_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            rope_theta=self.rope_theta if own_rope is None else own_rope,
            rope_scaling=self.rope_scaling if own_rope is None else None,
            qkv_use_bias=self.attention_bias,
            output_proj_use_bias=self.attention_bias,
            scale=self.query_pre_attn_scalar**-0.5,
            sliding_window=self.sliding_window if local else None,
            logit_softcap=self.attn_logit_softcapping,
            qk_norm=self.norm if self.qk_norm else None,
        )

    @property
    def mlp(self) -> FeedForwardConfig:
        """Feed-forward layer of every block: GeGLU, or another gated one."""
        size, activation = self.intermediate_size, HIDDEN_ACTS[self.hidden_activation]
        return FeedForwardConfig(intermediate_size=size, activation=activation, gated=True)


class GemmaBlock(DecoderBlock):
    """One layer: attention, then GeGLU, each normalized before (and after, where ``post_norms``) and added."""

    feed_forward_norm: Norm

    def __init__(self, config: GemmaConfig, layer_type: str, kernel: AttentionKernel, layers: LayerChoices) -> None:
        attention, hidden, norm = config.attention(layer_type), config.hidden_size, config.norm
        super().__init__(attention, config, kernel, layers.key)
        self.post_norms = config.post_norms
        self.attention_norm = layers.norm(hidden, norm)
        self.attention = layers.mixer(hidden, attention, kernel)
        self.feed_forward_norm = layers.norm(hidden, norm)
        self.feed_forward = layers.mlp(hidden, config.mlp)
        if config.post_norms:
            self.post_attention_norm = layers.norm(hidden, norm)
            self.post_feed_forward_norm = layers.norm(hidden, norm)

    def forward(
        self,
        x: torch.Tensor,  # [1, T, D]
        inputs: AttentionInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        attended, keys, values = self.attention(self.attention_norm(x), inputs, keys, values, lora)
        x = x + (self.post_attention_norm(attended) if self.post_norms else attended)
        forwarded = self.feed_forward(self.feed_forward_norm(x))
        x = x + (self.post_feed_forward_norm(forwarded) if self.post_norms else forwarded)
        return x, keys, values


class Gemma(DecoderLM):
    """The language model: scaled embeddings, blocks of two types, a last norm, the head, a cap on logits."""

    config: GemmaConfig

    def __init__(self, config: GemmaConfig, layers: LayerChoices) -> None:
        super().__init__(config, layers.attention(*(config.attention(kind) for kind in config.layer_types)))
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(GemmaBlock(config, kind, self.kernel, layers) for kind in config.layer_types)
        self.final_norm = layers.norm(config.hidden_size, config.norm)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
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
        x = self.scale_channels(self.embedding(tokens) * math.sqrt(self.config.hidden_size))  # [1, T, D]
        x, updated = self.run_blocks(x, inputs, kv_cache, lora_atten)
        if not logits:
            return {"kv_cache": updated}
        scores = self.lm_head(self.final_norm(x))  # [1, T, V]
        return {"kv_cache": updated, "logits": softcap(scores, self.config.final_logit_softcapping)}


def config(variant: str) -> GemmaConfig:
    """Configuration of a listed variant; raises KeyError for any other."""
    return GemmaConfig(**CONFIGS[variant])


def build(config: GemmaConfig, *, layers: Mapping[str, str]) -> Gemma:
    """The model, on the current default device, with the implementations that ``layers`` names."""
    return LayerChoices(layers).build(Gemma, config)


def huggingface(config: GemmaConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``; norms are stored as what they add to 1."""
    layer = "model.layers.{i}."
    attention, mlp = layer + "self_attn.", layer + "mlp."
    # Without the norms after each part, the name "after attention" is that of the one before the next part.
    before_mlp = "pre_feedforward_layernorm" if config.post_norms else "post_attention_layernorm"

    def norm(name: str) -> Source:
        return add(f"{name}.weight", 1)

    def projections(kind: str) -> dict[str, SourceLike]:
        return {
            f"blocks.{{i}}.attention.qkv.{kind}": concat(*(f"{attention}{part}_proj.{kind}" for part in "qkv")),
            f"blocks.{{i}}.attention.output.{kind}": f"{attention}o_proj.{kind}",
        }

    return WeightMap(
        {
            "embedding.weight": embedding_table(config.tie_word_embeddings),
            "blocks.{i}.attention_norm.weight": norm(layer + "input_layernorm"),
            **projections("weight"),
            **projections("bias"),
            "blocks.{i}.attention.query_norm.weight": norm(attention + "q_norm"),
            "blocks.{i}.attention.key_norm.weight": norm(attention + "k_norm"),
            "blocks.{i}.post_attention_norm.weight": norm(layer + "post_attention_layernorm"),
            "blocks.{i}.feed_forward_norm.weight": norm(layer + before_mlp),
            "blocks.{i}.feed_forward.gate_up.weight": concat(mlp + "gate_proj.weight", mlp + "up_proj.weight"),
            "blocks.{i}.feed_forward.down.weight": mlp + "down_proj.weight",
            "blocks.{i}.post_feed_forward_norm.weight": norm(layer + "post_feedforward_layernorm"),
            "final_norm.weight": norm("model.norm"),
            "lm_head.weight": "lm_head.weight",
        },
        # What sees is not exported.
        ignore=(*unused(config.tie_word_embeddings), "*vision_tower.*", "*multi_modal_projector.*"),
    )


def gguf(config: GemmaConfig) -> WeightMap:
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
