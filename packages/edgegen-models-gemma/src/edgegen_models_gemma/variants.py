"""The published sizes: one row each. Imports neither torch nor layers, so that listing them stays fast."""

from __future__ import annotations

from edgegen.descriptors import Variant

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


def _pair(name: str, source: str, base_source: str, parameters: int, context_length: int) -> tuple[Variant, Variant]:
    """The base model and the one that follows instructions."""
    base = Variant(
        name=name,
        source=f"google/{base_source}",
        parameters=parameters,
        context_length=context_length,
        license="gemma",
        stop_tokens=("<eos>",),
    )
    tuned = Variant(
        name=f"{name}-it",
        source=f"google/{source}-it",
        parameters=parameters,
        context_length=context_length,
        license="gemma",
        stop_tokens=("<end_of_turn>", "<eos>"),
        chat_template=CHAT_TEMPLATE,
    )
    return base, tuned


VARIANTS = (
    *_pair("gemma-2b", "gemma-2b", "gemma-2b", 2_506_172_416, 8192),
    *_pair("gemma-7b", "gemma-7b", "gemma-7b", 8_537_680_896, 8192),
    *_pair("gemma2-2b", "gemma-2-2b", "gemma-2-2b", 2_614_341_888, 8192),
    *_pair("gemma2-9b", "gemma-2-9b", "gemma-2-9b", 9_241_705_984, 8192),
    *_pair("gemma3-270m", "gemma-3-270m", "gemma-3-270m", 268_098_176, 32_768),
    *_pair("gemma3-1b", "gemma-3-1b", "gemma-3-1b-pt", 999_885_952, 32_768),
    *_pair("gemma3-4b", "gemma-3-4b", "gemma-3-4b-pt", 3_880_263_168, 131_072),  # without the vision tower
)
