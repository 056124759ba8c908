"""``--target task`` and ``edgegen tokenizer``, from a checkpoint on. The real client is put to it by ``nox -s
litertlm``."""

from __future__ import annotations

import json
import shutil

import pytest

from edgegen_bundles.mediapipe.task_file import MODEL
from edgegen_bundles.mediapipe.task_reader import read_task

BUNDLE = "tiny-100k.task"


@pytest.fixture
def export(edgegen, checkpoint, tmp_path):
    def run(*options, source=checkpoint, output=tmp_path / "out"):
        return edgegen(
            "export", "tiny-100k", "--checkpoint", source, "-o", output, "--prefill-lengths", "4",
            "--cache-length", 48, "--target", "task", *options,
        )  # fmt: skip

    return run


def changed(checkpoint, tmp_path, **files):
    folder = tmp_path / "changed"
    shutil.copytree(checkpoint, folder)
    for name, change in files.items():
        path = folder / f"{name}.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return folder


def test_a_bundle_holds_the_model_and_a_tokenizer_that_agrees(export, edgegen, checkpoint, tmp_path):
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer

    result = export()
    assert result.code == 0, result.err
    assert "logits error" in result.err
    assert "not matched strictly" in result.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {BUNDLE, "README.md", "export.json"}
    assert f"litert-lm run {BUNDLE}" in (tmp_path / "out" / "README.md").read_text()
    edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "folder", "--prefill-lengths", "4",
        "--cache-length", 48, "--no-verify",
    )  # fmt: skip
    file = tmp_path / "out" / BUNDLE
    task = read_task(file)
    model = file.read_bytes()[task.offsets[MODEL] :][: task.sizes[MODEL]]
    assert model == (tmp_path / "folder" / "model.tflite").read_bytes()
    theirs = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ours = SentencePieceProcessor(model_proto=task.tokenizer)
    for text in ("<|user|>Hi<|assistant|>", "Hello,  world\n\n12"):
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_the_metadata_says_how_texts_begin_and_end(export, tmp_path):
    assert export("--no-verify").code == 0
    metadata = read_task(tmp_path / "out" / BUNDLE).metadata
    assert metadata.HasField("start_token")
    assert metadata.stop_tokens
    assert metadata.max_num_tokens == 48
    user = metadata.prompt_templates.user
    assert (user.prefix, user.suffix) == ("<|user|>", "<|assistant|>")


def test_the_same_export_gives_the_same_bytes_and_the_size_that_was_forecast(export, tmp_path):
    forecast = export("--dry-run", "--json").json["forecast"]
    files = []
    for name in ("one", "two"):
        assert export("--no-verify", output=tmp_path / name).code == 0
        files.append((tmp_path / name / BUNDLE).read_bytes())
    assert files[0] == files[1]
    assert forecast["files"] == {BUNDLE: len(files[0])}


def test_inspect_lists_the_parts(export, edgegen, tmp_path):
    export("--no-verify")
    for path in (tmp_path / "out", tmp_path / "out" / BUNDLE):
        parts = edgegen("inspect", path, "--json").json["parts"]
        assert [part["name"] for part in parts] == ["METADATA", "TOKENIZER_MODEL", "TF_LITE_PREFILL_DECODE"]
        assert parts[2]["offset"] % 4096 == 0
    (tmp_path / "out" / BUNDLE).write_bytes(b"PK")
    result = edgegen("inspect", tmp_path / "out" / BUNDLE)
    assert (result.code, "EG830" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("files", "options", "code", "said"),
    [
        ({"tokenizer": lambda d: d.update(normalizer={"type": "Lowercase"})}, (), "EG841", "Lowercase"),
        ({}, ("--lora-rank", "16"), "EG834", "no adapters"),
    ],
)
def test_what_cannot_be_bundled_is_refused_before_work_begins(export, checkpoint, tmp_path, files, options, code, said):
    result = export("--no-verify", *options, source=changed(checkpoint, tmp_path, **files))
    assert (result.code, code in result.err, said in result.err) == (3, True, True), result.err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_a_tokenizer_is_refused(export, checkpoint, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("tokenizer*"))
    result = export(source=folder)
    assert (result.code, "EG802" in result.err) == (3, True)
    assert not (tmp_path / "out").exists()


def test_the_tokenizer_command_converts_and_compares(edgegen, checkpoint, tmp_path):
    model = tmp_path / "tokenizer.model"
    for source in (checkpoint, checkpoint / "tokenizer.json"):
        result = edgegen("tokenizer", source, "-o", model, "--pairs", 50, "--json")
        assert result.code == 0, result.err
        document = result.json
        assert (document["schema_version"], document["converted"]) == (1, True)
        assert document["comparison"]["pairs"] == 50
        assert "<|user|>" in document["special"]
        assert document["comparison"]["tokens"] > 1000
        assert document["comparison"]["tokens_differing"] == sum(
            len(one["example"]["tokenizer"]) for one in document["constructs"]
        )  # none, or single ones
    shown = edgegen("tokenizer", checkpoint).out
    assert "not matched strictly" in shown
    assert "tokens differ" in shown
    again = edgegen("tokenizer", model, "-o", tmp_path / "copy.model", "--json").json
    assert (again["converted"], again["pieces"]) == (False, document["pieces"])
    assert (tmp_path / "copy.model").read_bytes() == model.read_bytes()
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".model", ".model"]


def test_another_text_can_be_given_and_constructs_are_named_with_an_example(edgegen, tmp_path, checkpoint):
    def halves(document):
        vocabulary = document["model"]["vocab"]
        for pair in ("ðŁ", "ĺĢ"):
            vocabulary[pair] = max(vocabulary.values()) + 1
            document["model"]["merges"].append(list(pair))
        document["added_tokens"] = []

    folder = changed(checkpoint, tmp_path, tokenizer=halves)
    text = tmp_path / "text.txt"
    text.write_text("a \N{GRINNING FACE} b", encoding="utf-8")
    result = edgegen("tokenizer", folder / "tokenizer.json", "--text", text, "--json").json
    [construct] = result["constructs"]
    assert construct["construct"] == "parts of characters"
    assert construct["count"] == 2
    assert len(construct["example"]["sentencepiece"]) == 2
    assert "\\xf0" in edgegen("tokenizer", folder / "tokenizer.json", "--text", text).out


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("nowhere.json",), 2, "EG101"),
        (("nowhere",), 2, "EG"),
        (("bad.json",), 4, "EG840"),
        (("bad.model",), 2, "EG833"),
        (("{checkpoint}", "--text", "nowhere.txt"), 2, "EG101"),
        (("{checkpoint}", "--text", "binary"), 2, "EG744"),
        (("{checkpoint}", "-o", "nowhere/x.model"), 6, "EG601"),
    ],
)
def test_the_tokenizer_command_says_what_is_wrong(
    edgegen, checkpoint, tmp_path, monkeypatch, arguments, exit_code, code
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"model": 1}')
    (tmp_path / "bad.model").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    result = edgegen("tokenizer", *(one.replace("{checkpoint}", str(checkpoint)) for one in arguments))
    assert (result.code, code in result.err) == (exit_code, True), result.err
    assert sorted(path.name for path in tmp_path.glob("*.model")) == ["bad.model"]
