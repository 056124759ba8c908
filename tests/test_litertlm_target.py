"""``--target litertlm`` from a checkpoint to a bundle. The real client is put to it by ``nox -s litertlm``."""

from __future__ import annotations

import json
import shutil
import zlib

import pytest

from edgegen_bundles.chat.jinja import render
from edgegen_bundles.litertlm.inspect import contents, llm_metadata, read

BUNDLE = "tiny-100k.litertlm"


@pytest.fixture
def export(edgegen, checkpoint, tmp_path):
    def run(*options, source=checkpoint, output=tmp_path / "out"):
        return edgegen(
            "export", "tiny-100k", "--checkpoint", source, "-o", output, "--prefill-lengths", "4",
            "--cache-length", 48, "--target", "litertlm", *options,
        )  # fmt: skip

    return run


@pytest.fixture
def without_tokenizer(checkpoint, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("tokenizer*"))
    return folder


def test_a_bundle_holds_what_the_folder_holds(export, edgegen, checkpoint, tmp_path):
    assert export("--no-verify").code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {BUNDLE, "README.md", "export.json"}
    assert f"litert-lm run {BUNDLE}" in (tmp_path / "out" / "README.md").read_text()
    edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "folder", "--prefill-lengths", "4",
        "--cache-length", 48, "--no-verify",
    )  # fmt: skip
    file = tmp_path / "out" / BUNDLE
    _, _, tokenizer, model = contents(file).parts
    assert read(file, model.offset, model.offset + model.nbytes) == (tmp_path / "folder" / "model.tflite").read_bytes()
    packed = read(file, tokenizer.offset, tokenizer.offset + tokenizer.nbytes)
    plain = (checkpoint / "tokenizer.json").read_bytes()
    assert (zlib.decompress(packed[8:]), int.from_bytes(packed[:8], "little")) == (plain, len(plain))


def test_the_metadata_says_how_texts_begin_and_end(export, tmp_path):
    assert export("--no-verify").code == 0
    metadata = llm_metadata(tmp_path / "out" / BUNDLE)
    manifest_like = json.loads((tmp_path / "out" / "export.json").read_text())
    assert metadata.max_num_tokens == manifest_like["options"]["cache_length"] == 48
    assert metadata.llm_model_type.WhichOneof("model_type") == "generic_model"
    assert metadata.stop_tokens
    assert all(stop.WhichOneof("token_union") == "token_ids" for stop in metadata.stop_tokens)
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert render(metadata.jinja_prompt_template, parts).text == "<|user|>Hi<|assistant|>"
    assert metadata.sampler_params.k == 1


def test_the_same_export_gives_the_same_bytes(export, tmp_path):
    files = []
    for name in ("one", "two"):
        assert export("--no-verify", output=tmp_path / name).code == 0
        files.append((tmp_path / name / BUNDLE).read_bytes())
    assert files[0] == files[1]


def test_the_forecast_counts_the_model_twice_while_it_is_copied(export, tmp_path):
    estimate = export("--dry-run", "--json").json["estimate"]
    assert export("--no-verify").code == 0
    written = (tmp_path / "out" / BUNDLE).stat().st_size
    assert estimate["files"] == {BUNDLE: written}
    model = contents(tmp_path / "out" / BUNDLE).parts[-1].nbytes
    assert estimate["disk"] >= written + model


def test_it_is_verified_before_it_is_bundled(export):
    assert "logits error" in export().err


def test_a_checkpoint_without_a_tokenizer_is_refused_before_work_begins(export, without_tokenizer, tmp_path):
    result = export(source=without_tokenizer)
    assert (result.code, "EG802" in result.err, "tokenizer.json" in result.err) == (3, True, True)
    assert not (tmp_path / "out").exists()


def test_a_template_that_litert_lm_cannot_use_is_left_out_with_a_warning(export, checkpoint, tmp_path):
    folder = tmp_path / "shouting"
    shutil.copytree(checkpoint, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ messages[0]['content'].upper() }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    result = export("--no-verify", source=folder)
    assert result.code == 0
    assert ".upper()" in result.err
    assert llm_metadata(tmp_path / "out" / BUNDLE).jinja_prompt_template == ""
    assert "--no-template" in (tmp_path / "out" / "README.md").read_text()


def test_inspect_lists_the_parts_of_a_bundle_and_of_its_folder(export, edgegen, tmp_path):
    export("--no-verify")
    for path in (tmp_path / "out", tmp_path / "out" / BUNDLE):
        parts = edgegen("inspect", path, "--json").json["parts"]
        assert [part["name"] for part in parts] == ["Header", "LlmMetadataProto", "HF_Tokenizer_Zlib", "TFLiteModel"]
    shown = edgegen("inspect", tmp_path / "out").out
    for text in ("LiteRT-LM 1.", "stop tokens", "generic_model", "blocks.*.attention"):
        assert text in shown


def test_run_says_which_program_reads_a_bundle(export, edgegen, tmp_path):
    export("--no-verify")
    result = edgegen("run", tmp_path / "out", "-p", "Hi")
    assert (result.code, "litert-lm run" in result.err) == (3, True)
