"""The container, read back strictly with the reader that comes with LiteRT-LM's own builder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from litert_lm_builder import litertlm_builder, litertlm_core, litertlm_peek
from litert_lm_builder.runtime.proto import llm_metadata_pb2

from edgegen.errors import UsageError
from edgegen_bundles.litertlm.container import Section, SectionType, size, write
from edgegen_bundles.litertlm.inspect import contents, llm_metadata

METADATA = llm_metadata_pb2.LlmMetadata(max_num_tokens=64, jinja_prompt_template="a\nb")
METADATA.llm_model_type.generic_model.SetInParent()
METADATA.stop_tokens.add().token_ids.ids.append(2)
METADATA.stop_tokens.add().token_str = "<end>"


@pytest.fixture
def sections(tmp_path: Path) -> list[Section]:
    model = tmp_path / "model.tflite"
    model.write_bytes(bytes(range(256)) * 8000)  # longer than a chunk of copying
    return [
        Section(type=SectionType.LLM_METADATA, contents=METADATA.SerializeToString()),
        Section(type=SectionType.SENTENCEPIECE, contents=b"pieces"),
        Section(type=SectionType.MODEL, contents=model, labels={"model_type": "tf_lite_prefill_decode"}),
    ]


def test_the_builders_reader_unpacks_what_was_put_in(sections: list[Section], tmp_path: Path) -> None:
    file, folder = tmp_path / "m.litertlm", tmp_path / "unpacked"
    write(file, sections, {"Name": "toy"})
    litertlm_peek.peek_litertlm_file(str(file), str(folder), io.StringIO())
    assert (folder / "Section1_SP_Tokenizer.spiece").read_bytes() == b"pieces"
    unpacked = folder / "Section2_TFLiteModel_tf_lite_prefill_decode.tflite"
    assert unpacked.read_bytes() == (tmp_path / "model.tflite").read_bytes()
    assert "max_num_tokens: 64" in (folder / "LlmMetadataProto.pbtext").read_text()


def test_the_builder_takes_the_file_for_one_of_its_own(sections: list[Section], tmp_path: Path) -> None:
    write(tmp_path / "m.litertlm", sections, {"Name": "toy"})
    manifest = litertlm_builder.unpack(str(tmp_path / "m.litertlm"), str(tmp_path / "unpacked"))
    again = litertlm_builder.pack(manifest, str(tmp_path / "again.litertlm"))
    ours, theirs = contents(tmp_path / "m.litertlm"), contents(Path(again))
    assert [part.name for part in ours.parts] == [part.name for part in theirs.parts]
    assert [part.offset for part in ours.parts] == [part.offset for part in theirs.parts]
    assert [part.nbytes for part in ours.parts[1:]] == [part.nbytes for part in theirs.parts[1:]]


def test_sections_begin_at_blocks_and_the_size_is_known_beforehand(sections: list[Section], tmp_path: Path) -> None:
    file = tmp_path / "m.litertlm"
    write(file, sections, {})
    parts = contents(file).parts[1:]
    assert all(part.offset % litertlm_core.BLOCK_SIZE == 0 for part in parts)
    assert file.stat().st_size == size(part.nbytes for part in parts)


def test_the_same_sections_give_the_same_bytes_and_others_another_uuid(sections: list[Section], tmp_path: Path) -> None:
    names = ("a", "b", "c")
    for name in names:
        kept = (
            sections
            if name != "c"
            else [sections[0], Section(type=SectionType.SENTENCEPIECE, contents=b"other"), sections[2]]
        )
        write(tmp_path / name, kept, {"Name": "toy"})
    a, b, c = ((tmp_path / name).read_bytes() for name in names)
    assert a == b
    assert contents(tmp_path / "a").parts[0].details["uuid"] != contents(tmp_path / "c").parts[0].details["uuid"]
    assert len(c) == len(a)


def test_contents_tell_what_decides_how_a_text_begins_and_ends(sections: list[Section], tmp_path: Path) -> None:
    file = tmp_path / "m.litertlm"
    write(file, sections, {"Name": "toy"})
    header, metadata, tokenizer, model = contents(file).parts
    assert header.details["Name"] == "toy"
    assert metadata.details == {
        "model type": "generic_model",
        "start token": "none",
        "stop tokens": "2, <end>",
        "max tokens": "64",
        "chat template": "2 lines",
    }
    assert (tokenizer.name, tokenizer.nbytes) == ("SP_Tokenizer", 6)
    assert model.details == {"model_type": "tf_lite_prefill_decode"}
    assert llm_metadata(file) == METADATA


@pytest.mark.parametrize("damage", ["empty", "other", "header", "cut"])
def test_what_is_no_bundle_is_refused(damage: str, sections: list[Section], tmp_path: Path) -> None:
    file = tmp_path / "m.litertlm"
    write(file, sections, {})
    data = file.read_bytes()
    file.write_bytes({"empty": b"", "other": b"PK" + data[2:], "header": data[:40], "cut": data[:-1]}[damage])
    with pytest.raises(UsageError, match="damaged"):
        contents(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.litertlm"):
        contents(tmp_path / "nowhere.litertlm")
