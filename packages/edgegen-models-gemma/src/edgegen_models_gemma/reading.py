"""A Gemma's configuration as its checkpoint states it: ``config.json`` of any age, or GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import Settings
from edgegen_layers import LinearScaling, ModelConfig
from edgegen_models_gemma.model import GENERATIONS, Size

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


def read_config(checkpoint: Checkpoint) -> ModelConfig | None:
    """What ``config.json`` or GGUF metadata says; None where there is neither.

    Raises:
        CheckpointError: it is no Gemma, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    size = _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)
    return size.config()


def _read_json(checkpoint: Checkpoint) -> Size:
    if "text_config" in checkpoint.config:
        checkpoint = replace(checkpoint, config={**_TEXT_PART, **checkpoint.config["text_config"]})
    settings = Settings(checkpoint, ignore=("cache_implementation", "sliding_window_size"))
    settings.expect("model_type", "gemma", "gemma2", "gemma3_text")
    common = GENERATIONS[settings.take("model_type", str).removesuffix("_text")]
    for activation in ("hidden_act", "hidden_activation"):
        settings.expect(activation, "gelu_pytorch_tanh", "gelu")  # where it says gelu it means the approximation
    settings.expect("tie_word_embeddings", True)
    for absent in ("attention_bias", "use_bidirectional_attention"):
        settings.expect(absent, False)

    def cap(key: str, usual: str) -> float | None:  # here, null is no cap
        return settings.take(key, float, None if key in checkpoint.config else common.get(usual))

    # Since transformers 5 a rope for each kind of attention, or one for all; before that, scattered keys.
    ropes = settings.take("rope_parameters", dict, {})
    near, far = ropes.get("sliding_attention", {}), ropes.get("full_attention", ropes)
    base = settings.take("rope_theta", float, common.get("rotary_base", 10_000.0))
    local_base = settings.take("rope_local_base_freq", float, common.get("local_base"))
    scaling = _scaling(checkpoint, {**settings.take("rope_scaling", dict, {}), **far}, ("default", "linear"))
    _scaling(checkpoint, near, ("default",))
    own = {
        **common,
        "rotary_base": float(far.get("rope_theta", base)),
        "rotary_scaling": scaling,
        "local": _local(settings, len(common.get("local", (False,)))),
        "local_base": near.get("rope_theta", local_base),
        "attention_cap": cap("attn_logit_softcapping", "attention_cap"),
        "final_cap": cap("final_logit_softcapping", "final_cap"),
    }
    size = Size(
        layers=settings.take("num_hidden_layers", int),
        dim=settings.take("hidden_size", int),
        heads=settings.take("num_attention_heads", int),
        groups=settings.take("num_key_value_heads", int),
        hidden=settings.take("intermediate_size", int),
        context=settings.take("max_position_embeddings", int),
        vocab=settings.take("vocab_size", int),
        head_dim=settings.take("head_dim", int),
        query_scalar=settings.take("query_pre_attn_scalar", float, None),
        epsilon=settings.take("rms_norm_eps", float),
        window=settings.take("sliding_window", int) if any(own["local"]) else Size.window,
        **own,
    )
    settings.finish()
    return size


def _scaling(checkpoint: Checkpoint, rope: Mapping[str, Any], known: tuple[str, ...]) -> LinearScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in known or set(rope) - {"rope_type", "type", "rope_theta", "factor"}:
        raise CheckpointError(
            f"rotary positions {dict(rope)} of {checkpoint.path} are not known", code=ErrorCode.UNKNOWN_CONFIG
        )
    return LinearScaling(factor=float(rope["factor"])) if kind == "linear" else None


def _local(settings: Settings, period: int) -> tuple[bool, ...]:
    for key in ("_sliding_window_pattern", "sliding_window_pattern"):
        period = settings.take(key, int, period)
    kinds = settings.take("layer_types", list, ["sliding_attention"] * (period - 1) + ["full_attention"])
    if set(kinds) - {"sliding_attention", "full_attention"}:
        raise CheckpointError(f"layer_types {sorted(set(kinds))} are not known", code=ErrorCode.UNKNOWN_CONFIG)
    return tuple(kind == "sliding_attention" for kind in kinds)


def _read_gguf(checkpoint: Checkpoint) -> Size:
    general = Settings(checkpoint)
    general.expect("general.architecture", *GENERATIONS)
    name = general.take("general.architecture", str)
    common, settings = GENERATIONS[name], Settings(checkpoint, prefix=f"{name}.")
    layers, heads = settings.take("block_count", int), settings.take("attention.head_count", int)
    dim = settings.take("embedding_length", int)
    head_dim = settings.take("attention.key_length", int, dim // heads)
    settings.expect("attention.value_length", head_dim)
    settings.expect("rope.dimension_count", head_dim)
    settings.expect("rope.scaling.type", "none", "linear")
    factor = settings.take("rope.scaling.factor", float, 1.0)
    own = {**common, "rotary_scaling": None if factor == 1.0 else LinearScaling(factor=factor)}
    for field, key in {
        "rotary_base": "rope.freq_base",
        "local_base": "rope.freq_base_swa",
        "attention_cap": "attn_logit_softcapping",
        "final_cap": "final_logit_softcapping",
    }.items():
        stated = settings.take(key, float, None)
        own |= {} if stated is None else {field: stated}
    period = settings.take("attention.sliding_window_pattern", int, 0)
    own |= {"local": (True,) * (period - 1) + (False,)} if period else {}
    table = checkpoint.tensors.get("token_embd.weight")
    size = Size(
        layers=layers,
        dim=dim,
        heads=heads,
        groups=settings.take("attention.head_count_kv", int, heads),
        hidden=settings.take("feed_forward_length", int),
        context=settings.take("context_length", int),
        vocab=table.rows if table else settings.take("vocab_size", int),
        head_dim=head_dim,
        # The format does not state it; llama.cpp knows the one size of a generation that differs by its depth.
        query_scalar=dim / heads if (name, layers) in (("gemma2", 46), ("gemma3", 62)) else None,
        epsilon=settings.take("attention.layer_norm_rms_epsilon", float),
        window=settings.take("attention.sliding_window", int) if any(own.get("local", ())) else Size.window,
        **own,
    )
    settings.finish()
    return size
