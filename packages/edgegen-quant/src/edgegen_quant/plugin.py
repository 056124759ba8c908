"""Plugin: quantization schemes and weight passes."""

from __future__ import annotations

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import QuantScheme, WeightPass

_SCHEMES = "edgegen_quant.schemes"
_FALLS_TO_8 = "8 bits where the columns do not divide by it"
_COARSE = "one scale for a whole row of 4-bit numbers costs much quality, most of it in small models; measure it"


@hookimpl
def edgegen_quant_schemes() -> Iterable[QuantScheme]:
    yield QuantScheme(
        name="fp16",
        summary="16-bit floating-point weights, float32 arithmetic",
        scheme=f"{_SCHEMES}:FP16",
        aliases=("float16",),
        caution="the CPU runtime dequantizes the weights to float32: half the file, but no less memory than fp32",
    )
    yield QuantScheme(
        name="int8-channel",
        summary="8-bit weights with one scale per output channel, dynamically quantized activations",
        scheme=f"{_SCHEMES}:INT8_CHANNEL",
        aliases=("dynamic_wi8_afp32", "dynamic_wi8c_afp32"),
    )
    yield QuantScheme(
        name="int8-weight-only",
        summary="8-bit weights with one scale per output channel, float32 arithmetic",
        scheme=f"{_SCHEMES}:INT8_WEIGHT_ONLY",
        aliases=("weight_only_wi8_afp32",),
        caution="the CPU runtime dequantizes the weights to float32: a small file, as much memory as fp32, and as slow",
    )
    yield QuantScheme(
        name="int4-channel",
        summary="4-bit weights with one scale per output channel, dynamically quantized activations",
        scheme=f"{_SCHEMES}:INT4_CHANNEL",
        aliases=("dynamic_wi4_afp32", "dynamic_wi4c_afp32"),
        caution=_COARSE,
    )
    for block in (32, 64, 128):
        yield QuantScheme(
            name=f"int4-block{block}",
            summary=f"4-bit weights with one scale per {block} of a row; {_FALLS_TO_8}",
            scheme=f"{_SCHEMES}:INT4_BLOCK{block}",
            aliases=(f"dynamic_wi4b{block}_afp32",),
        )
    yield QuantScheme(
        name="int2-channel",
        summary="2-bit weights with one scale per output channel, dynamically quantized activations",
        scheme=f"{_SCHEMES}:INT2_CHANNEL",
        aliases=("dynamic_wi2c_afp32",),
        caution="models that were not trained for 2 bits answer nonsense",
    )
    yield QuantScheme(
        name="int4-channel-int8-embed",
        summary="int4-channel; embeddings and heads as int8-channel",
        scheme=f"{_SCHEMES}:INT4_CHANNEL_INT8_EMBED",
        caution=_COARSE,
    )
    for block in (32, 64, 128):
        yield QuantScheme(
            name=f"int4-block{block}-int8-embed",
            summary=f"int4-block{block}; embeddings and heads as int8-channel",
            scheme=f"{_SCHEMES}:INT4_BLOCK{block}_INT8_EMBED",
        )
    yield QuantScheme(
        name="passthrough",
        summary="the checkpoint's own 4-bit blocks, bit for bit; matrices of other types as int8-channel",
        scheme=f"{_SCHEMES}:PASSTHROUGH",
    )


@hookimpl
def edgegen_weight_passes() -> Iterable[WeightPass]:
    yield WeightPass(
        name="smoothquant",
        summary="scales channels so that quantizing activations to 8 bits, or weights in blocks, costs less",
        implementation="edgegen_quant.ptq.smoothquant_pass:SmoothQuantPass",
        order=10,
    )
    yield WeightPass(
        name="gptq",
        summary="rounds each matrix so that errors cancel over the inputs that calibration data give it",
        implementation="edgegen_quant.ptq.gptq_pass:GptqPass",
        order=20,
    )
