"""``edgegen export`` of a repository, against a stand-in for the hub on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "packages" / "edgegen-huggingface" / "tests"))

from hub_server import HubServer, Repository, point_at

OPTIONS = ("--prefill-lengths", 4, "--cache-length", 16, "--cache-buckets", "none", "--scheme", "fp32", "--no-verify")


@pytest.fixture
def hub(checkpoint, monkeypatch, tmp_path):
    """The stand-in, with the tiny model in two shards as its only repository."""
    with HubServer() as server:
        point_at(server, tmp_path / "home", monkeypatch)
        files = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
        server.repositories["acme/tiny"] = Repository({**files, "tiny.gguf": b"GGUF" * 999})
        yield server


def test_a_repository_is_exported_like_its_files(hub, edgegen, checkpoint, tmp_path, monkeypatch):
    results = {}
    for name, named in {"hub": "acme/tiny", "local": checkpoint}.items():
        result = edgegen("export", "tiny-100k", "--checkpoint", named, "-o", tmp_path / name, *OPTIONS)
        assert result.code == 0, result.err
        results[name] = (tmp_path / name / "model.tflite").read_bytes()
    assert results["hub"] == results["local"]
    recipes = [json.loads((tmp_path / name / "export.json").read_text())["checkpoint"] for name in results]
    assert recipes[0]["path"] == "acme/tiny"
    assert recipes[0]["files"] == recipes[1]["files"]
    assert "tiny.gguf" not in hub.downloaded()


def test_the_size_of_the_download_is_reported(hub, edgegen, tmp_path):
    result = edgegen("export", "tiny-100k", "--checkpoint", "acme/tiny", "-o", tmp_path / "out", "--dry-run", *OPTIONS)
    assert result.code == 0, result.err
    size = sum(len(data) for name, data in hub.repositories["acme/tiny"].files.items() if name != "tiny.gguf")
    assert f"{size / 1000:.1f} kB" in next(line for line in result.err.splitlines() if line.startswith("checkpoint"))


def test_a_family_alone_names_the_model_after_the_repository(hub, edgegen, tmp_path):
    result = edgegen(
        "export", "tiny", "--checkpoint", "hf:acme/tiny", "-o", tmp_path / "out", "--dry-run", "--json", *OPTIONS
    )
    assert result.code == 0, result.err
    assert result.json["variant"] == "tiny"


def test_a_typing_error_is_no_bug(hub, edgegen, tmp_path):
    result = edgegen("export", "tiny-100k", "--checkpoint", "acme/tinny", "-o", tmp_path / "out")
    assert result.code == 2
    assert "no local file or folder acme/tinny, and no such repository" in result.err
