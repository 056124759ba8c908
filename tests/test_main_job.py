"""Checkpoint in, text out, through the command line and a third party's family."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from edgegen.testing.plugins import environment


def reference_ids(checkpoint, prompt_ids: list[int], count: int) -> list[int]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    out = model.generate(
        torch.tensor([prompt_ids]), max_new_tokens=count, min_new_tokens=count, do_sample=False, eos_token_id=None
    )
    return out[0, len(prompt_ids) :].tolist()


def test_an_export_is_a_folder_with_all_that_a_runtime_needs(exported):
    assert sorted(path.name for path in exported.iterdir()) == [
        "README.md", "chat_template.jinja", "export.json", "manifest.json", "model.tflite", "tokenizer.json",
    ]  # fmt: skip
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["cache_length"] == 48
    assert manifest["tokenizer"] == {
        "file": "tokenizer.json",
        "bos_token_id": 0,
        "add_bos": False,
        "special_tokens": {"bos_token": "<s>", "eos_token": "</s>"},
    }
    assert manifest["stop_token_ids"] == [1]


def test_the_recipe_names_inputs_by_hash_and_every_version(exported, checkpoint):
    recipe = json.loads((exported / "export.json").read_text())
    files = recipe["checkpoint"]["files"]
    assert {name for name in files if name.endswith(".safetensors")} == {
        p.name for p in checkpoint.glob("*.safetensors")
    }
    assert all(len(entry["sha256"]) == 64 for entry in files.values())
    assert {"edgegen-core", "edgegen-layers", "torch", "ai-edge-litert"} <= recipe["versions"].keys()
    assert recipe["options"]["scheme"] == "fp32"
    assert recipe["verification"]["top1"] == 1.0


def test_greedy_text_is_the_reference_models(exported, checkpoint, edgegen):
    result = edgegen(
        "run", exported, "--prompt", "the quick", "--raw", "--max-new-tokens", 24, "--ignore-eos", "--json"
    )
    assert result.code == 0, result.err
    assert result.json["token_ids"] == reference_ids(checkpoint, result.json["prompt_token_ids"], 24)
    assert result.json["finish_reason"] == "length"


def test_the_same_inputs_give_the_same_file(exported, checkpoint, edgegen, tmp_path):
    again = tmp_path / "again"
    edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", again, "--scheme", "fp32",
        "--prefill-lengths", "4,16", "--cache-length", 48, "--no-verify",
    )  # fmt: skip
    assert (again / "model.tflite").read_bytes() == (exported / "model.tflite").read_bytes()


@pytest.mark.parametrize("scheme", ["fp16", "int8-channel", "dynamic_wi8_afp32"])
@pytest.mark.parametrize("layer", ["attention=matmul", "attention=sdpa"])
def test_every_scheme_and_attention_passes_verification(checkpoint, edgegen, tmp_path, scheme, layer):
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--scheme", scheme,
        "--layer", layer, "--composites", "all", "--prefill-lengths", 8, "--cache-length", 32, "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.json["verification"]["top1"] >= 0.75


def test_composites_named_on_the_command_line_are_in_the_file(checkpoint, edgegen, tmp_path):
    edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--layer", "attention=sdpa",
        "--composites", "odml.rms_norm,odml.scaled_dot_product_attention", "--prefill-lengths", 8,
        "--cache-length", 32, "--no-verify",
    )  # fmt: skip
    decode = edgegen("inspect", tmp_path / "out", "--json").json["signatures"][-1]
    assert decode["composites"] == {"odml.rms_norm": 5, "odml.scaled_dot_product_attention": 2}


def test_an_unlisted_size_takes_its_configuration_from_the_checkpoint(exported, checkpoint, edgegen, tmp_path):
    result = edgegen(
        "export", "llama", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--scheme", "fp32",
        "--prefill-lengths", "4,16", "--cache-length", 48, "--no-verify",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert (tmp_path / "out" / "model.tflite").read_bytes() == (exported / "model.tflite").read_bytes()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    recipe = json.loads((tmp_path / "out" / "export.json").read_text())
    assert recipe["options"]["variant"] == "llama"
    assert (manifest["name"], manifest["parameters"], manifest["context_length"]) == ("checkpoint0", 94_528, 64)


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(checkpoint, edgegen, tmp_path):
    result = edgegen("export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--dry-run", "--json")
    assert result.json["weight_bytes_by_storage"]["int8-channel"] > 90_000
    whole = ["prefill_8", "prefill_64", "prefill_128", "decode"]
    assert result.json["signatures"] == [*whole, *(f"cache_256_{name}" for name in whole)]
    assert list(tmp_path.iterdir()) == []


def test_a_cache_beyond_the_trained_context_is_warned_of(checkpoint, edgegen, tmp_path):
    arguments = ("export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--dry-run")
    assert "longer than tiny-100k was trained for (64)" in edgegen(*arguments, "--cache-length", 512).err
    assert "warning" not in edgegen(*arguments, "--cache-length", 64, "--prefill-lengths", 8).err


def test_an_earlier_export_is_replaced(checkpoint, edgegen, tmp_path):
    output = tmp_path / "out"
    arguments = ("export", "tiny-100k", "--checkpoint", checkpoint, "-o", output, "--no-verify", "--scheme")
    assert edgegen(*arguments, "fp32").code == 0
    before = (output / "model.tflite").stat().st_size
    assert edgegen(*arguments, "int8-channel").code == 0
    assert (output / "model.tflite").stat().st_size < before
    assert list(tmp_path.iterdir()) == [output]


def test_inspect_shows_names_that_litert_lm_looks_for(exported, edgegen):
    signatures = {s["name"]: s for s in edgegen("inspect", exported / "model.tflite", "--json").json["signatures"]}
    assert list(signatures) == ["prefill_4", "prefill_16", "decode"]
    inputs = [tensor["name"] for tensor in signatures["decode"]["inputs"]]
    cache = [f"kv_cache_{kind}_{layer}" for kind in "kv" for layer in range(2)]
    assert inputs == ["tokens", "input_pos", *cache]
    assert [tensor["name"] for tensor in signatures["decode"]["outputs"]] == [*cache, "logits"]
    assert [tensor["name"] for tensor in signatures["prefill_4"]["outputs"]] == cache


def test_weights_are_stored_once_for_all_signatures(exported, edgegen):
    summary = edgegen("inspect", exported, "--json").json
    assert summary["weights"]["float32"] == pytest.approx(4 * 94_528, rel=0.01)


def test_bench_reports_speed_and_memory(exported, edgegen):
    result = edgegen("bench", exported, "--prompt-tokens", 8, "--decode-tokens", 4, "--runs", 2, "--json")
    assert result.code == 0, result.err
    assert "schema_version" in result.json


def test_an_interrupted_export_leaves_nothing_behind(checkpoint, tiny_family, tmp_path):
    command = [
        sys.executable, "-m", "edgegen", "export", "tiny-100k", "--checkpoint", str(checkpoint),
        "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    process = subprocess.Popen(command, env=environment(tiny_family), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.002)  # until the work folder appears
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
