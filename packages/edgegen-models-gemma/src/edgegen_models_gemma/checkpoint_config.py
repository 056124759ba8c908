"""Reads :class:`~edgegen_models_gemma.gemma.GemmaConfig` from a checkpoint: ``config.json`` of any age, or GGUF
metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen_layers import LinearScaling
from edgegen_models_gemma.gemma import GemmaConfig
from edgegen_models_gemma.variants import GENERATIONS, PERIODS, layer_types

# Gemma 3's text part, of which a checkpoint that sees images states only what differs.
_TEXT_PART = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "max_position_embeddings": 131_072,
    "vocab_size": 262_208,
    "rms_norm_eps": 1e-6,
    "sliding_window": 4096,
}


def read_config(checkpoint: Checkpoint) -> GemmaConfig | None:
    """Configuration that the checkpoint states of itself; None if it states none.

    Raises:
        CheckpointError: it is no Gemma, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    return _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)


def _read_json(checkpoint: Checkpoint) -> GemmaConfig:
    if "text_config" in checkpoint.config:
        checkpoint = replace(checkpoint, config={**_TEXT_PART, **checkpoint.config["text_config"]})
    reader = ConfigReader(checkpoint, ignore=("cache_implementation", "sliding_window_size"))
    reader.require("model_type", "gemma", "gemma2", "gemma3_text")
    generation = reader.read("model_type", str).removesuffix("_text")
    common = GENERATIONS[generation]
    for activation in ("hidden_act", "hidden_activation"):
        reader.require(activation, "gelu_pytorch_tanh", "gelu")  # where it says gelu it means the approximation
    reader.require("tie_word_embeddings", True)
    for absent in ("attention_bias", "use_bidirectional_attention"):
        reader.require(absent, False)

    def cap(key: str) -> float | None:  # here, null is no cap
        return reader.read(key, float, None if key in checkpoint.config else common.get(key))

    # Since transformers 5 a rope for each kind of attention, or one for all; before that, scattered keys.
    ropes = reader.read("rope_parameters", dict, {})
    near, far = ropes.get("sliding_attention", {}), ropes.get("full_attention", ropes)
    theta = reader.read("rope_theta", float, common.get("rope_theta", 10_000.0))
    local_theta = reader.read("rope_local_base_freq", float, common.get("rope_local_base_freq"))
    scaling = _scaling(checkpoint, {**reader.read("rope_scaling", dict, {}), **far}, ("default", "linear"))
    _scaling(checkpoint, near, ("default",))
    layers, head_dim = reader.read("num_hidden_layers", int), reader.read("head_dim", int)
    types = _layer_types(reader, layers, PERIODS[generation])
    config = GemmaConfig(
        vocab_size=reader.read("vocab_size", int),
        hidden_size=reader.read("hidden_size", int),
        intermediate_size=reader.read("intermediate_size", int),
        num_hidden_layers=layers,
        num_attention_heads=reader.read("num_attention_heads", int),
        num_key_value_heads=reader.read("num_key_value_heads", int),
        head_dim=head_dim,
        max_position_embeddings=reader.read("max_position_embeddings", int),
        layer_types=types,
        query_pre_attn_scalar=reader.read("query_pre_attn_scalar", float, float(head_dim)),
        rms_norm_eps=reader.read("rms_norm_eps", float),
        rope_theta=float(far.get("rope_theta", theta)),
        rope_local_base_freq=near.get("rope_theta", local_theta),
        rope_scaling=scaling,
        sliding_window=reader.read("sliding_window", int) if "sliding_attention" in types else None,
        attn_logit_softcapping=cap("attn_logit_softcapping"),
        final_logit_softcapping=cap("final_logit_softcapping"),
        post_norms=common.get("post_norms", False),
        qk_norm=common.get("qk_norm", False),
    )
    reader.finish()
    return config


def _scaling(checkpoint: Checkpoint, rope: Mapping[str, Any], known: tuple[str, ...]) -> LinearScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in known or set(rope) - {"rope_type", "type", "rope_theta", "factor"}:
        raise CheckpointError(
            f"rotary positions {dict(rope)} of {checkpoint.path} are not known", code=ErrorCode.UNKNOWN_CONFIG
        )
    return LinearScaling(factor=float(rope["factor"])) if kind == "linear" else None


def _layer_types(reader: ConfigReader, layers: int, period: int) -> tuple[str, ...]:
    for key in ("_sliding_window_pattern", "sliding_window_pattern"):
        period = reader.read(key, int, period)
    types = tuple(reader.read("layer_types", list, None) or layer_types(layers, period))
    if set(types) - {"sliding_attention", "full_attention"}:
        raise CheckpointError(f"layer_types {sorted(set(types))} are not known", code=ErrorCode.UNKNOWN_CONFIG)
    return types


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
    reader.require("rope.scaling.type", "none", "linear")
    factor = reader.read("rope.scaling.factor", float, 1.0)
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
        max_position_embeddings=reader.read("context_length", int),
        layer_types=types,
        query_pre_attn_scalar=scalar,
        rms_norm_eps=reader.read("attention.layer_norm_rms_epsilon", float),
        rope_scaling=None if factor == 1.0 else LinearScaling(factor=factor),
        sliding_window=reader.read("attention.sliding_window", int) if "sliding_attention" in types else None,
        **common | {field: value for field, value in stated.items() if value is not None},
    )
    reader.finish()
    return config
