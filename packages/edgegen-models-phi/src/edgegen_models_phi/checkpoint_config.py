"""Reads a Phi's configuration from a checkpoint: ``config.json`` of both architectures, or GGUF metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen.weights.tied import head_is_tied
from edgegen_layers.config import HIDDEN_ACTS
from edgegen_layers.rope_parameters import Rope, read_gguf_rope_scaling, read_rope, rotary_scaling
from edgegen_models_phi.phi import Phi2Config, Phi3Config, PhiConfig
from edgegen_models_phi.variants import longrope

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "phi": {
        "vocab_size": 51_200,
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu_new",
        "partial_rotary_factor": 0.5,
    },
    "phi3": {
        "vocab_size": 32_064,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
    },
}
"""Keys of ``config.json`` that change the model -> value where the key is absent, as in transformers' classes."""


@dataclass(frozen=True, kw_only=True)
class LongRope:
    """Rotary factors for texts up to ``original`` tokens and for longer ones, up to ``extended``.

    Attributes:
        amplitude: by which cosines and sines are multiplied; None for what the two lengths imply.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int
    extended: int
    amplitude: float | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Those of :class:`~edgegen_models_phi.phi.Phi3Config`."""
        scaling = longrope(self.short, self.original, self.extended)
        return {
            "rope_scaling": scaling if self.amplitude is None else replace(scaling, attention_factor=self.amplitude),
            "long_factor": self.long,
            "original_max_position_embeddings": self.original,
            "extended_max_position_embeddings": self.extended,
        }


