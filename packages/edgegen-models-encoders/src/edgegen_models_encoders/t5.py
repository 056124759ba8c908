"""T5: an encoder-decoder with relative positions; its second version, on which Flan-T5 builds, has a gate and a head.

Reading ``config.json`` is :mod:`edgegen_models_encoders.t5_checkpoint_config`.

Sources: Raffel et al., 2019 (https://arxiv.org/abs/1910.10683), Chung et al., 2022
(https://arxiv.org/abs/2210.11416); names as in transformers' ``modeling_t5.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgegen.tracing import RepeatedBlock
from edgegen.weights import WeightMap
from edgegen.weights.weight_map import Source, concat, first_of
from edgegen_layers import AttentionInputs, CrossAttention, KVCache, RelativePositionBias, SelfAttention
from edgegen_layers.config import AttentionConfig, FeedForwardConfig, NormalizationConfig
from edgegen_layers.decoder import DecoderBlock, DecoderLM
from edgegen_layers.encoder import padding_mask
from edgegen_layers.encoder_decoder import EncoderDecoderLM, EncoderStates
from edgegen_layers.kernels import AttentionKernel
from edgegen_layers.layer_choices import LayerChoices, Norm
from edgegen_models_encoders.variants import T5_CONFIGS


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """Hyper-parameters, in the words of other models' ``config.json``; the comment is T5's own word.

    Attributes:
        tie_word_embeddings: True if the head is the embedding table.
        scale_decoder_outputs: True if the head's input is divided by the root of its width.
    """

    hidden_size: int  # d_model
    intermediate_size: int  # d_ff
    num_hidden_layers: int  # num_layers
    num_attention_heads: int  # num_heads
    vocab_size: int = 32_128
    max_position_embeddings: int = 512  # n_positions
    num_decoder_layers: int
    head_dim: int = 64  # d_kv
    hidden_act: str = "relu"
    is_gated_act: bool = False
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool = True
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    decoder_start_token_id: int = 0

    def __post_init__(self) -> None:
        _ = self.attention, self.mlp  # refuses sizes that contradict each other, before a model is built

    @property
    def norm(self) -> NormalizationConfig:
        """Every normalization."""
        return NormalizationConfig(kind="rms", epsilon=self.layer_norm_epsilon)

    @property
    def attention(self) -> AttentionConfig:
        """Every attention: no rotary positions, and the scale is in the weights."""
        heads, dim = self.num_attention_heads, self.head_dim
        return AttentionConfig(
            num_attention_heads=heads, num_kv_heads=heads, head_dim=dim, partial_rotary_factor=0.0, scale=1.0
        )

    @property
    def mlp(self) -> FeedForwardConfig:
        """Feed-forward layer of every block."""
        size = self.intermediate_size
        return FeedForwardConfig(intermediate_size=size, activation=self.hidden_act, gated=self.is_gated_act)

    def relative_position(self, *, bidirectional: bool) -> RelativePositionBias:
        """Bias of all of a half's scores."""
        buckets, distance = self.relative_attention_num_buckets, self.relative_attention_max_distance
        return RelativePositionBias(buckets, distance, self.num_attention_heads, bidirectional=bidirectional)


