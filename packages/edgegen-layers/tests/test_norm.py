"""Root-mean-square normalization."""

from __future__ import annotations

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from edgegen_layers import NormalizationConfig, RMSNorm


@pytest.mark.parametrize("epsilon", [1e-6, 1e-5, 1e-2])
@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 1e3])
def test_agrees_with_transformers(epsilon: float, magnitude: float):
    torch.manual_seed(0)
    norm, theirs = RMSNorm(24, NormalizationConfig(epsilon=epsilon)), LlamaRMSNorm(24, eps=epsilon)
    weight = torch.randn(24)
    with torch.no_grad():
        norm.weight.copy_(weight)
        theirs.weight.copy_(weight)
    x = magnitude * torch.randn(2, 5, 24)
    torch.testing.assert_close(norm(x), theirs(x))


def test_starts_as_pure_normalization():
    x = torch.randn(3, 16)
    normalized = RMSNorm(16, NormalizationConfig(epsilon=0.0))(x)
    torch.testing.assert_close(normalized.square().mean(-1), torch.ones(3))
