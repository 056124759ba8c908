"""Llama: RMS norm, rotary positions, grouped-query attention, SwiGLU; and with it most published decoders.

Mistral, Qwen, SmolLM and their kin are rows of :class:`LlamaConfig`: biases on queries, keys and values, norms of each
head's queries and keys, a sliding window, scaled rotary frequencies. Reading ``config.json`` and GGUF metadata is
:mod:`edgegen_layers.families.llama_checkpoint_config`.

Sources: Touvron et al., 2023 (https://arxiv.org/abs/2302.13971); names as in transformers' ``modeling_llama.py`` and
llama.cpp's ``gguf-py/gguf/constants.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from edgegen.weights import WeightMap
from edgegen.weights.weight_map import SourceLike, concat, permute_rows
from edgegen_layers.attention import AttentionInputs
from edgegen_layers.cache import KVCache
from edgegen_layers.config import HIDDEN_ACTS, AttentionConfig, FeedForwardConfig, NormalizationConfig
from edgegen_layers.decoder import DecoderBlock, DecoderLM
from edgegen_layers.families.huggingface_names import embedding_table, unused
from edgegen_layers.kernels import AttentionKernel
from edgegen_layers.layer_choices import LayerChoices, Norm
from edgegen_layers.lora import AttentionLora, LoraWeights
from edgegen_layers.rotary_scaling import RotaryScaling
from edgegen_layers.row_orders import interleaved_to_half_rotary


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """Hyper-parameters, as ``config.json`` names them.

    Attributes:
        head_dim: H; ``hidden_size // num_attention_heads`` where a checkpoint does not state it.
        hidden_act: activation of the feed-forward layer, a key of :data:`edgegen_layers.config.HIDDEN_ACTS`.
        rope_scaling: stretching of the rotary frequencies for long contexts; None for none.
        sliding_window: how many tokens back a token sees, itself included; None for all.
        layer_types: ``sliding_attention`` or ``full_attention`` of each block; None where all have the window.
        attention_bias: True for biases of queries, keys and values (Qwen2).
        attention_output_bias: True for a bias of attention's output projection.
        mlp_bias: True for biases of the feed-forward layer.
        qk_norm: True for norms of each head's queries and keys (Qwen3).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: RotaryScaling | None = None
    sliding_window: int | None = None
    layer_types: tuple[str, ...] | None = None
    attention_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.layer_types is not None and len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(f"{len(self.layer_types)} layer_types for {self.num_hidden_layers} layers")
        _ = self.attention  # refuses sizes that contradict each other, before a model is built

    @property
    def norm(self) -> NormalizationConfig:
        """Every normalization."""
        return NormalizationConfig(kind="rms", epsilon=self.rms_norm_eps)

    @property
    def attention(self) -> AttentionConfig:
        """Self-attention of the blocks that have the window, where not all have."""
        return AttentionConfig(
            num_attention_heads=self.num_attention_heads,
            num_kv_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            rope_theta=self.rope_theta,
            rope_scaling=self.rope_scaling,
            qkv_use_bias=self.attention_bias,
            output_proj_use_bias=self.attention_output_bias,
            sliding_window=self.sliding_window,
            qk_norm=self.norm if self.qk_norm else None,
        )

    @property
    def attentions(self) -> tuple[AttentionConfig, ...]:
        """Self-attention of each block."""
        windowed, full = self.attention, replace(self.attention, sliding_window=None)
        types = self.layer_types or ("sliding_attention",) * self.num_hidden_layers
        return tuple(windowed if kind == "sliding_attention" else full for kind in types)

    @property
    def mlp(self) -> FeedForwardConfig:
        """Feed-forward layer of every block: SwiGLU, or another gated one."""
        return FeedForwardConfig(
            intermediate_size=self.intermediate_size,
            activation=HIDDEN_ACTS[self.hidden_act],
            gated=True,
            use_bias=self.mlp_bias,
        )


