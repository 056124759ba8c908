"""Reads a Phi's configuration from a checkpoint: ``config.json`` of both architectures, or GGUF metadata."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen_models_phi.phi import Phi2Config, Phi3Config, PhiConfig
from edgegen_models_phi.variants import longrope

_ROPE_KEYS = {
    "type",
    "rope_type",
    "rope_theta",
    "partial_rotary_factor",
    "original_max_position_embeddings",
    "short_factor",
    "long_factor",
}


@dataclass(frozen=True, kw_only=True)
class LongRope:
    """Rotary factors for texts up to ``original`` tokens and for longer ones, up to ``extended``."""

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int
    extended: int

    @property
    def fields(self) -> dict[str, Any]:
        """Those of :class:`~edgegen_models_phi.phi.Phi3Config`."""
        return {
            "rope_scaling": longrope(self.short, self.original, self.extended),
            "long_factor": self.long,
            "original_max_position_embeddings": self.original,
        }


def read_config(checkpoint: Checkpoint) -> PhiConfig | None:
    """Configuration that the checkpoint states of itself; None if it states none.

    A context that was extended by LongRoPE is read as the original one, with the short rotary factors: a variant for
    the long context names the long ones.

    Raises:
        CheckpointError: it is no Phi, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    return _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)


def _read_json(checkpoint: Checkpoint) -> PhiConfig:
    reader = ConfigReader(checkpoint, ignore=("full_attn_mod", "interpolate_factor"))
    reader.require("model_type", "phi", "phi3")
    parallel = reader.read("model_type", str) == "phi"
    reader.require("hidden_act", *(("gelu_new", "gelu_pytorch_tanh") if parallel else ("silu",)))
    for absent in ("attention_bias", "mlp_bias", "lm_head_bias"):
        reader.require(absent, False)
    rope = reader.read("rope_scaling", dict, {}) | reader.read("rope_parameters", dict, {})
    base = reader.read("rope_theta", float, 10_000.0)
    rotary = reader.read("partial_rotary_factor", float, 0.5 if parallel else 1.0)
    original = reader.read("original_max_position_embeddings", int, 0)
    context = reader.read("max_position_embeddings", int)
    # Early Phi-3 repositories say "su" for what was later named longrope.
    known = ("default",) if parallel else ("default", "su", "longrope")
    long_rope = _long_rope(rope, known, original, context, checkpoint)
    heads, hidden_size = reader.read("num_attention_heads", int), reader.read("hidden_size", int)
    common: dict[str, Any] = {
        "vocab_size": reader.read("vocab_size", int),
        "hidden_size": hidden_size,
        "intermediate_size": reader.read("intermediate_size", int),
        "num_hidden_layers": reader.read("num_hidden_layers", int),
        "num_attention_heads": heads,
        "num_key_value_heads": reader.read("num_key_value_heads", int, heads),
        "max_position_embeddings": long_rope.original if long_rope else context,
        "partial_rotary_factor": float(rope.get("partial_rotary_factor", rotary)),
        "rope_theta": float(rope.get("rope_theta", base)),
        "tie_word_embeddings": reader.read("tie_word_embeddings", bool, False),
    }
    config: PhiConfig
    if parallel:
        reader.require("sliding_window")
        config = Phi2Config(
            layer_norm_eps=reader.read("layer_norm_eps", float),
            qk_layernorm=reader.read("qk_layernorm", bool, False),
            **common,
        )
    else:
        reader.require("qk_layernorm", False)
        config = Phi3Config(
            head_dim=hidden_size // heads,
            rms_norm_eps=reader.read("rms_norm_eps", float),
            sliding_window=_window(reader.read("sliding_window", int, 0), context),
            **common,
            **(long_rope.fields if long_rope else {}),
        )
    reader.finish()
    return config


