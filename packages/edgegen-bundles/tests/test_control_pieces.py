"""Special tokens in a chat are found by SentencePiece, under their own ids."""

from __future__ import annotations

import io

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from edgegen_bundles.sentencepiece.control_pieces import findable

TURN, OTHER = "<start_of_turn>", "<other>"


@pytest.fixture(scope="module")
def model() -> bytes:
    file = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["to be or not to be"] * 9),
        model_writer=file,
        vocab_size=13,
        control_symbols=[TURN, OTHER],
        minloglevel=2,
    )
    return file.getvalue()


def encode(model: bytes, text: str) -> list[int]:
    return list(SentencePieceProcessor(model_proto=model).encode(text))


def test_a_control_piece_in_a_chat_becomes_findable(model: bytes) -> None:
    token = SentencePieceProcessor(model_proto=model).piece_to_id(TURN)
    text = f"to {TURN} be"
    assert token not in encode(model, text)
    assert token in encode(findable(model, [text]), text)


def test_other_pieces_and_other_texts_stay(model: bytes) -> None:
    changed = findable(model, [TURN])
    assert encode(changed, f"to be {OTHER}") == encode(model, f"to be {OTHER}")
    assert encode(changed, "not to be") == encode(model, "not to be")
    assert findable(model, ["to be"]) is model
