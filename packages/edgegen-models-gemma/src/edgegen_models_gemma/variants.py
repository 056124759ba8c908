"""Published models: one row each, with the hyper-parameters of its ``config.json``.

Imports neither torch nor numpy, so that listing models stays fast.
"""

from __future__ import annotations

from typing import Any

from edgegen.descriptors import Variant
from edgegen_layers.rotary_scaling import LinearScaling

Row = dict[str, Any]
"""Keyword arguments of :class:`edgegen_models_gemma.gemma.GemmaConfig`."""

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- set system = messages[0]['content'] | trim if messages and messages[0]['role'] == 'system' else '' -%}
{%- for message in messages if message['role'] != 'system' -%}
<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}
{{ system ~ '\n\n' if system and loop.first else '' }}{{ message['content'] | trim }}<end_of_turn>
{% endfor -%}
{%- if add_generation_prompt -%}
<start_of_turn>model
{% endif -%}
"""
"""For checkpoints that carry none. Gemma has no turn for a system prompt; it goes before the first message."""


GENERATIONS: dict[str, Row] = {
    "gemma": {},
    "gemma2": {"post_norms": True, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3": {"post_norms": True, "qk_norm": True, "rope_theta": 1e6, "rope_local_base_freq": 10_000.0},
}
"""Hyper-parameters that all sizes of a generation share, by the name that checkpoints have for it."""

PERIODS = {"gemma": 1, "gemma2": 2, "gemma3": 6}
"""One block in so many sees everything, the others a window."""


def layer_types(count: int, period: int) -> tuple[str, ...]:
    """Types of ``count`` blocks, of which every ``period``-th sees everything."""
    return tuple("full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(count))


def _row(generation: str, layers: int, **own: Any) -> Row:
    types = layer_types(layers, PERIODS[generation])
    common: Row = {"num_hidden_layers": layers, "layer_types": types, "head_dim": 256, "query_pre_attn_scalar": 256.0}
    return {**common, **GENERATIONS[generation], **own}


def _one(layers: int, **own: Any) -> Row:
    return _row("gemma", layers, vocab_size=256_000, max_position_embeddings=8192, **own)


def _two(layers: int, **own: Any) -> Row:
    return _row("gemma2", layers, vocab_size=256_000, max_position_embeddings=8192, sliding_window=4096, **own)


def _three(layers: int, **own: Any) -> Row:
    text = {"vocab_size": 262_144, "max_position_embeddings": 32_768, "sliding_window": 512}
    return _row("gemma3", layers, **text | own)


# name, repository of the base and of the tuned model, parameters, hyper-parameters
ROWS: tuple[tuple[str, str, str, int, Row], ...] = (
    ("gemma-2b", "gemma-2b", "gemma-2b-it", 2_506_172_416,
     _one(18, hidden_size=2048, intermediate_size=16_384, num_attention_heads=8, num_key_value_heads=1)),
    ("gemma-7b", "gemma-7b", "gemma-7b-it", 8_537_680_896,
     _one(28, hidden_size=3072, intermediate_size=24_576, num_attention_heads=16, num_key_value_heads=16)),
    ("gemma2-2b", "gemma-2-2b", "gemma-2-2b-it", 2_614_341_888,
     _two(26, hidden_size=2304, intermediate_size=9216, num_attention_heads=8, num_key_value_heads=4)),
    ("gemma2-9b", "gemma-2-9b", "gemma-2-9b-it", 9_241_705_984,
     _two(42, hidden_size=3584, intermediate_size=14_336, num_attention_heads=16, num_key_value_heads=8)),
    ("gemma3-270m", "gemma-3-270m", "gemma-3-270m-it", 268_098_176,
     _three(18, hidden_size=640, intermediate_size=2048, num_attention_heads=4, num_key_value_heads=1)),
    ("gemma3-1b", "gemma-3-1b-pt", "gemma-3-1b-it", 999_885_952,
     _three(26, hidden_size=1152, intermediate_size=6912, num_attention_heads=4, num_key_value_heads=1)),
    ("gemma3-4b", "gemma-3-4b-pt", "gemma-3-4b-it", 3_880_263_168,  # without the vision tower
     _three(34, hidden_size=2560, intermediate_size=10_240, num_attention_heads=8, num_key_value_heads=4,
            vocab_size=262_208, max_position_embeddings=131_072, sliding_window=1024,
            rope_scaling=LinearScaling(factor=8.0))),
)  # fmt: skip

CONFIGS: dict[str, Row] = {name + flavour: row for name, *_, row in ROWS for flavour in ("", "-it")}


def _pair(name: str, base_source: str, source: str, parameters: int, row: Row) -> tuple[Variant, Variant]:
    """The base model and the one that follows instructions."""
    common: Row = {"parameters": parameters, "context_length": row["max_position_embeddings"], "license": "gemma"}
    base = Variant(name=name, source=f"google/{base_source}", stop_tokens=("<eos>",), **common)
    tuned = Variant(
        name=f"{name}-it",
        source=f"google/{source}",
        stop_tokens=("<end_of_turn>", "<eos>"),
        chat_template=CHAT_TEMPLATE,
        **common,
    )
    return base, tuned


VARIANTS = tuple(variant for row in ROWS for variant in _pair(*row))
