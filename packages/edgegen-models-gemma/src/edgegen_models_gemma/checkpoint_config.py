"""Reads :class:`~edgegen_models_gemma.gemma.GemmaConfig` from a checkpoint: ``config.json`` of any age, or GGUF
metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen.weights.tied import head_is_tied
from edgegen_layers.config import HIDDEN_ACTS
from edgegen_layers.rope_parameters import checked, read_gguf_rope_scaling, read_rope, rotary_scaling
from edgegen_models_gemma.gemma import GemmaConfig
from edgegen_models_gemma.variants import GENERATIONS, PERIODS, layer_types

_TEXT_PART = {"num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 2304, "intermediate_size": 9216,
              "num_hidden_layers": 26}  # fmt: skip
"""Sizes of Gemma 3's text part, of which a checkpoint that sees images states only what differs."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma": {"vocab_size": 256_000, "max_position_embeddings": 8192},
    "gemma2": {
        "vocab_size": 256_000,
        "max_position_embeddings": 8192,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3": {
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    },
}
"""Keys of ``config.json`` that change the model -> value where the key is absent, as in transformers' classes."""

_ROPES = ("default", "linear", "llama3", "yarn")


def read_config(checkpoint: Checkpoint) -> GemmaConfig | None:
    """Configuration that the checkpoint states of itself; None if it states none.

    Raises:
        CheckpointError: it is no Gemma, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    return _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)


def _read_json(checkpoint: Checkpoint) -> GemmaConfig:
    stated = checkpoint.config
    if "text_config" in stated:
        stated = {**_TEXT_PART, "model_type": "gemma3_text", **stated["text_config"]}
    ConfigReader(replace(checkpoint, config=stated)).require("model_type", "gemma", "gemma2", "gemma3_text")
    generation = str(stated["model_type"]).removesuffix("_text")
    common = {"head_dim": 256, "rms_norm_eps": 1e-6, **_DEFAULTS[generation]}
    checkpoint = replace(checkpoint, config={**common, **stated})
    reader = ConfigReader(checkpoint, ignore=("cache_implementation", "sliding_window_size", "_sliding_window_pattern"))
    reader.require("use_bidirectional_attention", False)
    layers, head_dim = reader.read("num_hidden_layers", int), reader.read("head_dim", int)
    heads, context = reader.read("num_attention_heads", int), reader.read("max_position_embeddings", int)
    period, types = reader.read("sliding_window_pattern", int, 6), reader.read("layer_types", list, None)
    scalar, window = reader.read("query_pre_attn_scalar", float, 0.0), reader.read("sliding_window", int, 0)
    attention_cap: float | None = reader.read("attn_logit_softcapping", float, None)
    final_cap: float | None = reader.read("final_logit_softcapping", float, None)
    if generation == "gemma":  # keys of later generations are not its own
        types, scalar, final_cap = ["full_attention"] * layers, float(head_dim), None
    if generation != "gemma2":
        attention_cap = None
    config = GemmaConfig(
        vocab_size=reader.read("vocab_size", int),
        hidden_size=reader.read("hidden_size", int),
        intermediate_size=reader.read("intermediate_size", int),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=reader.read("num_key_value_heads", int, heads),
        head_dim=head_dim,
        max_position_embeddings=context,
        layer_types=_layer_types(types or layer_types(layers, period if generation == "gemma3" else 2)),
        query_pre_attn_scalar=scalar,
        hidden_activation=_activation(reader, generation),
        rms_norm_eps=reader.read("rms_norm_eps", float),
        **_ropes(reader, checkpoint, generation, head_dim, context),
        sliding_window=window or None,
        attn_logit_softcapping=attention_cap,
        final_logit_softcapping=final_cap,
        attention_bias=reader.read("attention_bias", bool, False),
        post_norms=generation != "gemma",
        qk_norm=generation == "gemma3",
        tie_word_embeddings=head_is_tied(checkpoint, reader.read("tie_word_embeddings", bool, True)),
    )
    reader.finish()
    return config


def _activation(reader: ConfigReader, generation: str) -> str:
    """Activation of the feed-forward layer. Where Gemma's first configurations say gelu they mean its approximation."""
    if generation == "gemma":
        for key in ("hidden_act", "hidden_activation"):
            reader.require(key, "gelu_pytorch_tanh", "gelu")
        return "gelu_pytorch_tanh"
    reader.require("hidden_act", *HIDDEN_ACTS)  # which is not looked at
    reader.require("hidden_activation", *HIDDEN_ACTS)
    return reader.read("hidden_activation", str, "gelu_pytorch_tanh")


