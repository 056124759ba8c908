"""GPTQ: the float model reads calibration data, by which matrices are rounded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgegen.cli.output import Output
from edgegen.errors import UsageError
from edgegen.export import ExportOptions, plan, run
from edgegen_quant.ptq import gptq_pass
from edgegen_quant.ptq.calibration_data import calibration_data, collect_activations, linear_weights, users_tokens

TEXT = "The tortoise said that it would rather not run today, and the hare agreed to wait until tomorrow. "
QUIET = Output(quiet=True)
OPTIONS = ("--prefill-lengths", 4, "--cache-length", 48)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 20)
    return path


@pytest.fixture
def options(tiny_family, checkpoint, tmp_path):
    return ExportOptions(
        variant="tiny-100k",
        checkpoint=checkpoint,
        output=tmp_path / "tiny",
        scheme="int4-block32",
        prefill_lengths=(4,),
        cache_length=48,
        cache_buckets=(),
        verify=False,
    )


class Plainly:
    """Stands for the file that is written, and notes how matrices would be rounded."""

    def __init__(self) -> None:
        self.schemes = {}

    def write(self, name, scheme) -> None:
        self.schemes[name] = scheme


def test_what_is_observed_is_what_the_reference_multiplies_with(options, checkpoint):
    from transformers import LlamaForCausalLM

    planned = plan(options, QUIET)
    tokens = calibration_data(planned.pass_context, 40).tokens
    reference = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    expected: dict[str, torch.Tensor] = {}
    modules = {"blocks.1.feed_forward.down.weight": reference.model.layers[1].mlp.down_proj}
    modules["embedding.weight"] = reference.lm_head
    for name, module in modules.items():
        module.register_forward_pre_hook(lambda module, args, name=name: expected.update({name: args[0][0]}))
    with torch.no_grad():
        reference(torch.tensor([tokens]))
    observed: dict[str, torch.Tensor] = {}
    collect_activations(planned.module, planned.weights, tokens, lambda name, x: observed.update({name: x[0]}))
    for name, x in expected.items():
        np.testing.assert_allclose(observed[name].numpy(), x.numpy(), rtol=1e-3, atol=1e-5)
    assert observed.keys() == {name for name, each in planned.parameters.items() if each.storage.block}


def test_all_matrices_are_seen_and_the_head_is_the_last(options):
    planned = plan(options, QUIET)
    seen: list[str] = []
    collect_activations(planned.module, planned.weights, read(planned).tokens, lambda name, x: seen.append(name))
    assert set(seen) == linear_weights(planned.module)
    assert seen[-1] == "embedding.weight"


def test_products_with_the_text_come_out_nearer(options):
    planned = plan(options, QUIET)
    data = read(planned)
    observed: dict[str, np.ndarray] = {}
    note = lambda name, x: observed.update({name: x[0].numpy()})  # noqa: E731
    collect_activations(planned.module, planned.weights, data.tokens, note)
    file = Plainly()
    done = gptq_pass.calibrate(planned.pass_context, planned.weights, data, file.write)
    assert done.matrices == len(file.schemes) == len(observed)
    for name, scheme in file.schemes.items():
        parameter, weights = planned.parameters[name], planned.weights[name].read()
        plain, learnt = (
            np.linalg.norm(observed[name] @ (numbers(each.encode(weights, parameter.storage)) - weights).T)
            for each in (parameter.scheme, scheme)
        )
        assert learnt < 0.9 * plain, name


def read(planned):
    """The calibration data that the pass reads."""
    return calibration_data(planned.pass_context, gptq_pass._TOKENS)


def passes(planned) -> list[str]:
    return [each.name for each in planned.passes]


def numbers(encoded) -> np.ndarray:
    """Of 4-bit blocks of 32."""
    nibbles = np.stack([encoded.data & 15, encoded.data >> 4], axis=-1).astype(np.int8)
    blocks = nibbles.reshape(len(encoded.data), -1, 32)
    signed = np.where(blocks > 7, blocks - 16, blocks) * encoded.scales.astype(np.float32)[..., None]
    return signed.reshape(len(encoded.data), -1)


def test_four_bits_learn_from_the_built_in_text_unless_told_not_to(options):
    def made(name: str, **changes):
        folder = run(plan(replace(options, output=options.output.with_name(name), **changes), QUIET), QUIET).output
        return json.loads((folder / "export.json").read_text()), (folder / "model.tflite").read_bytes()

    document, learnt = made("by-itself")
    assert document["passes"]["gptq"]["report"] == {"text": "built-in", "tokens": 64, "matrices": 9}
    assert document["options"]["weight_passes"]["gptq"] is True
    assert made("again")[1] == learnt
    document, plain = made("plain", weight_passes={"gptq": False})
    assert "gptq" not in document["passes"]
    assert document["options"]["weight_passes"]["gptq"] is False
    assert plain != learnt


@pytest.mark.parametrize(("asked", "calibrated"), [({}, False), ({"gptq": True}, True), ({"gptq": False}, False)])
def test_eight_bits_learn_where_that_is_asked_for(options, asked, calibrated: bool):
    planned = plan(replace(options, scheme="int8-channel", weight_passes=asked), QUIET)
    assert ("gptq" in passes(planned)) is calibrated


def test_what_takes_long_is_done_only_when_asked_for(options, monkeypatch):
    monkeypatch.setattr(gptq_pass, "_WORK", 1000)
    assert "gptq" not in passes(plan(options, QUIET))
    assert "gptq" in passes(plan(replace(options, weight_passes={"gptq": True}), QUIET))


def test_wide_matrices_are_rounded_in_parts(options, monkeypatch):
    monkeypatch.setattr(gptq_pass, "_GROUP", 32)
    planned = plan(options, QUIET)
    file = Plainly()
    gptq_pass.calibrate(planned.pass_context, planned.weights, read(planned), file.write)
    parts = {name: len(scheme.columns) for name, scheme in file.schemes.items()}
    assert all(count == -(-planned.weights[name].shape[1] // 32) for name, count in parts.items())
    assert max(parts.values()) > 1


def test_without_a_tokenizer_weights_are_rounded_as_they_are(options):
    context = replace(plan(options, QUIET).pass_context, tokenizer=None)
    assert gptq_pass.GptqPass().plan(context) is None
    with pytest.raises(UsageError, match="needs the model's tokenizer"):
        gptq_pass.GptqPass().plan(replace(context, enabled=True))


def test_only_the_beginning_of_a_long_text_is_looked_at(options, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text(TEXT * 5000)
    planned = plan(replace(options, calibration=path), QUIET)
    assert len(users_tokens(planned.pass_context)) < 1 << 16
    assert len(read(planned).tokens) == 64  # the model's context


def test_an_export_says_what_it_was_calibrated_on(checkpoint, text, tmp_path, edgegen, tiny_family):
    output = tmp_path / "tiny"
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", output, *OPTIONS,
        "--scheme", "int4-block32-int8-embed", "--calibration", text,
    )  # fmt: skip
    assert result.code == 0, result.err
    document = json.loads((output / "export.json").read_text())
    digest = hashlib.sha256(text.read_bytes()).hexdigest()
    assert document["passes"]["gptq"]["report"] == {"text": "calibration", "tokens": 64, "matrices": 9}
    assert document["calibration"] == {"path": str(text), "sha256": digest}
    assert document["options"]["calibration"] == str(text)
    assert text.name not in document["checkpoint"]["files"]


@pytest.mark.parametrize(
    ("contents", "scheme", "message"),
    [
        (TEXT * 20, "fp16", "fp16 has no use for a calibration text"),
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
