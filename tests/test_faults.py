"""Bad input: each mistake gives its exit code and a message with a remedy, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgegen.errors import VerificationError
from edgegen.export.results import LogitsVerification
from edgegen.export.tasks import text_generation


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    yield folder / "out"
    assert list(folder.iterdir()) == [], "something half-written was left behind"


def export(edgegen, checkpoint, out, *more, variant="tiny-100k"):
    return edgegen("export", variant, "--checkpoint", checkpoint, "-o", out, "--cache-length", 256, *more)


def expect(result, code, *texts):
    assert result.code == code, result.err
    for text in (*texts, "hint:"):
        assert text in result.err, result.err
    assert "Traceback" not in result.err


@pytest.fixture
def copied(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "checkpoint")


def test_truncated_gguf(edgegen, smollm2, tmp_path, out):
    broken = tmp_path / "broken.gguf"
    with smollm2.open("rb") as whole:
        broken.write_bytes(whole.read(3_000_000))
    expect(export(edgegen, broken, out, variant="smollm2-135m-instruct"), 4, "broken.gguf")


def test_truncated_safetensors(edgegen, copied, out):
    shard = min(copied.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:1000])
    expect(export(edgegen, copied, out), 4, shard.name)


def test_missing_shard(edgegen, copied, out):
    shard = min(copied.glob("*.safetensors"))
    shard.unlink()
    expect(export(edgegen, copied, out), 4, shard.name)


def test_wrong_variant_for_a_checkpoint(edgegen, checkpoint, out):
    expect(export(edgegen, checkpoint, out, variant="tiny-wider"), 4, "error[EG205]", "expected 96", "says 64")


def test_a_checkpoint_that_says_nothing_of_itself_is_matched_by_shape(edgegen, copied, out):
    (copied / "config.json").unlink()
    expect(export(edgegen, copied, out, variant="tiny-wider"), 4, "error[EG204]", "tiny-wider", "[320, 64]")


def test_a_variant_that_differs_in_no_shape(edgegen, smollm2, out):
    result = export(edgegen, smollm2, out, variant="smollm-135m")
    expect(
        result,
        4,
        "error[EG205]",
        "rope_theta   expected 10000.0, the checkpoint says 100000.0",
        "edgegen export llama",
    )


def test_a_configuration_key_that_nobody_knows(edgegen, copied, out):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "sliding_surprise": 7}))
    expect(export(edgegen, copied, out, variant="llama"), 4, "error[EG207]", "sliding_surprise = 7")


def test_another_architectures_checkpoint(edgegen, smollm2, out):
    expect(export(edgegen, smollm2, out), 4, "error[EG205]")


def test_weights_that_are_missing_and_left_over_are_both_shown(edgegen, copied, out):
    for index in copied.glob("*.index.json"):
        index.unlink()
    tensors = {}
    for shard in copied.glob("*.safetensors"):
        tensors |= load_file(shard)
        shard.unlink()
    tensors["model.layers.0.mlp.down_projection.weight"] = tensors.pop("model.layers.0.mlp.down_proj.weight")
    save_file(tensors, copied / "model.safetensors")
    expect(export(edgegen, copied, out), 4, "missing", "unexpected", "down_projection")


def test_weights_that_are_not_numbers(edgegen, copied, out):
    for shard in copied.glob("*.safetensors"):
        tensors = load_file(shard)
        for name, tensor in tensors.items():
            if "q_proj" in name:
                tensors[name] = np.full_like(tensor, np.nan)
        save_file(tensors, shard)
    expect(export(edgegen, copied, out), 4, "NaN")


def test_unknown_scheme(edgegen, checkpoint, out):
    expect(export(edgegen, checkpoint, out, "--scheme", "int8-chanel"), 2, "int8-chanel", "did you mean int8-channel")


def test_unknown_variant(edgegen, checkpoint, out):
    expect(export(edgegen, checkpoint, out, variant="tiny-100"), 2, "did you mean tiny-100k")


def test_unknown_target(edgegen, checkpoint, out):
    expect(export(edgegen, checkpoint, out, "--target", "tflit"), 2, "did you mean tflite")


def test_unknown_kernel(edgegen, checkpoint, out):
    expect(export(edgegen, checkpoint, out, "--layer", "attention=spda"), 2, "did you mean sdpa")


def test_unknown_building_block(edgegen, checkpoint, out):
    expect(export(edgegen, checkpoint, out, "--layer", "atention=sdpa"), 2, "atention", "attention")


def test_no_checkpoint_there(edgegen, tmp_path, out):
    expect(export(edgegen, tmp_path / "nowhere", out), 2, "nowhere")


def test_a_checkpoint_of_no_known_format(edgegen, tmp_path, out):
    (tmp_path / "notes.txt").write_text("hello")
    expect(export(edgegen, tmp_path / "notes.txt", out), 4, "notes.txt")


def test_prefill_longer_than_the_cache(edgegen, checkpoint, out):
    expect(export(edgegen, checkpoint, out, "--prefill-lengths", "8,512"), 2, "512", "--cache-length")


def test_nonsense_lengths(edgegen, checkpoint, out):
    result = export(edgegen, checkpoint, out, "--prefill-lengths", "8,many")
    assert result.code == 2
    assert "8,many" in result.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a place that is closed to this very user")
def test_unwritable_output_folder_as_root(edgegen, checkpoint):
    expect(export(edgegen, checkpoint, "/proc/edgegen/out"), 6, "cannot write to /proc/edgegen")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_output_folder(edgegen, checkpoint, tmp_path):
    tmp_path.chmod(0o500)
    expect(export(edgegen, checkpoint, tmp_path / "out"), 6, "cannot write to")


def test_output_that_holds_something_else(edgegen, checkpoint, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    expect(export(edgegen, checkpoint, tmp_path / "letters"), 2, "holds something else")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"


def test_a_disk_without_room(edgegen, checkpoint, out, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    expect(export(edgegen, checkpoint, out), 6, "0 MB free")


def test_a_file_that_computes_something_else_fails_verification(edgegen, checkpoint, out, monkeypatch):
    honest = text_generation.eager_logits
    monkeypatch.setattr(text_generation, "eager_logits", lambda *a: honest(*a)[:, ::-1])
    expect(export(edgegen, checkpoint, out), 5, "disagrees", "top-1 agreement", "--no-verify")


@pytest.mark.parametrize(
    "figures", [{"logits_error": 0.5}, {"logits_error": float("nan")}, {"top1": 0.5}, {"prefill_error": 0.5}]
)
def test_each_figure_of_verification_can_fail_it(figures):
    from edgegen.weights.storage import Tolerance

    good = {"positions": 32, "logits_error": 0.0, "top1": 1.0, "prefill_error": 0.0}
    LogitsVerification(**good).check("fp32", Tolerance(logits=0.1, top1=0.9))
    with pytest.raises(VerificationError):
        LogitsVerification(**{**good, **figures}).check("fp32", Tolerance(logits=0.1, top1=0.9))


def test_prompt_longer_than_the_cache(edgegen, exported):
    expect(edgegen("run", exported, "--prompt", "x " * 200), 2, "48", "--cache-length")


def test_running_what_is_no_export(edgegen, tmp_path):
    expect(edgegen("run", tmp_path, "--prompt", "hello"), 2, str(tmp_path))


def test_errors_are_one_json_document_with_json(edgegen, checkpoint, out):
    result = export(edgegen, checkpoint, out, "--scheme", "nope", "--json")
    assert result.code == 2
    error = json.loads(result.out)["error"]
    assert error["code"].startswith("EG")
    assert error["hint"]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--composites", "nope"), "EG100", "has no composite nope"),
        (("--composites", ""), "EG100", "composites are named by ''"),
        (("--composites", "none,all"), "EG100", "none,all"),
        (("--scheme", ""), "EG121", "no quantization scheme named ''"),
        (("--layer", "attention=sdpa", "--layer", "attention=matmul"), "EG100", "2 implementations"),
        (("--cache-length", "10000000000"), "EG134", "float32"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(edgegen, checkpoint, out, options, code, says):
    result = edgegen("export", "tiny-100k", "--checkpoint", checkpoint, "-o", out, *options)
    assert result.code == 2
    assert code in result.err
    assert says in result.err
    assert not out.exists()
