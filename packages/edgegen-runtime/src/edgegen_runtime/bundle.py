"""An exported folder: which files it holds and what its ``manifest.json`` says about them.

The manifest is all that the runtime knows about a model besides the ``.tflite`` file itself, so it is checked
here, once, and everything behind this module works with a :class:`Bundle` that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeVar

from edgegen.errors import ErrorCode, UnsupportedError, UsageError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
"""Version of the manifest that this runtime reads."""

T = TypeVar("T")

_EXPORT_AGAIN = "export the model again: edgegen export VARIANT --checkpoint PATH -o DIR"


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """The tokenizer's file and its rule for the beginning of a sequence."""

    file: Path
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    add_bos: bool = False
    """A prompt that is not a chat starts with ``bos_token_id``."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingSpec:
    """What an encoder makes of a text."""

    dimensions: int
    pooling: str
    """``mean`` or ``cls``."""
    normalized: bool
    """Whether its length is 1."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What :meth:`open` found; all paths exist."""

    folder: Path
    model: Path
    kind: str
    """``decoder``, ``encoder`` or ``encoder-decoder``."""
    name: str
    family: str
    scheme: str
    cache_length: int
    """Tokens (prompt and answer; of an encoder-decoder the answer) that the KV cache holds; 0 for an encoder."""
    context_length: int
    """Tokens that the model was trained for."""
    max_rollback_tokens: int | None
    """How many of the tokens read last the cache lets one forget again; None for all of them."""
    parameters: int
    prefill_lengths: tuple[int, ...]
    stop_token_ids: tuple[int, ...]
    stop_tokens: tuple[str, ...]
    """Further ones, by name."""
    tokenizer: TokenizerSpec | None
    chat_template: Path | None
    start_token_id: int | None = None
    """What each answer of an encoder-decoder begins with."""
    embedding: EmbeddingSpec | None = None
    """Of an encoder."""

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Read the manifest of an exported folder.

        Args:
            path: the folder, its ``manifest.json``, or the ``.tflite`` file that lies beside it.

        Raises:
            UsageError: no such folder, no manifest, a manifest that is damaged or names a file that is
                missing.
            UnsupportedError: the manifest was written by a later version.
        """
        folder, model = _locate(Path(path))
        reader = _Reader(folder, _read_json(folder / MANIFEST))
        version = reader.field("schema_version", int)
        if version != SCHEMA_VERSION:
            raise UnsupportedError(
                f"{folder / MANIFEST} has schema version {version}; this runtime reads {SCHEMA_VERSION}",
                code=ErrorCode.UNSUPPORTED_MANIFEST_VERSION,
                hint="update edgegen-runtime, or " + _EXPORT_AGAIN,
            )
        kind = reader.optional("kind", str) or "decoder"
        if kind not in _COMMANDS:
            raise reader.damaged(f"kind should be one of {', '.join(_COMMANDS)}, but is {kind!r}")
        generates = kind != "encoder"
        return cls(
            folder=folder,
            model=model or reader.file("model"),
            kind=kind,
            name=reader.field("name", str),
            family=reader.field("family", str),
            scheme=reader.field("scheme", str),
            cache_length=reader.positive("cache_length") if generates else 0,
            context_length=reader.positive("context_length"),
            max_rollback_tokens=reader.optional("max_rollback_tokens", int),
            parameters=reader.positive("parameters"),
            prefill_lengths=reader.integers("prefill_lengths") if generates else (),
            stop_token_ids=reader.integers("stop_token_ids") if generates else (),
            stop_tokens=reader.strings("stop_tokens"),
            tokenizer=_tokenizer(folder, reader.optional("tokenizer", dict)),
            chat_template=None if reader.optional("chat_template", str) is None else reader.file("chat_template"),
            start_token_id=reader.field("start_token_id", int) if kind == "encoder-decoder" else None,
            embedding=None if generates else _embedding(folder, reader.field("embedding", dict)),
        )

    def expect(self, kind: str) -> None:
        """Make sure that it is a model of this kind.

        Raises:
            UsageError: it is another one, with the command for those.
        """
        if self.kind != kind:
            raise UsageError(
                f"{self.name} is of kind {self.kind}; this takes a model of kind {kind}",
                code=ErrorCode.WRONG_TASK,
                hint=_COMMANDS[self.kind].format(self.folder),
            )


_COMMANDS = {
    "decoder": 'edgegen run {} --prompt "Hello"',
    "encoder": 'edgegen embed {} "Hello"',
    "encoder-decoder": 'edgegen run {} --prompt "Hello"',
}
"""Kind -> what runs such a folder."""


def _locate(path: Path) -> tuple[Path, Path | None]:
    """The folder, and the model file if ``path`` names one."""
    if not path.exists():
        raise UsageError(
            f"no such file or folder: {path}",
            code=ErrorCode.NOT_AN_EXPORT,
            hint="name a folder that edgegen export wrote (its -o DIR)",
        )
    _refuse_bundle(path)
    if path.is_dir():
        folder, model = path, None
    elif path.name == MANIFEST:
        folder, model = path.parent, None
    elif path.suffix == ".tflite":
        folder, model = path.parent, path
    else:
        raise UsageError(
            f"{path} is not an exported model",
            code=ErrorCode.NOT_AN_EXPORT,
            hint="name the export folder or its .tflite file",
        )
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"no {MANIFEST} in {folder.resolve()}",
            code=ErrorCode.NOT_AN_EXPORT,
            hint="name the folder that edgegen export wrote (-o DIR), or " + _EXPORT_AGAIN,
        )
    return folder, model


def _refuse_bundle(path: Path) -> None:
    """A file for another program, alone or in a folder of its own: say which."""
    bundles = [path] if path.suffix == ".litertlm" else sorted(path.glob("*.litertlm"))
    if bundles and not (path / MANIFEST).is_file():
        raise UnsupportedError(
            f"{bundles[0]} is for LiteRT-LM; this runtime reads folders that --target tflite makes",
            code=ErrorCode.UNSUPPORTED_BUNDLE,
            hint=f'pip install litert-lm, then: litert-lm run {bundles[0]} --prompt "Hello"',
        )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", code=ErrorCode.INVALID_MANIFEST, hint=_EXPORT_AGAIN) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} does not hold a JSON object", code=ErrorCode.INVALID_MANIFEST, hint=_EXPORT_AGAIN)
    return document


def _tokenizer(folder: Path, section: Mapping[str, Any] | None) -> TokenizerSpec | None:
    if section is None:
        return None
    reader = _Reader(folder, section, prefix="tokenizer.")
    spec = TokenizerSpec(
        file=reader.file("file"),
        bos_token_id=reader.optional("bos_token_id", int),
        eos_token_id=reader.optional("eos_token_id", int),
        add_bos=reader.optional("add_bos", bool) or False,
    )
    if spec.add_bos and spec.bos_token_id is None:
        raise reader.damaged("tokenizer.add_bos is true, but tokenizer.bos_token_id is missing")
    return spec


def _embedding(folder: Path, section: Mapping[str, Any]) -> EmbeddingSpec:
    reader = _Reader(folder, section, prefix="embedding.")
    return EmbeddingSpec(
        dimensions=reader.positive("dimensions"),
        pooling=reader.field("pooling", str),
        normalized=reader.field("normalized", bool),
    )


class _Reader:
    """Typed access to a JSON object; every complaint names the file and the field."""

    def __init__(self, folder: Path, document: Mapping[str, Any], prefix: str = "") -> None:
        self._folder = folder
        self._document = document
        self._prefix = prefix

    def damaged(self, problem: str) -> UsageError:
        return UsageError(f"{self._folder / MANIFEST}: {problem}", code=ErrorCode.INVALID_MANIFEST, hint=_EXPORT_AGAIN)

    def optional(self, key: str, kind: type[T]) -> T | None:
        return None if self._document.get(key) is None else self.field(key, kind)

    def field(self, key: str, kind: type[T]) -> T:
        name = self._prefix + key
        if key not in self._document:
            raise self.damaged(f"{name} is missing")
        value = self._document[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.damaged(f"{name} should be of type {kind.__name__}, but is {json.dumps(value)}")
        return value

    def positive(self, key: str) -> int:
        value = self.field(key, int)
        if value <= 0:
            raise self.damaged(f"{self._prefix}{key} should be positive, but is {value}")
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        values = self.field(key, list)
        if not all(isinstance(value, int) and value >= 0 for value in values):
            raise self.damaged(f"{self._prefix}{key} should be a list of integers, but is {json.dumps(values)}")
        return tuple(values)

    def strings(self, key: str) -> tuple[str, ...]:
        values = self.optional(key, list) or []
        if not all(isinstance(value, str) for value in values):
            raise self.damaged(f"{self._prefix}{key} should hold strings, but is {json.dumps(values)}")
        return tuple(values)

    def file(self, key: str) -> Path:
        name = self.field(key, str)
        if name != PurePath(name).name or name in ("", ".", ".."):
            raise self.damaged(f"{self._prefix}{key} should be a plain file name, but is {name!r}")
        path = self._folder / name
        if not path.is_file():
            raise UsageError(
                f"{path} is missing, though {MANIFEST} names it",
                code=ErrorCode.EXPORT_INCOMPLETE,
                hint="copy the whole export folder",
            )
        return path
