"""An encoder that adds token ids up, so that any mistake in what it is given shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegen.errors import UnsupportedError, UsageError
from edgegen.litert.session import SignatureInfo, TensorInfo
from edgegen_runtime import LanguageModel, load, load_embedder, similarity
from edgegen_runtime.bundle import ExportedModel
from edgegen_runtime.embedding.embedder import Embedder
from edgegen_runtime.text.tokenizer import open_tokenizer

Export = Callable[..., Path]
ENCODER = {
    "task": "feature-extraction",
    "chat_template": None,
    "embedding": {"dimensions": 2, "pooling": "mean", "normalized": True},
}


class SummingSession:
    """The embedding is the sum of the tokens that the mask shows, and their number."""

    def __init__(self, path: Any = None, *, threads: int | None = None, weight_cache: Any = None) -> None:
        self.calls: list[str] = []
        self.signatures = {
            f"encode_{length}": SignatureInfo(
                {name: TensorInfo((1, length), "int32") for name in ("tokens", "attention_mask")},
                {"embedding": TensorInfo((1, 2), "float32"), "token_vectors": TensorInfo((1, length, 2), "float32")},
            )
            for length in (16, 4)
        }

    def run(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        for name, array in inputs.items():
            assert array.shape == self.signatures[signature].inputs[name].shape
            assert array.dtype == np.int32
        self.calls.append(signature)
        tokens, mask = inputs["tokens"], inputs["attention_mask"]
        vectors = np.stack([tokens * mask, mask], -1).astype(np.float32)
        return {"embedding": vectors.sum(1), "token_vectors": vectors}


@pytest.fixture
def embedder(export: Export) -> Embedder:
    session: Any = SummingSession()
    return Embedder(session, ExportedModel.open(export(**ENCODER)))


def test_each_text_is_read_by_the_shortest_signature_that_takes_it(embedder: Embedder) -> None:
    session: Any = embedder._encoder._session
    texts = [[7], [1, 2, 3, 4], [1, 2, 3, 4, 5], list(range(16))]
    np.testing.assert_array_equal(embedder.embed(texts), [[7, 1], [10, 4], [15, 5], [120, 16]])
    assert session.calls == ["encode_4", "encode_4", "encode_16", "encode_16"]


def test_truncation_keeps_the_token_that_ends_a_text(embedder: Embedder) -> None:
    text = [1] * 20 + [100]
    with pytest.raises(UsageError, match="21 tokens") as caught:
        embedder.embed([text])
    assert caught.value.code == "EG741"
    np.testing.assert_array_equal(embedder.embed([text], truncate=True), [[115, 16]])


def test_no_texts_make_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, 2)
    with pytest.raises(UsageError) as caught:
        embedder.embed([[]])
    assert caught.value.code == "EG742"


def test_vectors_of_tokens_leave_padding_out(embedder: Embedder) -> None:
    np.testing.assert_array_equal(embedder.token_vectors([5, 6]), [[5, 1], [6, 1]])


def test_similarity_is_a_cosine_whatever_the_length() -> None:
    left, right = np.array([[2, 0], [0, 0]], np.float32), np.array([[3, 3], [0, 5]], np.float32)
    np.testing.assert_allclose(similarity(left, right), [[2**-0.5, 0], [0, 0]], atol=1e-6)


def test_a_file_without_encode_signatures_is_refused(export: Export) -> None:
    session: Any = SummingSession()
    session.signatures = {}
    with pytest.raises(UsageError) as caught:
        Embedder(session, ExportedModel.open(export(**ENCODER)))
    assert caught.value.code == "EG705"


@pytest.mark.parametrize("opened", [load, LanguageModel.load])
def test_an_encoder_makes_no_text(opened: Callable[[Path], Any], export: Export) -> None:
    folder = export(**ENCODER)
    with pytest.raises(UsageError, match="a model for feature-extraction") as caught:
        opened(folder)
    assert (caught.value.code, caught.value.hint) == ("EG708", f'edgegen embed {folder} "Hello"')


def test_a_decoder_makes_no_vectors(export: Export) -> None:
    with pytest.raises(UsageError, match="a model for text-generation") as caught:
        load_embedder(export())
    assert caught.value.code == "EG708"


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "diffuser"},
        {**ENCODER, "embedding": None},
        {"task": "text2text-generation"},
        {**ENCODER, "embedding": {}},
    ],
    ids=["task", "embedding", "start", "dimensions"],
)
def test_a_manifest_that_does_not_say_what_its_task_must_is_damaged(fields: dict[str, Any], export: Export) -> None:
    with pytest.raises(UsageError) as caught:
        ExportedModel.open(export(**fields))
    assert caught.value.code == "EG702"


def test_a_whole_text_gets_what_the_tokenizer_puts_around_it(tokenizer_files: Mapping[str, Path]) -> None:
    tokenizer = open_tokenizer(tokenizer_files["byte-level"])
    text = "The dog <|im_end|>"
    assert tokenizer.encode_text(text) == [0, *tokenizer.encode(text, special=True)]
    pieces = open_tokenizer(tokenizer_files["sp-default"])
    assert pieces.encode_text(text) == [*pieces.encode(text, special=True), pieces.token_to_id("</s>")]


def test_a_wordpiece_tokenizer_reads_but_does_not_write(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models

    file = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "dog": 1, "##s": 2}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(file))
    assert open_tokenizer(file, decodes=False).encode_text("dogs") == [1, 2]
    with pytest.raises(UnsupportedError, match="WordPiece"):
        open_tokenizer(file)
