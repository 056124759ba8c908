"""OpenELM: decoders whose blocks have more heads and a wider feed-forward the deeper they lie.

Llama's parts, with norms of each head's queries and keys. Reading ``config.json`` and GGUF metadata is
:mod:`edgegen_models_openelm.checkpoint_config`.

Sources: Mehta et al., 2024 (https://arxiv.org/abs/2404.14619); names as in the repositories' ``modeling_openelm.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgegen.weights import WeightMap
from edgegen.weights.weight_map import concat
from edgegen_layers import AttentionInputs, DecoderBlock, DecoderLM, KVCache
from edgegen_layers.config import AttentionConfig, FeedForwardConfig, NormalizationConfig
from edgegen_layers.kernels import AttentionKernel
from edgegen_layers.layer_choices import LayerChoices, Norm
from edgegen_layers.lora import AttentionLora, LoraWeights
from edgegen_models_openelm.variants import CONFIGS


@dataclass(frozen=True, kw_only=True)
class OpenELMConfig:
    """Hyper-parameters, in the words of other decoders' ``config.json``; the comment is OpenELM's own word.

    The three tuples have a value for each block.
    """

    vocab_size: int
    hidden_size: int  # model_dim
    intermediate_size: tuple[int, ...]  # model_dim * ffn_multipliers, rounded to ffn_dim_divisor
    num_attention_heads: tuple[int, ...]  # num_query_heads
    num_key_value_heads: tuple[int, ...]  # num_kv_heads
    head_dim: int
    max_position_embeddings: int  # max_context_length
    rope_theta: float = 10_000.0  # rope_freq_constant
    rms_norm_eps: float = 1e-6
    qk_norm: bool = True  # normalize_qk_projections
    tie_word_embeddings: bool = True  # share_input_output_layers

    def __post_init__(self) -> None:
        if not len(self.num_attention_heads) == len(self.num_key_value_heads) == len(self.intermediate_size):
            raise ValueError("not as many heads as widths of blocks")
        for block in range(self.num_hidden_layers):
            self.attention(block)  # refuses sizes that contradict each other, before a model is built

    @property
    def num_hidden_layers(self) -> int:
        """Number of blocks."""
        return len(self.intermediate_size)

    @property
    def norm(self) -> NormalizationConfig:
        """Every normalization."""
        return NormalizationConfig(kind="rms", epsilon=self.rms_norm_eps)

    def attention(self, block: int) -> AttentionConfig:
        """Self-attention of a block."""
        return AttentionConfig(
            num_attention_heads=self.num_attention_heads[block],
            num_kv_heads=self.num_key_value_heads[block],
            head_dim=self.head_dim,
            rope_theta=self.rope_theta,
            qk_norm=self.norm if self.qk_norm else None,
        )

    def mlp(self, block: int) -> FeedForwardConfig:
        """Feed-forward layer of a block: SwiGLU."""
        return FeedForwardConfig(intermediate_size=self.intermediate_size[block], activation="silu", gated=True)


class OpenELMBlock(DecoderBlock):
    """One layer: attention, then SwiGLU, each normalized first and added to the residual stream."""

    feed_forward_norm: Norm

    def __init__(self, config: OpenELMConfig, index: int, kernel: AttentionKernel, layers: LayerChoices) -> None:
        attention, mlp, hidden = config.attention(index), config.mlp(index), config.hidden_size
        super().__init__(attention, mlp, hidden, config.norm, kernel, layers.key)
        self.attention_norm = layers.norm(hidden, config.norm)
        self.attention = layers.mixer(hidden, attention, kernel)
        self.feed_forward_norm = layers.norm(hidden, config.norm)
        self.feed_forward = layers.mlp(hidden, mlp)

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


class OpenELM(DecoderLM):
    """The language model: embeddings, blocks that widen, a last norm, the head."""

    config: OpenELMConfig

    def __init__(self, config: OpenELMConfig, layers: LayerChoices) -> None:
        indices = range(config.num_hidden_layers)
        super().__init__(config, layers.attention(*map(config.attention, indices)))
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(OpenELMBlock(config, index, self.kernel, layers) for index in indices)
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


def config(variant: str) -> OpenELMConfig:
    """Configuration of a listed variant; raises KeyError for any other."""
    return OpenELMConfig(**CONFIGS[variant])


def build(config: OpenELMConfig, *, layers: Mapping[str, str]) -> OpenELM:
    """The model, on the current default device, with the implementations that ``layers`` names."""
    return LayerChoices(layers).build(OpenELM, config)


def huggingface(config: OpenELMConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``; the fused tensors have our order of rows."""
    layer = "transformer.layers.{i}."
    return WeightMap(
        {
            "embedding.weight": "transformer.token_embeddings.weight",
            "blocks.{i}.attention_norm.weight": layer + "attn_norm.weight",
            "blocks.{i}.attention.qkv.weight": layer + "attn.qkv_proj.weight",
            "blocks.{i}.attention.query_norm.weight": layer + "attn.q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": layer + "attn.k_norm.weight",
            "blocks.{i}.attention.output.weight": layer + "attn.out_proj.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": layer + "ffn.proj_1.weight",
            "blocks.{i}.feed_forward.down.weight": layer + "ffn.proj_2.weight",
            "final_norm.weight": "transformer.norm.weight",
            "lm_head.weight": "lm_head.weight",
        },
        # A tied head is sometimes stored a second time.
        ignore=("lm_head.weight",) if config.tie_word_embeddings else (),
    )


def gguf(config: OpenELMConfig) -> WeightMap:
    """Names as llama.cpp's converter writes them; it takes gate and up apart."""
    layer = "blk.{i}."
    return WeightMap(
        {
            "embedding.weight": "token_embd.weight",
            "blocks.{i}.attention_norm.weight": layer + "attn_norm.weight",
            "blocks.{i}.attention.qkv.weight": layer + "attn_qkv.weight",
            "blocks.{i}.attention.query_norm.weight": layer + "attn_q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": layer + "attn_k_norm.weight",
            "blocks.{i}.attention.output.weight": layer + "attn_output.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": concat(layer + "ffn_gate.weight", layer + "ffn_up.weight"),
            "blocks.{i}.feed_forward.down.weight": layer + "ffn_down.weight",
            "final_norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight",
        },
        ignore=("output.weight",) if config.tie_word_embeddings else (),
    )
