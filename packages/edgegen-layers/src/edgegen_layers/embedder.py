"""Sentence embeddings: a text, all of it at once, to one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.genai.signature_names import encode_name
from edgegen.tracing import Signature
from edgegen_layers.config import EmbedderConfig
from edgegen_layers.encoder import Encoder, mean_pooled
from edgegen_layers.norm import l2_norm


def first_vector(x: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The vector of the first token, which BERT puts before every text to sum it up: ``[B, T, D]`` to ``[B, D]``."""
    return x[:, 0]


POOLINGS = {"mean": mean_pooled, "cls": first_vector}
"""Name -> ``(token vectors [B, T, D], attention mask [B, T]) -> [B, D]``."""


class TextEmbedder(nn.Module):
    """An encoder whose token vectors become one (Reimers and Gurevych, 2019, https://arxiv.org/abs/1908.10084)."""

    def __init__(self, config: EmbedderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)

    def forward(self, tokens: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Read a text.

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
        encoder, device = self.config.encoder, self.encoder.embedding.weight.device
        if encoder.learned_positions and max(encode_lengths) > encoder.max_seq_len:
            raise UsageError(
                f"a text of {max(encode_lengths)} tokens is longer than the model's {encoder.max_seq_len} positions",
                code=ErrorCode.INVALID_LENGTHS,
                hint=f"--encode-lengths {encoder.max_seq_len}, or shorter ones",
            )
        texts = {length: torch.zeros(1, length, dtype=torch.int32, device=device) for length in encode_lengths}
        return [Signature(encode_name(n), self, (text, torch.ones_like(text))) for n, text in texts.items()]
