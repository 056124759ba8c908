"""An output folder is replaced whole or not at all, and nothing that an export did not write is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgegen.errors import ErrorCode, UsageError
from edgegen.export import output_folder
from edgegen.export.output_folder import check_output, list_files, put_in_place, work_folder


def export(output: Path, content: str) -> None:
    """A stand-in for a run: checks the folder, writes a file of ``content``, puts it in place."""
    check_output(output)
    with work_folder(output) as folder:
        (folder / "model.tflite").write_text(content)
        (folder / "export.json").write_text(json.dumps({"schema_version": 2}))
        list_files(folder)
        put_in_place(folder, output)


@pytest.mark.parametrize("name", ["out", "out.v2", "b[1]", "a*", ".hidden", "mit Leerzeichen"])
def test_exports_replace_each_other_and_leave_nothing_beside(tmp_path: Path, name: str) -> None:
    for content in ("first", "second"):
        export(tmp_path / name, content)
        assert (tmp_path / name / "model.tflite").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_target_finds_an_empty_folder(tmp_path: Path) -> None:
    with work_folder(tmp_path / "out") as folder:
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("other", ["m.v2", "m.abcdefgh", "m.previous", ".m"])
def test_an_export_leaves_others_alone_whose_names_begin_alike(tmp_path: Path, other: str) -> None:
    with work_folder(tmp_path / other) as running:
        export(tmp_path / "m", "first")
        assert running.is_dir()


@pytest.mark.parametrize("name", ["m", "b[1]"])
def test_what_a_killed_export_left_is_removed_and_given_back(tmp_path: Path, name: str) -> None:
    export(tmp_path / name, "first")
    with work_folder(tmp_path / name) as folder:
        work = folder.parent
        previous = work.with_name(work.name.replace("partial", "previous"))
        left = work.rename(work.with_name(f".{name}.abcd_123.partial"))
        (tmp_path / name).rename(previous)
    with work_folder(tmp_path / name):
        assert not left.exists()
        assert (tmp_path / name / "model.tflite").read_text() == "first"
        assert not previous.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_the_earlier_export_comes_back_where_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    export(tmp_path / "out", "first")
    honest = os.replace

    def failing(source: Path, destination: Path) -> None:
        if source.parent.name.endswith(".partial"):
            raise error
        honest(source, destination)

    monkeypatch.setattr(output_folder.os, "replace", failing)
    with pytest.raises(type(error)):
        export(tmp_path / "out", "second")
    assert (tmp_path / "out" / "model.tflite").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_folder_is_replaced(tmp_path: Path, there: bool) -> None:
    if there:
        export(tmp_path / "real", "first")
    (tmp_path / "link").symlink_to("real")
    for content in ("second", "third"):
        export(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "model.tflite").read_text() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


@pytest.mark.parametrize("foreign", ["notes.txt", "sub/notes.txt"])
def test_a_file_that_the_export_did_not_write_is_never_lost(tmp_path: Path, foreign: str) -> None:
    export(tmp_path / "out", "first")
    (tmp_path / "out" / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / foreign).write_text("mine")
    with pytest.raises(UsageError, match=foreign) as caught:
        export(tmp_path / "out", "second")
    assert caught.value.code == ErrorCode.OUTPUT_EXISTS
    assert (tmp_path / "out" / foreign).read_text() == "mine"


@pytest.mark.parametrize("name", ["export.json", "recipe.json"])
@pytest.mark.parametrize("content", ["{}", "[]", "", '{"schema_version": 99}', '{"schema_version": 2, "files": null}'])
def test_a_file_of_the_record_s_name_does_not_make_an_export(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(UsageError, match="something else"):
        check_output(tmp_path / "out")


@pytest.mark.parametrize("output", [".", "..", "../here"])
def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="current folder"):
        check_output(Path(output))


def test_an_empty_folder_may_be_the_output(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(tmp_path / "out", "first")
    assert (tmp_path / "out" / "model.tflite").read_text() == "first"
