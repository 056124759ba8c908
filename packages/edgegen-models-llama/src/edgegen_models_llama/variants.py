"""The published sizes: one row each. Imports neither torch nor layers, so that listing them stays fast."""

from __future__ import annotations

from typing import Any

from edgegen.descriptors import Variant

_SMOLLM2_135M: dict[str, Any] = {"parameters": 134_515_008, "context_length": 8192, "license": "apache-2.0"}

VARIANTS = (
    Variant(
        name="smollm2-135m",
        source="HuggingFaceTB/SmolLM2-135M",
        stop_tokens=("<|endoftext|>",),
        **_SMOLLM2_135M,
    ),
    Variant(
        name="smollm2-135m-instruct",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
        stop_tokens=("<|im_end|>", "<|endoftext|>"),
        **_SMOLLM2_135M,
    ),
    Variant(
        name="smollm-135m",
        parameters=134_515_008,
        context_length=2048,
        source="HuggingFaceTB/SmolLM-135M",
        license="apache-2.0",
        stop_tokens=("<|endoftext|>",),
    ),
    Variant(
        name="smollm-360m",
        parameters=361_821_120,
        context_length=2048,
        source="HuggingFaceTB/SmolLM-360M",
        license="apache-2.0",
        stop_tokens=("<|endoftext|>",),
    ),
    Variant(
        name="smollm-1.7b",
        parameters=1_711_376_384,
        context_length=2048,
        source="HuggingFaceTB/SmolLM-1.7B",
        license="apache-2.0",
        stop_tokens=("<|endoftext|>",),
    ),
    Variant(
        name="tinyllama-1.1b",
        parameters=1_100_048_384,
        context_length=2048,
        source="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        license="apache-2.0",
        stop_tokens=("</s>",),
    ),
)
