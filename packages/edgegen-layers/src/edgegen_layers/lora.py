"""Low-rank adapters (Hu et al., 2021, https://arxiv.org/abs/2106.09685) as inputs of the exported file.

An adapter adds ``x @ A @ B`` to what a projection makes of ``x``. Its two factors are arguments of the model rather
than weights, so one file serves any adapter of attention's projections, and a runtime switches between them. With
factors of zeros the model is what it was without them.

As an argument named ``lora_atten``, :class:`LoraWeights` becomes the inputs ``lora_atten_q_a_prime_weight_<layer>`` and
so on, the names that LiteRT-LM looks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from edgegen.adapters.layout import input_name
from edgegen_layers.config import AttentionConfig


class LowRank(NamedTuple):
    """The two factors of one projection's adapter.

    Attributes:
        a: ``[K, R]``, from the projection's inputs; R is the rank.
        b: ``[R, N]``, to its outputs, with the adapter's scale in it.
    """

    a: torch.Tensor
    b: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, T, K] -> [B, T, N]``."""
        return x @ self.a @ self.b


class AttentionLora(NamedTuple):
    """The adapters of one block's attention."""

    q: LowRank
    k: LowRank
    v: LowRank
    o: LowRank


class LoraFactors(NamedTuple):
    """One projection's factors in every block."""

    a_prime_weight: list[torch.Tensor]
    b_prime_weight: list[torch.Tensor]


class LoraWeights(NamedTuple):
    """An adapter of a whole model."""

    q: LoraFactors
    k: LoraFactors
    v: LoraFactors
    o: LoraFactors

    def block(self, index: int) -> AttentionLora:
        """Adapters of block ``index``."""
        return AttentionLora(*(LowRank(f.a_prime_weight[index], f.b_prime_weight[index]) for f in self))

    @classmethod
    def named(cls, tensors: Mapping[str, torch.Tensor], blocks: int) -> LoraWeights:
        """From tensors by the names of the exported file's inputs."""

        def factor(projection: str, side: str) -> list[torch.Tensor]:
            return [tensors[input_name(projection, side, block)] for block in range(blocks)]

        return cls(*(LoraFactors(factor(name, "a"), factor(name, "b")) for name in cls._fields))

    @classmethod
    def zeros(
        cls, hidden_size: int, blocks: Sequence[AttentionConfig], rank: int, device: str | torch.device | None = None
    ) -> LoraWeights:
        """An adapter that changes nothing, for a model of ``hidden_size`` channels with these attentions."""
        factors = cls(*(LoraFactors([], []) for _ in cls._fields))
        for block in blocks:
            for factor, (inputs, outputs) in zip(factors, _sizes(hidden_size, block), strict=True):
                factor.a_prime_weight.append(torch.zeros(inputs, rank, device=device))
                factor.b_prime_weight.append(torch.zeros(rank, outputs, device=device))
        return factors


def _sizes(hidden_size: int, config: AttentionConfig) -> list[tuple[int, int]]:
    """Inputs and outputs of the projections for q, k, v and o."""
    queries, kv = config.query_rows, config.kv_rows
    return [(hidden_size, queries), (hidden_size, kv), (hidden_size, kv), (queries, hidden_size)]
