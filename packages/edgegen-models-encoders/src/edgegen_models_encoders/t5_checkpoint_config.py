"""Reads :class:`~edgegen_models_encoders.t5.T5Config` from a checkpoint's ``config.json``."""

from __future__ import annotations

from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader
from edgegen_layers.config import HIDDEN_ACTS
from edgegen_models_encoders.t5 import T5Config

FEED_FORWARDS = {
    **{name: (name, False) for name in HIDDEN_ACTS},
    **{f"gated-{name}": (name, True) for name in HIDDEN_ACTS},
    "gated-gelu": ("gelu_new", True),
}
"""``feed_forward_proj`` in ``config.json`` -> ``dense_act_fn`` and ``is_gated_act``, where those are not stated."""


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
            "dropout_rate",
            "gradient_checkpointing",
            "initializer_factor",
            "is_decoder",
            "task_specific_params",
        ),
    )
    reader.require("model_type", "t5")
    reader.require("feed_forward_proj", *FEED_FORWARDS)
    reader.require("is_encoder_decoder", True)
    reader.require("dense_act_fn", *HIDDEN_ACTS)
    activation, gated = FEED_FORWARDS[reader.read("feed_forward_proj", str, "relu")]
    # transformers 5 states of every T5 that its head is tied, and of those that were not that the head is not scaled.
    scaled = reader.read("scale_decoder_outputs", bool, reader.read("tie_word_embeddings", bool, True))
    layers = reader.read("num_layers", int, 6)
    config = T5Config(
        vocab_size=reader.read("vocab_size", int, T5Config.vocab_size),
        hidden_size=reader.read("d_model", int, 512),
        intermediate_size=reader.read("d_ff", int, 2048),
        num_hidden_layers=layers,
        num_decoder_layers=reader.read("num_decoder_layers", int, layers),
        num_attention_heads=reader.read("num_heads", int, 8),
        head_dim=reader.read("d_kv", int, T5Config.head_dim),
        max_position_embeddings=reader.read("n_positions", int, T5Config.max_position_embeddings),
        hidden_act=HIDDEN_ACTS[reader.read("dense_act_fn", str, activation)],
        is_gated_act=reader.read("is_gated_act", bool, gated),
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
