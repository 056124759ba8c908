"""Which channels of a decoder can be scaled, as a table: what makes them, and what takes them."""

from __future__ import annotations

from edgegen.quantization.channel_scaling import Rows, ScalingGroup
from edgegen_layers.config import (
    AttentionConfig,
    FeedForwardConfig,
    ModelConfig,
    NormalizationConfig,
    TransformerBlockConfig,
)

EMBEDDING_SCALES = "embedding_scales"
"""Parameter of a model whose head is the table: what is looked up there is multiplied by it, ``[D]``."""


def decoder_scaling_groups(config: ModelConfig) -> list[ScalingGroup]:
    """Of all blocks, inner ones first, and of the head. Cross attention is not looked into."""
    found = [each for index, block in enumerate(config.blocks) for each in _block(f"blocks.{index}.", block)]
    norm = _norm("final_norm.", config.final_norm_config)
    if norm and config.tie_embeddings:
        found.append(ScalingGroup((*norm, Rows(EMBEDDING_SCALES)), ("embedding.weight",), added=EMBEDDING_SCALES))
    elif norm:
        found.append(ScalingGroup(norm, ("lm_head.weight",)))
    return found


def _block(path: str, config: TransformerBlockConfig) -> list[ScalingGroup]:
    attention_readers, attention = _attention(path + "attention.", config.attn_config)
    ff_readers, feed_forward = _feed_forward(path + "feed_forward.", config.ff_config)
    if config.parallel_residual:
        readers = {"attention_norm.": (*attention_readers, *ff_readers)}
    else:
        readers = {"attention_norm.": attention_readers, "feed_forward_norm.": ff_readers}
    norms = {"attention_norm.": config.pre_attention_norm_config, "feed_forward_norm.": config.pre_ff_norm_config}
    made = {name: _norm(path + name, norms[name]) for name in readers}
    return [*attention, *feed_forward, *(ScalingGroup(made[name], readers[name]) for name in readers if made[name])]


def _norm(path: str, config: NormalizationConfig) -> tuple[Rows, ...]:
    """What its outputs are proportional to; nothing where it has no scale."""
    if not config.with_scale:
        return ()
    weight = Rows(path + "weight", shift=config.scale_shift)
    return (weight, Rows(path + "bias")) if config.kind == "layer" and config.with_bias else (weight,)


def _attention(path: str, config: AttentionConfig) -> tuple[tuple[str, ...], list[ScalingGroup]]:
    """What reads the block's input, and the values: mixed with weights that sum to 1, they stay what they are."""
    names = ("qkv",) if config.qkv_fused else ("query", "key", "value")
    start = config.query_rows + config.group_rows if config.qkv_fused else 0
    kinds = ("weight", "bias") if config.qkv_use_bias else ("weight",)
    values = tuple(Rows(f"{path}{names[-1]}.{kind}", start) for kind in kinds)
    copies = config.num_heads // config.num_kv_heads
    output = ScalingGroup(values, (path + "output.weight",), run=config.head_dim, copies=copies)
    return tuple(f"{path}{name}.weight" for name in names), [output]


def _feed_forward(path: str, config: FeedForwardConfig) -> tuple[tuple[str, ...], list[ScalingGroup]]:
    """What reads the block's input, and hidden channels: in proportion to ``up`` where ``gate`` multiplies them."""
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
