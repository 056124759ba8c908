"""Recipes under the names that AI Edge Torch has for them; each can be given wherever a scheme can."""

from __future__ import annotations

from edgegen.errors import ErrorCode, UsageError
from edgegen.quantization.recipe import Recipe, recipe

_BLOCKS = (32, 64, 128)


def full_int8_dynamic_recipe() -> Recipe:
    """All matrices in 8 bits by channel, activations quantized as the model runs: ``int8-channel``."""
    return recipe({"*": "int8-channel"})


def full_linear_int8_dynamic_recipe() -> Recipe:
    """The same for linear layers; embeddings, and tables that are embedding and head at once, stay float32."""
    return recipe({"@linear": "int8-channel", "*": "fp32"})


def full_int8_weight_only_recipe() -> Recipe:
    """All matrices in 8 bits by channel, arithmetic in float32: ``int8-weight-only``."""
    return recipe({"*": "int8-weight-only"})


def full_int4_dynamic_channel_recipe() -> Recipe:
    """All matrices in 4 bits by channel: ``int4-channel``."""
    return recipe({"*": "int4-channel"})


def full_int4_dynamic_block_recipe(block_size: int = 32) -> Recipe:
    """All matrices in 4 bits by blocks of ``block_size``: ``int4-block32`` and so on.

    Raises:
        UsageError: the CPU kernels have no such blocks.
    """
    if block_size not in _BLOCKS:
        raise UsageError(
            f"there are no blocks of {block_size}",
            code=ErrorCode.INVALID_RECIPE,
            hint=f"block_size is {', '.join(map(str, _BLOCKS[:-1]))} or 128",
        )
    return recipe({"*": f"int4-block{block_size}"})


def full_fp16_recipe() -> Recipe:
    """All matrices as float16: ``fp16``."""
    return recipe({"*": "fp16"})
