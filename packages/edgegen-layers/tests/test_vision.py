"""Blocks for pictures, against transformers' and PyTorch's own, and in LiteRT."""

from __future__ import annotations

import pytest
import torch
from lowering import check_lowered, randomize
from torch import nn
from torch.nn import functional as F
from transformers import ViTConfig
from transformers.models.vit.modeling_vit import ViTEmbeddings

from edgegen_layers import AttentionBlock2D, Downsample2D, GroupNorm, PatchEmbedding, ResidualBlock2D, Upsample2D


@torch.no_grad()
def test_patches_agree_with_transformers():
    theirs = ViTEmbeddings(ViTConfig(image_size=8, patch_size=4, num_channels=3, hidden_size=16)).eval()
    ours = PatchEmbedding((8, 8), 4, 3, 16, class_token=True)
    randomize(ours)
    theirs.patch_embeddings.projection.load_state_dict(ours.projection.state_dict())
    theirs.cls_token.copy_(ours.class_token)
    theirs.position_embeddings.copy_(ours.positions)
    pictures = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(ours(pictures), theirs(pictures))
    check_lowered(ours, pictures)


def test_a_picture_without_whole_patches_is_refused():
    with pytest.raises(ValueError, match="no whole patches of 3"):
        PatchEmbedding((8, 8), 3, 3, 16)


def test_group_norm_agrees_with_pytorch():
    ours, theirs = GroupNorm(4, 12), nn.GroupNorm(4, 12)
    randomize(ours)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 12, 6, 5)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    check_lowered(ours, x)


@pytest.mark.parametrize("out_channels", [8, 12])
@pytest.mark.parametrize("with_time", [False, True])
def test_a_residual_block_is_its_formula(out_channels: int, with_time: bool):
    block = ResidualBlock2D(8, out_channels, time_dim=10 if with_time else None, num_groups=4)
    randomize(block)
    block.requires_grad_(False)
    x, time = torch.randn(1, 8, 6, 6), torch.randn(1, 10)
    hidden = F.group_norm(x, 4, block.first_norm.weight, block.first_norm.bias, 1e-5)
    hidden = F.conv2d(F.silu(hidden), block.first.weight, block.first.bias, padding=1)
    if with_time:
        hidden = hidden + F.linear(F.silu(time), block.time.weight, block.time.bias)[:, :, None, None]
    hidden = F.group_norm(hidden, 4, block.second_norm.weight, block.second_norm.bias, 1e-5)
    hidden = F.conv2d(F.silu(hidden), block.second.weight, block.second.bias, padding=1)
    residual = x if out_channels == 8 else F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    inputs = (x, time) if with_time else (x,)
    torch.testing.assert_close(block(*inputs), residual + hidden, atol=1e-4, rtol=1e-4)
    check_lowered(block, *inputs)


@pytest.mark.parametrize("with_text", [False, True])
def test_attention_over_pixels_agrees_with_pytorch(with_text: bool):
    block = AttentionBlock2D(8, 2, context_dim=6 if with_text else None, num_groups=4)
    randomize(block)
    block.requires_grad_(False)
    x, text = torch.randn(1, 8, 3, 4), torch.randn(1, 5, 6)

    def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        heads = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (queries, keys, values))
        return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)

    pixels = F.group_norm(x, 4, block.norm.weight, block.norm.bias, 1e-6).flatten(2).transpose(1, 2)
    expected = block.attention.output(attend(*block.attention.qkv(pixels).chunk(3, dim=-1)))
    if with_text:
        cross = block.cross_attention
        keys, values = cross.key_value(text).chunk(2, dim=-1)
        expected = expected + cross.output(attend(cross.query(block.cross_norm(expected)), keys, values))
    inputs = (x, text) if with_text else (x,)
    torch.testing.assert_close(block(*inputs), x + expected.transpose(1, 2).reshape(x.shape), atol=1e-4, rtol=1e-4)
    check_lowered(block, *inputs)


def test_resampling_halves_and_doubles():
    x = torch.randn(1, 4, 6, 8)
    for block, size in ((Downsample2D(4), (3, 4)), (Upsample2D(4), (12, 16))):
        assert block(x).shape == (1, 4, *size)
        check_lowered(block, x)
    up = Upsample2D(4).requires_grad_(False)
    nearest = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(up(x), up.convolution(nearest))
