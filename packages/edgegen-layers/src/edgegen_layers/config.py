"""What a model is made of, as data. Frozen and hashable: equal blocks are traced once."""

from __future__ import annotations

import math
from dataclasses import dataclass

ACTIVATIONS = {
    "gelu": ("gelu", {}),
    "gelu_tanh": ("gelu", {"approximate": "tanh"}),
    "relu": ("relu", {}),
    "silu": ("silu", {}),
}
"""Name of an activation -> function in ``torch.nn.functional`` and its keyword arguments."""


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig:
    """A normalization over the last axis.

    Attributes:
        kind: ``rms`` (Zhang and Sennrich, 2019) or ``layer`` (Ba et al., 2016), which has a bias.
        epsilon: added to the mean square, or to the variance.
    """

    kind: str = "rms"
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if self.kind not in ("rms", "layer"):
            raise ValueError(f"no normalization {self.kind!r}; expected rms or layer")


@dataclass(frozen=True, kw_only=True)
class LinearScaling:
    """Positions divided by a factor (Chen et al., 2023)."""

    factor: float


@dataclass(frozen=True, kw_only=True)
class FrequencyScaling:
    """Each frequency divided by a factor of its own: LongRoPE (Ding et al., 2024), Llama 3.1.

    Attributes:
        factors: one for each pair of channels.
        attention_factor: by which cosines and sines are multiplied.
    """

    factors: tuple[float, ...]
    attention_factor: float = 1.0


RotaryScaling = LinearScaling | FrequencyScaling


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Grouped-query attention with rotary positions.

    Attributes:
        num_heads: query heads, N.
        num_query_groups: key/value heads, KH; divides ``num_heads``. 1 is multi-query attention.
        head_dim: H; even, since rotary embedding turns pairs of channels.
        rotary_base: the base of the rotary frequencies (Su et al., 2021).
        rotary_percentage: share of each head's channels that are rotated; the rest carry no position.
        rotary_scaling: how frequencies are stretched for long contexts.
        qkv_use_bias: whether the input projections have a bias.
        output_proj_use_bias: whether the output projection has one.
        scale: what scores are multiplied by; None for ``1 / sqrt(head_dim)``.
        sliding_window: how many positions back a token sees, itself included; None for all.
        logit_softcap: scores are squashed into ``(-cap, cap)`` by ``cap * tanh(score / cap)``.
        qk_norm: normalization of each head's queries and keys before they are rotated.
    """

    num_heads: int
    num_query_groups: int
    head_dim: int
    rotary_base: float = 10_000.0
    rotary_percentage: float = 1.0
    rotary_scaling: RotaryScaling | None = None
    qkv_use_bias: bool = False
    output_proj_use_bias: bool = False
    scale: float | None = None
    sliding_window: int | None = None
    logit_softcap: float | None = None
    qk_norm: NormalizationConfig | None = None

    def __post_init__(self) -> None:
        if self.num_heads % self.num_query_groups:
            raise ValueError(f"{self.num_heads} heads cannot share {self.num_query_groups} key/value heads evenly")
        if self.rotary_dim % 2:
            raise ValueError(f"rotary positions need an even number of channels, not {self.rotary_dim}")

    @property
    def rotary_dim(self) -> int:
        """Channels of a head that are rotated."""
        return int(self.head_dim * self.rotary_percentage)

    @property
    def score_scale(self) -> float:
        """What scores are multiplied by."""
        return 1 / math.sqrt(self.head_dim) if self.scale is None else self.scale

    @property
    def qkv_rows(self) -> int:
        """Rows of the fused projection: queries, then keys, then values."""
        return (self.num_heads + 2 * self.num_query_groups) * self.head_dim


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    """Feed-forward: gated, ``down(activation(gate(x)) * up(x))`` (Shazeer, 2020), or plain.

    Attributes:
        intermediate_size: width between the two projections, F.
        activation: a key of :data:`ACTIVATIONS`.
        gated: False for ``down(activation(up(x)))``.
        use_bias: whether the projections have a bias.
    """

    intermediate_size: int
    activation: str = "silu"
    gated: bool = True
    use_bias: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"no activation {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True, kw_only=True)
class TransformerBlockConfig:
    """One decoder block: attention and feed-forward, each added to the residual stream.

    Attributes:
        attn_config: attention.
        ff_config: feed-forward.
        pre_attention_norm_config: normalization of attention's input.
        pre_ff_norm_config: normalization of feed-forward's input.
        post_attention_norm_config: normalization of attention's output before it is added; None for none.
        post_ff_norm_config: likewise of feed-forward's.
        parallel_residual: feed-forward reads what attention reads, normalized once, and both are added to it.
    """

    attn_config: AttentionConfig
    ff_config: FeedForwardConfig
    pre_attention_norm_config: NormalizationConfig = NormalizationConfig()
    pre_ff_norm_config: NormalizationConfig = NormalizationConfig()
    post_attention_norm_config: NormalizationConfig | None = None
    post_ff_norm_config: NormalizationConfig | None = None
    parallel_residual: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only language model.

    Attributes:
        vocab_size: V.
        num_layers: L.
        max_seq_len: longest sequence that the model was trained for, in tokens.
        embedding_dim: D.
        block_config: the configuration of every block, or of each one.
        final_norm_config: the normalization before the head.
        tie_embeddings: whether the head is the embedding table.
        lm_head_use_bias: whether the head has a bias.
        embedding_scale: what embeddings are multiplied by.
        final_logit_softcap: logits are squashed as scores are, see :class:`AttentionConfig`.
    """

    vocab_size: int
    num_layers: int
    max_seq_len: int
    embedding_dim: int
    block_config: TransformerBlockConfig | tuple[TransformerBlockConfig, ...]
    final_norm_config: NormalizationConfig = NormalizationConfig()
    tie_embeddings: bool = False
    lm_head_use_bias: bool = False
    embedding_scale: float | None = None
    final_logit_softcap: float | None = None

    def __post_init__(self) -> None:
        if len(self.blocks) != self.num_layers:
            raise ValueError(f"{len(self.blocks)} block configurations for {self.num_layers} layers")

    @property
    def blocks(self) -> tuple[TransformerBlockConfig, ...]:
        """One configuration for each block."""
        return self.block_config if isinstance(self.block_config, tuple) else (self.block_config,) * self.num_layers
