"""The encoder stack: a text, all of it at once, to one vector for each of its tokens."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import nn

from edgegen.tracing import Repeated
from edgegen_layers.attention import SelfAttention
from edgegen_layers.config import EncoderConfig, TransformerBlockConfig
from edgegen_layers.feed_forward import build_feed_forward
from edgegen_layers.kernels import MASKED
from edgegen_layers.norm import build_norm
from edgegen_layers.positions import RelativePositionBias
from edgegen_layers.rotary import RotaryTable, rotary_table


class EncoderBlock(Repeated):
    """Attention and feed-forward, each added to the residual stream and normalized, before or after."""

    def __init__(self, dim: int, config: TransformerBlockConfig, *, post_norm: bool) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.structure_key = (dim, config, post_norm)
        self.attention_norm = build_norm(dim, config.pre_attention_norm_config)
        self.attention = SelfAttention(dim, config.attn_config)
        self.feed_forward_norm = build_norm(dim, config.pre_ff_norm_config)
        self.feed_forward = build_feed_forward(dim, config.ff_config)

    @property
    def structure(self) -> Hashable:
        return self.structure_key

    def forward(self, x: torch.Tensor, mask: torch.Tensor, rotary: RotaryTable | None = None) -> torch.Tensor:
        if self.post_norm:
            x = self.attention_norm(x + self.attention(x, mask, rotary))
            return self.feed_forward_norm(x + self.feed_forward(x))  # type: ignore[no-any-return]
        x = x + self.attention(self.attention_norm(x), mask, rotary)
        return x + self.feed_forward(self.feed_forward_norm(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """An encoder, configured by :class:`EncoderConfig`.

    Args:
        config: sizes.
        embedding: a table of tokens that is shared with another part of a model; default: one of its own.
    """

    def __init__(self, config: EncoderConfig, embedding: nn.Embedding | None = None) -> None:
        super().__init__()
        self.config = config
        dim, block = config.embedding_dim, config.block_config
        self.embedding = nn.Embedding(config.vocab_size, dim) if embedding is None else embedding
        if config.learned_positions:
            self.positions = nn.Embedding(config.max_seq_len, dim)
        if config.token_types:
            self.token_types = nn.Embedding(config.token_types, dim)
        if config.embedding_norm_config is not None:
            self.embedding_norm = build_norm(dim, config.embedding_norm_config)
        if config.relative_position is not None:
            relative = config.relative_position
            self.relative_position = RelativePositionBias(
                relative.num_buckets, relative.max_distance, block.attn_config.num_heads, bidirectional=True
            )
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, block, post_norm=config.post_norm) for _ in range(config.num_layers)
        )
        if config.final_norm_config is not None:
            self.final_norm = build_norm(dim, config.final_norm_config)

    def forward(
        self, tokens: torch.Tensor, attention_mask: torch.Tensor, token_types: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run T tokens.

        Args:
            tokens: ``[B, T]`` int32.
            attention_mask: ``[B, T]``, 1 for tokens and 0 for padding, of any numeric dtype.
            token_types: ``[B, T]`` int32; default: all of kind 0.

        Returns:
            ``[B, T, D]``; what padding gets is of no use.
        """
        config = self.config
        positions = torch.arange(tokens.shape[1], dtype=torch.int32, device=tokens.device)
        x = self.embedding(tokens)  # [B, T, D]
        if config.token_types:
            x = x + self.token_types(torch.zeros_like(tokens) if token_types is None else token_types)
        if config.learned_positions:
            x = x + self.positions(positions)
        if config.embedding_norm_config is not None:
            x = self.embedding_norm(x)
        mask = hidden_padding(attention_mask)  # [B, 1, 1, T]
        if config.relative_position is not None:
            mask = mask + self.relative_position(positions, positions)  # [B, N, T, T]
        attention, rotary = config.block_config.attn_config, None
        if attention.rotary_dim:
            rotary = rotary_table(
                positions,
                attention.rotary_dim,
                attention.rotary_base,
                attention.rotary_scaling,
                interleaved=attention.rotary_interleaved,
            )
        for block in self.blocks:
            x = block(x, mask, rotary)
        return x if config.final_norm_config is None else self.final_norm(x)  # type: ignore[no-any-return]


def hidden_padding(attention_mask: torch.Tensor) -> torch.Tensor:
    """``[B, S]`` of 1 for tokens and 0 for padding, to what is added to scores, ``[B, 1, 1, S]``."""
    return ((1 - attention_mask.float()) * MASKED)[:, None, None, :]


def mean_pooled(x: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean of the vectors of a text's tokens, padding left out: ``[B, T, D]`` and ``[B, T]`` to ``[B, D]``."""
    weights = attention_mask.float()[:, :, None]  # [B, T, 1]
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1.0)