def _ropes(
    reader: ConfigReader, checkpoint: Checkpoint, generation: str, head_dim: int, context: int
) -> dict[str, Any]:
    """Fields of :class:`GemmaConfig` about rotary positions, of which Gemma 3 has two."""
    if generation != "gemma3":
        rope = read_rope(reader, checkpoint, _ROPES)
        return {"rope_theta": float(rope["rope_theta"]), "rope_scaling": rotary_scaling(rope, head_dim, context)}
    # Since transformers 5 one for each kind of attention; before that, scattered keys.
    both = reader.read("rope_parameters", dict, {})
    if set(both) - {"sliding_attention", "full_attention"}:
        raise CheckpointError(
            f"rope_parameters of {checkpoint.path} has {', '.join(sorted(both))}; expected one for sliding_attention "
            "and one for full_attention",
            code=ErrorCode.UNKNOWN_CONFIG,
        )
    theta = reader.read("rope_theta", float, 1e6)
    far = {"rope_theta": theta, **(both.get("full_attention") or {}), **reader.read("rope_scaling", dict, {})}
    local_theta = reader.read("rope_local_base_freq", float, 10_000.0)
    near = {"rope_theta": local_theta, **(both.get("sliding_attention") or {})}
    far, near = checked(far, checkpoint, _ROPES), checked(near, checkpoint, ("default",))
    return {
        "rope_theta": float(far["rope_theta"]),
        "rope_scaling": rotary_scaling(far, head_dim, context),
        "rope_local_base_freq": float(near["rope_theta"]),
    }


def _layer_types(types: Sequence[str]) -> tuple[str, ...]:
    if set(types) - {"sliding_attention", "full_attention"}:
        raise CheckpointError(f"layer_types {sorted(set(types))} are not known", code=ErrorCode.UNKNOWN_CONFIG)
    return tuple(types)


def _read_gguf(checkpoint: Checkpoint) -> GemmaConfig:
    general = ConfigReader(checkpoint)
    general.require("general.architecture", *GENERATIONS)
    name = general.read("general.architecture", str)
    common, reader = GENERATIONS[name], ConfigReader(checkpoint, prefix=f"{name}.")
    layers, heads = reader.read("block_count", int), reader.read("attention.head_count", int)
    hidden_size = reader.read("embedding_length", int)
    head_dim = reader.read("attention.key_length", int, hidden_size // heads)
    reader.require("attention.value_length", head_dim)
    reader.require("rope.dimension_count", head_dim)
    context = reader.read("context_length", int)
    stated = {
        field: reader.read(key, float, None)
        for field, key in {
            "rope_theta": "rope.freq_base",
            "rope_local_base_freq": "rope.freq_base_swa",
            "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping",
        }.items()
    }
    types = layer_types(layers, reader.read("attention.sliding_window_pattern", int, 0) or PERIODS[name])
    table = checkpoint.tensors.get("token_embd.weight")
    # The format does not state it; llama.cpp knows the one size of a generation that differs by its depth.
    scalar = hidden_size / heads if (name, layers) in (("gemma2", 46), ("gemma3", 62)) else float(head_dim)
    config = GemmaConfig(
        vocab_size=table.rows if table else reader.read("vocab_size", int),
        hidden_size=hidden_size,
        intermediate_size=reader.read("feed_forward_length", int),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=reader.read("attention.head_count_kv", int, heads),
        head_dim=head_dim,
        max_position_embeddings=context,
        layer_types=types,
        query_pre_attn_scalar=scalar,
        rms_norm_eps=reader.read("attention.layer_norm_rms_epsilon", float),
        rope_scaling=read_gguf_rope_scaling(
            reader, head_dim, stated["rope_theta"] or common.get("rope_theta", 10_000.0), context
        ),
        sliding_window=reader.read("attention.sliding_window", int) if "sliding_attention" in types else None,
        **common | {field: value for field, value in stated.items() if value is not None},
    )
    reader.finish()
    return config
