"""Decoders of ``tokenizer.json`` that work byte by byte, as streaming needs: each token stands for a run of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STREAMABLE = "decoders of byte-level BPE and of SentencePiece-like tokenizers are supported"
"""Hint for a decoder that does not."""

_PIECES = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


def decoder_steps(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Steps of a decoder, sequences within it laid out."""
    if decoder is None:
        return []
    if decoder.get("type") == "Sequence":
        return [step for part in decoder.get("decoders") or () for step in decoder_steps(part)]
    return [decoder]


def is_byte_level(steps: list[Mapping[str, Any]]) -> bool:
    """True if tokens are written in GPT-2's byte alphabet."""
    types = {step.get("type") for step in steps}
    return "ByteLevel" in types and types <= {"ByteLevel", "Fuse"}


def unstreamable(decoder: Mapping[str, Any] | None) -> str | None:
    """The reason why a decoder does not work byte by byte; None where it does."""
    steps = decoder_steps(decoder)
    if is_byte_level(steps):
        return None
    types = [str(step.get("type")) for step in steps]
    if not steps or not set(types) <= _PIECES:
        return f"the tokenizer's decoder ({' + '.join(types) or 'none'}) does not work byte by byte"
    for step in steps:
        if step["type"] == "Replace" and "String" not in step["pattern"]:
            return f"the tokenizer's decoder replaces a regular expression: {step['pattern']}"
        if step["type"] == "Strip" and (step["content"] != " " or step["stop"]):
            return f"the tokenizer's decoder strips more than leading spaces: {step}"
    return None
