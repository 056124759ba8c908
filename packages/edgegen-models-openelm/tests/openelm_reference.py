"""OpenELM in plain PyTorch, after its paper and with the tensor names of the published checkpoints.

Written apart from edgegen's layers on purpose: one text at a time, no cache, rotation as a product of complex
numbers, a loop over query heads.
"""

from __future__ import annotations

import math

import torch
from torch import nn


class RootMeanSquareNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.weight


class Attention(nn.Module):
    def __init__(self, dim: int, head_dim: int, heads: int, groups: int, base: float, normalize: bool) -> None:
        super().__init__()
        self.head_dim, self.heads, self.groups, self.base = head_dim, heads, groups, base
        self.qkv_proj = nn.Linear(dim, (heads + 2 * groups) * head_dim, bias=False)
        self.out_proj = nn.Linear(heads * head_dim, dim, bias=False)
        if normalize:
            self.q_norm = RootMeanSquareNorm(head_dim)
            self.k_norm = RootMeanSquareNorm(head_dim)
        self.normalize = normalize

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [T, D]
        heads = list(self.qkv_proj(x).split(self.head_dim, dim=-1))  # [T, H] each
        queries, rest = heads[: self.heads], heads[self.heads :]
        keys, values = rest[: self.groups], rest[self.groups :]
        if self.normalize:
            queries, keys = [self.q_norm(q) for q in queries], [self.k_norm(k) for k in keys]
        queries, keys = [self.rotate(q) for q in queries], [self.rotate(k) for k in keys]
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        mixed = []
        for i, query in enumerate(queries):
            group = i * self.groups // self.heads
            scores = (query @ keys[group].T / math.sqrt(self.head_dim)).masked_fill(future, -math.inf)
            mixed.append(scores.softmax(-1) @ values[group])
        return self.out_proj(torch.cat(mixed, dim=-1))

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        half = self.head_dim // 2
        speeds = self.base ** (-torch.arange(half) / half)
        angles = torch.arange(len(x))[:, None] * speeds
        turned = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([turned.real, turned.imag], dim=-1)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.proj_1 = nn.Linear(dim, 2 * hidden, bias=False)
        self.proj_2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = self.proj_1(x)
        gate = both[:, : self.hidden]
        return self.proj_2(gate * gate.sigmoid() * both[:, self.hidden :])


class Layer(nn.Module):
    def __init__(self, attn: Attention, ffn: FeedForward, dim: int) -> None:
        super().__init__()
        self.attn, self.ffn = attn, ffn
        self.attn_norm, self.ffn_norm = RootMeanSquareNorm(dim), RootMeanSquareNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.attn_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class OpenELM(nn.Module):
    """``[T] -> [T, V]``; ``sizes`` has heads, key/value heads and feed-forward width of each layer."""

    def __init__(
        self,
        *,
        dim: int,
        head_dim: int,
        vocab: int,
        sizes: list[tuple[int, int, int]],
        base: float,
        tied: bool,
        normalize: bool,
    ) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.token_embeddings = nn.Embedding(vocab, dim)
        self.transformer.layers = nn.ModuleList(
            Layer(Attention(dim, head_dim, heads, groups, base, normalize), FeedForward(dim, hidden), dim)
            for heads, groups, hidden in sizes
        )
        self.transformer.norm = RootMeanSquareNorm(dim)
        if not tied:
            self.lm_head = nn.Linear(dim, vocab, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.transformer.token_embeddings(tokens)
        for layer in self.transformer.layers:
            x = layer(x)
        head = self.lm_head if hasattr(self, "lm_head") else self.transformer.token_embeddings
        return self.transformer.norm(x) @ head.weight.T
