"""Attention without a cache, and to another text: against PyTorch's own layers, and in LiteRT."""

from __future__ import annotations

import torch
from lowering import check_lowered, randomize
from torch import nn

from edgegen_layers import AttentionConfig
from edgegen_layers.attention import CrossAttention, SelfAttention
from edgegen_layers.rotary import rotary_table

DIM, HEADS = 24, 3
PLAIN = {
    "num_attention_heads": HEADS,
    "num_kv_heads": HEADS,
    "head_dim": DIM // HEADS,
    "partial_rotary_factor": 0.0,
    "qkv_use_bias": True,
    "output_proj_use_bias": True,
}


def pytorchs() -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(DIM, HEADS, batch_first=True).eval()
    randomize(theirs)
    return theirs.requires_grad_(False)


def test_self_attention_agrees_with_pytorch():
    theirs = pytorchs()
    ours = SelfAttention(DIM, AttentionConfig(**PLAIN)).requires_grad_(False)
    ours.qkv.weight.copy_(theirs.in_proj_weight)
    ours.qkv.bias.copy_(theirs.in_proj_bias)
    ours.output.load_state_dict(theirs.out_proj.state_dict())
    x, hidden = torch.randn(2, 7, DIM), torch.zeros(2, 7, dtype=torch.bool)
    hidden[1, 5:] = True
    expected, _ = theirs(x, x, x, key_padding_mask=hidden)
    mask = (hidden.float() * -1e9)[:, None, None]
    torch.testing.assert_close(ours(x, mask), expected)
    check_lowered(ours, x[:1], mask[:1])
    check_lowered(ours, x, mask)


def test_cross_attention_agrees_with_pytorch():
    theirs = pytorchs()
    ours = CrossAttention(DIM, AttentionConfig(**PLAIN), encoder_dim=DIM).requires_grad_(False)
    ours.query.weight.copy_(theirs.in_proj_weight[:DIM])
    ours.query.bias.copy_(theirs.in_proj_bias[:DIM])
    ours.key_value.weight.copy_(theirs.in_proj_weight[DIM:])
    ours.key_value.bias.copy_(theirs.in_proj_bias[DIM:])
    ours.output.load_state_dict(theirs.out_proj.state_dict())
    x, states = torch.randn(1, 4, DIM), torch.randn(1, 9, DIM)
    expected, _ = theirs(x, states, states)
    keys, values = ours.project_states(states)
    mask = torch.zeros(1, 1, 1, 9)
    torch.testing.assert_close(ours(x, keys, values, mask), expected)
    check_lowered(ours, x, keys, values, mask)


def test_fused_and_separate_projections_agree():
    sizes = {"num_attention_heads": 4, "num_kv_heads": 2, "head_dim": 8, "qkv_use_bias": True}
    fused = SelfAttention(DIM, AttentionConfig(**sizes)).requires_grad_(False)
    apart = SelfAttention(DIM, AttentionConfig(**sizes, qkv_fused=False)).requires_grad_(False)
    randomize(apart)
    fused.load_state_dict(
        {f"output.{name}": value for name, value in apart.output.state_dict().items()}
        | {
            f"qkv.{kind}": torch.cat([getattr(getattr(apart, part), kind) for part in ("query", "key", "value")])
            for kind in ("weight", "bias")
        }
    )
    x, mask = torch.randn(1, 5, DIM), torch.zeros(1, 1, 1, 5)
    rotary = rotary_table(torch.arange(5), 8, 10_000.0)
    torch.testing.assert_close(apart(x, mask, rotary), fused(x, mask, rotary))
    check_lowered(apart, x, mask, rotary)
