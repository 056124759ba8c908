"""Vocabulary of a tokenizer's files: token names to ids and back, without building the tokenizer."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass

from edgegen.weights import TokenizerAssets

HF_FILE, SENTENCEPIECE_FILE = "tokenizer.json", "tokenizer.model"


@dataclass(frozen=True)
class Vocabulary:
    """Lookup functions between names and ids; they return None for unknown ones."""

    id_of: Callable[[str], int | None]
    name_of: Callable[[int], str | None]


def vocabulary(tokenizer: TokenizerAssets) -> Vocabulary:
    """Vocabulary of ``tokenizer.json`` if there is one, else of the SentencePiece model."""
    if HF_FILE in tokenizer.files:
        return _hugging_face(tokenizer.files[HF_FILE])
    return _sentencepiece(tokenizer.files[SENTENCEPIECE_FILE])


def _hugging_face(contents: bytes) -> Vocabulary:
    document = json.loads(contents)
    vocab = document["model"].get("vocab", {})
    # Unigram models list [piece, score], others map names to ids.
    ids = dict(vocab) if isinstance(vocab, dict) else {piece: index for index, (piece, _) in enumerate(vocab)}
    ids |= {token["content"]: token["id"] for token in document.get("added_tokens", ())}
    names = {token: name for name, token in ids.items()}
    return Vocabulary(ids.get, names.get)


@functools.lru_cache(maxsize=1)
def _sentencepiece(contents: bytes) -> Vocabulary:
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_proto=contents)
    size = model.vocab_size()

    def id_of(name: str) -> int | None:
        token = int(model.piece_to_id(name))
        return token if model.id_to_piece(token) == name else None  # a stranger's id is that of <unk>

    def name_of(token: int) -> str | None:
        return str(model.id_to_piece(token)) if 0 <= token < size else None

    return Vocabulary(id_of, name_of)
