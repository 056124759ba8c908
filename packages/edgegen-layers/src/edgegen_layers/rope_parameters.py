"""Reads the rotary positions that a checkpoint states: ``rope_parameters`` of ``config.json`` and its older forms, and
GGUF's ``rope.scaling`` keys.

Sources: transformers' ``modeling_rope_utils.py``; llama.cpp's ``llama-model.cpp`` for what absent keys mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen_layers.rotary_scaling import LinearScaling, RotaryScaling, llama3_scaling, yarn_scaling

Rope = dict[str, Any]
"""``rope_type``, ``rope_theta`` and the settings of that type."""

_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_YARN = (
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "truncate",
    "mscale",
    "mscale_all_dim",
)
_KEYS: Mapping[str, tuple[str, ...]] = {
    "default": (*_YARN, "low_freq_factor", "high_freq_factor"),  # which that type has no use for
    "linear": ("factor", "original_max_position_embeddings"),
    "llama3": _LLAMA3,
    "yarn": _YARN,
    "longrope": ("short_factor", "long_factor", "factor", "attention_factor", "original_max_position_embeddings"),
}
"""Type -> settings that are read, or have no effect."""

_EVERY = ("rope_type", "type", "rope_theta")


def read_rope(reader: ConfigReader, checkpoint: Checkpoint, types: tuple[str, ...], *, partial: bool = False) -> Rope:
    """The rotary settings of a model whose blocks all have the same, as transformers merges them.

    Args:
        reader: of ``config.json``.
        checkpoint: it is read from.
        types: that the family knows, of :data:`_KEYS`.
        partial: True for a family of which a part of each head may be rotated. In others the setting has no effect
            where the frequencies are not scaled.

    Returns:
        ``rope_type`` and ``rope_theta``; ``partial_rotary_factor`` where it is stated; settings of the type.

    Raises:
        CheckpointError: the type is another, or a setting that the type has no use for may change the model.
    """
    scaling, parameters = reader.read("rope_scaling", dict, None), reader.read("rope_parameters", dict, None)
    rope: Rope = {key: value for key, value in (scaling or parameters or {}).items() if value is not None}
    rope.setdefault("rope_theta", reader.read("rope_theta", float, 10_000.0))
    part = reader.read("partial_rotary_factor", float, None)
    if part is not None:
        rope.setdefault("partial_rotary_factor", part)
    return checked(rope, checkpoint, types, partial=partial)


def checked(rope: Mapping[str, Any], checkpoint: Checkpoint, types: tuple[str, ...], *, partial: bool = False) -> Rope:
    """``rope`` with its type under ``rope_type``; see :func:`read_rope`."""
    kind = rope.get("rope_type") or rope.get("type") or "default"
    kind = "longrope" if kind == "su" else kind  # as early Phi-3 repositories say
    if kind not in types:
        raise CheckpointError(
            f"rotary positions of {checkpoint.path} are scaled by {kind!r}, which this family does not know",
            code=ErrorCode.UNKNOWN_CONFIG,
            hint=f"it knows {', '.join(types)}",
        )
    known = [*_EVERY, *_KEYS[kind]]
    if partial or kind == "default" or rope.get("partial_rotary_factor") == 1.0:
        known.append("partial_rotary_factor")
    unknown = sorted(key for key in rope if key not in known)
    if unknown:
        raise CheckpointError(
            f"rotary positions of {checkpoint.path} have {', '.join(unknown)}, which is not known of {kind!r}",
            code=ErrorCode.UNKNOWN_CONFIG,
        )
    return {**rope, "rope_type": kind}


def rotary_scaling(rope: Rope, head_dim: int, context: int) -> RotaryScaling | None:
    """Stretching of the frequencies that a type other than LongRoPE asks for; None for none.

    Args:
        rope: as :func:`read_rope` gives it.
        head_dim: H, of which all channels are rotated.
        context: ``max_position_embeddings``.
    """
    kind, base = rope["rope_type"], float(rope["rope_theta"])
    if kind == "default":
        return None
    if kind == "linear":
        return LinearScaling(factor=float(rope["factor"]))
    original = rope.get("original_max_position_embeddings", context)
    if kind == "llama3":
        return llama3_scaling(
            head_dim,
            base,
            factor=rope["factor"],
            low=rope["low_freq_factor"],
            high=rope["high_freq_factor"],
            original=original,
        )
    factor = float(rope.get("factor") or context / original)
    return yarn_scaling(
        head_dim,
        base,
        factor=factor,
        original=original,
        attention_factor=rope.get("attention_factor", _yarn_amplitude(rope, factor)),
        beta_fast=rope.get("beta_fast") or 32.0,
        beta_slow=rope.get("beta_slow") or 1.0,
        truncate=rope.get("truncate", True),
    )


def _yarn_amplitude(rope: Rope, factor: float) -> float | None:
    """DeepSeek's form of the attention factor, where ``mscale`` and ``mscale_all_dim`` are stated; None for YaRN's."""
    scales = rope.get("mscale"), rope.get("mscale_all_dim")
    if not all(scales):
        return None
    above, below = (0.1 * float(scale or 0) * math.log(factor) + 1 if factor > 1 else 1.0 for scale in scales)
    return above / below


def read_gguf_rope_scaling(reader: ConfigReader, head_dim: int, base: float, context: int) -> RotaryScaling | None:
    """Stretching of the frequencies that GGUF metadata state; None for none. Without a type a factor is linear.

    Args:
        reader: of the metadata, with the architecture as prefix.
        head_dim: H, of which all channels are rotated.
        base: of the frequencies.
        context: ``context_length``.

    Raises:
        CheckpointError: the type is another.
    """
    reader.require("rope.scaling.type", "none", "linear", "yarn")
    kind = reader.read("rope.scaling.type", str, "linear")
    older = reader.read("rope.scale_linear", float, 0.0)
    factor = reader.read("rope.scaling.factor", float, older) or 1.0
    original = reader.read("rope.scaling.original_context_length", int, context)
    amplitude = reader.read("rope.scaling.attn_factor", float, 1.0)
    fast, slow = (reader.read(f"rope.scaling.yarn_beta_{end}", float, None) for end in ("fast", "slow"))
    reader.read("rope.scaling.finetuned", bool, None)  # for the record
    for unchanged in ("yarn_ext_factor", "yarn_attn_factor"):
        reader.require(f"rope.scaling.{unchanged}", 1.0)
    if kind == "yarn":
        return yarn_scaling(
            head_dim,
            base,
            factor=factor,
            original=original,
            attention_factor=amplitude * (0.1 * math.log(factor) + 1),
            beta_fast=fast or 32.0,
            beta_slow=slow or 1.0,
        )
    if amplitude != 1.0:
        raise CheckpointError(
            f"the metadata state rope.scaling.attn_factor {amplitude} without yarn", code=ErrorCode.UNKNOWN_CONFIG
        )
    return LinearScaling(factor=factor) if kind == "linear" and factor != 1.0 else None
