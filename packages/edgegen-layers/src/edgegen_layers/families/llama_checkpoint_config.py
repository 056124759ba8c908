"""Reads :class:`~edgegen_layers.families.llama.LlamaConfig` from a checkpoint: ``config.json`` or GGUF metadata.

A key that is absent has the value that transformers' configuration class gives it, which differs by architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen.weights.tied import head_is_tied
from edgegen_layers.config import HIDDEN_ACTS
from edgegen_layers.families.llama import LlamaConfig
from edgegen_layers.rope_parameters import read_gguf_rope_scaling, read_rope, rotary_scaling
from edgegen_layers.rotary_scaling import FrequencyScaling

_BIASES = ("attention_bias", "mlp_bias")

WINDOWS = ("none", "every", "chosen")
"""Which blocks have a sliding window: none, every one, or those that ``layer_types`` or ``max_window_layers`` name."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What the name of an architecture implies.

    Attributes:
        implied: fields of :class:`LlamaConfig` that its ``config.json`` does not state.
        defaults: keys of ``config.json`` -> value where the key is absent.
        windows: one of :data:`WINDOWS`.
        biases: which of ``attention_bias`` and ``mlp_bias`` are keys of its own; another has no effect.
    """

    implied: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    windows: str = "none"
    biases: tuple[str, ...] = ()


LLAMA = Architecture(
    defaults={"vocab_size": 32_000, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6},
    biases=("attention_bias", "mlp_bias"),
)
MISTRAL = Architecture(
    defaults={
        "vocab_size": 32_000,
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
    },
    windows="every",
)


def read_config(checkpoint: Checkpoint, architectures: Mapping[str, Architecture]) -> LlamaConfig | None:
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


def _read_json(checkpoint: Checkpoint, architectures: Mapping[str, Architecture]) -> LlamaConfig:
    ConfigReader(checkpoint).require("model_type", *architectures)
    architecture = architectures[checkpoint.config.get("model_type") or next(iter(architectures))]
    checkpoint = replace(checkpoint, config={**architecture.defaults, **checkpoint.config})
    reader = ConfigReader(checkpoint)
    reader.require("hidden_act", *HIDDEN_ACTS)
    reader.require("rope_interleaved", False)
    heads, hidden_size = reader.read("num_attention_heads", int), reader.read("hidden_size", int)
    layers, context = reader.read("num_hidden_layers", int), reader.read("max_position_embeddings", int)
    head_dim = reader.read("head_dim", int, hidden_size // heads)
    rope = read_rope(reader, checkpoint, ("default", "linear", "llama3", "yarn"))
    window, types = _windows(reader, checkpoint, architecture.windows, layers)
    biases = {key: reader.read(key, bool, False) and key in architecture.biases for key in _BIASES}
    config = LlamaConfig(
        vocab_size=reader.read("vocab_size", int),
        hidden_size=hidden_size,
        intermediate_size=reader.read("intermediate_size", int),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=reader.read("num_key_value_heads", int, heads),
        head_dim=head_dim,
        max_position_embeddings=context,
        hidden_act=reader.read("hidden_act", str, "silu"),
        rms_norm_eps=reader.read("rms_norm_eps", float),
        rope_theta=float(rope["rope_theta"]),
        rope_scaling=rotary_scaling(rope, head_dim, context),
        sliding_window=window,
        layer_types=types,
        attention_bias=biases["attention_bias"],
        attention_output_bias=biases["attention_bias"],
        mlp_bias=biases["mlp_bias"],
        tie_word_embeddings=head_is_tied(checkpoint, reader.read("tie_word_embeddings", bool, False)),
    )
    reader.finish()
    return replace(config, **architecture.implied)


def _windows(
    reader: ConfigReader, checkpoint: Checkpoint, windows: str, layers: int
) -> tuple[int | None, tuple[str, ...] | None]:
    """``sliding_window`` and ``layer_types`` of :class:`LlamaConfig`; keys of other architectures have no effect."""
    window = reader.read("sliding_window", int, 0)
    used = reader.read("use_sliding_window", bool, False)
    first = reader.read("max_window_layers", int, 28)
    stated = reader.read("layer_types", list, None)
    if windows == "none" or (windows == "chosen" and not used and stated is None):
        return None, None
    if windows == "every":
        return window or None, None
    types = tuple(stated or (("full_attention", "sliding_attention")[i >= first] for i in range(layers)))
    if len(types) != layers or set(types) - {"full_attention", "sliding_attention"}:
        raise CheckpointError(
            f"layer_types of {checkpoint.path} has {len(types)} of {', '.join(sorted(map(str, set(types))))}; "
            f"expected {layers} of full_attention and sliding_attention",
            code=ErrorCode.UNKNOWN_CONFIG,
        )
    if "sliding_attention" not in types or not (used and window):
        return None, None
    return window, types if "full_attention" in types else None


def _read_gguf(checkpoint: Checkpoint, architectures: Mapping[str, Architecture]) -> LlamaConfig:
    ConfigReader(checkpoint).require("general.architecture", *architectures)
    name = str(checkpoint.config["general.architecture"])
    reader = ConfigReader(checkpoint, prefix=f"{name}.")
    heads, hidden_size = reader.read("attention.head_count", int), reader.read("embedding_length", int)
    rotated = reader.read("rope.dimension_count", int, hidden_size // heads)
    head_dim = reader.read("attention.key_length", int, rotated)
    reader.require("rope.dimension_count", head_dim)
    reader.require("attention.value_length", head_dim)
    base, context = reader.read("rope.freq_base", float, 10_000.0), reader.read("context_length", int)
    scaling = read_gguf_rope_scaling(reader, head_dim, base, context)
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
        max_position_embeddings=context,
        rms_norm_eps=reader.read("attention.layer_norm_rms_epsilon", float),
        rope_theta=base,
        rope_scaling=scaling if factors is None else FrequencyScaling(factors=tuple(factors.read().tolist())),
        sliding_window=reader.read("attention.sliding_window", int, 0) or None,
        attention_bias="blk.0.attn_q.bias" in checkpoint.tensors,
        attention_output_bias="blk.0.attn_output.bias" in checkpoint.tensors,
        mlp_bias="blk.0.ffn_down.bias" in checkpoint.tensors,
        tie_word_embeddings="output.weight" not in checkpoint.tensors,
    )
    reader.finish()
    return replace(config, **architectures[name].implied)
