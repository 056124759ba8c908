"""Reads :class:`~edgegen_models_encoders.t5.T5Config` from a checkpoint's ``config.json``."""

from __future__ import annotations

from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen_models_encoders.t5 import T5Config

FEED_FORWARDS = {"relu": ("relu", False), "gated-gelu": ("gelu_tanh", True), "gated-silu": ("silu", True)}
"""``feed_forward_proj`` in ``config.json`` -> activation, gated."""


def read_config(checkpoint: Checkpoint) -> T5Config | None:
    """Configuration that the checkpoint states of itself; None if it states none.

    Raises:
        CheckpointError: it is another architecture, or has parts that are not known here.
    """
    if not checkpoint.config:
        return None
    reader = ConfigReader(
        checkpoint,
        ignore=(
            "chunk_size_feed_forward",
            "classifier_dropout",
            "dense_act_fn",
            "dropout_rate",
            "gradient_checkpointing",
            "initializer_factor",
            "is_decoder",
            "is_gated_act",
            "task_specific_params",
        ),
    )
    reader.require("model_type", "t5")
    reader.require("feed_forward_proj", *FEED_FORWARDS)
    reader.require("is_encoder_decoder", True)
    activation, gated = FEED_FORWARDS[reader.read("feed_forward_proj", str, "relu")]
    # transformers 5 states of every T5 that its head is tied, and of those that were not that the head is not scaled.
    scaled = reader.read("scale_decoder_outputs", bool, reader.read("tie_word_embeddings", bool, True))
    layers = reader.read("num_layers", int)
    config = T5Config(
        vocab_size=reader.read("vocab_size", int),
        hidden_size=reader.read("d_model", int),
        intermediate_size=reader.read("d_ff", int),
        num_hidden_layers=layers,
        num_decoder_layers=reader.read("num_decoder_layers", int, layers),
        num_attention_heads=reader.read("num_heads", int),
        head_dim=reader.read("d_kv", int),
        max_position_embeddings=reader.read("n_positions", int, T5Config.max_position_embeddings),
        hidden_act=activation,
        is_gated_act=gated,
        tie_word_embeddings=scaled or "lm_head.weight" not in checkpoint.tensors,
        scale_decoder_outputs=scaled,
        relative_attention_num_buckets=reader.read(
            "relative_attention_num_buckets", int, T5Config.relative_attention_num_buckets
        ),
        relative_attention_max_distance=reader.read(
            "relative_attention_max_distance", int, T5Config.relative_attention_max_distance
        ),
        layer_norm_epsilon=reader.read("layer_norm_epsilon", float, T5Config.layer_norm_epsilon),
        decoder_start_token_id=reader.read("decoder_start_token_id", int, reader.read("pad_token_id", int, 0)),
    )
    reader.finish()
    return config
