"""Small PyTorch checkpoints for the tests, honest ones and others."""

from __future__ import annotations

import contextlib
import json
import os
import tracemalloc
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save(path: Path, content: Any, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_archive(path: Path, pickled: bytes, entries: Mapping[str, bytes] | None = None, **options: Any) -> Path:
    """An archive written by hand; ``entries`` are named below the root."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in {"data.pkl": pickled, **(entries or {})}.items():
            archive.writestr(f"archive/{name}", data)
    return path


def tensor_pickle(
    count: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, name: str = "w", key: str = "0"
) -> bytes:
    """The pickle of one float32 tensor, of any sizes whatever."""

    def number(value: int) -> bytes:
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw

    def text(value: str) -> bytes:
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"
    view = number(offset) + numbers(shape) + numbers(strides)
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"\x89)tR"
    return b"\x80\x02}" + text(name) + tensor + b"s."


def write_shards(folder: Path, index: Mapping[str, str] | None = None) -> Path:
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    save(folder / names[0], {"a": torch.arange(6.0).reshape(3, 2)})
    save(folder / names[1], {"b": torch.arange(6.0).reshape(3, 2) + 100})
    path = folder / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"weight_map": index or dict(zip("ab", names, strict=True))}))
    return path


class Canary:
    """Pickles into a call that makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@contextlib.contextmanager
def little_memory(most: int) -> Iterator[None]:
    """Fails if what is within allocates more bytes at a time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


def as_float32(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).numpy()
