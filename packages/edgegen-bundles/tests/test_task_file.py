"""``.task`` files are written as clients need them, and those that are not are refused with the reason."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import pytest
from click.testing import CliRunner
from litert_lm_builder.runtime.proto import llm_metadata_pb2
from small_models import CACHES, GOOD, sentencepiece, tflite

from edgegen.errors import UsageError
from edgegen_bundles.cli.tokenizer import tokenizer as tokenizer_command
from edgegen_bundles.mediapipe.bundler import BundleConfig, create_bundle
from edgegen_bundles.mediapipe.task_file import METADATA, MODEL, TOKENIZER
from edgegen_bundles.mediapipe.task_reader import contents, read_task


@pytest.fixture(scope="module")
def tokenizer():
    return sentencepiece()


@pytest.fixture
def config(tmp_path, tokenizer):
    (tmp_path / "model.tflite").write_bytes(tflite())
    (tmp_path / "tokenizer.model").write_bytes(tokenizer)
    return BundleConfig(
        tflite_model=tmp_path / "model.tflite",
        tokenizer_model=tmp_path / "tokenizer.model",
        start_token="<s>",
        stop_tokens=["</s>"],
        output_filename=tmp_path / "bundle",
        prompt_prefix="Q: ",
        prompt_suffix="\nA: ",
        max_num_tokens=64,
    )


@pytest.fixture
def metadata():
    one = llm_metadata_pb2.LlmMetadata()
    one.start_token.token_ids.ids.append(1)
    one.stop_tokens.add().token_str = "</s>"
    return one


def pack(path, metadata, tokenizer, model, *, aligned=True, **kind):
    """As another program might."""
    with zipfile.ZipFile(path, "w", **kind) as archive:
        archive.writestr(METADATA, metadata if isinstance(metadata, bytes) else metadata.SerializeToString())
        archive.writestr(TOKENIZER, tokenizer)
        if aligned:
            at = archive.fp.tell() + 30 + len(MODEL)
            info = zipfile.ZipInfo(MODEL)
            info.extra = b"\x35\xd9" + (-(at + 4) % 4096).to_bytes(2, "little") + bytes(-(at + 4) % 4096)
            archive.writestr(info, model, **({"compress_type": kind["compression"]} if kind else {}))
        else:
            archive.writestr(MODEL, model)
    return path


def refused(path):
    with pytest.raises(UsageError) as caught:
        read_task(path)
    assert caught.value.hint
    return caught.value.code, "\n".join(caught.value.details) or caught.value.message


def test_a_bundle_of_files_holds_them_and_what_was_said_of_them(config, tmp_path, tokenizer):
    file = create_bundle(config)
    assert file == tmp_path / "bundle.task"
    task = read_task(file)
    data = file.read_bytes()
    assert task.tokenizer == tokenizer
    assert data[task.offsets[MODEL] :][: task.sizes[MODEL]] == tflite()
    assert task.offsets[MODEL] % (1 << 14) == 0
    assert list(task.metadata.start_token.token_ids.ids) == [1]
    assert [list(stop.token_ids.ids) for stop in task.metadata.stop_tokens] == [[2]]
    user = task.metadata.prompt_templates.user
    assert (user.prefix, user.suffix, task.metadata.max_num_tokens) == ("Q: ", "\nA: ", 64)
    assert set(task.signatures) == {"prefill_8", "decode"}
    assert create_bundle(replace(config, output_filename=tmp_path / "again.task")).read_bytes() == data


def test_no_start_token_is_stated_as_such(config):
    file = create_bundle(replace(config, start_token=None))
    assert list(read_task(file).metadata.start_token.token_ids.ids) == [-1]
    assert contents(file).parts[0].details["start token"] == "none"


def test_inspect_is_told_the_parts(config):
    parts = contents(create_bundle(config)).parts
    assert [part.name for part in parts] == [METADATA, TOKENIZER, MODEL]
    assert parts[1].details == {"pieces": "11"}
    assert "decode" in parts[2].details["signatures"]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"start_token": "<bos>"}, "EG832", "'<bos>'"),
        ({"stop_tokens": ["</s>", "<end>"]}, "EG832", "'<end>'"),
        ({"stop_tokens": []}, "EG832", "stop tokens"),
    ],
)
def test_tokens_that_are_no_pieces_are_refused(config, tmp_path, change, code, said):
    with pytest.raises(UsageError, match=said) as caught:
        create_bundle(replace(config, **change))
    assert caught.value.code == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tflite", "tokenizer.model"]


def test_the_command_that_the_refusal_names_lists_the_pieces(config):
    with pytest.raises(UsageError) as caught:
        create_bundle(replace(config, start_token="<bos>"))
    assert caught.value.hint == "edgegen tokenizer FILE --json lists special pieces"
    result = CliRunner().invoke(tokenizer_command, [str(config.tokenizer_model), "--json"])
    assert json.loads(result.stdout)["special"] == ["<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("name", ["tflite_model", "tokenizer_model"])
def test_files_that_are_missing_or_others_leave_nothing_behind(config, tmp_path, name):
    for path in (tmp_path / "nowhere", tmp_path / "other"):
        (tmp_path / "other").write_text("something else")
        with pytest.raises(UsageError) as caught:
            create_bundle(replace(config, **{name: path}))
        assert caught.value.hint or caught.value.code == "EG101"
        assert not [file for file in tmp_path.iterdir() if "bundle" in file.name]


def test_a_file_of_another_program_passes_if_all_is_there(tmp_path, metadata, tokenizer):
    assert read_task(pack(tmp_path / "x.task", metadata, tokenizer, tflite())).signatures


def test_compressed_members_are_refused(tmp_path, metadata, tokenizer):
    path = pack(tmp_path / "x.task", metadata, tokenizer, tflite(), compression=zipfile.ZIP_DEFLATED)
    code, said = refused(path)
    assert (code, said.count("is compressed")) == ("EG831", 3)


def test_encrypted_members_are_refused(config):
    file = create_bundle(config)
    data = bytearray(file.read_bytes())
    entry = data.rindex(b"PK\x01\x02")  # the model's in the directory
    data[entry + 8] |= 1
    file.write_bytes(data)
    code, said = refused(file)
    assert (code, f"{MODEL}: is encrypted" in said) == ("EG831", True)


def test_a_model_that_cannot_be_mapped_is_refused(tmp_path, metadata, tokenizer):
    code, said = refused(pack(tmp_path / "x.task", metadata, tokenizer, tflite(), aligned=False))
    assert (code, "multiple of 4,096" in said) == ("EG831", True)


def test_other_members_are_named(tmp_path, tokenizer):
    with zipfile.ZipFile(tmp_path / "x.task", "w") as archive:
        archive.writestr(TOKENIZER, tokenizer)
        archive.writestr("TF_LITE_VISION", b"")
    code, said = refused(tmp_path / "x.task")
    assert code == "EG831"
    for line in ("missing     METADATA", "missing     TF_LITE_PREFILL_DECODE", "unexpected  TF_LITE_VISION"):
        assert line in said


@pytest.mark.parametrize("name", [METADATA, TOKENIZER, MODEL])
def test_damage_is_found(config, name):
    file = create_bundle(config)
    data = bytearray(file.read_bytes())
    data[read_task(file).offsets[name] + 3] ^= 1
    file.write_bytes(data)
    code, said = refused(file)
    assert (code, f"{name}: its checksum" in said) == ("EG831", True)


@pytest.mark.parametrize("keep", [0, 10, 2000, -30])
def test_what_is_cut_off_is_refused(config, keep):
    file = create_bundle(config)
    file.write_bytes(file.read_bytes()[:keep])
    assert refused(file)[0] == "EG830"


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError, match="No such file") as caught:
        read_task(tmp_path / "none.task")
    assert caught.value.code == "EG830"


def _metadata(**changes):
    def change(one):
        for field, ids in changes.items():
            one.ClearField(field)
            if ids is not None:
                token = one.start_token if field == "start_token" else one.stop_tokens.add()
                token.token_ids.ids.extend(ids)
                token.token_ids.SetInParent()
        return one

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_metadata(start_token=None), "has no start_token"),
        (_metadata(start_token=[]), "start_token is empty"),
        (_metadata(start_token=[11]), "start_token 11 is no piece; there are 11"),
        (_metadata(stop_tokens=None), "has no stop_tokens"),
        (_metadata(stop_tokens=[-1]), "stop_tokens -1 is no piece"),
    ],
)
def test_metadata_that_clients_stumble_over_is_refused(tmp_path, metadata, tokenizer, change, said):
    code, details = refused(pack(tmp_path / "x.task", change(metadata), tokenizer, tflite()))
    assert (code, said in details) == ("EG831", True)


def test_names_of_tokens_are_looked_up(tmp_path, metadata, tokenizer):
    metadata.stop_tokens.add().token_str = "<end_of_turn>"
    assert "'<end_of_turn>' is no piece" in refused(pack(tmp_path / "x.task", metadata, tokenizer, tflite()))[1]


def test_metadata_and_tokenizers_of_another_kind_are_refused(tmp_path, metadata, tokenizer):
    assert "is no LlmMetadata" in refused(pack(tmp_path / "x.task", b"\xff\xff", tokenizer, tflite()))[1]
    assert "no SentencePiece model" in refused(pack(tmp_path / "x.task", metadata, b"{}", tflite()))[1]


@pytest.mark.parametrize(
    ("signatures", "said"),
    [
        ({"prefill_8": GOOD["prefill_8"], "generate": GOOD["decode"]}, "no signature 'decode'"),
        ({"decode": GOOD["decode"]}, "begins with 'prefill'"),
        ({**GOOD, "decode": (GOOD["decode"][0], CACHES)}, "no output 'logits'"),
        ({**GOOD, "prefill_8": (("ids", "input_pos", *CACHES), CACHES)}, "prefill_8 has no input tokens"),
        ({**GOOD, "prefill_8": (("tokens", *CACHES), CACHES)}, "prefill_8 has no input input_pos"),
        ({**GOOD, "prefill_8": (("tokens", "input_pos"), ())}, "prefill_8 has no inputs kv_cache_k_"),
        ({**GOOD, "decode": (GOOD["decode"][0], ("logits",))}, "gives none back"),
    ],
)
def test_signatures_that_clients_do_not_know_are_refused(tmp_path, metadata, tokenizer, signatures, said):
    code, details = refused(pack(tmp_path / "x.task", metadata, tokenizer, tflite(signatures)))
    assert (code, said in details) == ("EG831", True)


@pytest.mark.parametrize("model", [b"", b"not a model at all", b"\x1c\x00\x00\x00TFL3" + bytes(20)])
def test_what_is_no_model_is_refused(tmp_path, metadata, tokenizer, model):
    assert "no LiteRT model" in refused(pack(tmp_path / "x.task", metadata, tokenizer, model))[1]
