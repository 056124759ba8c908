"""Base of text encoders: token vectors pooled to an embedding (Reimers and Gurevych, 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.genai.signature_names import encode_name
from edgegen.tracing import Signature
from edgegen_layers.kernels import MASKED
from edgegen_layers.norm import l2_norm


class EncoderConfig(Protocol):
    """Hyper-parameters that every text encoder's configuration has among others."""

    @property
    def vocab_size(self) -> int:
        """V: rows of the embedding table."""
        ...

    @property
    def hidden_size(self) -> int:
        """D: numbers in an embedding."""
        ...

    @property
    def max_position_embeddings(self) -> int:
        """Longest text that there are positions for, in tokens."""
        ...

    @property
    def pooling(self) -> str | None:
        """A key of :data:`POOLINGS`; None where the checkpoint does not state it (mean)."""
        ...

    @property
    def normalize(self) -> bool | None:
        """True for embeddings of length 1; None where the checkpoint does not state it (no)."""
        ...


def padding_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """``[B, S]`` of 1 for tokens and 0 for padding, to what is added to scores, ``[B, 1, 1, S]``."""
    return ((1 - attention_mask.float()) * MASKED)[:, None, None, :]


def mean_pooling(x: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean of the vectors of a text's tokens, padding left out: ``[B, T, D]`` and ``[B, T]`` to ``[B, D]``."""
    weights = attention_mask.float()[:, :, None]  # [B, T, 1]
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def cls_pooling(x: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Vector of the first token, which BERT puts before every text to sum it up: ``[B, T, D]`` to ``[B, D]``."""
    return x[:, 0]


POOLINGS = {"mean": mean_pooling, "cls": cls_pooling}
"""Name -> ``(token vectors [B, T, D], attention mask [B, T]) -> [B, D]``."""


class TextEncoderBase(nn.Module):
    """Base of text encoders; a subclass makes ``encoder``.

    Args:
        config: hyper-parameters.

    Attributes:
        encoder: ``(tokens [B, T], attention_mask [B, T])`` to token vectors ``[B, T, D]``.
        embedding: its table of tokens.
    """

    encoder: nn.Module

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def embedding(self) -> nn.Embedding:
        raise NotImplementedError(f"{type(self).__name__} must say which table its tokens are looked up in")

    def forward(self, tokens: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Embed a text.

        Args:
            tokens: ``[1, T]`` int32.
            attention_mask: ``[1, T]`` int32, 1 for tokens and 0 for padding.

        Returns:
            ``token_vectors [1, T, D]``, of which those of padding are of no use, and ``embedding [1, D]``.
        """
        vectors = self.encoder(tokens, attention_mask)
        embedding = POOLINGS[self.config.pooling or "mean"](vectors, attention_mask)
        if self.config.normalize:
            embedding = l2_norm(embedding, epsilon=1e-12)
        return {"token_vectors": vectors, "embedding": embedding}

    def signatures(self, encode_lengths: Sequence[int]) -> list[Signature]:
        """``encode_<N>`` for each length, padding included.

        Raises:
            UsageError: a length is beyond the table of positions.
        """
        longest, device = self.config.max_position_embeddings, self.embedding.weight.device
        if max(encode_lengths) > longest:
            raise UsageError(
                f"a text of {max(encode_lengths)} tokens is longer than the model's {longest} positions",
                code=ErrorCode.INVALID_LENGTHS,
                hint=f"--encode-lengths {longest}, or shorter ones",
            )
        texts = {length: torch.zeros(1, length, dtype=torch.int32, device=device) for length in encode_lengths}
        return [Signature(encode_name(n), self, (text, torch.ones_like(text))) for n, text in texts.items()]
