"""Repositories open as checkpoints: what is downloaded, what is kept, and what is said when it cannot be."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hub_server import NOBODY, HubServer, Repository
from huggingface_hub import constants
from safetensors.numpy import save

from edgegen.errors import CheckpointError, EdgegenError, ResourceError, UsageError
from edgegen.progress import reporting_to
from edgegen.weights import Checkpoint
from edgegen.weights import open_checkpoint as open_any
from edgegen_huggingface.hub import cache as cache_module
from edgegen_huggingface.hub.download import fetch
from edgegen_huggingface.hub.reference import parse
from edgegen_huggingface.hub.settings import Settings
from edgegen_huggingface.repository_files import read_modules

VALUES = np.arange(1024, dtype=np.float32).reshape(32, 32)
WEIGHTS = save({"w": VALUES})
SIDECARS = {"config.json": b'{"hidden_size": 32}', "tokenizer.json": b"{}"}
SINGLE = {**SIDECARS, "model.safetensors": WEIGHTS, "README.md": b"# A model", "pytorch_model.bin": b"x" * 5000}
SHARDED = {
    **SIDECARS,
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"w": "model-00001-of-00002.safetensors", "v": "model-00002-of-00002.safetensors"}}
    ).encode(),
    "model-00001-of-00002.safetensors": WEIGHTS,
    "model-00002-of-00002.safetensors": save({"v": -VALUES}),
}


def publish(hub: HubServer, files: Mapping[str, bytes], name: str = "org/name", **traits: Any) -> Repository:
    hub.repositories[name] = Repository(files, **traits)
    return hub.repositories[name]


def fails(reference: str, kind: type[EdgegenError], match: str) -> EdgegenError:
    with pytest.raises(kind, match=match) as caught:
        open_any(reference)
    return caught.value


def files_below(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file()}


def same(checkpoint: Checkpoint, **expected: Any) -> None:
    assert set(checkpoint.tensors) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(checkpoint.tensors[name].read(), values)


# --- opening ------------------------------------------------------------------------------------------------


def test_a_repository_opens_like_the_files_in_it(hub: HubServer, cache: Path) -> None:
    repository = publish(hub, SINGLE)
    checkpoint = open_any("org/name")
    same(checkpoint, w=VALUES)
    assert (checkpoint.format, checkpoint.naming) == ("safetensors", "huggingface")
    assert checkpoint.config == {"hidden_size": 32}
    assert checkpoint.path.is_relative_to(cache)
    assert repository.commit in checkpoint.path.parts
    assert {file.name for file in checkpoint.files} == {"model.safetensors", *SIDECARS}


@pytest.mark.parametrize("reference", ["hf:org/name", "hf://org/name", "org/name@main"])
def test_all_spellings_lead_to_the_repository(hub: HubServer, reference: str) -> None:
    publish(hub, SINGLE)
    same(open_any(reference), w=VALUES)


def test_the_format_may_be_named(hub: HubServer) -> None:
    publish(hub, SINGLE)
    same(open_any("org/name", "huggingface-hub"), w=VALUES)


def test_shards_open_as_one(hub: HubServer) -> None:
    publish(hub, SHARDED)
    checkpoint = open_any("org/name")
    same(checkpoint, w=VALUES, v=-VALUES)
    assert {file.name for file in checkpoint.files} == set(SHARDED)


def test_only_what_is_needed_is_downloaded(hub: HubServer) -> None:
    publish(hub, SINGLE)
    open_any("org/name")
    assert hub.downloaded() == {"model.safetensors", *SIDECARS}


def test_how_a_sentence_embedder_pools_comes_along(hub: HubServer) -> None:
    modules = b'[{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "1_Pooling"}]'
    publish(hub, {**SINGLE, "modules.json": modules, "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}'})
    checkpoint = open_any("org/name")
    assert hub.downloaded() == {"model.safetensors", *SIDECARS, "modules.json", "1_Pooling/config.json"}
    assert read_modules(checkpoint.files[0].parent) == [
        ("Transformer", {}),
        ("Pooling", {"pooling_mode_cls_token": True}),
    ]


def test_nothing_is_written_but_the_cache(hub: HubServer, cache: Path, tmp_path: Path) -> None:
    publish(hub, SINGLE)
    open_any("org/name")
    assert files_below(tmp_path) == files_below(cache)


def test_a_file_in_it_can_be_named(hub: HubServer) -> None:
    publish(hub, {**SINGLE, "old/other.safetensors": save({"o": VALUES})})
    same(open_any("hf:org/name/old/other.safetensors"), o=VALUES)
    assert hub.downloaded() == {"old/other.safetensors"}


def test_names_with_marks_of_patterns_mean_themselves(hub: HubServer) -> None:
    publish(hub, {"a[1].safetensors": WEIGHTS, "a1.safetensors": save({"o": VALUES})})
    same(open_any("hf:org/name/a[1].safetensors"), w=VALUES)
    assert hub.downloaded() == {"a[1].safetensors"}


def test_pytorch_files_are_taken_where_nothing_better_is(hub: HubServer) -> None:
    publish(hub, {**SIDECARS, "pytorch_model.bin": b"x" * 5000, "training_args.bin": b"x", "name.gguf": b"GGUF" * 999})
    entry = fetch(parse("org/name"), Settings.read())
    assert entry.name == "pytorch_model.bin"
    assert hub.downloaded() == {"pytorch_model.bin", *SIDECARS}


def test_a_gguf_comes_alone(hub: HubServer) -> None:
    publish(hub, {**SIDECARS, "a.gguf": b"GGUFa" * 999, "b.gguf": b"GGUFb" * 999})
    error = fails("org/name", UsageError, "2 gguf models")
    assert error.hint == "name one: hf:org/name/a.gguf"
    assert fetch(parse("hf:org/name/b.gguf"), Settings.read()).name == "b.gguf"
    assert hub.downloaded() == {"b.gguf"}


def test_a_revision_pins_the_files(hub: HubServer) -> None:
    before = publish(hub, SINGLE)
    commit = before.commit
    open_any("org/name")
    publish(hub, {**SINGLE, "model.safetensors": save({"n": VALUES})})
    same(open_any("org/name"), n=VALUES)
    hub.repositories["org/name"] = before
    same(open_any(f"org/name@{commit}"), w=VALUES)


def test_a_repository_beside_a_folder_of_that_name_takes_the_prefix(hub: HubServer) -> None:
    publish(hub, SINGLE)
    Path("org/name").mkdir(parents=True)
    Path("org/name/model.safetensors").write_bytes(save({"local": VALUES}))
    same(open_any("org/name"), local=VALUES)
    same(open_any("hf:org/name"), w=VALUES)


# --- from the cache -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [SINGLE, SHARDED], ids=["single", "sharded"])
def test_offline_the_cache_does(hub: HubServer, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, bytes]) -> None:
    publish(hub, files)
    expected = open_any("org/name")
    commit = hub.repositories["org/name"].commit
    hub.close()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    checkpoint = open_any("org/name")
    assert (checkpoint.path, checkpoint.files, checkpoint.config) == (expected.path, expected.files, expected.config)
    assert open_any(f"org/name@{commit}").path == expected.path


def test_offline_and_not_in_the_cache_says_how_to_get_it(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, SINGLE)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = fails("org/name", ResourceError, "HF_HUB_OFFLINE is set, and not all of org/name is in")
    assert "without HF_HUB_OFFLINE" in str(error.hint)
    assert hub.requests == []


def test_offline_a_part_of_the_shards_is_not_enough(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, SHARDED)
    second = next(file for file in open_any("org/name").files if "00002-of" in file.name and "00001" not in file.name)
    second.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fails("org/name", ResourceError, "not all of org/name is in")


def test_a_hub_that_does_not_answer_is_replaced_by_the_cache(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(hub, SINGLE)
    open_any("org/name")
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    with caplog.at_level(logging.WARNING):
        same(open_any("org/name"), w=VALUES)
    assert "going on with what the cache has" in caplog.text


def test_a_hub_that_does_not_answer_is_named(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    error = fails("org/name", ResourceError, r"cannot get org/name from http://127\.0\.0\.1:9")
    assert "Connect" in error.details[0]
    assert "HF_ENDPOINT" in str(error.hint)


def test_a_new_commit_downloads_only_what_it_changed(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, SINGLE)
    open_any("org/name")
    publish(hub, {**SINGLE, "config.json": b'{"hidden_size": 33}'})
    hub.requests.clear()
    needed = []
    monkeypatch.setattr(cache_module, "check_room", lambda size, *_: needed.append(size))
    assert open_any("org/name").config == {"hidden_size": 33}
    assert hub.downloaded() == {"config.json"}
    assert needed == [len(b'{"hidden_size": 33}')]


# --- refusals -----------------------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, SINGLE, private=True, gated=True)
    fails("org/name", UsageError, "no such repository")
    hub.requests.clear()
    monkeypatch.setenv("HF_TOKEN", hub.TOKEN)
    same(open_any("org/name"), w=VALUES)
    tokens = {request.path.startswith("/kept-apart/"): request.token for request in hub.requests}
    assert tokens == {False: f"Bearer {hub.TOKEN}", True: None}


@pytest.mark.parametrize("token", [None, "hf_of_someone_else"])
def test_a_gated_repository_says_where_to_accept_its_licence(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    publish(hub, SINGLE, gated=True)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    error = fails("org/name", ResourceError, "org/name is gated")
    assert f"{hub.url}/org/name" in str(error.hint)
    assert "HF_TOKEN" in str(error.hint)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_asks_for_a_token(hub: HubServer, status: int) -> None:
    publish(hub, SINGLE, status=status)
    error = fails("org/name", ResourceError, rf"refuses access to org/name \({status}\)")
    assert "HF_TOKEN" in str(error.hint)


def test_no_such_repository(hub: HubServer) -> None:
    error = fails("org/nome", UsageError, "no local file or folder org/nome, and no such repository")
    assert "spelling" in str(error.hint)


def test_no_such_revision(hub: HubServer) -> None:
    publish(hub, SINGLE)
    error = fails("org/name@v9", UsageError, "org/name has no revision v9")
    assert "branch" in str(error.hint)


@pytest.mark.parametrize("status", [429, 500])
def test_a_hub_in_trouble_says_later(hub: HubServer, status: int) -> None:
    publish(hub, SINGLE, status=status)
    assert fails("org/name", ResourceError, f"{status}").hint == "try again later"


@pytest.mark.parametrize("path", ["../evil.safetensors", "/etc/evil.safetensors", "a/../../b.bin", "..\\evil.bin"])
def test_a_listing_that_leads_outside_is_refused(hub: HubServer, cache: Path, path: str) -> None:
    publish(hub, {**SINGLE, path: WEIGHTS})
    fails("org/name", CheckpointError, "lists a file outside of the repository")
    assert not cache.exists()


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"id": "x", "sha": "../../up", "siblings": []}'])
def test_what_is_no_hub_is_named(hub: HubServer, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(json, "dumps", lambda *_: answer.decode())
    publish(hub, SINGLE)
    error = fails("org/name", ResourceError, re.escape(hub.url))
    assert "HF_ENDPOINT" in str(error.hint)


# --- downloads ----------------------------------------------------------------------------------------------


def test_a_download_that_breaks_off_goes_on_the_next_time(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the client waits before it tries to go on
    repository = publish(hub, SHARDED)
    repository.cut["model-00002-of-00002.safetensors"] = 2000
    error = fails("org/name", ResourceError, "the download of org/name broke off")
    assert "run it again" in str(error.hint)
    first = hub.downloaded()
    assert "model-00001-of-00002.safetensors" in first
    repository.cut.clear()
    hub.requests.clear()
    same(open_any("org/name"), w=VALUES, v=-VALUES)
    assert hub.downloaded() == {"model-00002-of-00002.safetensors"}
    assert not list(cache.rglob("*.incomplete"))


def test_a_full_disk_is_noticed_before_the_download(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    publish(hub, SINGLE)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    error = fails("org/name", ResourceError, r"org/name needs 4\.2 kB and .* has 1\.0 kB free")
    assert "HF_HUB_CACHE" in str(error.hint)
    assert hub.downloaded() == set()
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_named(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(hub, SINGLE)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file"))
    error = fails("org/name", ResourceError, "cannot keep org/name in")
    assert "HF_HUB_CACHE" in str(error.hint)


def test_whoever_listens_hears_how_far_it_has_come(hub: HubServer, capfd: pytest.CaptureFixture[str]) -> None:
    publish(hub, SHARDED)
    heard: list[str] = []
    received: list[int] = []
    with reporting_to(SimpleNamespace(detail=heard.append, advance=received.append)):
        open_any("org/name")
    size = sum(map(len, SHARDED.values()))
    assert heard[0] == f"downloading org/name: {size / 1000:.1f} kB"
    assert heard[-1] == f"downloading org/name: {size / 1000:.1f} kB of {size / 1000:.1f} kB"
    assert sum(received) == size
    heard.clear()
    with reporting_to(SimpleNamespace(detail=heard.append, advance=received.append)):
        open_any("org/name")
    assert heard == []
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_nothing_is_drawn(hub: HubServer, capfd: pytest.CaptureFixture[str]) -> None:
    publish(hub, SINGLE)
    open_any("org/name")
    assert capfd.readouterr() == ("", "")


# --- the plugin ---------------------------------------------------------------------------------------------


def test_detecting_imports_no_client() -> None:
    code = (
        "import sys; from pathlib import Path; from edgegen_huggingface import plugin;"
        "plugin.edgegen_checkpoint_formats();"
        "from edgegen_huggingface.hub.reference import detect; assert detect(Path('org/name'));"
        "print([name for name in ('huggingface_hub', 'numpy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_settings_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert Settings.read() == Settings(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), offline=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror/")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert Settings.read() == Settings("http://mirror", tmp_path / "hub", offline=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "kept"))
    assert Settings.read().cache == tmp_path / "kept"
