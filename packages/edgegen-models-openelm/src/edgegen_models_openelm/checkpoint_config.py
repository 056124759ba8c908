"""Reads :class:`~edgegen_models_openelm.openelm.OpenELMConfig` from a checkpoint: ``config.json`` or GGUF metadata."""

from __future__ import annotations

from typing import Any

from edgegen.errors import CheckpointError
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import Settings
from edgegen_models_openelm.openelm import OpenELMConfig
from edgegen_models_openelm.variants import near


def read_config(checkpoint: Checkpoint) -> OpenELMConfig | None:
    """Configuration that the checkpoint states of itself; None if it states none.

    Raises:
        CheckpointError: it is no OpenELM, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    return _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)


def _read_json(checkpoint: Checkpoint) -> OpenELMConfig:
    # The multipliers of heads have gone into their numbers; positions are computed up to any length.
    settings = Settings(checkpoint, ignore=("qkv_multipliers", "num_gqa_groups", "rope_max_length"))
    settings.expect("model_type", "openelm")
    settings.expect("activation_fn_name", "swish", "silu")
    settings.expect("normalization_layer_name", "rms_norm")
    settings.expect("ffn_with_glu", True)
    hidden_size, step = settings.take("model_dim", int), settings.take("ffn_dim_divisor", int, 256)
    heads = settings.take("num_query_heads", list)
    settings.expect("num_transformer_layers", len(heads))
    widths = [near(hidden_size * factor, step) for factor in settings.take("ffn_multipliers", list)]
    config = OpenELMConfig(
        hidden_size=hidden_size,
        head_dim=settings.take("head_dim", int),
        **_by_block(checkpoint, heads, settings.take("num_kv_heads", list), widths),
        max_position_embeddings=settings.take("max_context_length", int),
        vocab_size=settings.take("vocab_size", int),
        rope_theta=settings.take("rope_freq_constant", float, 10_000.0),
        tie_word_embeddings=settings.take("share_input_output_layers", bool, False),
        qk_norm=settings.take("normalize_qk_projections", bool, False),
    )
    settings.finish()
    return config


def _read_gguf(checkpoint: Checkpoint) -> OpenELMConfig:
    Settings(checkpoint).expect("general.architecture", "openelm")
    settings = Settings(checkpoint, prefix="openelm.")
    settings.expect("rope.scaling.type", "none")
    head_dim = settings.take("attention.key_length", int)
    settings.expect("attention.value_length", head_dim)
    settings.expect("rope.dimension_count", head_dim)
    table = checkpoint.tensors.get("token_embd.weight")
    heads, kv_heads = settings.take("attention.head_count", list), settings.take("attention.head_count_kv", list)
    settings.expect("block_count", len(heads))
    config = OpenELMConfig(
        hidden_size=settings.take("embedding_length", int),
        head_dim=head_dim,
        **_by_block(checkpoint, heads, kv_heads, settings.take("feed_forward_length", list)),
        max_position_embeddings=settings.take("context_length", int),
        vocab_size=table.rows if table else settings.take("vocab_size", int),
        rope_theta=settings.take("rope.freq_base", float, 10_000.0),
        rms_norm_eps=settings.take("attention.layer_norm_rms_epsilon", float),
        tie_word_embeddings="output.weight" not in checkpoint.tensors,
        qk_norm="blk.0.attn_q_norm.weight" in checkpoint.tensors,
    )
    settings.finish()
    return config


def _by_block(checkpoint: Checkpoint, heads: list[int], kv_heads: list[int], widths: list[int]) -> dict[str, Any]:
    """Hyper-parameters that have a value for each block."""
    if not len(heads) == len(kv_heads) == len(widths):
        raise CheckpointError(f"{checkpoint.path} does not state as many heads as widths of blocks", code="EG206")
    return {
        "num_attention_heads": tuple(heads),
        "num_key_value_heads": tuple(kv_heads),
        "intermediate_size": tuple(widths),
    }
