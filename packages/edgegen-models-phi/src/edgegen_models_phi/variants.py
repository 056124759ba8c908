"""The published sizes: one row each. Imports neither torch nor layers, so that listing them stays fast."""

from __future__ import annotations

from typing import Any

from edgegen.descriptors import Variant

_PHI_3_5_MINI: dict[str, Any] = {
    "parameters": 3_821_079_552,
    "source": "microsoft/Phi-3.5-mini-instruct",
    "license": "mit",
    "stop_tokens": ("<|end|>", "<|endoftext|>"),
}
_PHI_4_MINI: dict[str, Any] = {
    "parameters": 3_836_021_760,
    "source": "microsoft/Phi-4-mini-instruct",
    "license": "mit",
    "stop_tokens": ("<|end|>", "<|endoftext|>"),
}

VARIANTS = (
    Variant(
        name="phi-2",
        parameters=2_779_683_840,
        context_length=2048,
        source="microsoft/phi-2",
        license="mit",
        stop_tokens=("<|endoftext|>",),
    ),
    Variant(
        name="phi-3-mini",
        parameters=3_821_079_552,
        context_length=4096,
        source="microsoft/Phi-3-mini-4k-instruct",
        license="mit",
        stop_tokens=("<|end|>", "<|endoftext|>"),
    ),
    # The same weights for texts up to 4,096 tokens, and for longer ones: positions turn at other speeds.
    Variant(name="phi-3.5-mini", context_length=4096, **_PHI_3_5_MINI),
    Variant(name="phi-3.5-mini-128k", context_length=131_072, **_PHI_3_5_MINI),
    Variant(name="phi-4-mini", context_length=4096, **_PHI_4_MINI),
    Variant(name="phi-4-mini-128k", context_length=131_072, **_PHI_4_MINI),
)