def read_config(checkpoint: Checkpoint) -> PhiConfig | None:
    """Configuration that the checkpoint states of itself; None if it states none.

    A context that was extended by LongRoPE is read as the original one, with the short rotary factors, see
    :func:`edgegen_models_phi.phi.config_for_context`.

    Raises:
        CheckpointError: it is no Phi, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    return _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)


def _read_json(checkpoint: Checkpoint) -> PhiConfig:
    ConfigReader(checkpoint).require("model_type", *_DEFAULTS)
    kind = str(checkpoint.config.get("model_type"))
    checkpoint = replace(checkpoint, config={**_DEFAULTS.get(kind, {}), **checkpoint.config})
    reader = ConfigReader(checkpoint, ignore=("full_attn_mod", "interpolate_factor", "attention_bias", "mlp_bias"))
    reader.require("hidden_act", *HIDDEN_ACTS)
    reader.require("lm_head_bias", False)
    context = reader.read("max_position_embeddings", int)
    heads, hidden_size = reader.read("num_attention_heads", int), reader.read("hidden_size", int)
    parallel = kind == "phi"
    if parallel:
        reader.require("head_dim", hidden_size // heads)
    head_dim = reader.read("head_dim", int, hidden_size // heads)
    types = ("default", "linear", "llama3", "yarn") if parallel else ("default", "longrope")
    rope = read_rope(reader, checkpoint, types, partial=True)
    rotary = float(rope.get("partial_rotary_factor", 1.0))
    long_rope = _long_rope(rope, reader, context, int(head_dim * rotary) // 2, checkpoint)
    common: dict[str, Any] = {
        "vocab_size": reader.read("vocab_size", int),
        "hidden_size": hidden_size,
        "intermediate_size": reader.read("intermediate_size", int),
        "num_hidden_layers": reader.read("num_hidden_layers", int),
        "num_attention_heads": heads,
        "num_key_value_heads": reader.read("num_key_value_heads", int, heads),
        "max_position_embeddings": long_rope.original if long_rope else context,
        "hidden_act": reader.read("hidden_act", str),
        "partial_rotary_factor": rotary,
        "rope_theta": float(rope["rope_theta"]),
        "tie_word_embeddings": head_is_tied(checkpoint, reader.read("tie_word_embeddings", bool, False)),
    }
    config: PhiConfig
    if parallel:
        reader.require("sliding_window")
        config = Phi2Config(
            rope_scaling=rotary_scaling(rope, int(head_dim * rotary), context),
            layer_norm_eps=reader.read("layer_norm_eps", float),
            qk_layernorm=reader.read("qk_layernorm", bool, False),
            **common,
        )
    else:
        reader.require("qk_layernorm", False)
        config = Phi3Config(
            head_dim=head_dim,
            rms_norm_eps=reader.read("rms_norm_eps", float),
            sliding_window=_window(reader.read("sliding_window", int, 0), context),
            **common,
            **(long_rope.fields if long_rope else {}),
        )
    reader.finish()
    return config


def _long_rope(rope: Rope, reader: ConfigReader, context: int, pairs: int, checkpoint: Checkpoint) -> LongRope | None:
    original = reader.read("original_max_position_embeddings", int, 0)  # the one beside the factors is not looked at
    if rope["rope_type"] != "longrope":
        return None
    missing = [key for key in ("short_factor", "long_factor") if key not in rope]
    if missing:
        raise CheckpointError(
            f"{checkpoint.path} does not state {missing[0]} of its rotary scaling", code=ErrorCode.INVALID_CONFIG
        )
    if not len(rope["short_factor"]) == len(rope["long_factor"]) == pairs:
        raise CheckpointError(
            f"{checkpoint.path} states {len(rope['short_factor'])} short and {len(rope['long_factor'])} long rotary "
            f"factors for {pairs} pairs of channels",
            code=ErrorCode.INVALID_CONFIG,
        )
    found = LongRope(
        short=tuple(map(float, rope["short_factor"])),
        long=tuple(map(float, rope["long_factor"])),
        original=original,
        extended=context,
        amplitude=rope.get("attention_factor"),
    )
    if found.amplitude is None and rope.get("factor"):
        implied = longrope(found.short, original, int(original * float(rope["factor"]))).attention_factor
        return replace(found, amplitude=implied)
    return found


def _window(stated: int, context: int) -> int | None:
    """A window that is absent, or as wide as the context, hides nothing."""
    return stated if 0 < stated < context else None


def _read_gguf(checkpoint: Checkpoint) -> PhiConfig:
    general = ConfigReader(checkpoint)
    general.require("general.architecture", "phi2", "phi3")
    name = general.read("general.architecture", str)
    parallel = name == "phi2"
    reader = ConfigReader(checkpoint, prefix=f"{name}.")
    hidden_size, heads = reader.read("embedding_length", int), reader.read("attention.head_count", int)
    head_dim = hidden_size // heads
    for key in ("attention.key_length", "attention.value_length"):
        reader.require(key, head_dim)
    context = reader.read("context_length", int)
    rotary, base = reader.read("rope.dimension_count", int, head_dim), reader.read("rope.freq_base", float, 10_000.0)
    if parallel:
        long_rope, scaling = None, read_gguf_rope_scaling(reader, rotary, base, context)
    else:
        reader.require("rope.scaling.type", "none", "longrope")
        long_rope, scaling = _gguf_long_rope(checkpoint, reader, context), None
    table = checkpoint.tensors.get("token_embd.weight")
    common: dict[str, Any] = {
        "vocab_size": table.rows if table else reader.read("vocab_size", int),
        "hidden_size": hidden_size,
        "intermediate_size": reader.read("feed_forward_length", int),
        "num_hidden_layers": reader.read("block_count", int),
        "num_attention_heads": heads,
        "num_key_value_heads": reader.read("attention.head_count_kv", int, heads),
        "max_position_embeddings": long_rope.original if long_rope else context,
        "partial_rotary_factor": rotary / head_dim,
        "rope_theta": base,
        "tie_word_embeddings": "output.weight" not in checkpoint.tensors,
    }
    config: PhiConfig
    if parallel:
        epsilon = reader.read("attention.layer_norm_epsilon", float)
        config = Phi2Config(layer_norm_eps=epsilon, rope_scaling=scaling, **common)
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
