"""OpenELM: decoders whose blocks have more heads and a wider feed-forward the deeper they lie.

Sources: Mehta et al., 2024 (https://arxiv.org/abs/2404.14619); sizes from each repository's ``config.json``.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint, WeightMap
from edgegen.weights.hyperparameters import Settings
from edgegen.weights.weight_map import concat
from edgegen_layers import (
    AttentionConfig,
    FeedForwardConfig,
    ModelConfig,
    NormalizationConfig,
    TransformerBlockConfig,
)

EPSILON = 1e-6
"""Of every normalization; ``config.json`` does not state it."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """One model: ``heads``, ``groups`` (key/value heads) and ``hidden`` have a value for each block."""

    dim: int
    head_dim: int
    heads: tuple[int, ...]
    groups: tuple[int, ...]
    hidden: tuple[int, ...]
    context: int = 2048
    vocab: int = 32_000
    rotary_base: float = 10_000.0
    epsilon: float = EPSILON
    tied: bool = True
    qk_norm: bool = True

    def config(self) -> ModelConfig:
        """This size as a model configuration."""
        norm = NormalizationConfig(epsilon=self.epsilon)
        blocks = tuple(
            TransformerBlockConfig(
                attn_config=AttentionConfig(
                    num_heads=heads,
                    num_kv_heads=groups,
                    head_dim=self.head_dim,
                    rotary_base=self.rotary_base,
                    qk_norm=norm if self.qk_norm else None,
                ),
                ff_config=FeedForwardConfig(intermediate_size=hidden),
                pre_attention_norm_config=norm,
                pre_ff_norm_config=norm,
            )
            for heads, groups, hidden in zip(self.heads, self.groups, self.hidden, strict=True)
        )
        return ModelConfig(
            vocab_size=self.vocab,
            num_layers=len(blocks),
            max_seq_len=self.context,
            embedding_dim=self.dim,
            block_config=blocks,
            final_norm_config=norm,
            tie_embeddings=self.tied,
        )


def scaled(layers: int, dim: int, head_dim: int) -> Size:
    """The published rule: query channels grow from a half of ``dim`` to all, feed-forward from a half to 4 times."""
    shared = 4  # query heads to a key/value head
    queries = [near(dim * factor, head_dim * shared) // head_dim for factor in _line(0.5, 1.0, layers)]
    return Size(
        dim=dim,
        head_dim=head_dim,
        heads=tuple(queries),
        groups=tuple(heads // shared for heads in queries),
        hidden=tuple(near(dim * factor, 256) for factor in _line(0.5, 4.0, layers)),
    )


def near(width: float, step: int) -> int:
    """The multiple of ``step`` nearest to ``width``, halves upwards; the next one if that loses more than a tenth."""
    multiple = max(step, int(width + step / 2) // step * step)
    return multiple if multiple >= 0.9 * width else multiple + step


def _line(start: float, end: float, count: int) -> list[float]:
    """Evenly spaced, to two decimals."""
    return [round(start + (end - start) * i / (count - 1), 2) for i in range(count)]


_270M = scaled(layers=16, dim=1280, head_dim=64)
_450M = scaled(layers=20, dim=1536, head_dim=64)
_1_1B = scaled(layers=28, dim=2048, head_dim=64)
_3B = scaled(layers=36, dim=3072, head_dim=128)

SIZES: dict[str, Size] = {
    "openelm-270m": _270M,
    "openelm-270m-instruct": _270M,
    "openelm-450m": _450M,
    "openelm-450m-instruct": _450M,
    "openelm-1.1b": _1_1B,
    "openelm-1.1b-instruct": _1_1B,
    "openelm-3b": _3B,
    "openelm-3b-instruct": _3B,
}


def config(variant: str) -> ModelConfig:
    """The configuration of a listed variant; raises KeyError for any other."""
    return SIZES[variant].config()


def read_config(checkpoint: Checkpoint) -> ModelConfig | None:
    """What ``config.json`` or GGUF metadata says; None where there is neither.

    Raises:
        CheckpointError: it is no OpenELM, or one with parts that are not known here.
    """
    if not checkpoint.config:
        return None
    size = _read_gguf(checkpoint) if checkpoint.naming == "gguf" else _read_json(checkpoint)
    if len({len(size.heads), len(size.groups), len(size.hidden)}) > 1:
        raise CheckpointError(
            f"{checkpoint.path} does not state as many heads as widths of blocks", code=ErrorCode.INVALID_CONFIG
        )
    return size.config()


def _read_json(checkpoint: Checkpoint) -> Size:
    # The multipliers of heads have gone into their numbers; positions are computed up to any length.
    settings = Settings(checkpoint, ignore=("qkv_multipliers", "num_gqa_groups", "rope_max_length"))
    settings.expect("model_type", "openelm")
    settings.expect("activation_fn_name", "swish", "silu")
    settings.expect("normalization_layer_name", "rms_norm")
    settings.expect("ffn_with_glu", True)
    dim, step = settings.take("model_dim", int), settings.take("ffn_dim_divisor", int, 256)
    size = Size(
        dim=dim,
        head_dim=settings.take("head_dim", int),
        heads=tuple(settings.take("num_query_heads", list)),
        groups=tuple(settings.take("num_kv_heads", list)),
        hidden=tuple(near(dim * factor, step) for factor in settings.take("ffn_multipliers", list)),
        context=settings.take("max_context_length", int),
        vocab=settings.take("vocab_size", int),
        rotary_base=settings.take("rope_freq_constant", float, 10_000.0),
        tied=settings.take("share_input_output_layers", bool, False),
        qk_norm=settings.take("normalize_qk_projections", bool, False),
    )
    settings.expect("num_transformer_layers", len(size.heads))
    settings.finish()
    return size


def _read_gguf(checkpoint: Checkpoint) -> Size:
    Settings(checkpoint).expect("general.architecture", "openelm")
    settings = Settings(checkpoint, prefix="openelm.")
    settings.expect("rope.scaling.type", "none")
    head_dim = settings.take("attention.key_length", int)
    settings.expect("attention.value_length", head_dim)
    settings.expect("rope.dimension_count", head_dim)
    table = checkpoint.tensors.get("token_embd.weight")
    size = Size(
        dim=settings.take("embedding_length", int),
        head_dim=head_dim,
        heads=tuple(settings.take("attention.head_count", list)),
        groups=tuple(settings.take("attention.head_count_kv", list)),
        hidden=tuple(settings.take("feed_forward_length", list)),
        context=settings.take("context_length", int),
        vocab=table.rows if table else settings.take("vocab_size", int),
        rotary_base=settings.take("rope.freq_base", float, 10_000.0),
        epsilon=settings.take("attention.layer_norm_rms_epsilon", float),
        tied="output.weight" not in checkpoint.tensors,
        qk_norm="blk.0.attn_q_norm.weight" in checkpoint.tensors,
    )
    settings.expect("block_count", len(size.heads))
    settings.finish()
    return size


def huggingface(config: ModelConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``; the fused tensors have our order of rows."""
    layer = "transformer.layers.{i}."
    return WeightMap(
        {
            "embedding.weight": "transformer.token_embeddings.weight",
            "blocks.{i}.attention_norm.weight": layer + "attn_norm.weight",
            "blocks.{i}.attention.qkv.weight": layer + "attn.qkv_proj.weight",
            "blocks.{i}.attention.query_norm.weight": layer + "attn.q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": layer + "attn.k_norm.weight",
            "blocks.{i}.attention.output.weight": layer + "attn.out_proj.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": layer + "ffn.proj_1.weight",
            "blocks.{i}.feed_forward.down.weight": layer + "ffn.proj_2.weight",
            "final_norm.weight": "transformer.norm.weight",
            "lm_head.weight": "lm_head.weight",
        },
        # A tied head is sometimes stored a second time.
        ignore=("lm_head.weight",) if config.tie_embeddings else (),
    )


def gguf(config: ModelConfig) -> WeightMap:
    """Names as llama.cpp's converter writes them; it takes gate and up apart."""
    layer = "blk.{i}."
    return WeightMap(
        {
            "embedding.weight": "token_embd.weight",
            "blocks.{i}.attention_norm.weight": layer + "attn_norm.weight",
            "blocks.{i}.attention.qkv.weight": layer + "attn_qkv.weight",
            "blocks.{i}.attention.query_norm.weight": layer + "attn_q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": layer + "attn_k_norm.weight",
            "blocks.{i}.attention.output.weight": layer + "attn_output.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": concat(layer + "ffn_gate.weight", layer + "ffn_up.weight"),
            "blocks.{i}.feed_forward.down.weight": layer + "ffn_down.weight",
            "final_norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight",
        },
        ignore=("output.weight",) if config.tie_embeddings else (),
    )
