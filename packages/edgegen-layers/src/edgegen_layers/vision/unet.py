"""Blocks of the U-Net that diffusion models denoise pictures with (Ho et al., 2020; Rombach et al., 2022)."""

from __future__ import annotations

import torch
from torch import nn

from edgegen_layers.attention import CrossAttention, SelfAttention
from edgegen_layers.config import AttentionConfig
from edgegen_layers.norm import GroupNorm


class ResidualBlock2D(nn.Module):
    """Two convolutions, each after a group norm and SiLU, the time step between them; ``[B, C, H, W] -> [B, D, H, W]``.

    Args:
        channels: C.
        out_channels: D; the residual goes through a 1 x 1 convolution where it is another number.
        time_dim: of the time step's embedding; None for a block that does not know of time, as autoencoders have.
        num_groups: of the norms.
        epsilon: of the norms.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        time_dim: int | None = None,
        num_groups: int = 32,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.first_norm = GroupNorm(num_groups, channels, epsilon)
        self.first = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = None if time_dim is None else nn.Linear(time_dim, out_channels)
        self.second_norm = GroupNorm(num_groups, out_channels, epsilon)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor | None = None) -> torch.Tensor:
        """``time`` is ``[B, time_dim]``, see :class:`~edgegen_layers.positions.TimestepEmbedding`."""
        silu = nn.functional.silu
        h = self.first(silu(self.first_norm(x)))
        if self.time is not None:
            assert time is not None
            h = h + self.time(silu(time))[:, :, None, None]
        h = self.second(silu(self.second_norm(h)))
        return self.shortcut(x) + h  # type: ignore[no-any-return]


class AttentionBlock2D(nn.Module):
    """Self-attention over a picture's pixels, and cross attention to a text if any; ``[B, C, H, W] -> [B, C, H, W]``.

    Args:
        channels: C.
        num_heads: N, which divides C.
        context_dim: of the text's vectors; None for no text.
        num_groups: of the norm.
        epsilon: of the norm.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        context_dim: int | None = None,
        num_groups: int = 32,
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        config = AttentionConfig(
            num_attention_heads=num_heads,
            num_kv_heads=num_heads,
            head_dim=channels // num_heads,
            partial_rotary_factor=0.0,
            qkv_use_bias=True,
            output_proj_use_bias=True,
        )
        self.norm = GroupNorm(num_groups, channels, epsilon)
        self.attention = SelfAttention(channels, config)
        self.cross_attention = None if context_dim is None else CrossAttention(channels, config, context_dim)
        if context_dim is not None:
            self.cross_norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """``context`` is ``[B, S, context_dim]``."""
        height, width = x.shape[2:]
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # [B, H*W, C]
        everything = torch.zeros(1, 1, 1, height * width, device=x.device)
        attended = self.attention(pixels, everything)
        if self.cross_attention is not None:
            assert context is not None
            keys, values = self.cross_attention.project_states(context)
            everything = torch.zeros(1, 1, 1, context.shape[1], device=x.device)
            attended = attended + self.cross_attention(self.cross_norm(attended), keys, values, everything)
        return x + attended.transpose(1, 2).reshape(*x.shape[:2], height, width)  # type: ignore[no-any-return]


class Downsample2D(nn.Module):
    """Half as high and wide, by a strided convolution; ``[B, C, H, W] -> [B, C, H/2, W/2]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x)  # type: ignore[no-any-return]


class Upsample2D(nn.Module):
    """Twice as high and wide, each pixel four times and then a convolution; ``[B, C, H, W] -> [B, C, 2 H, 2 W]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))  # type: ignore[no-any-return]
