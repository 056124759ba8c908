"""A LiteRT session's weight cache: a file that is none of its own is never overwritten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgegen
from edgegen.errors import ErrorCode, UsageError
from edgegen.litert.session import Session


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    return edgegen.convert(nn.Linear(64, 64), (torch.ones(1, 64),), scheme="int8-channel").export(path)


def test_the_file_that_xnnpack_writes_is_taken_again(model: Path, tmp_path: Path) -> None:
    cache, inputs = tmp_path / "cache", {"input": np.ones((1, 64), np.float32)}
    first = Session(model, weight_cache=cache).run("serving_default", inputs)
    assert cache.stat().st_size > 64 * 64
    again = Session(model, weight_cache=cache).run("serving_default", inputs)
    np.testing.assert_array_equal(first["output"], again["output"])


def test_an_empty_file_and_one_that_was_cut_off_are_taken(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.touch()
    Session(model, weight_cache=cache)
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2])
    Session(model, weight_cache=cache)
    assert cache.read_bytes() == whole


def test_no_name_is_no_file(model: Path) -> None:
    Session(model, weight_cache="")


@pytest.mark.parametrize("contents", [b"a text that someone wrote", b"x", b"\0" * 7])
def test_another_file_is_kept(model: Path, tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "file").write_bytes(contents)
    with pytest.raises(UsageError, match="holds something else") as caught:
        Session(model, weight_cache=tmp_path / "file")
    assert caught.value.code == ErrorCode.FILE_UNREADABLE
    assert (tmp_path / "file").read_bytes() == contents


@pytest.mark.parametrize("name", ["", "nowhere/cache"])
def test_a_path_that_cannot_be_a_file_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="packed weights cannot be kept"):
        Session(model, weight_cache=tmp_path / name)
