"""A list of pieces as a serialized SentencePiece model, and that run by the ``sentencepiece`` library."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen_bundles.sentencepiece.bpe_source import SPACE, Source
from edgegen_bundles.sentencepiece.charsmap import composing


class Kind(IntEnum):
    """Types of pieces, numbered as in SentencePiece's ``sentencepiece_model.proto``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


Pieces = Mapping[str, tuple[Kind, float]]
"""Piece -> its type and score, in the order of ids."""


def serialized(pieces: Pieces, source: Source) -> bytes:
    """A BPE model with these pieces, exactly one of which is the unknown one."""
    # Its classes are made when it is imported, unseen by type checkers.
    from sentencepiece import sentencepiece_model_pb2

    pb: Any = sentencepiece_model_pb2
    model = pb.ModelProto()
    for piece, (kind, score) in pieces.items():
        model.pieces.add(piece=piece, score=score, type=int(kind))
    trainer = model.trainer_spec
    trainer.model_type = pb.TrainerSpec.BPE
    trainer.vocab_size = len(pieces)
    trainer.byte_fallback = True
    trainer.unk_id, trainer.unk_piece = next(
        (index, piece) for index, (piece, (kind, _)) in enumerate(pieces.items()) if kind is Kind.UNKNOWN
    )
    # Start and end tokens have to be found in a text, and SentencePiece knows as such only what it does not find.
    trainer.bos_id = trainer.eos_id = trainer.pad_id = -1
    _set_normalizer(model.normalizer_spec, source)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def opened(model: bytes) -> Any:
    """The model, ready to encode.

    Raises:
        UnsupportedError: SentencePiece does not take it.
    """
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_proto=model)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedError(
            f"this tokenizer cannot become a SentencePiece model: {error}",
            code=ErrorCode.TOKENIZER_NOT_CONVERTIBLE,
            hint="use a target that takes tokenizer.json: --target litertlm",
        ) from error


def _set_normalizer(spec: Any, source: Source) -> None:
    spec.name = "identity"
    spec.add_dummy_prefix = _adds_space(source)
    spec.remove_extra_whitespaces = False
    spec.escape_whitespaces = not source.is_byte_level
    if any(step["type"] == "NFC" for step in source.steps("normalizer")):
        spec.name, spec.precompiled_charsmap = "nfc", composing()


def _adds_space(source: Source) -> bool:
    """Whether the tokenizer puts a space before a text; three kinds of step can."""
    for step in (*source.steps("pre_tokenizer"), *source.steps("normalizer")):
        if step["type"] == "ByteLevel" and step.get("add_prefix_space"):
            return True
        if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return True
        if step["type"] == "Prepend" and step.get("prepend") == SPACE:
            return True
    return False
