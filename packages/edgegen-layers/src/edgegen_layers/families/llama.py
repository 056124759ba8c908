"""The architecture that most published decoders share, as a row of sizes: Llama, Mistral, Qwen and their kin.

RMS norm, rotary positions, grouped-query attention, SwiGLU; per row: biases on queries, keys and values, norms of each
head's queries and keys, a sliding window, scaled rotary frequencies. A family of this kind is a table of
:class:`Size` and the names of its ``model_type``; weight names follow from the configuration.

Sources: Touvron et al., 2023 (https://arxiv.org/abs/2302.13971); names as in transformers' ``modeling_llama.py`` and
llama.cpp's ``gguf-py/gguf/constants.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.plugins import load, registry
from edgegen.weights import Checkpoint, WeightMap
from edgegen.weights.hyperparameters import Settings
from edgegen.weights.weight_map import Source, concat, interleaved_to_half_rotary, permute_rows
from edgegen_layers.config import (
    AttentionConfig,
    FeedForwardConfig,
    FrequencyScaling,
    LinearScaling,
    ModelConfig,
    NormalizationConfig,
    RotaryScaling,
    TransformerBlockConfig,
)
from edgegen_layers.decoder import DecoderLM
from edgegen_layers.rotary_scaling import llama3_scaling, yarn_scaling

Traits = Mapping[str, Any]
"""Fields of :class:`Size` that an architecture's name implies and its configuration file does not state."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """One row: what differs between models of this kind."""

    layers: int
    dim: int
    heads: int
    groups: int
    hidden: int
    context: int
    vocab: int
    head_dim: int | None = None
    rotary_base: float = 10_000.0
    rotary_scaling: RotaryScaling | None = None
    epsilon: float = 1e-5
    window: int | None = None
    qkv_bias: bool = False
    qk_norm: bool = False
    tied: bool = False

    def config(self) -> ModelConfig:
        """This row as a model configuration."""
        norm = NormalizationConfig(epsilon=self.epsilon)
        block = TransformerBlockConfig(
            attn_config=AttentionConfig(
                num_heads=self.heads,
                num_kv_heads=self.groups,
                head_dim=self.head_dim or self.dim // self.heads,
                rotary_base=self.rotary_base,
                rotary_scaling=self.rotary_scaling,
                qkv_use_bias=self.qkv_bias,
                sliding_window=self.window,
                qk_norm=norm if self.qk_norm else None,
            ),
            ff_config=FeedForwardConfig(intermediate_size=self.hidden),
            pre_attention_norm_config=norm,
            pre_ff_norm_config=norm,
        )
        return ModelConfig(
            vocab_size=self.vocab,
            num_layers=self.layers,
            max_seq_len=self.context,
            embedding_dim=self.dim,
            block_config=block,
            final_norm_config=norm,
            tie_embeddings=self.tied,
        )


def build(config: ModelConfig, *, layers: Mapping[str, str]) -> DecoderLM:
    """The model, on the current default device, with the attention kernel that ``layers`` names."""
    kernel = registry().layer("attention", layers.get("attention", "matmul"))
    return DecoderLM(config, load(kernel.impl)())


def read_size(checkpoint: Checkpoint, architectures: Mapping[str, Traits]) -> Size | None:
    """What ``config.json`` or GGUF metadata says; None where there is neither.

    Args:
        checkpoint: opened.
        architectures: ``model_type`` or ``general.architecture`` -> what that name implies.

    Raises:
        CheckpointError: it is another architecture, or has parts that are not known here.
    """
    if not checkpoint.config:
        return None
    return (_read_gguf if checkpoint.naming == "gguf" else _read_json)(checkpoint, architectures)


