"""What a model is made of, as data. Frozen and hashable: equal blocks are traced once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edgegen.weights.hyperparameters import MAY_BE_UNSTATED

ACTIVATIONS = {
    "elu": ("elu", {}),
    "gelu": ("gelu", {}),
    "gelu_quick": ("quick_gelu", {}),
    "gelu_tanh": ("gelu", {"approximate": "tanh"}),
    "hard_swish": ("hardswish", {}),
    "leaky_relu": ("leaky_relu", {}),
    "mish": ("mish", {}),
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "relu_squared": ("squared_relu", {}),
    "sigmoid": ("sigmoid", {}),
    "silu": ("silu", {}),
    "softplus": ("softplus", {}),
    "tanh": ("tanh", {}),
}
"""Name of an activation -> function of :mod:`edgegen_layers.activations` or ``torch.nn.functional``, and its keyword
arguments. In a gated feed-forward layer ``silu`` makes SwiGLU, ``gelu`` GeGLU, ``relu`` ReGLU, ``sigmoid`` GLU."""


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig:
    """A normalization over the last axis.

    Attributes:
        kind: ``rms`` (Zhang and Sennrich, 2019), or ``layer`` (Ba et al., 2016).
        epsilon: added to the mean square, or to the variance.
        with_scale: whether there is a learned scale.
        scale_shift: added to the learned scale: 1 where that is stored around zero ("zero-centred"). A weight map
            can add it instead (``edgegen.weights.weight_map.offset``), which costs nothing at run time.
        with_bias: whether a ``layer`` normalization with a scale has a learned bias too.
    """

    kind: str = "rms"
    epsilon: float = 1e-5
    with_scale: bool = True
    scale_shift: float = 0.0
    with_bias: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("rms", "layer"):
            raise ValueError(f"no normalization {self.kind!r}; expected rms or layer")
        if self.scale_shift and not self.with_scale:
            raise ValueError("scale_shift is added to a learned scale, which with_scale=False leaves out")


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
    """Grouped-query attention, with rotary positions unless told otherwise.

    Attributes:
        num_heads: query heads, N.
        num_kv_heads: key/value heads, KH; divides ``num_heads``. 1 is multi-query attention.
        head_dim: H; even, since rotary embedding turns pairs of channels.
        rotary_base: the base of the rotary frequencies (Su et al., 2021).
        rotary_percentage: share of each head's channels that are rotated; the rest carry no position. 0 for none.
        rotary_scaling: how frequencies are stretched for long contexts.
        rotary_interleaved: whether channels ``2j`` and ``2j + 1`` are turned together (GPT-J's form) rather than ``j``
            and the one half a head away (Llama's).
        alibi: whether scores fall with distance, see :func:`~edgegen_layers.positions.alibi_bias`.
        qkv_fused: whether queries, keys and values come from one projection, in that order: one product instead of
            three, whose input is quantized once. A weight map stacks or reorders what a checkpoint has.
        qkv_use_bias: whether the input projections have a bias.
        output_proj_use_bias: whether the output projection has one.
        scale: what scores are multiplied by; None for ``1 / sqrt(head_dim)``.
        sliding_window: how many positions back a token sees, itself included; None for all.
        logit_softcap: scores are squashed into ``(-cap, cap)`` by ``cap * tanh(score / cap)``.
        qk_norm: normalization of each head's queries and keys before they are rotated.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    rotary_base: float = 10_000.0
    rotary_percentage: float = 1.0
    rotary_scaling: RotaryScaling | None = None
    rotary_interleaved: bool = False
    alibi: bool = False
    qkv_fused: bool = True
    qkv_use_bias: bool = False
    output_proj_use_bias: bool = False
    scale: float | None = None
    sliding_window: int | None = None
    logit_softcap: float | None = None
    qk_norm: NormalizationConfig | None = None

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"{self.num_heads} heads cannot share {self.num_kv_heads} key/value heads evenly")
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
    def query_rows(self) -> int:
        """Rows of the queries' projection."""
        return self.num_heads * self.head_dim

    @property
    def group_rows(self) -> int:
        """Rows of the keys' projection, and of the values'."""
        return self.num_kv_heads * self.head_dim

    @property
    def qkv_rows(self) -> int:
        """Rows of the fused projection: queries, then keys, then values."""
        return self.query_rows + 2 * self.group_rows


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    """Feed-forward: gated, ``down(activation(gate(x)) * up(x))`` (Shazeer, 2020), or plain; one, or a mixture.

    Attributes:
        intermediate_size: width between the two projections, F; of each expert.
        activation: a key of :data:`ACTIVATIONS`.
        gated: False for ``down(activation(up(x)))``.
        use_bias: whether the projections have a bias.
        num_experts: how many such layers there are; None for one that takes every token.
        num_experts_per_token: how many of them a token goes to.
        normalize_expert_weights: whether the weights of a token's experts sum to 1.
    """

    intermediate_size: int
    activation: str = "silu"
    gated: bool = True
    use_bias: bool = False
    num_experts: int | None = None
    num_experts_per_token: int = 1
    normalize_expert_weights: bool = True

    def __post_init__(self) -> None:
        if self.num_experts is not None and not 1 <= self.num_experts_per_token <= self.num_experts:
            raise ValueError(f"{self.num_experts_per_token} of {self.num_experts} experts for each token")
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
        cross_attn_config: attention to an encoder's output, between the other two; None for none. It has no positions.
        pre_cross_attention_norm_config: normalization of its input.
    """

    attn_config: AttentionConfig
    ff_config: FeedForwardConfig
    pre_attention_norm_config: NormalizationConfig = NormalizationConfig()
    pre_ff_norm_config: NormalizationConfig = NormalizationConfig()
    post_attention_norm_config: NormalizationConfig | None = None
    post_ff_norm_config: NormalizationConfig | None = None
    parallel_residual: bool = False
    cross_attn_config: AttentionConfig | None = None
    pre_cross_attention_norm_config: NormalizationConfig = NormalizationConfig()


@dataclass(frozen=True, kw_only=True)
class RelativePositionConfig:
    """Learned biases of scores by distance; see :class:`~edgegen_layers.positions.RelativePositionBias`."""

    num_buckets: int = 32
    max_distance: int = 128


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """An encoder: a text, all of it at once, to one vector for each token.

    Attributes:
        vocab_size: V.
        num_layers: L.
        max_seq_len: longest text, in tokens.
        embedding_dim: D.
        block_config: of every block. Its attention sees everything.
        post_norm: whether a block normalizes after it adds to the residual stream, as the original transformer and
            BERT do, rather than what attention and feed-forward take.
        embedding_norm_config: normalization of the embeddings; None for none.
        final_norm_config: normalization of the result; None for none.
        learned_positions: whether there is a table of positions, added to the embeddings.
        token_types: rows of a table of kinds of tokens, added likewise; 0 for none.
        relative_position: biases of scores, shared by all blocks; None for none.
    """

    vocab_size: int
    num_layers: int
    max_seq_len: int
    embedding_dim: int
    block_config: TransformerBlockConfig
    post_norm: bool = False
    embedding_norm_config: NormalizationConfig | None = None
    final_norm_config: NormalizationConfig | None = None
    learned_positions: bool = False
    token_types: int = 0
    relative_position: RelativePositionConfig | None = None


@dataclass(frozen=True, kw_only=True)
class EmbedderConfig:
    """An encoder, and how one vector is made of those of a text's tokens.

    Attributes:
        encoder: the encoder.
        pooling: ``mean`` of the tokens' vectors, or ``cls``: the first one. None where a checkpoint does not state it,
            which makes ``mean``.
        normalize: whether the vector is brought to length 1. None where a checkpoint does not state it: no.
    """

    encoder: EncoderConfig
    pooling: str | None = field(default=None, metadata=MAY_BE_UNSTATED)
    normalize: bool | None = field(default=None, metadata=MAY_BE_UNSTATED)

    @property
    def max_seq_len(self) -> int:
        """Longest text, in tokens."""
        return self.encoder.max_seq_len

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.encoder.vocab_size


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
        logit_scale: what the head's input is multiplied by.
        learned_positions: whether there is a table of positions, added to the embeddings.
        embedding_norm_config: normalization of the embeddings; None for none.
        relative_position: biases of scores, shared by all blocks; None for none.
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
    logit_scale: float | None = None
    learned_positions: bool = False
    embedding_norm_config: NormalizationConfig | None = None
    relative_position: RelativePositionConfig | None = None

    def __post_init__(self) -> None:
        if len(self.blocks) != self.num_layers:
            raise ValueError(f"{len(self.blocks)} block configurations for {self.num_layers} layers")

    @property
    def blocks(self) -> tuple[TransformerBlockConfig, ...]:
        """One configuration for each block."""
        return self.block_config if isinstance(self.block_config, tuple) else (self.block_config,) * self.num_layers


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """An encoder-decoder language model, whose halves share the table of tokens.

    Attributes:
        encoder: of the text to answer.
        decoder: of the answer; its blocks have cross attention, and both halves one width.
        start_token_id: what every answer begins with, unseen.
    """

    encoder: EncoderConfig
    decoder: ModelConfig
    start_token_id: int = 0

    @property
    def max_seq_len(self) -> int:
        """Longest text that either half was trained for, in tokens."""
        return self.decoder.max_seq_len

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.decoder.vocab_size
