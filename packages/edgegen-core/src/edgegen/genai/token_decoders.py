"""Decoders of ``tokenizer.json`` that spell tokens one by one, as a text that appears while it is made needs them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

BYTE_LEVEL = frozenset({"ByteLevel", "Fuse"})
PIECES = frozenset({"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"})
"""Steps that a decoder may have: of byte-level BPE, or of tokenizers like SentencePiece's."""


def decoder_steps(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Steps of a decoder as ``tokenizer.json`` has it, those of sequences one by one."""
    if decoder is None:
        return []
    if decoder.get("type") == "Sequence":
        return [inner for part in decoder.get("decoders") or () for inner in decoder_steps(part)]
    return [decoder]


def is_byte_level(types: Iterable[str]) -> bool:
    """True if steps of these types spell byte-level BPE."""
    return "ByteLevel" in types and set(types) <= BYTE_LEVEL


def is_pieces(types: Iterable[str]) -> bool:
    """True if steps of these types spell pieces like SentencePiece's."""
    return bool(set(types)) and set(types) <= PIECES


def unspeakable(tokenizer_json: bytes) -> str | None:
    """Steps of the decoder of a ``tokenizer.json`` that cannot spell tokens one by one; None where they can."""
    types = [str(step.get("type")) for step in decoder_steps(json.loads(tokenizer_json).get("decoder"))]
    return None if is_byte_level(types) or is_pieces(types) else " + ".join(types) or "none"
