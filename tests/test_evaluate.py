"""``edgegen evaluate``: exports of the tiny model against its checkpoint."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

SMALL = ("--prefill-lengths", "8", "--cache-length", "48", "--cache-buckets", "none")


@pytest.fixture(scope="module")
def exports(checkpoint, tiny_family, tmp_path_factory, edgegen):
    """In float32 with a signature that reads several tokens at once, and again scaled; and in 8 bits without."""
    folder = tmp_path_factory.mktemp("exports")
    for name, more in (
        ("fp32", ("--verify-lengths", "8")),
        ("fp32-scaled", ("--verify-lengths", "8", "--equalize")),
        ("int8-channel", ()),
    ):
        scheme = name.removesuffix("-scaled")
        result = edgegen("export", "tiny-100k", "--checkpoint", checkpoint, "-o", folder / name, "--scheme", scheme,
                         *SMALL, *more)  # fmt: skip
        assert result.code == 0, result.err
    return folder


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 20)
    return tmp_path / "text.txt"


def test_perplexity_is_what_transformers_says(exports, checkpoint, text, edgegen):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = edgegen("evaluate", exports / "fp32", "--text", text, "--tokens", 90, "--json")
    assert out.code == 0, out.err
    (row,) = out.json["models"]
    ids = AutoTokenizer.from_pretrained(checkpoint)(text.read_text(), add_special_tokens=False).input_ids[:90]
    begins = AutoTokenizer.from_pretrained(checkpoint)("").input_ids
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    surprises = []
    step = 48 - len(begins)
    for start in range(0, len(ids), step):
        piece = torch.tensor([begins + ids[start : start + step]])
        with torch.no_grad():
            scores = model(piece).logits[0].log_softmax(-1)
        surprises += (-scores[:-1].gather(1, piece[0, 1:, None])).ravel().tolist()
    assert row["perplexity"] == pytest.approx(np.exp(np.mean(surprises)), rel=1e-4)
    assert row["positions"] == len(surprises)
    assert row["divergence"] is None


def test_exports_are_held_against_the_checkpoint(exports, checkpoint, text, edgegen, tmp_path):
    both = (exports / "fp32", exports / "int8-channel")
    out = edgegen("evaluate", *both, "--reference", checkpoint, "--text", text, "--tokens", 90, "--json",
                  "--plot", tmp_path / "plot.png")  # fmt: skip
    assert out.code == 0, out.err
    exact, rounded = out.json["models"]
    assert exact["divergence"] < 1e-6
    assert exact["top1"] == 1
    assert 1e-6 < rounded["divergence"] < 0.1
    assert 0.7 <= rounded["top1"] <= 1
    assert rounded["megabytes"] < exact["megabytes"]
    noisiest = rounded["noisiest_weights"]
    assert noisiest
    assert [noise["decibels"] for noise in noisiest] == sorted(noise["decibels"] for noise in noisiest)
    assert all(30 < noise["decibels"] < 60 and noise["storage"] == "int8-channel" for noise in noisiest)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_an_export_does_for_a_reference_and_the_table_shows_all(exports, text, edgegen):
    reference = exports / "fp32-scaled"
    out = edgegen("evaluate", exports / "int8-channel", "--reference", reference, "--text", text, "--tokens", 60)
    assert out.code == 0, out.err
    head, row, *rest = out.out.splitlines()
    assert head.split() == ["scheme", "perplexity", "divergence", "top-1", "MB", "tokens/s"]
    assert row.startswith("int8-channel")
    assert "weights of int8-channel with the most noise" in rest


def test_weights_are_not_compared_where_one_of_two_files_is_scaled(exports, text, edgegen):
    out = edgegen("evaluate", exports / "int8-channel", "--reference", exports / "fp32", "--text", text, "--tokens", 60)
    assert out.code == 0, out.err
    assert "the weights of int8-channel are not compared" in out.err.replace("\n", " ")
    assert "noise" not in out.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tokens", "5000"), "not 5000"),
        (("--text", "nowhere.txt", "--tokens", "20"), "cannot read nowhere.txt"),
        (("--reference", "nowhere", "--tokens", "20"), "nowhere"),
    ],
)
def test_what_cannot_be_evaluated_is_told(arguments, message, exports, text, edgegen):
    given = () if "--text" in arguments else ("--text", text)
    out = edgegen("evaluate", exports / "int8-channel", *given, *arguments)
    assert out.code in (2, 4)
    assert message in out.err


def test_an_export_that_lost_its_recipe_needs_another_reference(exports, checkpoint, text, edgegen, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in (exports / "int8-channel").iterdir():
        if file.name != "export.json":
            (moved / file.name).symlink_to(file)
    out = edgegen("evaluate", moved, "--reference", checkpoint, "--text", text, "--tokens", 20, "--json")
    assert out.code == 2
    assert json.loads(out.out)["error"]["code"] == "EG123"
