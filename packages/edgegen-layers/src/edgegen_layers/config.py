"""Configurations of building blocks, as data: frozen and hashable, since equal blocks are traced once.

What ``features`` of a configuration gives are the words in which an implementation says what it lacks
(:attr:`edgegen.descriptors.LayerImpl.unsupported`); see :mod:`edgegen_layers.layer_choices`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgegen_layers.rotary_scaling import RotaryScaling

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

HIDDEN_ACTS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "gelu_quick",
    "relu": "relu",
    "relu2": "relu_squared",
}
"""Name of an activation in ``config.json`` (``hidden_act``) -> the one in :data:`ACTIVATIONS`."""


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig:
    """Normalization over the last axis.

    Attributes:
        kind: ``rms`` (Zhang and Sennrich, 2019), or ``layer`` (Ba et al., 2016).
        epsilon: added to the mean square, or to the variance.
        with_scale: True for a learned scale.
        scale_shift: added to the learned scale: 1 where that is stored around zero ("zero-centred"). A weight map
            can add it instead (``edgegen.weights.weight_map.offset``), which costs nothing at run time.
        with_bias: True for a learned bias, in a ``layer`` normalization with a scale.
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

    @property
    def has_bias(self) -> bool:
        """True if there is a learned bias."""
        return self.kind == "layer" and self.with_scale and self.with_bias

    @property
    def features(self) -> frozenset[str]:
        """``rms`` or ``layer``; ``bias``, ``unscaled``, ``zero_centred``."""
        return _present(
            {
                self.kind: True,
                "bias": self.has_bias,
                "unscaled": not self.with_scale,
                "zero_centred": bool(self.scale_shift),
            }
        )


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Grouped-query attention (Ainslie et al., 2023), with rotary positions unless told otherwise.

    Attributes:
        num_attention_heads: query heads, N.
        num_kv_heads: key/value heads, KH; divides ``num_attention_heads``. 1 is multi-query attention.
        head_dim: H; even, since rotary embedding turns pairs of channels.
        rope_theta: base of the rotary frequencies (Su et al., 2021).
        partial_rotary_factor: share of each head's channels that are rotated; the rest carry no position. 0 for none.
        rope_scaling: stretching of the frequencies for long contexts; None for none.
        rotary_interleaved: True to turn channels ``2j`` and ``2j + 1`` together (GPT-J's form) rather than ``j`` and
            the one half a head away (Llama's).
        alibi: True for scores that fall with distance, see :func:`~edgegen_layers.positions.alibi_bias`.
        qkv_fused: True if queries, keys and values come from one projection, in that order: one product instead of
            three, whose input is quantized once. A weight map stacks or reorders what a checkpoint has.
        qkv_use_bias: True if the input projections have a bias.
        output_proj_use_bias: True if the output projection has one.
        scale: factor of the scores; None for ``1 / sqrt(head_dim)``.
        sliding_window: how many positions back a token sees, itself included; None for all.
        logit_softcap: scores are squashed into ``(-cap, cap)`` by ``cap * tanh(score / cap)``.
        qk_norm: normalization of each head's queries and keys before they are rotated.
    """

    num_attention_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float = 10_000.0
    partial_rotary_factor: float = 1.0
    rope_scaling: RotaryScaling | None = None
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
        if self.num_attention_heads % self.num_kv_heads:
            raise ValueError(
                f"{self.num_attention_heads} heads cannot share {self.num_kv_heads} key/value heads evenly"
            )
        if self.rotary_dim % 2:
            raise ValueError(f"rotary positions need an even number of channels, not {self.rotary_dim}")

    @property
    def rotary_dim(self) -> int:
        """Channels of a head that are rotated."""
        return int(self.head_dim * self.partial_rotary_factor)

    @property
    def score_scale(self) -> float:
        """Factor of the scores."""
        return 1 / math.sqrt(self.head_dim) if self.scale is None else self.scale

    @property
    def query_rows(self) -> int:
        """Rows of the queries' projection."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_rows(self) -> int:
        """Rows of the keys' projection, and of the values'."""
        return self.num_kv_heads * self.head_dim

    @property
    def qkv_rows(self) -> int:
        """Rows of the fused projection: queries, then keys, then values."""
        return self.query_rows + 2 * self.kv_rows

    @property
    def features(self) -> frozenset[str]:
        """``bias``, ``grouped_queries``, ``partial_rotary``, ``position_bias`` (ALiBi), ``qk_norm``, ``rotary``,
        ``rotary_interleaved``, ``sliding_window``, ``softcap``, ``split_qkv``."""
        return _present(
            {
                "bias": self.qkv_use_bias or self.output_proj_use_bias,
                "grouped_queries": self.num_kv_heads != self.num_attention_heads,
                "partial_rotary": 0 < self.rotary_dim < self.head_dim,
                "position_bias": self.alibi,
                "qk_norm": self.qk_norm is not None,
                "rotary": self.rotary_dim > 0,
                "rotary_interleaved": self.rotary_interleaved and self.rotary_dim > 0,
                "sliding_window": self.sliding_window is not None,
                "softcap": self.logit_softcap is not None,
                "split_qkv": not self.qkv_fused,
            }
        )


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    """Feed-forward: gated, ``down(activation(gate(x)) * up(x))`` (Shazeer, 2020), or plain; one, or a mixture.

    Attributes:
        intermediate_size: width between the two projections, F; of each expert.
        activation: a key of :data:`ACTIVATIONS`.
        gated: False for ``down(activation(up(x)))``.
        use_bias: True if the projections have a bias.
        num_experts: how many such layers there are; None for one that takes every token.
        num_experts_per_token: how many of them a token goes to.
        normalize_expert_weights: True if the weights of a token's experts sum to 1.
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

    @property
    def features(self) -> frozenset[str]:
        """``gated`` or ``plain``, ``single`` or ``experts``, the activation's name, ``bias``."""
        return _present(
            {
                "gated" if self.gated else "plain": True,
                "single" if self.num_experts is None else "experts": True,
                self.activation: True,
                "bias": self.use_bias,
            }
        )


FEATURES = {
    "attention": {
        "bias",
        "grouped_queries",
        "partial_rotary",
        "position_bias",
        "qk_norm",
        "rotary",
        "rotary_interleaved",
        "sliding_window",
        "softcap",
        "split_qkv",
    },
    "mlp": {"bias", "experts", "gated", "plain", "single", *ACTIVATIONS},
    "norm": {"bias", "layer", "rms", "unscaled", "zero_centred"},
}
"""Block -> all the words that ``features`` of its configuration may give; ``mixer`` has those of ``attention``."""


@dataclass(frozen=True, kw_only=True)
class TransformerBlockConfig:
    """Decoder block: attention and feed-forward, each added to the residual stream.

    Attributes:
        attn_config: attention.
        ff_config: feed-forward.
        pre_attention_norm_config: normalization of attention's input.
        pre_ff_norm_config: normalization of feed-forward's input.
        post_attention_norm_config: normalization of attention's output before it is added; None for none.
        post_ff_norm_config: likewise of feed-forward's.
        parallel_residual: True if feed-forward reads what attention reads, normalized once, and both are added to it.
    """

    attn_config: AttentionConfig
    ff_config: FeedForwardConfig
    pre_attention_norm_config: NormalizationConfig = NormalizationConfig()
    pre_ff_norm_config: NormalizationConfig = NormalizationConfig()
    post_attention_norm_config: NormalizationConfig | None = None
    post_ff_norm_config: NormalizationConfig | None = None
    parallel_residual: bool = False


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Decoder-only language model put together by configuration, see
    :class:`~edgegen_layers.transformer.TransformerLM`.

    Attributes:
        vocab_size: V.
        num_hidden_layers: number of blocks.
        max_position_embeddings: longest sequence that the model was trained for, in tokens.
        hidden_size: D.
        block_config: configuration of every block, or of each one.
        final_norm_config: normalization before the head.
        tie_word_embeddings: True if the head is the embedding table.
        lm_head_use_bias: True if the head has a bias.
        embedding_scale: factor of the embeddings; None for none.
        final_logit_softcap: logits are squashed as scores are, see :class:`AttentionConfig`.
        learned_positions: True for a table of positions, added to the embeddings.
        embedding_norm_config: normalization of the embeddings; None for none.
    """

    vocab_size: int
    num_hidden_layers: int
    max_position_embeddings: int
    hidden_size: int
    block_config: TransformerBlockConfig | tuple[TransformerBlockConfig, ...]
    final_norm_config: NormalizationConfig = NormalizationConfig()
    tie_word_embeddings: bool = False
    lm_head_use_bias: bool = False
    embedding_scale: float | None = None
    final_logit_softcap: float | None = None
    learned_positions: bool = False
    embedding_norm_config: NormalizationConfig | None = None

    def __post_init__(self) -> None:
        if len(self.blocks) != self.num_hidden_layers:
            raise ValueError(f"{len(self.blocks)} block configurations for {self.num_hidden_layers} layers")

    @property
    def blocks(self) -> tuple[TransformerBlockConfig, ...]:
        """Configuration of each block."""
        if isinstance(self.block_config, tuple):
            return self.block_config
        return (self.block_config,) * self.num_hidden_layers


def _present(features: dict[str, bool]) -> frozenset[str]:
    return frozenset(name for name, present in features.items() if present)
