"""T5: an encoder-decoder with relative positions; its second version, on which Flan-T5 builds, has a gate and a head.

Sources: Raffel et al., 2019 (https://arxiv.org/abs/1910.10683), Chung et al., 2022
(https://arxiv.org/abs/2210.11416); sizes from each repository's ``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgegen.plugins import load, registry
from edgegen.weights import Checkpoint, WeightMap
from edgegen.weights.hyperparameters import Settings
from edgegen.weights.weight_map import Source, concat, first_of
from edgegen_layers import (
    AttentionConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    EncoderDecoderLM,
    FeedForwardConfig,
    ModelConfig,
    NormalizationConfig,
    RelativePositionConfig,
    TransformerBlockConfig,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """One row: what differs between T5s."""

    layers: int
    dim: int
    heads: int
    hidden: int
    vocab: int = 32_128
    context: int = 512
    decoder_layers: int | None = None
    """None for as many as the encoder has."""
    head_dim: int = 64
    activation: str = "relu"
    gated: bool = False
    tied: bool = True
    """Whether the head is the table of tokens."""
    scaled: bool = True
    """Whether the head's input is divided by the root of its width."""
    buckets: int = 32
    distance: int = 128
    epsilon: float = 1e-6
    start: int = 0

    def config(self) -> EncoderDecoderConfig:
        """This row as a model configuration."""
        norm = NormalizationConfig(epsilon=self.epsilon)
        attention = AttentionConfig(
            num_heads=self.heads,
            num_kv_heads=self.heads,
            head_dim=self.head_dim,
            rotary_percentage=0.0,
            scale=1.0,  # it is in the weights
        )
        blocks: dict[str, Any] = {
            "attn_config": attention,
            "ff_config": FeedForwardConfig(intermediate_size=self.hidden, activation=self.activation, gated=self.gated),
            "pre_attention_norm_config": norm,
            "pre_ff_norm_config": norm,
        }
        both: dict[str, Any] = {
            "vocab_size": self.vocab,
            "max_seq_len": self.context,
            "embedding_dim": self.dim,
            "final_norm_config": norm,
            "relative_position": RelativePositionConfig(num_buckets=self.buckets, max_distance=self.distance),
        }
        return EncoderDecoderConfig(
            encoder=EncoderConfig(num_layers=self.layers, block_config=TransformerBlockConfig(**blocks), **both),
            decoder=ModelConfig(
                num_layers=self.decoder_layers or self.layers,
                block_config=TransformerBlockConfig(
                    cross_attn_config=attention, pre_cross_attention_norm_config=norm, **blocks
                ),
                tie_embeddings=self.tied,
                logit_scale=self.dim**-0.5 if self.scaled else None,
                **both,
            ),
            start_token_id=self.start,
        )


_SECOND: dict[str, Any] = {"activation": "gelu_tanh", "gated": True, "tied": False, "scaled": False}

SIZES = {
    "t5-small": Size(layers=6, dim=512, heads=8, hidden=2048),
    "t5-base": Size(layers=12, dim=768, heads=12, hidden=3072),
    "t5-large": Size(layers=24, dim=1024, heads=16, hidden=4096),
    "flan-t5-small": Size(layers=8, dim=512, heads=6, hidden=1024, **_SECOND),
    "flan-t5-base": Size(layers=12, dim=768, heads=12, hidden=2048, **_SECOND),
    "flan-t5-large": Size(layers=24, dim=1024, heads=16, hidden=2816, **_SECOND),
}

FEED_FORWARDS = {"relu": ("relu", False), "gated-gelu": ("gelu_tanh", True), "gated-silu": ("silu", True)}
"""``feed_forward_proj`` in ``config.json`` -> activation, gated."""


def config(variant: str) -> EncoderDecoderConfig:
    """The configuration of a listed variant; raises KeyError for any other."""
    return SIZES[variant].config()


def build(config: EncoderDecoderConfig, *, layers: Mapping[str, str]) -> EncoderDecoderLM:
    """The model, on the current default device; ``layers`` names how the decoder attends to its own text."""
    kernel = registry().layer("attention", layers.get("attention", "matmul"))
    return EncoderDecoderLM(config, load(kernel.impl)())


def huggingface(config: EncoderDecoderConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``."""
    rules: dict[str, str | Source] = {
        "embedding.weight": first_of("shared.weight", "encoder.embed_tokens.weight"),
        "decoder.lm_head.weight": "lm_head.weight",
    }
    for half, last in (("encoder", 1), ("decoder", 2)):
        ours, block = f"{half}.blocks.{{i}}.", f"{half}.block.{{i}}.layer."
        attention, feed_forward = block + "0.SelfAttention.", f"{block}{last}.DenseReluDense."
        buckets = f"{half}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        rules |= {
            f"{half}.relative_position.table.weight": buckets,
            ours + "attention_norm.weight": block + "0.layer_norm.weight",
            ours + "attention.qkv.weight": concat(*(f"{attention}{part}.weight" for part in "qkv")),
            ours + "attention.output.weight": attention + "o.weight",
            ours + "feed_forward_norm.weight": f"{block}{last}.layer_norm.weight",
            ours + "feed_forward.up.weight": feed_forward + "wi.weight",
            ours + "feed_forward.gate_up.weight": concat(feed_forward + "wi_0.weight", feed_forward + "wi_1.weight"),
            ours + "feed_forward.down.weight": feed_forward + "wo.weight",
            f"{half}.final_norm.weight": f"{half}.final_layer_norm.weight",
        }
    cross = "decoder.block.{i}.layer.1.EncDecAttention."
    rules |= {
        "decoder.blocks.{i}.cross_attention_norm.weight": "decoder.block.{i}.layer.1.layer_norm.weight",
        "decoder.blocks.{i}.cross_attention.query.weight": cross + "q.weight",
        "decoder.blocks.{i}.cross_attention.key_value.weight": concat(cross + "k.weight", cross + "v.weight"),
        "decoder.blocks.{i}.cross_attention.output.weight": cross + "o.weight",
    }
    return WeightMap(
        rules,
        # The table is sometimes stored once for each half, a tied head once more; the first T5s carry buckets of
        # attention to the encoder, which has no use for them.
        ignore=(
            "*coder.embed_tokens.weight",
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
            *(("lm_head.weight",) if config.decoder.tie_embeddings else ()),
        ),
    )


def read_config(checkpoint: Checkpoint) -> EncoderDecoderConfig | None:
    """What ``config.json`` says; None where there is none.

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
    size = Size(
        layers=layers,
        dim=settings.take("d_model", int),
        heads=settings.take("num_heads", int),
        hidden=settings.take("d_ff", int),
        vocab=settings.take("vocab_size", int),
        context=settings.take("n_positions", int, Size.context),
        decoder_layers=settings.take("num_decoder_layers", int, layers),
        head_dim=settings.take("d_kv", int),
        activation=activation,
        gated=gated,
        tied=scaled or "lm_head.weight" not in checkpoint.tensors,
        scaled=scaled,
        buckets=settings.take("relative_attention_num_buckets", int, Size.buckets),
        distance=settings.take("relative_attention_max_distance", int, Size.distance),
        epsilon=settings.take("layer_norm_epsilon", float, Size.epsilon),
        start=settings.take("decoder_start_token_id", int, settings.take("pad_token_id", int, Size.start)),
    )
    settings.finish()
    return size.config()
