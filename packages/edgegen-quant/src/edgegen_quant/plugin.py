"""What this package offers to edgegen."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import QuantScheme


@hookimpl
def edgegen_quant_schemes() -> Iterable[QuantScheme]:
    yield QuantScheme(
        name="fp32",
        summary="32-bit floating-point weights",
        scheme="edgegen_quant.schemes:FP32",
        aliases=("float32",),
    )
    yield QuantScheme(
        name="fp16",
        summary="16-bit floating-point weights, float32 arithmetic",
        scheme="edgegen_quant.schemes:FP16",
        aliases=("float16",),
    )
    yield QuantScheme(
        name="int8-channel",
        summary="8-bit weights with one scale per output channel, dynamically quantized activations",
        scheme="edgegen_quant.schemes:INT8_CHANNEL",
        aliases=("dynamic_wi8_afp32",),
    )
    yield QuantScheme(
        name="keep",
        summary="the checkpoint's own 4-bit blocks, bit for bit; matrices of other types as int8-channel",
        scheme="edgegen_quant.schemes:KEEP",
    )
