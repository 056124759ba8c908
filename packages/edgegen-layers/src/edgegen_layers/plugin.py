"""What this package offers to edgegen."""

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
    )
    yield LayerImpl(
        block="attention",
        name="sdpa",
        impl="edgegen_layers.kernels:SdpaAttention",
        summary="the odml.scaled_dot_product_attention composite, for delegates that know it",
    )
