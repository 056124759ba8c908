"""Reads :class:`~edgegen_models_openelm.openelm.OpenELMConfig` from a checkpoint: ``config.json`` or GGUF metadata."""

from __future__ import annotations

from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
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
    reader = ConfigReader(checkpoint, ignore=("qkv_multipliers", "num_gqa_groups", "rope_max_length"))
    reader.require("model_type", "openelm")
    reader.require("activation_fn_name", "swish", "silu")
    reader.require("normalization_layer_name", "rms_norm")
    reader.require("ffn_with_glu", True)
    hidden_size, step = reader.read("model_dim", int), reader.read("ffn_dim_divisor", int, 256)
    heads = reader.read("num_query_heads", list)
    reader.require("num_transformer_layers", len(heads))
    widths = [near(hidden_size * factor, step) for factor in reader.read("ffn_multipliers", list)]
    config = OpenELMConfig(
        hidden_size=hidden_size,
        head_dim=reader.read("head_dim", int),
        **_by_block(checkpoint, heads, reader.read("num_kv_heads", list), widths),
        max_position_embeddings=reader.read("max_context_length", int),
        vocab_size=reader.read("vocab_size", int),
        rope_theta=reader.read("rope_freq_constant", float, 10_000.0),
        tie_word_embeddings=reader.read("share_input_output_layers", bool, False),
        qk_norm=reader.read("normalize_qk_projections", bool, False),
    )
    reader.finish()
    return config


def _read_gguf(checkpoint: Checkpoint) -> OpenELMConfig:
    ConfigReader(checkpoint).require("general.architecture", "openelm")
    reader = ConfigReader(checkpoint, prefix="openelm.")
    reader.require("rope.scaling.type", "none")
    head_dim = reader.read("attention.key_length", int)
    reader.require("attention.value_length", head_dim)
    reader.require("rope.dimension_count", head_dim)
    table = checkpoint.tensors.get("token_embd.weight")
    heads, kv_heads = reader.read("attention.head_count", list), reader.read("attention.head_count_kv", list)
    reader.require("block_count", len(heads))
    config = OpenELMConfig(
        hidden_size=reader.read("embedding_length", int),
        head_dim=head_dim,
        **_by_block(checkpoint, heads, kv_heads, reader.read("feed_forward_length", list)),
        max_position_embeddings=reader.read("context_length", int),
        vocab_size=table.rows if table else reader.read("vocab_size", int),
        rope_theta=reader.read("rope.freq_base", float, 10_000.0),
        rms_norm_eps=reader.read("attention.layer_norm_rms_epsilon", float),
        tie_word_embeddings="output.weight" not in checkpoint.tensors,
        qk_norm="blk.0.attn_q_norm.weight" in checkpoint.tensors,
    )
    reader.finish()
    return config


def _by_block(checkpoint: Checkpoint, heads: list[int], kv_heads: list[int], widths: list[int]) -> dict[str, Any]:
    """Hyper-parameters that have a value for each block."""
    if not len(heads) == len(kv_heads) == len(widths):
        raise CheckpointError(
            f"{checkpoint.path} does not state as many heads as widths of blocks", code=ErrorCode.INVALID_CONFIG
        )
    return {
        "num_attention_heads": tuple(heads),
        "num_key_value_heads": tuple(kv_heads),
        "intermediate_size": tuple(widths),
    }
