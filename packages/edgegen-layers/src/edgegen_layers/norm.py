"""Normalization layers, as composites that GPU and NPU delegates know."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgegen.tracing import composite
from edgegen_layers.config import NormalizationConfig


@composite("odml.rms_norm", attributes=("epsilon",))
def rms_norm(x: torch.Tensor, weight: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """``x / sqrt(mean(x^2) + epsilon) * weight`` over the last axis; ``x [..., D]``, ``weight [D]``."""
    return nn.functional.rms_norm(x, weight.shape, weight, epsilon)


def _last_axis(x: torch.Tensor, *_: torch.Tensor, epsilon: float, num_groups: int = 1) -> dict[str, object]:
    """Attributes of both normalizations; GPU delegates want the channels last, that axis counted from the front."""
    return {"epsilon": epsilon, "num_groups": num_groups, "channel_axis": x.dim() - 1}


def _group_norm_attributes(x: torch.Tensor, *parameters: torch.Tensor, **settings: Any) -> dict[str, object]:
    """By this map a delegate tells a group norm from a layer norm, which has the same name."""
    axes = {"TENSOR_DATA": [x.dim() - 1]}
    return {**_last_axis(x, *parameters, **settings), "_TENSOR_V1_reduction_axes": axes}


@composite("odml.group_norm", attributes=_last_axis)
def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """``x [..., D]`` brought to mean 0 and variance 1 over the last axis, then ``* weight [D] + bias [D]``."""
    return nn.functional.layer_norm(x, weight.shape, weight, bias, epsilon)


@composite("odml.group_norm", attributes=_group_norm_attributes)
def group_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, num_groups: int, epsilon: float
) -> torch.Tensor:
    """Groups of channels of ``x [B, ..., C]`` brought to mean 0 and variance 1, then ``* weight [C] + bias [C]``."""
    normalized = nn.functional.group_norm(x.movedim(-1, 1), num_groups, weight, bias, epsilon)
    return normalized.movedim(1, -1)


@composite("odml.l2_norm", attributes=lambda x, *, epsilon: {"axis": -1, "epsilon": epsilon})
def l2_norm(x: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """``x / sqrt(sum(x^2) + epsilon)`` over the last axis, ``[..., D] -> [..., D]``."""
    return x * (x.square().sum(-1, keepdim=True) + epsilon).rsqrt()


def build_norm(hidden_size: int, config: NormalizationConfig) -> nn.Module:
    """The normalization that ``config`` describes, over a last axis of ``hidden_size``."""
    return RMSNorm(hidden_size, config) if config.kind == "rms" else LayerNorm(hidden_size, config)


class RMSNorm(nn.Module):
    """Root-mean-square normalization, ``[..., D] -> [..., D]``."""

    def __init__(self, hidden_size: int, config: NormalizationConfig) -> None:
        super().__init__()
        self.hidden_size, self.config = hidden_size, config
        if config.with_scale:
            self.weight = nn.Parameter(torch.ones(hidden_size) - config.scale_shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.config.with_scale:
            return nn.functional.rms_norm(x, (self.hidden_size,), None, self.config.epsilon)
        return rms_norm(x, _shifted(self.weight, self.config), epsilon=self.config.epsilon)


class LayerNorm(nn.Module):
    """Layer normalization, ``[..., D] -> [..., D]``."""

    def __init__(self, hidden_size: int, config: NormalizationConfig) -> None:
        super().__init__()
        self.hidden_size, self.config = hidden_size, config
        if config.with_scale:
            self.weight = nn.Parameter(torch.ones(hidden_size) - config.scale_shift)
        if config.has_bias:
            self.bias = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        config = self.config
        weight = _shifted(self.weight, config) if config.with_scale else None
        if weight is not None and config.has_bias:
            return layer_norm(x, weight, self.bias, epsilon=config.epsilon)
        return nn.functional.layer_norm(x, (self.hidden_size,), weight, None, config.epsilon)


class GroupNorm(nn.Module):
    """Group normalization (Wu and He, 2018), ``[B, C, ...] -> [B, C, ...]``; ``num_groups`` divides ``channels``."""

    def __init__(self, num_groups: int, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        if channels % num_groups:
            raise ValueError(f"{channels} channels cannot be split into {num_groups} groups evenly")
        self.num_groups, self.epsilon = num_groups, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels_last = x.movedim(1, -1)
        normalized = group_norm(channels_last, self.weight, self.bias, num_groups=self.num_groups, epsilon=self.epsilon)
        return normalized.movedim(-1, 1)


def _shifted(weight: torch.Tensor, config: NormalizationConfig) -> torch.Tensor:
    return weight + config.scale_shift if config.scale_shift else weight
