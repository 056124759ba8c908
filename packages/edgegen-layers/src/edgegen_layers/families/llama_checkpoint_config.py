"""Reads :class:`~edgegen_layers.families.llama.LlamaConfig` from a checkpoint: ``config.json`` or GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen_layers.families.llama import LlamaConfig
from edgegen_layers.rotary_scaling import (
    FrequencyScaling,
    LinearScaling,
    RotaryScaling,
    llama3_scaling,
    yarn_scaling,
)

Implied = Mapping[str, Any]
"""Fields of :class:`LlamaConfig` that an architecture's name implies and its configuration file does not state."""


def read_config(checkpoint: Checkpoint, architectures: Mapping[str, Implied]) -> LlamaConfig | None:
    """Configuration that the checkpoint states of itself; None if it states none.

    Args:
        checkpoint: opened.
        architectures: ``model_type`` or ``general.architecture`` -> what that name implies.

    Raises:
        CheckpointError: it is another architecture, or has parts that are not known here.
    """
    if not checkpoint.config:
        return None
    return (_read_gguf if checkpoint.naming == "gguf" else _read_json)(checkpoint, architectures)


def _read_json(checkpoint: Checkpoint, architectures: Mapping[str, Implied]) -> LlamaConfig:
    reader = ConfigReader(checkpoint, ignore=("max_window_layers", "rope_scaling", "layer_types"))
    reader.require("model_type", *architectures)
    reader.require("hidden_act", "silu")
    for absent in ("mlp_bias", "rope_interleaved", "attention_bias"):
        reader.require(absent, False)
    heads, hidden_size = reader.read("num_attention_heads", int), reader.read("hidden_size", int)
    head_dim = reader.read("head_dim", int, hidden_size // heads)
    rope = {**(checkpoint.config.get("rope_scaling") or {}), **reader.read("rope_parameters", dict, {})}
    theta = float(rope.get("rope_theta") or reader.read("rope_theta", float, 10_000.0))
    window = reader.read("sliding_window", int, 0) if reader.read("use_sliding_window", bool, True) else 0
    config = LlamaConfig(
        vocab_size=reader.read("vocab_size", int),
        hidden_size=hidden_size,
        intermediate_size=reader.read("intermediate_size", int),
        num_hidden_layers=reader.read("num_hidden_layers", int),
        num_attention_heads=heads,
        num_key_value_heads=reader.read("num_key_value_heads", int, heads),
        head_dim=head_dim,
        max_position_embeddings=reader.read("max_position_embeddings", int),
        rms_norm_eps=reader.read("rms_norm_eps", float),
        rope_theta=theta,
        rope_scaling=_read_scaling(checkpoint, rope, head_dim, theta),
        sliding_window=window or None,
        tie_word_embeddings=reader.read("tie_word_embeddings", bool, False),
    )
    for read_above in ("rope_theta", "sliding_window"):
        reader.read(read_above, object, None)
    reader.finish()
    return replace(config, **architectures[checkpoint.config.get("model_type") or next(iter(architectures))])


def _read_scaling(checkpoint: Checkpoint, rope: Mapping[str, Any], head_dim: int, base: float) -> RotaryScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind == "linear":
        return LinearScaling(factor=float(rope["factor"]))
    if kind == "llama3":
        return llama3_scaling(
            head_dim,
            base,
            factor=rope["factor"],
            low=rope["low_freq_factor"],
            high=rope["high_freq_factor"],
            original=rope["original_max_position_embeddings"],
        )
    if kind == "yarn" and not {"mscale", "mscale_all_dim"} & rope.keys():
        names = {"beta_fast", "beta_slow", "attention_factor", "truncate"}
        return yarn_scaling(
            head_dim,
            base,
            factor=rope["factor"],
            original=rope.get("original_max_position_embeddings") or checkpoint.config["max_position_embeddings"],
            **{name: rope[name] for name in names & rope.keys() if rope[name] is not None},
        )
    raise CheckpointError(
        f"rotary scaling {kind!r} of {checkpoint.path} is not known",
        code=ErrorCode.UNKNOWN_CONFIG,
        hint="it knows default, linear, llama3 and yarn",
    )


def _read_gguf(checkpoint: Checkpoint, architectures: Mapping[str, Implied]) -> LlamaConfig:
    ConfigReader(checkpoint).require("general.architecture", *architectures)
    architecture = str(checkpoint.config["general.architecture"])
    reader = ConfigReader(checkpoint, prefix=f"{architecture}.", ignore=("*.rope.scaling.*",))
    reader.require("rope.scaling.type", "none")
    heads, hidden_size = reader.read("attention.head_count", int), reader.read("embedding_length", int)
    rotated = reader.read("rope.dimension_count", int, hidden_size // heads)
    head_dim = reader.read("attention.key_length", int, rotated)
    reader.require("rope.dimension_count", head_dim)
    reader.require("attention.value_length", head_dim)
    factors = checkpoint.tensors.get("rope_freqs.weight")
    table = checkpoint.tensors.get("token_embd.weight")
    config = LlamaConfig(
        vocab_size=table.rows if table else reader.read("vocab_size", int),
        hidden_size=hidden_size,
        intermediate_size=reader.read("feed_forward_length", int),
        num_hidden_layers=reader.read("block_count", int),
        num_attention_heads=heads,
        num_key_value_heads=reader.read("attention.head_count_kv", int, heads),
        head_dim=head_dim,
        max_position_embeddings=reader.read("context_length", int),
        rms_norm_eps=reader.read("attention.layer_norm_rms_epsilon", float),
        rope_theta=reader.read("rope.freq_base", float, 10_000.0),
        rope_scaling=None if factors is None else FrequencyScaling(factors=tuple(factors.read().tolist())),
        sliding_window=reader.read("attention.sliding_window", int, 0) or None,
        tie_word_embeddings="output.weight" not in checkpoint.tensors,
    )
    reader.finish()
    return replace(config, **architectures[architecture])
