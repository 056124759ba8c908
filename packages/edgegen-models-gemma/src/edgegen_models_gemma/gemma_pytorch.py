"""Names of weights in Gemma's own PyTorch code, as Kaggle has them."""

from __future__ import annotations

from edgegen.weights import WeightMap
from edgegen.weights.weight_map import add, concat, first_of
from edgegen_models_gemma.gemma import GemmaConfig


def gemma_pytorch(config: GemmaConfig) -> WeightMap:
    """Names as in Gemma's own PyTorch code: queries, keys and values are one, norms are what they add to 1."""
    layer = "model.layers.{i}."
    attention, mlp = layer + "self_attn.", layer + "mlp."
    before_mlp = "pre_feedforward" if config.post_norms else "post_attention"  # as in huggingface's names
    return WeightMap(
        {
            "embedding.weight": first_of("embedder.weight", "text_token_embedder.weight"),  # alone, beside a tower
            "blocks.{i}.attention_norm.weight": add(layer + "input_layernorm.weight", 1),
            "blocks.{i}.attention.qkv.weight": attention + "qkv_proj.weight",
            "blocks.{i}.attention.query_norm.weight": add(attention + "query_norm.weight", 1),
            "blocks.{i}.attention.key_norm.weight": add(attention + "key_norm.weight", 1),
            "blocks.{i}.attention.output.weight": attention + "o_proj.weight",
            "blocks.{i}.post_attention_norm.weight": add(layer + "post_attention_layernorm.weight", 1),
            "blocks.{i}.feed_forward_norm.weight": add(f"{layer}{before_mlp}_layernorm.weight", 1),
            "blocks.{i}.feed_forward.gate_up.weight": concat(mlp + "gate_proj.weight", mlp + "up_proj.weight"),
            "blocks.{i}.feed_forward.down.weight": mlp + "down_proj.weight",
            "blocks.{i}.post_feed_forward_norm.weight": add(layer + "post_feedforward_layernorm.weight", 1),
            "final_norm.weight": add("model.norm.weight", 1),
        },
        ignore=("*freqs_cis", "siglip_vision_model.*", "mm_input_projection.*", "mm_soft_embedding_norm.*"),
    )