class T5EncoderBlock(RepeatedBlock):
    """One encoder layer: attention to all tokens, then feed-forward, each normalized first and added."""

    def __init__(self, config: T5Config, layers: LayerChoices) -> None:
        super().__init__()
        self.trace_key = (config, layers.key)
        self.attention_norm = layers.norm(config.hidden_size, config.norm)
        self.attention = SelfAttention(config.hidden_size, config.attention)
        self.feed_forward_norm = layers.norm(config.hidden_size, config.norm)
        self.feed_forward = layers.mlp(config.hidden_size, config.mlp)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # [B, T, D], [B, N, T, T]
        x = x + self.attention(self.attention_norm(x), mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


class T5Encoder(nn.Module):
    """The first half: the source text to ``[B, T, D]``."""

    def __init__(self, config: T5Config, embedding: nn.Embedding, layers: LayerChoices) -> None:
        super().__init__()
        self.embedding = embedding
        self.relative_position = config.relative_position(bidirectional=True)
        self.blocks = nn.ModuleList(T5EncoderBlock(config, layers) for _ in range(config.num_hidden_layers))
        self.final_norm = layers.norm(config.hidden_size, config.norm)

    def forward(self, tokens: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:  # [B, T], [B, T]
        positions = torch.arange(tokens.shape[1], dtype=torch.int32, device=tokens.device)
        x = self.embedding(tokens)  # [B, T, D]
        mask = padding_mask(attention_mask) + self.relative_position(positions, positions)  # [B, N, T, T]
        for block in self.blocks:
            x = block(x, mask)
        return self.final_norm(x)


class T5DecoderBlock(DecoderBlock):
    """One decoder layer: attention to the answer and to the encoder's output, then feed-forward; normalized first."""

    feed_forward_norm: Norm

    def __init__(self, config: T5Config, kernel: AttentionKernel, layers: LayerChoices) -> None:
        super().__init__(config.attention, config, kernel, layers.key)
        hidden = config.hidden_size
        self.attention_norm = layers.norm(hidden, config.norm)
        self.attention = layers.mixer(hidden, config.attention, kernel)
        self.cross_attention_norm = layers.norm(hidden, config.norm)
        self.cross_attention = CrossAttention(hidden, config.attention, encoder_dim=hidden)
        self.feed_forward_norm = layers.norm(hidden, config.norm)
        self.feed_forward = layers.mlp(hidden, config.mlp)

    def forward(
        self,
        x: torch.Tensor,  # [1, T, D]
        inputs: AttentionInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        encoder_states: tuple[torch.Tensor, torch.Tensor, torch.Tensor],  # keys, values [1, S, N, H], mask [1, 1, 1, S]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        attended, keys, values = self.attention(self.attention_norm(x), inputs, keys, values)
        x = x + attended
        x = x + self.cross_attention(self.cross_attention_norm(x), *encoder_states)
        x = x + self.feed_forward(self.feed_forward_norm(x))
        return x, keys, values


class T5Decoder(DecoderLM):
    """The second half: the answer, token by token."""

    config: T5Config

    def __init__(self, config: T5Config, embedding: nn.Embedding, layers: LayerChoices) -> None:
        super().__init__(config, layers.attention(config.attention, needs=("position_bias",)))
        self.embedding = embedding
        self.relative_position = config.relative_position(bidirectional=False)
        blocks = [T5DecoderBlock(config, self.kernel, layers) for _ in range(config.num_decoder_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.cross_attentions = [block.cross_attention for block in blocks]
        self.final_norm = layers.norm(config.hidden_size, config.norm)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = embedding.weight

    def forward(
        self,
        tokens: torch.Tensor,  # [1, T] int32
        input_pos: torch.Tensor,  # [T] int32
        kv_cache: KVCache,
        *,
        encoder_states: EncoderStates,
        logits: bool = True,
    ) -> dict[str, torch.Tensor | KVCache]:
        slots = torch.arange(self.kernel.cache_length(kv_cache.k[0]), dtype=torch.int32, device=input_pos.device)
        bias = self.relative_position(input_pos, slots)  # [N, T, S]
        inputs = self.attention_inputs(input_pos, kv_cache, bias)
        x = self.embedding(tokens)  # [1, T, D]
        states = [(k, v, encoder_states.mask) for k, v in zip(encoder_states.k, encoder_states.v, strict=True)]
        x, updated = self.run_blocks(x, inputs, kv_cache, states=states)
        if not logits:
            return {"kv_cache": updated}
        x = self.final_norm(x)
        if self.config.scale_decoder_outputs:
            x = x * self.config.hidden_size**-0.5
        return {"kv_cache": updated, "logits": self.lm_head(x)}  # [1, T, V]


class T5(EncoderDecoderLM):
    """The language model: both halves, which share the table of tokens."""

    config: T5Config

    def __init__(self, config: T5Config, layers: LayerChoices) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.encoder = T5Encoder(config, self.embedding, layers)
        self.decoder = T5Decoder(config, self.embedding, layers)
        self.cross_attentions = self.decoder.cross_attentions


def config(variant: str) -> T5Config:
    """Configuration of a listed variant; raises KeyError for any other."""
    return T5Config(**T5_CONFIGS[variant])


def build(config: T5Config, *, layers: Mapping[str, str]) -> T5:
    """The model, on the current default device, with the implementations that ``layers`` names."""
    return LayerChoices(layers).build(T5, config)


def huggingface(config: T5Config) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``."""
    rules: dict[str, str | Source] = {
        "embedding.weight": first_of("shared.weight", "encoder.embed_tokens.weight"),
        "decoder.lm_head.weight": "lm_head.weight",
    }
    for half, last in (("encoder", 1), ("decoder", 2)):
        ours, block = f"{half}.blocks.{{i}}.", f"{half}.block.{{i}}.layer."
        attention, feed_forward = block + "0.SelfAttention.", f"{block}{last}.DenseReluDense."
        buckets = f"{half}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        rules |= {
            f"{half}.relative_position.table.weight": buckets,
            ours + "attention_norm.weight": block + "0.layer_norm.weight",
            ours + "attention.qkv.weight": concat(*(f"{attention}{part}.weight" for part in "qkv")),
            ours + "attention.output.weight": attention + "o.weight",
            ours + "feed_forward_norm.weight": f"{block}{last}.layer_norm.weight",
            ours + "feed_forward.up.weight": feed_forward + "wi.weight",
            ours + "feed_forward.gate_up.weight": concat(feed_forward + "wi_0.weight", feed_forward + "wi_1.weight"),
            ours + "feed_forward.down.weight": feed_forward + "wo.weight",
            f"{half}.final_norm.weight": f"{half}.final_layer_norm.weight",
        }
    cross = "decoder.block.{i}.layer.1.EncDecAttention."
    rules |= {
        "decoder.blocks.{i}.cross_attention_norm.weight": "decoder.block.{i}.layer.1.layer_norm.weight",
        "decoder.blocks.{i}.cross_attention.query.weight": cross + "q.weight",
        "decoder.blocks.{i}.cross_attention.key_value.weight": concat(cross + "k.weight", cross + "v.weight"),
        "decoder.blocks.{i}.cross_attention.output.weight": cross + "o.weight",
    }
    # The table is sometimes stored once for each half, a tied head once more; the first T5s carry buckets of
    # attention to the encoder, which has no use for them.
    unused = ("*coder.embed_tokens.weight", "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight")
    return WeightMap(rules, ignore=(*unused, "lm_head.weight") if config.tie_word_embeddings else unused)
