"""Checkpoints inside installed packages."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from edgegen.errors import CheckpointError, EdgegenError, UsageError
from edgegen.weights import open_checkpoint
from edgegen_huggingface.installed_package import detect

WEIGHTS = save({"w": np.ones((2, 2), np.float32)})
INDEX = json.dumps({"weight_map": {"w": "model-00001-of-00002.safetensors", "v": "model-00002-of-00002.safetensors"}})
SHARDS = {
    "acme/model.safetensors.index.json": INDEX.encode(),
    "acme/model-00001-of-00002.safetensors": WEIGHTS,
    "acme/model-00002-of-00002.safetensors": save({"v": np.zeros((3, 2), np.float32)}),
}

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package ``acme-tiny`` with these files where Python finds it."""
    site = tmp_path / "site"
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.chdir(tmp_path)

    def write(files: Mapping[str, bytes], record: str | None = "", extra: Mapping[str, str] | None = None) -> Path:
        information = site / "acme_tiny-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tiny\nVersion: 1.0\n")
        for name, data in files.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_bytes(data)
        if record is not None:
            (information / "RECORD").write_text("".join(f"{name},,\n" for name in files) + record)
        for name, text in (extra or {}).items():
            (information / name).write_text(text)
        return site

    return write


def fails(reference: str, kind: type[EdgegenError], match: str) -> EdgegenError:
    with pytest.raises(kind, match=match) as caught:
        open_checkpoint(reference)
    return caught.value


@pytest.mark.parametrize("reference", ["acme-tiny", "Acme_Tiny", "package:acme-tiny", "package:acme-tiny/acme"])
def test_a_package_opens_as_the_model_file_in_it(install: Install, reference: str) -> None:
    site = install({"acme/__init__.py": b"raise RuntimeError", "acme/model.safetensors": WEIGHTS})
    checkpoint = open_checkpoint(reference)
    assert (checkpoint.format, checkpoint.naming) == ("safetensors", "huggingface")
    assert checkpoint.files == (site / "acme/model.safetensors",)
    assert "acme" not in sys.modules


def test_shards_open_as_one(install: Install) -> None:
    install(SHARDS)
    assert set(open_checkpoint("acme-tiny").tensors) == {"w", "v"}


def test_a_local_file_comes_first_and_the_prefix_says_which(install: Install) -> None:
    install({"acme/model.safetensors": WEIGHTS})
    Path("acme-tiny").write_bytes(save({"local": np.ones(1, np.float32)}))
    assert set(open_checkpoint("acme-tiny").tensors) == {"local"}
    assert set(open_checkpoint("package:acme-tiny").tensors) == {"w"}


def test_one_of_several_models_has_to_be_named(install: Install) -> None:
    install({"acme/a.safetensors": WEIGHTS, "acme/b.safetensors": WEIGHTS})
    error = fails("acme-tiny", UsageError, "acme-tiny carries 2 models")
    assert error.details == ("acme/a.safetensors", "acme/b.safetensors")
    assert error.hint == "name one: package:acme-tiny/acme/a.safetensors"
    assert open_checkpoint("package:acme-tiny/acme/b.safetensors").path.name == "b.safetensors"
    fails("package:acme-tiny/acme", UsageError, "several models at acme")
    close = fails("package:acme-tiny/acme/c.safetensors", UsageError, "no model at acme/c.safetensors")
    assert "package:acme-tiny/acme/" in str(close.hint)


def test_a_package_without_a_model_is_no_checkpoint(install: Install) -> None:
    install({"acme/__init__.py": b""})
    assert not detect(Path("acme-tiny"))
    assert "expected a file" in str(fails("package:acme-tiny", CheckpointError, "carries no model file").hint)


def test_a_package_that_is_not_installed_is_answered_with_what_comes_close(install: Install) -> None:
    install({"acme/model.safetensors": WEIGHTS})
    assert fails("package:acme-tinny", UsageError, "no package acme-tinny").hint == "did you mean package:acme-tiny?"
    fails("acme-tinny", UsageError, "no such checkpoint")
    fails("package:", UsageError, "cannot be the name of a package")
    fails("package:../x", UsageError, "cannot be the name of a package")


def test_an_editable_package_says_why_it_has_no_files(install: Install) -> None:
    install(
        {"acme_tiny.pth": b"/src"}, extra={"direct_url.json": '{"dir_info": {"editable": true}, "url": "file:///src"}'}
    )
    assert "editable" in str(fails("package:acme-tiny", CheckpointError, "carries no model file").hint)


def test_a_package_without_a_list_of_files_is_refused(install: Install) -> None:
    install({"acme/model.safetensors": WEIGHTS}, record=None)
    assert not detect(Path("acme-tiny"))
    fails("package:acme-tiny", CheckpointError, "has no RECORD")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="importlib.metadata leaves missing files out of the list")
def test_missing_files_are_listed(install: Install) -> None:
    site = install(SHARDS)
    (site / "acme/model-00002-of-00002.safetensors").unlink()
    error = fails("acme-tiny", CheckpointError, "1 of 3 model files of acme-tiny are missing")
    assert error.details == ("acme/model-00002-of-00002.safetensors",)
    assert "--force-reinstall" in str(error.hint)


@pytest.mark.parametrize("path", ["../evil.safetensors", "acme/../../evil.safetensors", "{tmp}/evil.safetensors"])
def test_files_outside_of_the_package_are_refused(install: Install, tmp_path: Path, path: str) -> None:
    path = path.format(tmp=tmp_path)
    (tmp_path / "evil.safetensors").write_bytes(WEIGHTS)
    install({"acme/__init__.py": b""}, record=f"{path},,\n")
    fails("acme-tiny", CheckpointError, "names a file outside of its folder")
    fails("package:acme-tiny/../evil.safetensors", UsageError, "leads out of the package")


@pytest.mark.parametrize("record", ["a,b,c,d,e\n", "\0", '"', "acme/model.safetensors,sha256=,x\n"])
def test_a_damaged_list_of_files_is_no_match(install: Install, record: str) -> None:
    install({}, record=record)
    detect(Path("acme-tiny"))


@pytest.mark.parametrize("name", ["", ".", "..", "no-such-package", "x" * 5000, "a b", "a\0b", "/"])
def test_detecting_never_raises(name: str) -> None:
    assert not detect(Path(name))