def _read_json(checkpoint: Checkpoint, architectures: Mapping[str, Traits]) -> Size:
    settings = Settings(checkpoint, ignore=("max_window_layers", "rope_scaling", "layer_types"))
    settings.expect("model_type", *architectures)
    settings.expect("hidden_act", "silu")
    for absent in ("mlp_bias", "rope_interleaved", "attention_bias"):
        settings.expect(absent, False)
    heads, dim = settings.take("num_attention_heads", int), settings.take("hidden_size", int)
    head_dim = settings.take("head_dim", int, dim // heads)
    rope = {**(checkpoint.config.get("rope_scaling") or {}), **settings.take("rope_parameters", dict, {})}
    base = float(rope.get("rope_theta") or settings.take("rope_theta", float, 10_000.0))
    window = settings.take("sliding_window", int, 0) if settings.take("use_sliding_window", bool, True) else 0
    size = Size(
        layers=settings.take("num_hidden_layers", int),
        dim=dim,
        heads=heads,
        groups=settings.take("num_key_value_heads", int, heads),
        hidden=settings.take("intermediate_size", int),
        context=settings.take("max_position_embeddings", int),
        vocab=settings.take("vocab_size", int),
        head_dim=head_dim,
        rotary_base=base,
        rotary_scaling=_read_scaling(checkpoint, rope, head_dim, base),
        epsilon=settings.take("rms_norm_eps", float),
        window=window or None,
        tied=settings.take("tie_word_embeddings", bool, False),
    )
    for read_above in ("rope_theta", "sliding_window"):
        settings.take(read_above, object, None)
    settings.finish()
    return replace(size, **architectures[checkpoint.config.get("model_type") or next(iter(architectures))])


def _read_scaling(checkpoint: Checkpoint, rope: Mapping[str, Any], head_dim: int, base: float) -> RotaryScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind == "linear":
        return LinearScaling(factor=float(rope["factor"]))
    if kind == "llama3":
        return llama3_scaling(
            head_dim,
            base,
            factor=rope["factor"],
            low=rope["low_freq_factor"],
            high=rope["high_freq_factor"],
            original=rope["original_max_position_embeddings"],
        )
    if kind == "yarn" and not {"mscale", "mscale_all_dim"} & rope.keys():
        names = {"beta_fast", "beta_slow", "attention_factor", "truncate"}
        return yarn_scaling(
            head_dim,
            base,
            factor=rope["factor"],
            original=rope.get("original_max_position_embeddings") or checkpoint.config["max_position_embeddings"],
            **{name: rope[name] for name in names & rope.keys() if rope[name] is not None},
        )
    raise CheckpointError(
        f"rotary scaling {kind!r} of {checkpoint.path} is not known",
        code=ErrorCode.UNKNOWN_CONFIG,
        hint="it knows default, linear, llama3 and yarn",
    )


def _read_gguf(checkpoint: Checkpoint, architectures: Mapping[str, Traits]) -> Size:
    Settings(checkpoint).expect("general.architecture", *architectures)
    architecture = str(checkpoint.config["general.architecture"])
    settings = Settings(checkpoint, prefix=f"{architecture}.", ignore=("*.rope.scaling.*",))
    settings.expect("rope.scaling.type", "none")
    heads, dim = settings.take("attention.head_count", int), settings.take("embedding_length", int)
    head_dim = settings.take("attention.key_length", int, settings.take("rope.dimension_count", int, dim // heads))
    settings.expect("rope.dimension_count", head_dim)
    settings.expect("attention.value_length", head_dim)
    factors = checkpoint.tensors.get("rope_freqs.weight")
    table = checkpoint.tensors.get("token_embd.weight")
    size = Size(
        layers=settings.take("block_count", int),
        dim=dim,
        heads=heads,
        groups=settings.take("attention.head_count_kv", int, heads),
        hidden=settings.take("feed_forward_length", int),
        context=settings.take("context_length", int),
        vocab=table.rows if table else settings.take("vocab_size", int),
        head_dim=head_dim,
        rotary_base=settings.take("rope.freq_base", float, 10_000.0),
        rotary_scaling=None if factors is None else FrequencyScaling(factors=tuple(factors.read().tolist())),
        epsilon=settings.take("attention.layer_norm_rms_epsilon", float),
        window=settings.take("attention.sliding_window", int, 0) or None,
        tied="output.weight" not in checkpoint.tensors,
    )
    settings.finish()
    return replace(size, **architectures[architecture])


def huggingface(config: ModelConfig) -> WeightMap:
    """Names as in the repositories' ``model.safetensors``."""
    layer = "model.layers.{i}."
    attention, mlp = layer + "self_attn.", layer + "mlp."

    def fused(kind: str) -> Source:
        return concat(*(f"{attention}{part}_proj.{kind}" for part in "qkv"))

    return WeightMap(
        {
            "embedding.weight": "model.embed_tokens.weight",
            "blocks.{i}.attention_norm.weight": layer + "input_layernorm.weight",
            "blocks.{i}.attention.qkv.weight": fused("weight"),
            "blocks.{i}.attention.qkv.bias": fused("bias"),
            "blocks.{i}.attention.query_norm.weight": attention + "q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": attention + "k_norm.weight",
            "blocks.{i}.attention.output.weight": attention + "o_proj.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "post_attention_layernorm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": concat(mlp + "gate_proj.weight", mlp + "up_proj.weight"),
            "blocks.{i}.feed_forward.down.weight": mlp + "down_proj.weight",
            "final_norm.weight": "model.norm.weight",
            "lm_head.weight": "lm_head.weight",
        },
        # A tied head is sometimes stored a second time.
        ignore=("*.rotary_emb.inv_freq", *(("lm_head.weight",) if config.tie_embeddings else ())),
    )


def gguf(config: ModelConfig) -> WeightMap:
    """Names as llama.cpp's converter writes them."""
    return _gguf(config, interleaved=False)


def gguf_interleaved(config: ModelConfig) -> WeightMap:
    """The same for its architecture ``llama``, whose queries and keys it reorders for another form of rotation."""
    return _gguf(config, interleaved=True)


def _gguf(config: ModelConfig, *, interleaved: bool) -> WeightMap:
    layer = "blk.{i}."
    attention = config.blocks[0].attn_config

    def rotated(name: str, heads: int) -> str | Source:
        return permute_rows(name, interleaved_to_half_rotary(heads, attention.head_dim)) if interleaved else name

    def fused(kind: str) -> Source:
        return concat(
            rotated(f"{layer}attn_q.{kind}", attention.num_heads),
            rotated(f"{layer}attn_k.{kind}", attention.num_kv_heads),
            f"{layer}attn_v.{kind}",
        )

    return WeightMap(
        {
            "embedding.weight": "token_embd.weight",
            "blocks.{i}.attention_norm.weight": layer + "attn_norm.weight",
            "blocks.{i}.attention.qkv.weight": fused("weight"),
            "blocks.{i}.attention.qkv.bias": fused("bias"),
            "blocks.{i}.attention.query_norm.weight": layer + "attn_q_norm.weight",
            "blocks.{i}.attention.key_norm.weight": layer + "attn_k_norm.weight",
            "blocks.{i}.attention.output.weight": layer + "attn_output.weight",
            "blocks.{i}.feed_forward_norm.weight": layer + "ffn_norm.weight",
            "blocks.{i}.feed_forward.gate_up.weight": concat(layer + "ffn_gate.weight", layer + "ffn_up.weight"),
            "blocks.{i}.feed_forward.down.weight": layer + "ffn_down.weight",
            "final_norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight",
        },
        # Factors of the rotary frequencies are part of the configuration, which is checked against them.
        ignore=(
            *(("rope_freqs.weight",) if attention.rotary_scaling else ()),
            *(("output.weight",) if config.tie_embeddings else ()),
        ),
    )
