"""Character map of SentencePiece's normalizer for Unicode's composed form (NFC)."""

from __future__ import annotations

import functools
import itertools
import sys
import tempfile
import unicodedata
from pathlib import Path

from edgegen.litert.quiet import quiet_stderr


@functools.cache
def nfc_charsmap() -> bytes:
    """The compiled character map: each sequence of characters that composes, and its composed form.

    A table has no rule for order: marks that stand in another order than Unicode's, or more than one after a letter of
    which only the outer ones compose, stay as they are.
    """
    from sentencepiece import SentencePieceNormalizer
    from sentencepiece import sentencepiece_model_pb2 as pb

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nfc.tsv"
        file.write_text("".join(f"{_hex(left)}\t{_hex(right)}\n" for left, right in _rules()), encoding="ascii")
        with quiet_stderr():  # it logs every step
            compiled = SentencePieceNormalizer(rule_tsv=str(file))
    table: bytes = pb.ModelProto.FromString(compiled.serialized_model_proto()).normalizer_spec.precompiled_charsmap
    return table


def _rules() -> list[tuple[str, str]]:
    rules = {}
    for code in range(0x80, sys.maxunicode + 1):
        character = chr(code)
        if not unicodedata.decomposition(character) and not 0xAC00 <= code <= 0xD7A3:
            continue
        for spelling in _spellings(character):
            composed = unicodedata.normalize("NFC", spelling)
            if composed != spelling:
                rules[spelling] = composed
    return sorted(rules.items())


def _spellings(character: str) -> list[str]:
    """The character itself, fully decomposed, and with its marks partly composed."""
    full = unicodedata.normalize("NFD", character)
    halves = [unicodedata.normalize("NFC", full[:end]) + full[end:] for end in range(1, len(full))]
    return list(dict.fromkeys(itertools.chain([character, full], halves)))


def _hex(text: str) -> str:
    return " ".join(f"{ord(character):X}" for character in text)
