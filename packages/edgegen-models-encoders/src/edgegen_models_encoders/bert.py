"""BERT: an encoder with a table of positions and norms after each part; pooled, a sentence embedder.

Sources: Devlin et al., 2018 (https://arxiv.org/abs/1810.04805), Reimers and Gurevych, 2019
(https://arxiv.org/abs/1908.10084); sizes from each repository's ``config.json``, pooling from ``modules.json`` and
``1_Pooling/config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint, WeightMap
from edgegen.weights.hyperparameters import Settings
from edgegen.weights.weight_map import Source, concat, first_of
from edgegen_huggingface.repository_files import read_modules
from edgegen_layers import (
    AttentionConfig,
    EmbedderConfig,
    EncoderConfig,
    FeedForwardConfig,
    NormalizationConfig,
    TextEmbedder,
    TransformerBlockConfig,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """One row: what differs between models of this kind."""

    layers: int
    dim: int
    heads: int
    hidden: int
    vocab: int = 30_522
    context: int = 512
    token_types: int = 2
    epsilon: float = 1e-12
    activation: str = "gelu"
    pooling: str | None = "mean"
    normalize: bool | None = False

    def config(self) -> EmbedderConfig:
        """This row as a model configuration."""
        norm = NormalizationConfig(kind="layer", epsilon=self.epsilon)
        encoder = EncoderConfig(
            vocab_size=self.vocab,
            num_layers=self.layers,
            max_seq_len=self.context,
            embedding_dim=self.dim,
            block_config=TransformerBlockConfig(
                attn_config=AttentionConfig(
                    num_heads=self.heads,
                    num_kv_heads=self.heads,
                    head_dim=self.dim // self.heads,
                    rotary_percentage=0.0,
                    qkv_use_bias=True,
                    output_proj_use_bias=True,
                ),
                ff_config=FeedForwardConfig(
                    intermediate_size=self.hidden, activation=self.activation, gated=False, use_bias=True
                ),
                pre_attention_norm_config=norm,
                pre_ff_norm_config=norm,
            ),
            post_norm=True,
            embedding_norm_config=norm,
            learned_positions=True,
            token_types=self.token_types,
        )
        return EmbedderConfig(encoder=encoder, pooling=self.pooling, normalize=self.normalize)


_BASE = Size(layers=12, dim=768, heads=12, hidden=3072)
_SMALL = Size(layers=12, dim=384, heads=12, hidden=1536, normalize=True)

SIZES = {
    "bert-base-uncased": _BASE,
    "bert-base-cased": replace(_BASE, vocab=28_996),
    "bert-large-uncased": Size(layers=24, dim=1024, heads=16, hidden=4096),
    "all-minilm-l6-v2": replace(_SMALL, layers=6),
    "all-minilm-l12-v2": _SMALL,
    "bge-small-en-v1.5": replace(_SMALL, pooling="cls"),
    "bge-base-en-v1.5": replace(_BASE, pooling="cls", normalize=True),
    "e5-small-v2": _SMALL,
}

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu", "silu": "silu"}
"""Name in ``config.json`` -> ours."""


def config(variant: str) -> EmbedderConfig:
    """The configuration of a listed variant; raises KeyError for any other."""
    return SIZES[variant].config()


def build(config: EmbedderConfig, *, layers: Mapping[str, str]) -> TextEmbedder:
    """The model, on the current default device; it has no block that ``layers`` could choose."""
    return TextEmbedder(config)


def huggingface(config: EmbedderConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``: with ``bert.`` before them where heads lie beside."""

    def name(suffix: str) -> Source:
        return first_of(suffix, "bert." + suffix)

    def norm(prefix: str, kind: str) -> Source:  # BERT's own checkpoints call scale and bias as its first code did
        old = {"weight": "gamma", "bias": "beta"}[kind]
        return first_of(*(f"{start}{prefix}.{word}" for start in ("", "bert.") for word in (kind, old)))

    layer = "encoder.layer.{i}."
    attention = layer + "attention."
    rules: dict[str, str | Source] = {
        "encoder.embedding.weight": name("embeddings.word_embeddings.weight"),
        "encoder.positions.weight": name("embeddings.position_embeddings.weight"),
        "encoder.token_types.weight": name("embeddings.token_type_embeddings.weight"),
    }
    for kind in ("weight", "bias"):
        rules |= {
            f"encoder.embedding_norm.{kind}": norm("embeddings.LayerNorm", kind),
            f"encoder.blocks.{{i}}.attention.qkv.{kind}": concat(
                *(name(f"{attention}self.{part}.{kind}") for part in ("query", "key", "value"))
            ),
            f"encoder.blocks.{{i}}.attention.output.{kind}": name(f"{attention}output.dense.{kind}"),
            f"encoder.blocks.{{i}}.attention_norm.{kind}": norm(attention + "output.LayerNorm", kind),
            f"encoder.blocks.{{i}}.feed_forward.up.{kind}": name(f"{layer}intermediate.dense.{kind}"),
            f"encoder.blocks.{{i}}.feed_forward.down.{kind}": name(f"{layer}output.dense.{kind}"),
            f"encoder.blocks.{{i}}.feed_forward_norm.{kind}": norm(layer + "output.LayerNorm", kind),
        }
    # What else BERT was trained to do, of which an embedding has no use; and the numbers 0, 1, 2 and so on.
    return WeightMap(rules, ignore=("pooler.*", "bert.pooler.*", "cls.*", "*embeddings.position_ids"))