def _long_rope(
    rope: dict[str, Any], known: tuple[str, ...], original: int, context: int, checkpoint: Checkpoint
) -> LongRope | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    unknown = sorted(set(rope) - _ROPE_KEYS)
    if kind not in known or unknown:
        what = f"with {', '.join(unknown)}" if unknown else repr(kind)
        raise CheckpointError(f"rotary scaling {what} of {checkpoint.path} is not known", code=ErrorCode.UNKNOWN_CONFIG)
    if kind == "default":
        return None
    missing = [key for key in ("short_factor", "long_factor") if key not in rope]
    if missing:
        raise CheckpointError(
            f"{checkpoint.path} does not state {missing[0]} of its rotary scaling", code=ErrorCode.INVALID_CONFIG
        )
    return LongRope(
        short=tuple(map(float, rope["short_factor"])),
        long=tuple(map(float, rope["long_factor"])),
        original=original or rope.get("original_max_position_embeddings") or 4096,
        extended=context,
    )


def _window(stated: int, context: int) -> int | None:
    """A window that is absent, or as wide as the context, hides nothing."""
    return stated if 0 < stated < context else None


def _read_gguf(checkpoint: Checkpoint) -> PhiConfig:
    general = ConfigReader(checkpoint)
    general.require("general.architecture", "phi2", "phi3")
    name = general.read("general.architecture", str)
    parallel = name == "phi2"
    reader = ConfigReader(checkpoint, prefix=f"{name}.")
    reader.require("rope.scaling.type", *(("none",) if parallel else ("none", "longrope")))
    hidden_size, heads = reader.read("embedding_length", int), reader.read("attention.head_count", int)
    head_dim = hidden_size // heads
    for key in ("attention.key_length", "attention.value_length"):
        reader.require(key, head_dim)
    context = reader.read("context_length", int)
    long_rope = _gguf_long_rope(checkpoint, reader, context)
    table = checkpoint.tensors.get("token_embd.weight")
    common: dict[str, Any] = {
        "vocab_size": table.rows if table else reader.read("vocab_size", int),
        "hidden_size": hidden_size,
        "intermediate_size": reader.read("feed_forward_length", int),
        "num_hidden_layers": reader.read("block_count", int),
        "num_attention_heads": heads,
        "num_key_value_heads": reader.read("attention.head_count_kv", int, heads),
        "max_position_embeddings": long_rope.original if long_rope else context,
        "partial_rotary_factor": reader.read("rope.dimension_count", int, head_dim) / head_dim,
        "rope_theta": reader.read("rope.freq_base", float, 10_000.0),
        "tie_word_embeddings": "output.weight" not in checkpoint.tensors,
    }
    config: PhiConfig
    if parallel:
        config = Phi2Config(layer_norm_eps=reader.read("attention.layer_norm_epsilon", float), **common)
    else:
        config = Phi3Config(
            head_dim=head_dim,
            rms_norm_eps=reader.read("attention.layer_norm_rms_epsilon", float),
            sliding_window=_window(reader.read("attention.sliding_window", int, 0), context),
            **common,
            **(long_rope.fields if long_rope else {}),
        )
    reader.finish()
    return config


def _gguf_long_rope(checkpoint: Checkpoint, reader: ConfigReader, context: int) -> LongRope | None:
    original = reader.read("rope.scaling.original_context_length", int, context)
    amplitude = reader.read("rope.scaling.attn_factor", float, 1.0)
    long_rope = None
    if "rope_factors_short.weight" in checkpoint.tensors:
        short, long = (
            tuple(checkpoint.tensors[f"rope_factors_{kind}.weight"].read().tolist()) for kind in ("short", "long")
        )
        long_rope = LongRope(short=short, long=long, original=original, extended=context)
    expected = long_rope.fields["rope_scaling"].attention_factor if long_rope else 1.0
    if not math.isclose(amplitude, expected, rel_tol=1e-5):
        raise CheckpointError(
            f"rope.scaling.attn_factor of {checkpoint.path} is {amplitude}, expected {expected}",
            code=ErrorCode.UNKNOWN_CONFIG,
        )
    return long_rope
