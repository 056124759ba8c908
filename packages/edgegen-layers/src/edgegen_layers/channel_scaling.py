"""Channels of a decoder that can be scaled (SmoothQuant, cross-layer scaling): their producers and consumers.

Found from the configurations of its parts; see :class:`edgegen.quantization.channel_scaling.ScalingGroup`.
"""

from __future__ import annotations

from edgegen.quantization.channel_scaling import Rows, ScalingGroup
from edgegen_layers.config import AttentionConfig, FeedForwardConfig, NormalizationConfig

EMBEDDING_SCALES = "embedding_scales"
"""Parameter of a model whose head is the table: what is looked up there is multiplied by it, ``[D]``."""


def block_scaling_groups(
    path: str,
    attention_norm: NormalizationConfig,
    attention: AttentionConfig,
    feed_forward_norm: NormalizationConfig | None,
    feed_forward: FeedForwardConfig,
) -> list[ScalingGroup]:
    """Groups of one block, inner ones first.

    Args:
        path: the block's, with a dot behind it.
        attention_norm: normalization of attention's input.
        attention: self-attention.
        feed_forward_norm: normalization of the feed-forward layer's input; None if that reads what attention reads.
        feed_forward: the feed-forward layer.
    """
    attention_inputs, groups = _attention(path + "attention.", attention)
    ff_inputs, ff_groups = _feed_forward(path + "feed_forward.", feed_forward)
    if feed_forward_norm is None:
        consumers = [("attention_norm.", attention_norm, (*attention_inputs, *ff_inputs))]
    else:
        consumers = [
            ("attention_norm.", attention_norm, attention_inputs),
            ("feed_forward_norm.", feed_forward_norm, ff_inputs),
        ]
    norms = [(_norm(path + name, config), matrices) for name, config, matrices in consumers]
    return [*groups, *ff_groups, *(ScalingGroup(producers, matrices) for producers, matrices in norms if producers)]


def head_scaling_group(final_norm: NormalizationConfig, *, tied: bool) -> list[ScalingGroup]:
    """The group of the head's input; ``tied`` if its matrix is the embedding table. Empty if the norm has no scale."""
    norm = _norm("final_norm.", final_norm)
    if not norm:
        return []
    if tied:
        return [ScalingGroup((*norm, Rows(EMBEDDING_SCALES)), ("embedding.weight",), added=EMBEDDING_SCALES)]
    return [ScalingGroup(norm, ("lm_head.weight",))]


def _norm(path: str, config: NormalizationConfig) -> tuple[Rows, ...]:
    """Parameters that the outputs are proportional to; none where there is no scale."""
    if not config.with_scale:
        return ()
    weight = Rows(path + "weight", shift=config.scale_shift)
    return (weight, Rows(path + "bias")) if config.has_bias else (weight,)


def _attention(path: str, config: AttentionConfig) -> tuple[tuple[str, ...], list[ScalingGroup]]:
    """Matrices that read the block's input; and the values' group: mixed with weights that sum to 1, they keep their
    scale."""
    names = ("qkv",) if config.qkv_fused else ("query", "key", "value")
    start = config.query_rows + config.kv_rows if config.qkv_fused else 0
    kinds = ("weight", "bias") if config.qkv_use_bias else ("weight",)
    values = tuple(Rows(f"{path}{names[-1]}.{kind}", start) for kind in kinds)
    copies = config.num_attention_heads // config.num_kv_heads
    output = ScalingGroup(values, (path + "output.weight",), run=config.head_dim, copies=copies)
    return tuple(f"{path}{name}.weight" for name in names), [output]


def _feed_forward(path: str, config: FeedForwardConfig) -> tuple[tuple[str, ...], list[ScalingGroup]]:
    """Matrices that read the block's input; and groups of hidden channels: proportional to ``up`` where gated."""
    size, kinds = config.intermediate_size, ("weight", "bias") if config.use_bias else ("weight",)
    if config.num_experts is None:
        first, downs = "gate_up" if config.gated else "up", ["down.weight"]
    else:
        first, downs = "up", [f"down.{expert}.weight" for expert in range(config.num_experts)]
    hidden = [
        ScalingGroup(
            tuple(Rows(f"{path}{first}.{kind}", (2 * i + 1) * size, (2 * i + 2) * size) for kind in kinds),
            (path + down,),
        )
        for i, down in enumerate(downs)
    ]
    router = () if config.num_experts is None else (path + "router.weight",)
    return (f"{path}{first}.weight", *router), hidden if config.gated else []
