"""``edgegen export --calibration``: a text teaches 4-bit schemes how to round."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from edgegen.cli.output import Output
from edgegen.export import ExportOptions, plan
from edgegen.export.calibration import TOKENS, calibrated, importance, read_tokens

TEXT = "The tortoise said that it would rather not run today, and the hare agreed to wait until tomorrow. "
OPTIONS = ("--prefill-lengths", 4, "--cache-length", 48)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 20)
    return path


@pytest.fixture
def job(tiny_family, checkpoint, text, tmp_path):
    options = ExportOptions(
        variant="tiny-100k",
        checkpoint=checkpoint,
        output=tmp_path / "tiny",
        scheme="int4-block32",
        prefill_lengths=(4,),
        cache_length=48,
        short_caches=(),
        calibration=text,
    )
    return plan(options, Output(quiet=True))


def test_importance_is_the_mean_square_of_what_each_matrix_is_multiplied_with(job, checkpoint):
    from transformers import LlamaForCausalLM

    tokens = read_tokens(job)[:150]  # three sequences of what the model was trained for, at most
    reference = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    inputs: dict[str, list[torch.Tensor]] = {"down": [], "head": []}
    layer = reference.model.layers[1].mlp.down_proj
    layer.register_forward_pre_hook(lambda module, args: inputs["down"].append(args[0][0]))
    reference.lm_head.register_forward_pre_hook(lambda module, args: inputs["head"].append(args[0][0]))
    with torch.no_grad():
        for start in range(0, len(tokens), 64):
            reference(torch.tensor([tokens[start : start + 64]]))
    found = importance(job, job.sources, tokens)
    for name, kind in {"blocks.1.feed_forward.down.weight": "down", "embedding.weight": "head"}.items():
        expected = torch.cat(inputs[kind]).square().mean(dim=0).numpy()
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-6)
    assert found.keys() == {name for name, each in job.parameters.items() if each.storage.block}


def test_products_with_the_text_come_out_nearer(job):
    name = "blocks.1.feed_forward.down.weight"
    weights, columns = job.sources[name].read(), importance(job, job.sources, read_tokens(job))[name]

    def error(parameter) -> float:
        encoded = parameter.encode(job.scheme, 0, len(weights))
        nibbles = (
            np.stack([encoded.data & 15, encoded.data >> 4], axis=-1).astype(np.int8).reshape(len(weights), -1, 32)
        )
        numbers = np.where(nibbles > 7, nibbles - 16, nibbles) * encoded.scales.astype(np.float32)[..., None]
        return float((np.square(numbers.reshape(weights.shape) - weights) @ columns).sum())

    assert error(calibrated(job, job.sources)[name]) < 0.95 * error(job.parameters[name])


def test_calibration_is_deterministic(job):
    first, second = (importance(job, job.sources, read_tokens(job)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_an_export_says_what_it_was_calibrated_on(checkpoint, text, tmp_path, edgegen, tiny_family):
    output = tmp_path / "tiny"
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", output, *OPTIONS,
        "--scheme", "int4-block32-int8-embed", "--calibration", text,
    )  # fmt: skip
    assert result.code == 0, result.err
    recipe = json.loads((output / "recipe.json").read_text())
    digest = hashlib.sha256(text.read_bytes()).hexdigest()
    assert recipe["calibration"] == {"path": str(text), "sha256": digest, "tokens": TOKENS}
    assert recipe["options"]["calibration"] == str(text)
    assert text.name not in recipe["checkpoint"]["files"]
    plain = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "plain", *OPTIONS,
        "--scheme", "int4-block32-int8-embed",
    )  # fmt: skip
    assert plain.code == 0, plain.err
    assert (tmp_path / "plain" / "model.tflite").read_bytes() != (output / "model.tflite").read_bytes()


@pytest.mark.parametrize(
    ("contents", "scheme", "message"),
    [
        (TEXT * 20, "int8-weight-only", "int8-weight-only has no use for a calibration text"),
        (TEXT * 20, "*=fp16", "*=fp16 has no use for a calibration text"),
        ("Too short.", "int4-block32", "too few to go by"),
        (None, "int4-block32", "cannot read the calibration text"),
        (b"\xff\xfe\x00", "int4-block32", "cannot read the calibration text"),
    ],
)
def test_what_is_no_use_is_refused_and_nothing_written(
    contents, scheme, message, checkpoint, tmp_path, edgegen, tiny_family
):
    path = tmp_path / "text.txt"
    if contents is not None:
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "x", *OPTIONS,
        "--scheme", scheme, "--calibration", path,
    )  # fmt: skip
    assert result.code == 2
    assert message in result.err.replace("\n", " ")
    assert not (tmp_path / "x").exists()
