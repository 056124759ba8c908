"""The published models: one row each. Imports neither torch nor layers, so that listing them stays fast."""

from __future__ import annotations

from typing import Any

from edgegen.descriptors import Variant

_END = ("<|endoftext|>",)
_APACHE: dict[str, Any] = {"license": "apache-2.0"}
_LLAMA2_7B: dict[str, Any] = {"parameters": 6_738_415_616, "context_length": 4096, "license": "llama2"}
_LLAMA3_8B: dict[str, Any] = {"parameters": 8_030_261_248, "context_length": 8192, "license": "llama3"}
_LLAMA31_8B: dict[str, Any] = {"parameters": 8_030_261_248, "context_length": 131_072, "license": "llama3.1"}
_LLAMA32_1B: dict[str, Any] = {"parameters": 1_235_814_400, "context_length": 131_072, "license": "llama3.2"}
_LLAMA32_3B: dict[str, Any] = {"parameters": 3_212_749_824, "context_length": 131_072, "license": "llama3.2"}
_MISTRAL_7B: dict[str, Any] = {**_APACHE, "parameters": 7_248_023_552, "context_length": 32_768}
_TEXT, _TURN = ("<|end_of_text|>",), ("<|eot_id|>", "<|end_of_text|>")


def _smollm(generation: str, size: str, parameters: int, context: int, instruct: bool = False) -> Variant:
    name, flavour = f"{generation}-{size}", "-Instruct" if instruct else ""
    return Variant(
        name=(name + flavour).lower(),
        parameters=parameters,
        context_length=context,
        source=f"HuggingFaceTB/{name}{flavour}",
        stop_tokens=("<|im_end|>", *_END) if instruct else _END,
        license="apache-2.0",
    )


VARIANTS = (
    _smollm("SmolLM", "135M", 134_515_008, 2048),
    _smollm("SmolLM", "360M", 361_821_120, 2048),
    _smollm("SmolLM", "1.7B", 1_711_376_384, 2048),
    _smollm("SmolLM2", "135M", 134_515_008, 8192),
    _smollm("SmolLM2", "135M", 134_515_008, 8192, instruct=True),
    _smollm("SmolLM2", "360M", 361_821_120, 8192),
    _smollm("SmolLM2", "360M", 361_821_120, 8192, instruct=True),
    _smollm("SmolLM2", "1.7B", 1_711_376_384, 8192),
    _smollm("SmolLM2", "1.7B", 1_711_376_384, 8192, instruct=True),
    Variant(
        name="tinyllama-1.1b",
        parameters=1_100_048_384,
        context_length=2048,
        source="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        stop_tokens=("</s>",),
        **_APACHE,
    ),
    Variant(name="llama2-7b", source="meta-llama/Llama-2-7b-hf", stop_tokens=("</s>",), **_LLAMA2_7B),
    Variant(name="llama2-7b-chat", source="meta-llama/Llama-2-7b-chat-hf", stop_tokens=("</s>",), **_LLAMA2_7B),
    Variant(name="llama3-8b", source="meta-llama/Meta-Llama-3-8B", stop_tokens=_TEXT, **_LLAMA3_8B),
    Variant(name="llama3-8b-instruct", source="meta-llama/Meta-Llama-3-8B-Instruct", stop_tokens=_TURN, **_LLAMA3_8B),
    Variant(name="llama3.1-8b", source="meta-llama/Llama-3.1-8B", stop_tokens=_TEXT, **_LLAMA31_8B),
    Variant(name="llama3.1-8b-instruct", source="meta-llama/Llama-3.1-8B-Instruct", stop_tokens=_TURN, **_LLAMA31_8B),
    Variant(name="llama3.2-1b", source="meta-llama/Llama-3.2-1B", stop_tokens=_TEXT, **_LLAMA32_1B),
    Variant(name="llama3.2-1b-instruct", source="meta-llama/Llama-3.2-1B-Instruct", stop_tokens=_TURN, **_LLAMA32_1B),
    Variant(name="llama3.2-3b", source="meta-llama/Llama-3.2-3B", stop_tokens=_TEXT, **_LLAMA32_3B),
    Variant(name="llama3.2-3b-instruct", source="meta-llama/Llama-3.2-3B-Instruct", stop_tokens=_TURN, **_LLAMA32_3B),
    Variant(
        name="deepseek-r1-distill-llama-8b",
        source="deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        stop_tokens=("<｜end▁of▁sentence｜>",),  # noqa: RUF001  (the token is spelt so)
        **{**_LLAMA31_8B, "license": "mit"},
    ),
    Variant(name="mistral-7b-v0.3", source="mistralai/Mistral-7B-v0.3", stop_tokens=("</s>",), **_MISTRAL_7B),
    Variant(
        name="mistral-7b-instruct-v0.3",
        source="mistralai/Mistral-7B-Instruct-v0.3",
        stop_tokens=("</s>",),
        **_MISTRAL_7B,
    ),
)
