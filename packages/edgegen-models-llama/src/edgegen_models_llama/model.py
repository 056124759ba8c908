"""Llama and its kin: sizes, from each repository's ``config.json``."""

from __future__ import annotations

from edgegen.weights import Checkpoint
from edgegen_layers.config import ModelConfig
from edgegen_layers.families.llama import Size, read_size
from edgegen_layers.rotary_scaling import llama3_scaling

_SMOLLM2_135M = Size(
    layers=30, dim=576, heads=9, groups=3, hidden=1536, context=8192, vocab=49_152, rotary_base=100_000.0, tied=True
)
_SMOLLM2_360M = Size(
    layers=32, dim=960, heads=15, groups=5, hidden=2560, context=8192, vocab=49_152, rotary_base=100_000.0, tied=True
)
_SMOLLM2_1_7B = Size(
    layers=24, dim=2048, heads=32, groups=32, hidden=8192, context=8192, vocab=49_152, rotary_base=130_000.0, tied=True
)
_LLAMA2_7B = Size(layers=32, dim=4096, heads=32, groups=32, hidden=11_008, context=4096, vocab=32_000)
_LLAMA3_8B = Size(
    layers=32, dim=4096, heads=32, groups=8, hidden=14_336, context=8192, vocab=128_256, rotary_base=500_000.0
)
_LLAMA31_8B = Size(
    layers=32,
    dim=4096,
    heads=32,
    groups=8,
    hidden=14_336,
    context=131_072,
    vocab=128_256,
    rotary_base=500_000.0,
    rotary_scaling=llama3_scaling(128, 500_000.0, factor=8.0),
)
_LLAMA32_1B = Size(
    layers=16,
    dim=2048,
    heads=32,
    groups=8,
    hidden=8192,
    context=131_072,
    vocab=128_256,
    rotary_base=500_000.0,
    rotary_scaling=llama3_scaling(64, 500_000.0, factor=32.0),
    tied=True,
)
_LLAMA32_3B = Size(
    layers=28,
    dim=3072,
    heads=24,
    groups=8,
    hidden=8192,
    context=131_072,
    vocab=128_256,
    rotary_base=500_000.0,
    rotary_scaling=llama3_scaling(128, 500_000.0, factor=32.0),
    tied=True,
)
_MISTRAL_7B = Size(
    layers=32, dim=4096, heads=32, groups=8, hidden=14_336, context=32_768, vocab=32_768, rotary_base=1e6
)

SIZES: dict[str, Size] = {
    "smollm-135m": Size(layers=30, dim=576, heads=9, groups=3, hidden=1536, context=2048, vocab=49_152, tied=True),
    "smollm-360m": Size(layers=32, dim=960, heads=15, groups=5, hidden=2560, context=2048, vocab=49_152, tied=True),
    "smollm-1.7b": Size(layers=24, dim=2048, heads=32, groups=32, hidden=8192, context=2048, vocab=49_152, tied=True),
    "smollm2-135m": _SMOLLM2_135M,
    "smollm2-135m-instruct": _SMOLLM2_135M,
    "smollm2-360m": _SMOLLM2_360M,
    "smollm2-360m-instruct": _SMOLLM2_360M,
    "smollm2-1.7b": _SMOLLM2_1_7B,
    "smollm2-1.7b-instruct": _SMOLLM2_1_7B,
    "tinyllama-1.1b": Size(layers=22, dim=2048, heads=32, groups=4, hidden=5632, context=2048, vocab=32_000),
    "llama2-7b": _LLAMA2_7B,
    "llama2-7b-chat": _LLAMA2_7B,
    "llama3-8b": _LLAMA3_8B,
    "llama3-8b-instruct": _LLAMA3_8B,
    "llama3.1-8b": _LLAMA31_8B,
    "llama3.1-8b-instruct": _LLAMA31_8B,
    "llama3.2-1b": _LLAMA32_1B,
    "llama3.2-1b-instruct": _LLAMA32_1B,
    "llama3.2-3b": _LLAMA32_3B,
    "llama3.2-3b-instruct": _LLAMA32_3B,
    "deepseek-r1-distill-llama-8b": _LLAMA31_8B,
    "mistral-7b-v0.3": _MISTRAL_7B,
    "mistral-7b-instruct-v0.3": _MISTRAL_7B,
}


def config(variant: str) -> ModelConfig:
    """The configuration of a listed variant; raises KeyError for any other."""
    return SIZES[variant].config()


def read_config(checkpoint: Checkpoint) -> ModelConfig | None:
    """What the checkpoint says of itself; see :func:`edgegen_layers.families.llama.read_size`."""
    size = read_size(checkpoint, {"llama": {}, "mistral": {}})
    return None if size is None else size.config()
