"""Byte alphabet of byte-level vocabularies: one printable character for each of the 256 bytes.

From GPT-2 (https://github.com/openai/gpt-2, ``encoder.py``): a byte that is a printable Latin-1 character stands for
itself, the others are numbered from U+0100 on, in order.
"""

from __future__ import annotations

from collections.abc import Mapping

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)

BYTE_OF: Mapping[str, int] = {
    **{chr(byte): byte for byte in _PRINTABLE},
    **{chr(0x100 + index): byte for index, byte in enumerate(_OTHERS)},
}


def bytes_of(token: str) -> bytes | None:
    """Bytes of a token of the vocabulary; None for one with a character outside the alphabet."""
    try:
        return bytes(BYTE_OF[character] for character in token)
    except KeyError:
        return None
