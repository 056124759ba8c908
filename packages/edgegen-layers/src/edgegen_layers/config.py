"""What a model is made of, as data. Frozen and hashable: equal blocks are traced once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig:
    """Root-mean-square normalization (Zhang and Sennrich, 2019).

    Attributes:
        epsilon: added to the mean square.
    """

    epsilon: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Grouped-query attention with rotary positions.

    Attributes:
        num_heads: query heads, N.
        num_query_groups: key/value heads, KH; divides ``num_heads``. 1 is multi-query attention.
        head_dim: H, even.
        rotary_base: the base of the rotary frequencies (Su et al., 2021).
        qkv_use_bias: whether the input projections have a bias.
        output_proj_use_bias: whether the output projection has one.

    Raises:
        ValueError: heads cannot be shared evenly, or not be rotated.
    """

    num_heads: int
    num_query_groups: int
    head_dim: int
    rotary_base: float = 10_000.0
    qkv_use_bias: bool = False
    output_proj_use_bias: bool = False

    def __post_init__(self) -> None:
        if self.num_heads % self.num_query_groups:
            raise ValueError(f"{self.num_heads} heads cannot share {self.num_query_groups} key/value heads evenly")
        if self.head_dim % 2:
            raise ValueError(f"rotary heads have an even number of channels, not {self.head_dim}")

    @property
    def qkv_rows(self) -> int:
        """Rows of the fused projection: queries, then keys, then values."""
        return (self.num_heads + 2 * self.num_query_groups) * self.head_dim


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    """Gated feed-forward, ``down(activation(gate(x)) * up(x))`` (Shazeer, 2020).

    Attributes:
        intermediate_size: width between the two projections, F.
        activation: name of a function in ``torch.nn.functional``.
        use_bias: whether the projections have a bias.
    """

    intermediate_size: int
    activation: str = "silu"
    use_bias: bool = False


@dataclass(frozen=True, kw_only=True)
class TransformerBlockConfig:
    """One decoder block: both halves normalized first and added to the residual stream."""

    attn_config: AttentionConfig
    ff_config: FeedForwardConfig
    pre_attention_norm_config: NormalizationConfig = NormalizationConfig()
    pre_ff_norm_config: NormalizationConfig = NormalizationConfig()


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only language model.

    Attributes:
        vocab_size: V.
        num_layers: L.
        max_seq_len: longest sequence that the model was trained for, in tokens.
        embedding_dim: D.
        block_config: the configuration of every block.
        final_norm_config: the normalization before the head.
        tie_embeddings: whether the head is the embedding table.
    """

    vocab_size: int
    num_layers: int
    max_seq_len: int
    embedding_dim: int
    block_config: TransformerBlockConfig
    final_norm_config: NormalizationConfig = NormalizationConfig()
    tie_embeddings: bool = False