class LlamaBlock(DecoderBlock):
    """One layer: attention, then SwiGLU, each normalized first and added to the residual stream."""

    feed_forward_norm: Norm

    def __init__(
        self, config: LlamaConfig, attention: AttentionConfig, kernel: AttentionKernel, layers: LayerChoices
    ) -> None:
        super().__init__(attention, config, kernel, layers.key)
        self.attention_norm = layers.norm(config.hidden_size, config.norm)
        self.attention = layers.mixer(config.hidden_size, attention, kernel)
        self.feed_forward_norm = layers.norm(config.hidden_size, config.norm)
        self.feed_forward = layers.mlp(config.hidden_size, config.mlp)

    def forward(
        self,
        x: torch.Tensor,  # [1, T, D]
        inputs: AttentionInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        attended, keys, values = self.attention(self.attention_norm(x), inputs, keys, values, lora)
        x = x + attended
        x = x + self.feed_forward(self.feed_forward_norm(x))
        return x, keys, values


class Llama(DecoderLM):
    """The language model: embeddings, blocks, a last norm, the head."""

    config: LlamaConfig

    def __init__(self, config: LlamaConfig, layers: LayerChoices) -> None:
        super().__init__(config, layers.attention(*config.attentions))
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(LlamaBlock(config, each, self.kernel, layers) for each in config.attentions)
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
        x = self.scale_channels(self.embedding(tokens))  # [1, T, D]
        x, updated = self.run_blocks(x, inputs, kv_cache, lora_atten)
        if not logits:
            return {"kv_cache": updated}
        return {"kv_cache": updated, "logits": self.lm_head(self.final_norm(x))}  # [1, T, V]


def build(config: LlamaConfig, *, layers: Mapping[str, str]) -> Llama:
    """The model, on the current default device, with the implementations that ``layers`` names."""
    return LayerChoices(layers).build(Llama, config)


def huggingface(config: LlamaConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``."""
    layer = "model.layers.{i}."
    attention, mlp = layer + "self_attn.", layer + "mlp."

    def projections(kind: str) -> dict[str, SourceLike]:
        return {
            f"blocks.{{i}}.attention.qkv.{kind}": concat(*(f"{attention}{part}_proj.{kind}" for part in "qkv")),
            f"blocks.{{i}}.attention.output.{kind}": f"{attention}o_proj.{kind}",
            f"blocks.{{i}}.feed_forward.gate_up.{kind}": concat(f"{mlp}gate_proj.{kind}", f"{mlp}up_proj.{kind}"),
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{mlp}down_proj.{kind}",
        }

    return WeightMap(
        {
            "embedding.weight": embedding_table(config.tie_word_embeddings),
            "blocks.{i}.attention_norm.weight": layer + "input_layernorm.weight",
            "blocks.{i}.attention.query_norm.weight": attention + "q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": attention + "k_norm.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "post_attention_layernorm.weight",
            "final_norm.weight": "model.norm.weight",
            "lm_head.weight": "lm_head.weight",
            **projections("weight"),
            **projections("bias"),
        },
        ignore=unused(config.tie_word_embeddings),
    )


def gguf(config: LlamaConfig) -> WeightMap:
    """Names as llama.cpp's converter writes them."""
    return _gguf(config, interleaved=False)


def gguf_interleaved(config: LlamaConfig) -> WeightMap:
    """The same for its architecture ``llama``, whose queries and keys it reorders for another form of rotation."""
    return _gguf(config, interleaved=True)


def _gguf(config: LlamaConfig, *, interleaved: bool) -> WeightMap:
    layer = "blk.{i}."

    def rotated(name: str, heads: int) -> SourceLike:
        return permute_rows(name, interleaved_to_half_rotary(heads, config.head_dim)) if interleaved else name

    def projections(kind: str) -> dict[str, SourceLike]:
        return {
            f"blocks.{{i}}.attention.qkv.{kind}": concat(
                rotated(f"{layer}attn_q.{kind}", config.num_attention_heads),
                rotated(f"{layer}attn_k.{kind}", config.num_key_value_heads),
                f"{layer}attn_v.{kind}",
            ),
            f"blocks.{{i}}.attention.output.{kind}": f"{layer}attn_output.{kind}",
            f"blocks.{{i}}.feed_forward.gate_up.{kind}": concat(f"{layer}ffn_gate.{kind}", f"{layer}ffn_up.{kind}"),
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{layer}ffn_down.{kind}",
        }

    return WeightMap(
        {
            "embedding.weight": "token_embd.weight",
            "blocks.{i}.attention_norm.weight": layer + "attn_norm.weight",
            "blocks.{i}.attention.query_norm.weight": layer + "attn_q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": layer + "attn_k_norm.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
            "final_norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight",
            **projections("weight"),
            **projections("bias"),
        },
        # Factors of the rotary frequencies are part of the configuration, which is checked against them.
        ignore=(
            *(("rope_freqs.weight",) if config.rope_scaling else ()),
            *(("output.weight",) if config.tie_word_embeddings else ()),
        ),
    )
