"""Reads :class:`~edgegen_models_encoders.t5.T5Config` from a checkpoint's ``config.json``."""

from __future__ import annotations

from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import Settings
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
    settings = Settings(
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
    settings.expect("model_type", "t5")
    settings.expect("feed_forward_proj", *FEED_FORWARDS)
    settings.expect("is_encoder_decoder", True)
    activation, gated = FEED_FORWARDS[settings.take("feed_forward_proj", str, "relu")]
    # transformers 5 states of every T5 that its head is tied, and of those that were not that the head is not scaled.
    scaled = settings.take("scale_decoder_outputs", bool, settings.take("tie_word_embeddings", bool, True))
    layers = settings.take("num_layers", int)
    config = T5Config(
        vocab_size=settings.take("vocab_size", int),
        hidden_size=settings.take("d_model", int),
        intermediate_size=settings.take("d_ff", int),
        num_hidden_layers=layers,
        num_decoder_layers=settings.take("num_decoder_layers", int, layers),
        num_attention_heads=settings.take("num_heads", int),
        head_dim=settings.take("d_kv", int),
        max_position_embeddings=settings.take("n_positions", int, T5Config.max_position_embeddings),
        hidden_act=activation,
        is_gated_act=gated,
        tie_word_embeddings=scaled or "lm_head.weight" not in checkpoint.tensors,
        scale_decoder_outputs=scaled,
        relative_attention_num_buckets=settings.take(
            "relative_attention_num_buckets", int, T5Config.relative_attention_num_buckets
        ),
        relative_attention_max_distance=settings.take(
            "relative_attention_max_distance", int, T5Config.relative_attention_max_distance
        ),
        layer_norm_epsilon=settings.take("layer_norm_epsilon", float, T5Config.layer_norm_epsilon),
        decoder_start_token_id=settings.take("decoder_start_token_id", int, settings.take("pad_token_id", int, 0)),
    )
    settings.finish()
    return config
