"""T5 checkpoints as they are published, against transformers: encoder, logits, greedy answers; eager and as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_checkpoints import ANSWER, FIRST_T5, SECOND_T5, TEXT, save_t5, sources, t5

from edgegen.api import Converter
from edgegen.errors import CheckpointError
from edgegen.export.tasks.feature_extraction import padded
from edgegen.litert.session import Session
from edgegen.weights import open_checkpoint
from edgegen_layers.testing import load_published, stated_config

KINDS = {"first": FIRST_T5, "second": SECOND_T5}
LENGTH = len(ANSWER)
each_kind = pytest.mark.parametrize("kind", KINDS)


def expected_logits(theirs: Any, answer: list[int] = ANSWER) -> torch.Tensor:
    """``[T, V]``, teacher-forced."""
    return theirs(input_ids=torch.tensor([TEXT]), decoder_input_ids=torch.tensor([answer])).logits[0]


def tensors(text: list[int], length: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in padded(text, length).items()}


@each_kind
def test_the_encoder_gives_what_transformers_gives(kind: str, tmp_path: Path):
    theirs = t5(**KINDS[kind])
    model = load_published("t5", save_t5(theirs, tmp_path))
    expected = theirs.encoder(torch.tensor([TEXT])).last_hidden_state
    for length in (len(TEXT), 24):
        got = model.encoder(**tensors(TEXT, length))
        torch.testing.assert_close(got[:, : len(TEXT)], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@each_kind
def test_logits_are_those_of_transformers(kind: str, kernel: str, tmp_path: Path):
    theirs = t5(**KINDS[kind])
    model, expected = load_published("t5", save_t5(theirs, tmp_path), attention=kernel), expected_logits(theirs)

    def read_on(start: int, stop: int, cache: Any, encoder_states: Any) -> Any:
        tokens = torch.tensor([ANSWER[start:stop]], dtype=torch.int32)
        positions = torch.arange(start, stop, dtype=torch.int32)
        return model(tokens, input_pos=positions, kv_cache=cache, encoder_states=encoder_states)

    for slots in (len(TEXT), 24):
        encoder_states = model(**tensors(TEXT, len(TEXT)), encoder_length=slots)["encoder_states"]
        assert encoder_states.k[0].shape[1] == encoder_states.mask.shape[-1] == slots
        for pieces in ([LENGTH], [5, LENGTH - 5], [1] * LENGTH):
            cache, start, rows = model.new_cache(LENGTH), 0, []
            for size in pieces:
                outputs = read_on(start, start + size, cache, encoder_states)
                cache, start = outputs["kv_cache"], start + size
                rows.append(outputs["logits"][0])
            torch.testing.assert_close(torch.cat(rows), expected, atol=1e-4, rtol=1e-4)


def exported(kind: str, scheme: str, tmp_path: Path) -> tuple[Any, Session]:
    """Texts of 12 and 24 tokens, answers of as many as :data:`ANSWER` has, begun on a cache of 6."""
    theirs = t5(**KINDS[kind])
    model, weights = sources("t5", save_t5(theirs, tmp_path))
    signatures = model.signatures([12, 24], [4], LENGTH, [6])
    converted = Converter(signatures).convert(scheme=scheme, parameters=weights)
    return theirs, Session(converted.export(tmp_path / "model.tflite"), threads=2)


@pytest.mark.parametrize(("scheme", "tolerance"), [("fp32", 1e-4), ("int8-channel", 0.15)])
@each_kind
def test_the_exported_file_gives_them_too(kind: str, scheme: str, tolerance: float, tmp_path: Path):
    theirs, session = exported(kind, scheme, tmp_path)
    expected = expected_logits(theirs).numpy()
    for length in (12, 24):
        held = session.set_static_inputs("decode", session.run(f"encode_{length}", padded(TEXT, length)))
        state = session.new_state(["prefill_4", "decode"], held)

        def run(signature: str, start: int, stop: int, state: Any = state) -> dict[str, np.ndarray]:
            positions = np.arange(start, stop, dtype=np.int32)
            inputs = {"tokens": np.array([ANSWER[start:stop]], np.int32), "input_pos": positions}
            return session.run(signature, inputs, state)

        run("prefill_4", 0, 4)
        got = np.stack([run("decode", at, at + 1)["logits"][0, 0] for at in range(4, LENGTH)])
        assert np.linalg.norm(got - expected[4:]) / np.linalg.norm(expected[4:]) < tolerance


@each_kind
def test_greedy_answers_are_those_of_transformers_to_the_last_slot(kind: str, tmp_path: Path):
    theirs, session = exported(kind, "fp32", tmp_path)
    given = theirs.generate(
        torch.tensor([TEXT]),
        max_new_tokens=LENGTH,
        min_new_tokens=LENGTH,
        do_sample=False,
        eos_token_id=None,
        use_cache=False,
    )
    held = session.set_static_inputs("decode", session.run("encode_24", padded(TEXT, 24)))
    state, tokens = session.new_state(["decode"], held), [0]
    for position in range(LENGTH):
        inputs = {"tokens": np.array([tokens[-1:]], np.int32), "input_pos": np.array([position], np.int32)}
        tokens.append(int(session.run("decode", inputs, state)["logits"][0, 0].argmax()))
    assert tokens == given[0].tolist()
    assert len(set(tokens)) > 4


def test_what_transformers_5_saves_is_read_as_what_was_published(tmp_path: Path):
    """It states that every head is tied, and of those that were not that they are not scaled."""
    for name, kind in KINDS.items():
        published, saved = tmp_path / name, tmp_path / f"{name}-5"
        published.mkdir()
        theirs = t5(**kind)
        save_t5(theirs, published)
        save_t5(theirs, _made(saved), tie_word_embeddings=True, scale_decoder_outputs=name == "first")
        assert stated_config("t5", published) == stated_config("t5", saved)
    stated = stated_config("t5", published)
    assert (stated.tie_word_embeddings, stated.scale_decoder_outputs) == (False, False)


def test_a_second_t5_saved_with_a_tied_head_needs_none(tmp_path: Path):
    theirs = t5(**SECOND_T5)
    theirs.lm_head.weight = theirs.shared.weight
    theirs.save_pretrained(tmp_path)
    assert "lm_head.weight" not in open_checkpoint(tmp_path).tensors
    model = load_published("t5", tmp_path)
    encoder_states = model(**tensors(TEXT, len(TEXT)))["encoder_states"]
    answer = {"tokens": torch.tensor([ANSWER]), "input_pos": torch.arange(LENGTH, dtype=torch.int32)}
    got = model(**answer, kv_cache=model.new_cache(LENGTH), encoder_states=encoder_states)["logits"][0]
    torch.testing.assert_close(got, expected_logits(theirs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [{"feed_forward_proj": "gated-tanh"}, {"is_encoder_decoder": False}, {"model_type": "mt5"}, {"experts": 8}],
)
def test_what_the_family_does_not_know_is_refused(change: dict[str, object], tmp_path: Path):
    with pytest.raises(CheckpointError) as caught:
        stated_config("t5", save_t5(t5(), tmp_path, **change))
    assert caught.value.code == "EG207"
    assert next(iter(change)) in str(caught.value)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
