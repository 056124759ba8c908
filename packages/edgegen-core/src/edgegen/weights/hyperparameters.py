"""A strict reader of model configurations: ``config.json`` or GGUF metadata.

A family reads the keys that it knows. Any other key may change what the model computes, so it is an error::

    reader = ConfigReader(checkpoint, ignore=("rope_interleaved",))
    layers = reader.read("num_hidden_layers", int)
    reader.require("hidden_act", "silu")
    reader.finish()
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.files import summarize
from edgegen.weights.tensors import Checkpoint

T = TypeVar("T")
_REQUIRED: Any = object()

_LARGEST = 2**31 - 1
"""Largest size, count or length; beyond it, sizes of tensors overflow."""

_LAYERS = ("num_hidden_layers", "block_count")
"""Keys of the number of blocks."""

_MOST_LAYERS = 512
"""Most blocks of any published model; more are accepted only from a checkpoint with as many tensors."""

MAY_BE_UNSTATED: Mapping[str, bool] = {"may be unstated": True}
"""``metadata`` of a configuration's field that is None where a checkpoint does not state it: no difference then."""


class ConfigReader:
    """Reader of a checkpoint's configuration; records the keys that have been read.

    Args:
        checkpoint: its ``config`` is read.
        prefix: put before every key, e.g. ``llama.`` for GGUF metadata.
        ignore: further patterns of keys without effect on the architecture at hand.
    """

    def __init__(self, checkpoint: Checkpoint, *, prefix: str = "", ignore: Collection[str] = ()) -> None:
        self._path = checkpoint.path
        self._values: Mapping[str, Any] = checkpoint.config
        self._prefix = prefix
        self._most_layers = max(_MOST_LAYERS, len(checkpoint.tensors))
        self._ignored = (*checkpoint.harmless_keys, *checkpoint.allowed_keys, *ignore)
        self._harmless_values = checkpoint.harmless_values
        self._read: set[str] = set()

    def read(self, key: str, kind: type[T], default: Any = _REQUIRED) -> T:
        """The value of ``key``, which must be of ``kind`` (an int will do for a float).

        Args:
            key: without the prefix.
            kind: expected type.
            default: for a key that is absent or null.

        Raises:
            CheckpointError: the key is missing without a default, or its value is of another type or absurdly large.
        """
        full = self._prefix + key
        self._read.add(full)
        value = self._values.get(full)
        if value is None:
            if default is _REQUIRED:
                raise CheckpointError(
                    f"{self._path} does not state {full}", code=ErrorCode.INVALID_CONFIG, hint="name a variant instead"
                )
            absent: T = default
            return absent
        # A model is built to the size that is stated before its weights are looked at: a million blocks take hours.
        beyond = isinstance(value, int) and (abs(value) > _LARGEST or (key in _LAYERS and value > self._most_layers))
        if kind is float and isinstance(value, int) and not isinstance(value, bool) and not beyond:
            value = float(value)
        if not isinstance(value, kind) or beyond:
            raise CheckpointError(
                f"{full} of {self._path} is {reprlib.repr(value)}, "
                + ("more than a model can have" if beyond else f"expected {kind.__name__}"),
                code=ErrorCode.INVALID_CONFIG,
                hint="download the file again; it is damaged, or not what its publisher wrote",
            )
        return value

    def require(self, key: str, *allowed: Any) -> None:
        """Check that ``key`` is absent, null or one of ``allowed``.

        Raises:
            CheckpointError: it is something else, which the family does not know how to build.
        """
        full = self._prefix + key
        self._read.add(full)
        value = self._values.get(full)
        if value is not None and value not in allowed:
            raise CheckpointError(
                f"{full} of {self._path} is {reprlib.repr(value)}, which this family does not know",
                code=ErrorCode.UNKNOWN_CONFIG,
                hint=f"it knows {', '.join(map(repr, allowed)) or 'models without it'}",
            )

    def finish(self) -> None:
        """Check that every key was read or is known to be harmless.

        Raises:
            CheckpointError: there are others.
        """
        left = [
            key
            for key, value in self._values.items()
            if key not in self._read
            and value not in (None, {}, [])
            and self._harmless_values.get(key, _REQUIRED) != value
            and not any(fnmatchcase(key, p) for p in self._ignored)
        ]
        if left:
            raise CheckpointError(
                f"the configuration of {self._path} has keys that this family does not know",
                code=ErrorCode.UNKNOWN_CONFIG,
                details=summarize(f"{reprlib.repr(key)[1:-1]} = {reprlib.repr(self._values[key])}" for key in left),
                hint=f"they may change what the model computes; where you know that they do not: --allow-key {left[0]}",
            )


def differences(expected: Any, found: Any, *, ignore: Collection[str] = (), path: str = "") -> list[str]:
    """Fields in which two configuration dataclasses differ, as ``path   expected ..., found ...``."""
    if dataclasses.is_dataclass(expected) and type(expected) is type(found):
        return [
            line
            for field in dataclasses.fields(expected)
            if field.name not in ignore
            and not (field.metadata.keys() & MAY_BE_UNSTATED and getattr(found, field.name) is None)
            for line in differences(
                getattr(expected, field.name), getattr(found, field.name), path=f"{path}.{field.name}".lstrip(".")
            )
        ]
    if dataclasses.is_dataclass(expected) and dataclasses.is_dataclass(found):
        names = type(expected).__name__, type(found).__name__
        return [f"{path or 'architecture'}   expected {names[0]}, the checkpoint says {names[1]}"]
    if isinstance(expected, tuple) and isinstance(found, tuple) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, path=f"{path}[{i}]")]
    if isinstance(expected, float) and isinstance(found, float) and math.isclose(expected, found, rel_tol=1e-5):
        return []  # GGUF keeps 32 bits of each number
    return [] if expected == found else [f"{path}   expected {expected}, the checkpoint says {found}"]
