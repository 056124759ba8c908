"""Plugin: the built-in implementation of every block that can be replaced."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import LayerImpl


@hookimpl
def edgegen_layers() -> Iterable[LayerImpl]:
    yield LayerImpl(
        block="attention",
        name="matmul",
        impl="edgegen_layers.kernels:MatmulAttention",
        summary="explicit batch matrix products in the cache layout that XNNPACK likes",
    )
    yield LayerImpl(
        block="attention",
        name="ring",
        impl="edgegen_layers.ring:RingAttention",
        summary="like matmul; blocks with a sliding window keep no more of the text than that sees",
        unsupported=("position_bias",),
    )
    yield LayerImpl(
        block="attention",
        name="sdpa",
        impl="edgegen_layers.kernels:SdpaAttention",
        summary="the odml.scaled_dot_product_attention composite, for delegates that know it",
    )
    yield LayerImpl(
        block="mixer",
        name="attention",
        impl="edgegen_layers.attention:CausalSelfAttention",
        summary="grouped-query attention over a cache",
    )
    yield LayerImpl(
        block="mlp",
        name="experts",
        impl="edgegen_layers.moe:MixtureOfExperts",
        summary="a mixture of experts, all of them computed",
        unsupported=("single",),
    )
    yield LayerImpl(
        block="mlp",
        name="gated",
        impl="edgegen_layers.feed_forward:GatedFeedForward",
        summary="gate and up as one product; with SiLU the odml.swiglu composite",
        unsupported=("plain", "experts"),
    )
    yield LayerImpl(
        block="mlp",
        name="plain",
        impl="edgegen_layers.feed_forward:FeedForward",
        summary="two projections with an activation between them",
        unsupported=("gated", "experts"),
    )
    yield LayerImpl(
        block="norm",
        name="layer",
        impl="edgegen_layers.norm:LayerNorm",
        summary="layer normalization, the odml.group_norm composite",
        unsupported=("rms",),
    )
    yield LayerImpl(
        block="norm",
        name="rms",
        impl="edgegen_layers.norm:RMSNorm",
        summary="root-mean-square normalization, the odml.rms_norm composite",
        unsupported=("layer",),
    )
