"""Normalizations, against transformers' and PyTorch's own, and in LiteRT."""

from __future__ import annotations

import pytest
import torch
from lowering import check_lowered, randomize
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from edgegen_layers import NormalizationConfig, RMSNorm
from edgegen_layers.norm import GroupNorm, build_norm, l2_norm


@pytest.mark.parametrize("epsilon", [1e-6, 1e-5, 1e-2])
@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 1e3])
def test_rms_agrees_with_transformers(epsilon: float, magnitude: float):
    torch.manual_seed(0)
    norm, theirs = RMSNorm(24, NormalizationConfig(epsilon=epsilon)), LlamaRMSNorm(24, eps=epsilon)
    weight = torch.randn(24)
    with torch.no_grad():
        norm.weight.copy_(weight)
        theirs.weight.copy_(weight)
    x = magnitude * torch.randn(2, 5, 24)
    torch.testing.assert_close(norm(x), theirs(x))


def test_rms_starts_as_pure_normalization():
    x = torch.randn(3, 16)
    for shift in (0.0, 1.0):
        normalized = RMSNorm(16, NormalizationConfig(epsilon=0.0, scale_shift=shift))(x)
        torch.testing.assert_close(normalized.square().mean(-1), torch.ones(3))


def test_a_scale_around_zero_agrees_with_gemma():
    norm, theirs = build_norm(24, NormalizationConfig(epsilon=1e-6, scale_shift=1.0)), GemmaRMSNorm(24, eps=1e-6)
    randomize(norm)
    theirs.load_state_dict(norm.state_dict())
    x = torch.randn(2, 5, 24)
    torch.testing.assert_close(norm(x), theirs(x))
    check_lowered(norm, x)


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_without_a_scale(kind: str):
    norm = build_norm(24, NormalizationConfig(kind=kind, with_scale=False))
    assert not list(norm.parameters())
    x = torch.randn(2, 5, 24)
    centred = x - x.mean(-1, keepdim=True) if kind == "layer" else x
    torch.testing.assert_close(norm(x), centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    check_lowered(norm, x)


@pytest.mark.parametrize("with_bias", [True, False])
def test_layer_norm_agrees_with_pytorch(with_bias: bool):
    norm = build_norm(24, NormalizationConfig(kind="layer", with_bias=with_bias))
    theirs = nn.LayerNorm(24, bias=with_bias)
    randomize(norm)
    theirs.load_state_dict(norm.state_dict())
    x = torch.randn(2, 5, 24)
    torch.testing.assert_close(norm(x), theirs(x))
    check_lowered(norm, x)


def test_l2_norm_agrees_with_pytorch():
    class Normalize(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return l2_norm(x, epsilon=1e-12)

    x = torch.randn(3, 24)
    torch.testing.assert_close(Normalize()(x), nn.functional.normalize(x))
    check_lowered(Normalize(), x)


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="12 channels cannot be split into 5 groups"):
        GroupNorm(5, 12)
