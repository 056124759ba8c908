"""Quantization schemes for edgegen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegen_quant._version import __version__

if TYPE_CHECKING:
    from edgegen.quantization.recipe import Recipe, recipe
    from edgegen_quant.recipes import (
        full_fp16_recipe,
        full_int4_dynamic_block_recipe,
        full_int4_dynamic_channel_recipe,
        full_int8_dynamic_recipe,
        full_int8_weight_only_recipe,
        full_linear_int8_dynamic_recipe,
    )
    from edgegen_quant.static import static_quantize

__all__ = [
    "Recipe",
    "__version__",
    "full_fp16_recipe",
    "full_int4_dynamic_block_recipe",
    "full_int4_dynamic_channel_recipe",
    "full_int8_dynamic_recipe",
    "full_int8_weight_only_recipe",
    "full_linear_int8_dynamic_recipe",
    "recipe",
    "static_quantize",
]

# These need numpy, so they are imported when somebody first names them: plugins are loaded to list what there is.
_LAZY = {name: "edgegen_quant.recipes" for name in __all__ if name != "__version__"}
_LAZY["static_quantize"] = "edgegen_quant.static"


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
