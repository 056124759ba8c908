"""Reads :class:`~edgegen_layers.families.llama.LlamaConfig` from a checkpoint: ``config.json`` or GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgegen.errors import CheckpointError
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import Settings
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
    settings = Settings(checkpoint, ignore=("max_window_layers", "rope_scaling", "layer_types"))
    settings.expect("model_type", *architectures)
    settings.expect("hidden_act", "silu")
    for absent in ("mlp_bias", "rope_interleaved", "attention_bias"):
        settings.expect(absent, False)
    heads, hidden_size = settings.take("num_attention_heads", int), settings.take("hidden_size", int)
    head_dim = settings.take("head_dim", int, hidden_size // heads)
    rope = {**(checkpoint.config.get("rope_scaling") or {}), **settings.take("rope_parameters", dict, {})}
    theta = float(rope.get("rope_theta") or settings.take("rope_theta", float, 10_000.0))
    window = settings.take("sliding_window", int, 0) if settings.take("use_sliding_window", bool, True) else 0
    config = LlamaConfig(
        vocab_size=settings.take("vocab_size", int),
        hidden_size=hidden_size,
        intermediate_size=settings.take("intermediate_size", int),
        num_hidden_layers=settings.take("num_hidden_layers", int),
        num_attention_heads=heads,
        num_key_value_heads=settings.take("num_key_value_heads", int, heads),
        head_dim=head_dim,
        max_position_embeddings=settings.take("max_position_embeddings", int),
        rms_norm_eps=settings.take("rms_norm_eps", float),
        rope_theta=theta,
        rope_scaling=_read_scaling(checkpoint, rope, head_dim, theta),
        sliding_window=window or None,
        tie_word_embeddings=settings.take("tie_word_embeddings", bool, False),
    )
    for read_above in ("rope_theta", "sliding_window"):
        settings.take(read_above, object, None)
    settings.finish()
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
        code="EG207",
        hint="it knows default, linear, llama3 and yarn",
    )


def _read_gguf(checkpoint: Checkpoint, architectures: Mapping[str, Implied]) -> LlamaConfig:
    Settings(checkpoint).expect("general.architecture", *architectures)
    architecture = str(checkpoint.config["general.architecture"])
    settings = Settings(checkpoint, prefix=f"{architecture}.", ignore=("*.rope.scaling.*",))
    settings.expect("rope.scaling.type", "none")
    heads, hidden_size = settings.take("attention.head_count", int), settings.take("embedding_length", int)
    rotated = settings.take("rope.dimension_count", int, hidden_size // heads)
    head_dim = settings.take("attention.key_length", int, rotated)
    settings.expect("rope.dimension_count", head_dim)
    settings.expect("attention.value_length", head_dim)
    factors = checkpoint.tensors.get("rope_freqs.weight")
    table = checkpoint.tensors.get("token_embd.weight")
    config = LlamaConfig(
        vocab_size=table.rows if table else settings.take("vocab_size", int),
        hidden_size=hidden_size,
        intermediate_size=settings.take("feed_forward_length", int),
        num_hidden_layers=settings.take("block_count", int),
        num_attention_heads=heads,
        num_key_value_heads=settings.take("attention.head_count_kv", int, heads),
        head_dim=head_dim,
        max_position_embeddings=settings.take("context_length", int),
        rms_norm_eps=settings.take("attention.layer_norm_rms_epsilon", float),
        rope_theta=settings.take("rope.freq_base", float, 10_000.0),
        rope_scaling=None if factors is None else FrequencyScaling(factors=tuple(factors.read().tolist())),
        sliding_window=settings.take("attention.sliding_window", int, 0) or None,
        tie_word_embeddings="output.weight" not in checkpoint.tensors,
    )
    settings.finish()
    return replace(config, **architectures[architecture])
