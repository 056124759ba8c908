"""BERT: an encoder with a table of positions and norms after each part; pooled, a sentence embedder.

Sources: Devlin et al., 2018 (https://arxiv.org/abs/1810.04805), Reimers and Gurevych, 2019
(https://arxiv.org/abs/1908.10084); names as in transformers' ``modeling_bert.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.tracing import RepeatedBlock
from edgegen.weights import Checkpoint, WeightMap
from edgegen.weights.hyperparameters import MAY_BE_UNSTATED, ConfigReader
from edgegen.weights.weight_map import Source, concat, first_of
from edgegen_layers import LayerChoices, SelfAttention, TextEncoderBase
from edgegen_layers.config import HIDDEN_ACTS, AttentionConfig, FeedForwardConfig, NormalizationConfig
from edgegen_layers.encoder import padding_mask
from edgegen_models_encoders.variants import BERT_CONFIGS


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """Hyper-parameters, as ``config.json`` names them; the last two are those of sentence-transformers' files.

    Attributes:
        type_vocab_size: rows of the table of token types; all tokens are of type 0.
        hidden_act: a value of :data:`edgegen_layers.config.HIDDEN_ACTS`.
        pooling: ``mean`` of the tokens' vectors, or ``cls``: the first one; None where no file states it (mean).
        normalize: True for embeddings of length 1; None where no file states it (no).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    pooling: str | None = field(default=None, metadata=MAY_BE_UNSTATED)
    normalize: bool | None = field(default=None, metadata=MAY_BE_UNSTATED)

    def __post_init__(self) -> None:
        _ = self.attention, self.mlp  # refuses sizes that contradict each other, before a model is built

    @property
    def norm(self) -> NormalizationConfig:
        """Every normalization."""
        return NormalizationConfig(kind="layer", epsilon=self.layer_norm_eps)

    @property
    def attention(self) -> AttentionConfig:
        """Self-attention of every block: to all tokens, without rotary positions, with biases."""
        return AttentionConfig(
            num_attention_heads=self.num_attention_heads,
            num_kv_heads=self.num_attention_heads,
            head_dim=self.hidden_size // self.num_attention_heads,
            partial_rotary_factor=0.0,
            qkv_use_bias=True,
            output_proj_use_bias=True,
        )

    @property
    def mlp(self) -> FeedForwardConfig:
        """Feed-forward layer of every block."""
        size = self.intermediate_size
        return FeedForwardConfig(intermediate_size=size, activation=self.hidden_act, gated=False, use_bias=True)


class BertBlock(RepeatedBlock):
    """One layer: attention, then feed-forward, each added to the residual stream and then normalized."""

    def __init__(self, config: BertConfig, layers: LayerChoices) -> None:
        super().__init__()
        self.trace_key = (config, layers.key)
        self.attention_norm = layers.norm(config.hidden_size, config.norm)
        self.attention = SelfAttention(config.hidden_size, config.attention)
        self.feed_forward_norm = layers.norm(config.hidden_size, config.norm)
        self.feed_forward = layers.mlp(config.hidden_size, config.mlp)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # [B, T, D], [B, 1, 1, T]
        x = self.attention_norm(x + self.attention(x, mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


class BertEncoder(nn.Module):
    """Embeddings of tokens, token types and positions, then the blocks."""

    def __init__(self, config: BertConfig, layers: LayerChoices) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, hidden)
        self.positions = nn.Embedding(config.max_position_embeddings, hidden)
        self.token_types = nn.Embedding(config.type_vocab_size, hidden)
        self.embedding_norm = layers.norm(hidden, config.norm)
        self.blocks = nn.ModuleList(BertBlock(config, layers) for _ in range(config.num_hidden_layers))

    def forward(self, tokens: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:  # [B, T], [B, T]
        positions = torch.arange(tokens.shape[1], dtype=torch.int32, device=tokens.device)
        x: torch.Tensor = self.embedding(tokens)  # [B, T, D]
        x = x + self.token_types(torch.zeros_like(tokens))
        x = self.embedding_norm(x + self.positions(positions))
        mask = padding_mask(attention_mask)  # [B, 1, 1, T]
        for block in self.blocks:
            x = block(x, mask)
        return x


class Bert(TextEncoderBase):
    """The text encoder: token vectors, and the embedding that is pooled from them."""

    config: BertConfig
    encoder: BertEncoder

    def __init__(self, config: BertConfig, layers: LayerChoices) -> None:
        super().__init__(config)
        self.encoder = BertEncoder(config, layers)

    @property
    def embedding(self) -> nn.Embedding:
        return self.encoder.embedding


def config(variant: str) -> BertConfig:
    """Configuration of a listed variant; raises KeyError for any other."""
    return BertConfig(**BERT_CONFIGS[variant])


def build(config: BertConfig, *, layers: Mapping[str, str]) -> Bert:
    """The model, on the current default device, with the implementations that ``layers`` names."""
    return LayerChoices(layers).build(Bert, config)


def huggingface(config: BertConfig) -> WeightMap:
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


def read_config(checkpoint: Checkpoint) -> BertConfig | None:
    """Configuration that ``config.json`` and sentence-transformers' files state; None where there is none.

    Raises:
        CheckpointError: it is another architecture, or has parts that are not known here.
    """
    if not checkpoint.config:
        return None
    reader = ConfigReader(
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
    reader.require("model_type", "bert")
    reader.require("position_embedding_type", "absolute")
    reader.require("hidden_act", *HIDDEN_ACTS)
    reader.require("tie_word_embeddings", True, False)  # of a head that is left out
    for absent in ("is_decoder", "add_cross_attention", "is_encoder_decoder"):
        reader.require(absent, False)
    pooling, normalize = _read_pooling(checkpoint)
    config = BertConfig(
        vocab_size=reader.read("vocab_size", int, 30_522),
        hidden_size=reader.read("hidden_size", int, 768),
        intermediate_size=reader.read("intermediate_size", int, 3_072),
        num_hidden_layers=reader.read("num_hidden_layers", int, 12),
        num_attention_heads=reader.read("num_attention_heads", int, 12),
        max_position_embeddings=reader.read("max_position_embeddings", int, 512),
        type_vocab_size=reader.read("type_vocab_size", int, 2),
        layer_norm_eps=reader.read("layer_norm_eps", float, 1e-12),
        hidden_act=HIDDEN_ACTS[reader.read("hidden_act", str, "gelu")],
        pooling=pooling,
        normalize=normalize,
    )
    reader.finish()
    return config


def _read_pooling(checkpoint: Checkpoint) -> tuple[str | None, bool | None]:
    """Pooling, and whether the result is normalized, as sentence-transformers has it; None where nothing states it."""
    modules = checkpoint.pipeline_modules()
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
