"""Control pieces of a SentencePiece model, made findable in a text.

SentencePiece never finds a piece of type "control" in a text, and LiteRT-LM hands it a chat as one text, so that
``<end_of_turn>`` would be spelled letter by letter. As "user defined" the same piece is found, under the same id.
Models published for chats often have it so; those out of GGUF files do not.
"""

from __future__ import annotations

from collections.abc import Collection


def findable(model: bytes, texts: Collection[str]) -> bytes:
    """A SentencePiece model whose control pieces that occur in ``texts`` are user-defined; unchanged if none does."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    types = proto.SentencePiece
    found = [
        piece for piece in proto.pieces if piece.type == types.CONTROL and any(piece.piece in text for text in texts)
    ]
    for piece in found:
        piece.type = types.USER_DEFINED
    return proto.SerializeToString(deterministic=True) if found else model


def without_dummy_prefix(model: bytes) -> bytes:
    """A SentencePiece model that puts no space before a text."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    proto.normalizer_spec.add_dummy_prefix = False
    content: bytes = proto.SerializeToString(deterministic=True)
    return content
