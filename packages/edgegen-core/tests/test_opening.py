"""Opening a checkpoint: the format is detected, or asked for by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgegen.descriptors import CheckpointFormat
from edgegen.errors import CheckpointError, UsageError
from edgegen.weights import open_checkpoint, opening


def fails(path: Path) -> bool:
    raise RuntimeError("broken plugin")


def install(monkeypatch: pytest.MonkeyPatch, **formats: tuple[Any, Any]) -> None:
    """A registry that holds these formats: name -> (detect, open)."""
    found: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for name, (detect, opener) in formats.items():
        descriptor = CheckpointFormat(
            name=name,
            summary="test",
            naming=name,
            detect=f"{name}:detect",
            open=f"{name}:open",
            reference=f"a reference of {name}",
        )
        found[name] = SimpleNamespace(descriptor=descriptor)
        parts |= {descriptor.detect: detect, descriptor.open: opener}
    registry = SimpleNamespace(checkpoint_formats=found, checkpoint_format=lambda name: found[name].descriptor)
    monkeypatch.setattr(opening, "_registry", lambda: registry)
    monkeypatch.setattr(opening, "_load", parts.__getitem__)


def test_the_format_that_recognises_the_path_opens_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, a=(lambda p: False, None), b=(lambda p: True, lambda p: ("opened", p)))
    opened: Any = open_checkpoint(str(tmp_path))
    assert opened == ("opened", tmp_path)


def test_a_named_format_is_not_asked_whether_it_recognises_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, a=(fails, lambda p: "a"), b=(lambda p: True, lambda p: "b"))
    opened: Any = open_checkpoint(tmp_path, "a")
    assert opened == "a"


def test_no_format_lists_those_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, a=(lambda p: False, None), b=(lambda p: False, None))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.details == ("tried  a: test", "tried  b: test")


def test_several_formats_ask_for_a_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, a=(lambda p: True, None), b=(lambda p: True, None))
    with pytest.raises(UsageError, match="a, b") as caught:
        open_checkpoint(tmp_path)
    assert "--checkpoint-format" in str(caught.value.hint)


def test_a_broken_format_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, a=(fails, None), b=(lambda p: True, lambda p: "b"))
    opened: Any = open_checkpoint(tmp_path)
    assert opened == "b"


def test_a_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such checkpoint") as caught:
        open_checkpoint(tmp_path / "absent")
    assert "installed package" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no such checkpoint"):
        open_checkpoint(tmp_path / "absent", "safetensors")


def test_a_path_that_names_nothing_is_shown_to_every_format(monkeypatch: pytest.MonkeyPatch) -> None:
    references = (lambda p: p.as_posix() == "org/name", lambda p: ("opened", p.as_posix()))
    install(monkeypatch, a=(lambda p: p.exists(), None), b=(fails, None), c=references)
    opened: Any = open_checkpoint("org/name")
    assert opened == ("opened", "org/name")
    assert open_checkpoint("org/name", "c") == opened
    with pytest.raises(UsageError, match="no such checkpoint: org/nome"):
        open_checkpoint("org/nome")


def test_a_reference_for_another_format_than_the_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, a=(lambda p: False, None), b=(lambda p: True, None))
    with pytest.raises(UsageError, match="is a reference for b, not for a") as caught:
        open_checkpoint("org/name", "a")
    assert "leave out --checkpoint-format" in str(caught.value.hint)


def test_two_formats_that_claim_a_reference_ask_for_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, a=(lambda p: True, None), b=(lambda p: True, None))
    with pytest.raises(UsageError, match="a, b"):
        open_checkpoint("org/name")


def test_the_hint_says_how_references_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, a=(lambda p: False, None))
    with pytest.raises(UsageError, match="no such checkpoint") as caught:
        open_checkpoint("models/typo.gguf")
    assert caught.value.hint == "name a file or folder that exists, or a reference of a"


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").touch()
    install(monkeypatch, a=(lambda p: True, lambda p: p))
    opened: Any = open_checkpoint("~/m")
    assert opened == tmp_path / "m"


def test_the_installed_formats_open_a_real_file(tmp_path: Path) -> None:
    save_file({"w": np.ones((2, 2), np.float32)}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.format == "safetensors"
    assert open_checkpoint(tmp_path, "safetensors").tensors.keys() == checkpoint.tensors.keys()
    with pytest.raises(UsageError):
        open_checkpoint(tmp_path, "safetensor")