def read_config(checkpoint: Checkpoint) -> EmbedderConfig | None:
    """What ``config.json`` says, and the files of sentence-transformers; None where there is no ``config.json``.

    Raises:
        CheckpointError: it is another architecture, or has parts that are not known here.
    """
    if not checkpoint.config:
        return None
    settings = Settings(
        checkpoint,
        ignore=(
            "attention_probs_dropout_prob",
            "chunk_size_feed_forward",
            "classifier_dropout",
            "directionality",
            "gradient_checkpointing",
            "pooler_*",
        ),
    )
    settings.expect("model_type", "bert")
    settings.expect("position_embedding_type", "absolute")
    settings.expect("hidden_act", *ACTIVATIONS)
    settings.expect("tie_word_embeddings", True, False)  # of a head that is left out
    for absent in ("is_decoder", "add_cross_attention", "is_encoder_decoder"):
        settings.expect(absent, False)
    pooling, normalize = _read_pooling(checkpoint)
    size = Size(
        layers=settings.take("num_hidden_layers", int),
        dim=settings.take("hidden_size", int),
        heads=settings.take("num_attention_heads", int),
        hidden=settings.take("intermediate_size", int),
        vocab=settings.take("vocab_size", int),
        context=settings.take("max_position_embeddings", int),
        token_types=settings.take("type_vocab_size", int, 2),
        epsilon=settings.take("layer_norm_eps", float, 1e-12),
        activation=ACTIVATIONS[settings.take("hidden_act", str, "gelu")],
        pooling=pooling,
        normalize=normalize,
    )
    settings.finish()
    return size.config()


def _read_pooling(checkpoint: Checkpoint) -> tuple[str | None, bool | None]:
    """Pooling, and whether the result is normalized, as sentence-transformers has it; None where nothing states it."""
    modules = read_modules(checkpoint.files[0].parent) if checkpoint.files else None
    if modules is None:
        return None, None
    kinds, settings = [kind for kind, _ in modules], dict(modules).get("Pooling", {})
    modes = [key.removeprefix("pooling_mode_") for key, value in settings.items() if value is True and "_mode_" in key]
    mode = "+".join(modes) or str(settings.get("pooling_mode"))
    pooling = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}.get(mode)
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]) or pooling is None:
        raise CheckpointError(
            f"{checkpoint.path} makes its embeddings in a way that this family does not know",
            code=ErrorCode.UNKNOWN_CONFIG,
            details=[f"modules  {', '.join(kinds)}", f"pooling  {mode}"],
            hint="it knows Transformer, Pooling by mean or by the first token, and Normalize",
        )
    return pooling, "Normalize" in kinds
