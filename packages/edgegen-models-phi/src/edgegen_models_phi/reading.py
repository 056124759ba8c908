"""The configuration that a checkpoint states: ``config.json`` of both architectures, or GGUF metadata."""

from __future__ import annotations

import math
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import Settings
from edgegen_models_phi.model import LongRope, PhiConfig, Size

_ROPE_KEYS = {
    "type",
    "rope_type",
    "rope_theta",
    "partial_rotary_factor",
    "original_max_position_embeddings",
    "short_factor",
    "long_factor",
}


def read_config(checkpoint: Checkpoint) -> PhiConfig | None:
    """What ``config.json`` or GGUF metadata says; None where there is neither.

    A context that was extended by LongRoPE is read as the original one, with the short rotary factors: a variant for
    the long context names the long ones.

    Raises:
        CheckpointError: it is no Phi, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    size = _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)
    return size.config()


def _read_json(checkpoint: Checkpoint) -> Size:
    settings = Settings(checkpoint, ignore=("full_attn_mod", "interpolate_factor"))
    settings.expect("model_type", "phi", "phi3")
    parallel = settings.take("model_type", str) == "phi"
    settings.expect("hidden_act", *(("gelu_new", "gelu_pytorch_tanh") if parallel else ("silu",)))
    for absent in ("attention_bias", "mlp_bias", "lm_head_bias"):
        settings.expect(absent, False)
    rope = settings.take("rope_scaling", dict, {}) | settings.take("rope_parameters", dict, {})
    base = settings.take("rope_theta", float, 10_000.0)
    rotary = settings.take("partial_rotary_factor", float, 0.5 if parallel else 1.0)
    original = settings.take("original_max_position_embeddings", int, 0)
    context = settings.take("max_position_embeddings", int)
    long_rope = _long_rope(rope, original, context, checkpoint)
    heads = settings.take("num_attention_heads", int)
    size = Size(
        layers=settings.take("num_hidden_layers", int),
        dim=settings.take("hidden_size", int),
        heads=heads,
        groups=settings.take("num_key_value_heads", int, heads),
        hidden=settings.take("intermediate_size", int),
        context=long_rope.original if long_rope else context,
        vocab=settings.take("vocab_size", int),
        parallel=parallel,
        rotary=float(rope.get("partial_rotary_factor", rotary)),
        rotary_base=float(rope.get("rope_theta", base)),
        epsilon=settings.take("layer_norm_eps" if parallel else "rms_norm_eps", float),
        tied=settings.take("tie_word_embeddings", bool, False),
        qk_norm=settings.take("qk_layernorm", bool, False),
        window=_window(settings.take("sliding_window", int, 0), context),
        long_rope=long_rope,
    )
    settings.finish()
    return size


def _long_rope(rope: dict[str, Any], original: int, context: int, checkpoint: Checkpoint) -> LongRope | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    # Early Phi-3 repositories say "su" for what was later named longrope.
    unknown = sorted(set(rope) - _ROPE_KEYS)
    if kind not in ("default", "su", "longrope") or unknown:
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


def _read_gguf(checkpoint: Checkpoint) -> Size:
    general = Settings(checkpoint)
    general.expect("general.architecture", "phi2", "phi3")
    name = general.take("general.architecture", str)
    parallel = name == "phi2"
    settings = Settings(checkpoint, prefix=f"{name}.")
    settings.expect("rope.scaling.type", "none", "longrope")
    dim, heads = settings.take("embedding_length", int), settings.take("attention.head_count", int)
    for key in ("attention.key_length", "attention.value_length"):
        settings.expect(key, dim // heads)
    context = settings.take("context_length", int)
    original = settings.take("rope.scaling.original_context_length", int, context)
    amplitude = settings.take("rope.scaling.attn_factor", float, 1.0)
    long_rope = None
    if "rope_factors_short.weight" in checkpoint.tensors:
        short, long = (
            tuple(checkpoint.tensors[f"rope_factors_{kind}.weight"].read().tolist()) for kind in ("short", "long")
        )
        long_rope = LongRope(short=short, long=long, original=original, extended=context)
    expected = long_rope.scaling.attention_factor if long_rope else 1.0
    if not math.isclose(amplitude, expected, rel_tol=1e-5):
        raise CheckpointError(
            f"rope.scaling.attn_factor of {checkpoint.path} is {amplitude}, expected {expected}",
            code=ErrorCode.UNKNOWN_CONFIG,
        )
    epsilon = "attention.layer_norm_epsilon" if parallel else "attention.layer_norm_rms_epsilon"
    table = checkpoint.tensors.get("token_embd.weight")
    size = Size(
        layers=settings.take("block_count", int),
        dim=dim,
        heads=heads,
        groups=settings.take("attention.head_count_kv", int, heads),
        hidden=settings.take("feed_forward_length", int),
        context=long_rope.original if long_rope else context,
        vocab=table.rows if table else settings.take("vocab_size", int),
        parallel=parallel,
        rotary=settings.take("rope.dimension_count", int, dim // heads) / (dim // heads),
        rotary_base=settings.take("rope.freq_base", float, 10_000.0),
        epsilon=settings.take(epsilon, float),
        tied="output.weight" not in checkpoint.tensors,
        window=_window(settings.take("attention.sliding_window", int, 0), context),
        long_rope=long_rope,
    )
    settings.finish()
    return size
