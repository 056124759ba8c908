"""Checkpoints that another tool has quantized: told by their tensors, and named with how they are quantized."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.weights.tensors import LazyTensor

_MARKS: Mapping[str, tuple[str, ...]] = {
    "GPTQ": ("*.g_idx",),
    "AWQ": ("*.qweight", "*.qzeros"),
    "bitsandbytes, 8 bits": ("*.SCB",),
    "bitsandbytes, 4 bits": ("*.absmax", "*.quant_map", "*.quant_state.*"),
    "compressed-tensors": ("*.weight_packed",),
    "FP8": ("*.weight_scale_inv", "*.weight_scale", "*.input_scale"),
    "HQQ": ("*.W_q",),
    "AQLM": ("*.codes", "*.codebooks"),
    "MXFP4": ("*_blocks", "*_scales"),
    "MLX": ("*.scales", "*.biases"),
}
"""Way of quantizing -> patterns of names, of which any gives it away; the first that fits is it."""

_NAMES = {"gptq": "GPTQ", "awq": "AWQ", "bitsandbytes": "bitsandbytes", "fp8": "FP8", "hqq": "HQQ", "mxfp4": "MXFP4"}


def check_unquantized(tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]) -> None:
    """Refuse tensors that another tool has quantized.

    A ``quantization_config`` that was left in a ``config.json`` beside plain numbers is no reason to.

    Raises:
        UnsupportedError: they are quantized; it says how.
    """
    found = _way(tensors)
    if found is None:
        return
    stated = config.get("quantization_config") or config.get("quantization")
    settings = stated if isinstance(stated, Mapping) else {}
    method = settings.get("quant_method")
    way = _NAMES.get(str(method), str(method)) if method else found
    shown = [f"{key} {settings[key]}" for key in ("bits", "group_size", "format") if settings.get(key) is not None]
    raise UnsupportedError(
        f"the checkpoint is quantized already: {', '.join([way, *shown])}",
        code=ErrorCode.UNSUPPORTED_STORAGE,
        hint="use the weights that it was made from (edgegen quantizes them with --scheme), or a GGUF file",
    )


def _way(tensors: Mapping[str, LazyTensor]) -> str | None:
    ways = (way for way, patterns in _MARKS.items() if any(fnmatchcase(n, p) for p in patterns for n in tensors))
    return next(ways, None)
