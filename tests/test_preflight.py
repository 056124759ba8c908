"""What is said and checked before work begins."""

from __future__ import annotations

import os
from types import SimpleNamespace

import psutil
import pytest

from edgegen.export import preflight, verify


@pytest.fixture
def export(edgegen, checkpoint, tmp_path):
    def run(*options):
        return edgegen(
            "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--prefill-lengths", "4",
            "--cache-length", 48, *options,
        )  # fmt: skip

    return run


def test_a_dry_run_tells_the_sizes_of_the_files_and_writes_nothing(export, tmp_path):
    estimate = export("--dry-run", "--json").json["estimate"]
    assert list(tmp_path.iterdir()) == []
    assert estimate["disk"] >= sum(estimate["files"].values())
    assert estimate["seconds"] > 0
    assert export("--no-verify").code == 0
    written = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert estimate["files"]["model.tflite"] == written["model.tflite"]
    assert estimate["files"]["tokenizer.json"] == written["tokenizer.json"]


def test_a_dry_run_says_it_in_words(export):
    result = export("--dry-run")
    for text in ("would write", "model.tflite", "of disk", "of memory", "about", "F32 -> int8-channel"):
        assert text in result.out


@pytest.fixture
def verifying(export, monkeypatch):
    """``(key, *options) -> what verification adds to that estimate, weights' bytes``."""
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=0)))

    def added(key, *options):
        with_it, without = (export("--dry-run", "--json", *options, *more).json for more in ((), ("--no-verify",)))
        return with_it["estimate"][key] - without["estimate"][key], with_it["weight_bytes"]

    return added


def test_verification_needs_memory_for_packed_weights_and_a_cache(verifying):
    short, weights = verifying("memory")
    long, _ = verifying("memory", "--cache-length", 96)
    row = (long - short) // 48
    assert row > 0
    assert short == weights + 48 * row + 4 * 4 * 2  # and a prefill's tokens and positions


def test_large_packed_weights_go_to_disk(verifying, monkeypatch):
    in_memory, _ = verifying("memory")
    monkeypatch.setattr(verify, "_PACKED_IN_MEMORY", 1000)
    on_disk, weights = verifying("memory")
    assert in_memory - on_disk == weights
    assert verifying("disk") == (weights, weights)


def test_packed_weights_on_disk_are_gone_when_verified(export, monkeypatch, tmp_path):
    monkeypatch.setattr(verify, "_PACKED_IN_MEMORY", 1000)
    assert export().code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list(tmp_path.rglob("*cache*"))


def test_memory_that_is_not_there(export, tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10))
    result = export()
    assert result.code == 6
    assert "error[EG602]" in result.err
    assert "MB of memory" in result.err
    assert "--no-verify" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_containers_limit_counts(export, tmp_path, monkeypatch):
    group = tmp_path / "cgroup"
    group.mkdir()
    (group / "memory.max").write_text("1000000\n")
    (group / "memory.current").write_text("900000\n")
    monkeypatch.setattr(preflight, "_CGROUP", group)
    assert export().code == 6
    (group / "memory.max").write_text("max\n")
    assert export("--dry-run").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(export, tmp_path):
    tmp_path.chmod(0o500)
    assert export("--dry-run").code == 6
