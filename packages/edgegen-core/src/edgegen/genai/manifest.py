"""``manifest.json``: the facts that a runtime needs about an exported folder, besides the ``.tflite`` file itself.

One dataclass for both sides: the exporter writes :meth:`Manifest.to_json`, runtimes read :meth:`Manifest.from_json`.
Manifests of schema version 1 are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, TypeVar

from edgegen.descriptors import TASKS
from edgegen.errors import ErrorCode, UnsupportedError, UsageError

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 2

T = TypeVar("T")

_KINDS = {"decoder": TASKS[0], "encoder": TASKS[1], "encoder-decoder": TASKS[2]}
"""Values of ``kind`` in schema version 1 -> tasks."""

EXPORT_AGAIN = "export the model again: edgegen export VARIANT --checkpoint PATH -o DIR"
"""Hint for a manifest that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class TokenizerFacts:
    """The tokenizer of an exported model.

    Attributes:
        file: name of its file in the folder.
        bos_token_id: token that a text begins with; None for none.
        add_bos: True if a prompt that is not a chat starts with ``bos_token_id``.
        special_tokens: the names that a chat template has for tokens (``eos_token``) -> their texts; None in folders
            that do not say, where ``bos_token_id`` and the first stop token stand for them.
    """

    file: str
    bos_token_id: int | None = None
    add_bos: bool = False
    special_tokens: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class EmbeddingFacts:
    """The embeddings of a text encoder.

    Attributes:
        dimensions: numbers in one.
        pooling: ``mean`` of the token vectors, or ``cls``: the first of them.
        normalized: True if its length is 1.
    """

    dimensions: int
    pooling: str
    normalized: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An exported model.

    Attributes:
        task: one of :data:`edgegen.descriptors.TASKS`.
        name: the variant's.
        family: name.
        model: name of the ``.tflite`` file in the folder.
        scheme: quantization scheme or recipe.
        parameters: number of weights.
        context_length: longest sequence that the model was trained for, in tokens.
        cache_length: slots of the key/value cache, in tokens; 0 for an encoder.
        prefill_lengths: lengths of the ``prefill_<N>`` signatures, in tokens.
        encode_lengths: lengths of the ``encode_<N>`` signatures, in tokens.
        verify_lengths: lengths of the ``verify_<N>`` signatures, in tokens.
        max_rollback_tokens: most tokens that the cache can be rolled back by; None for all of them.
        stop_token_ids: tokens that end an answer.
        stop_tokens: further ones, by their text.
        start_token_id: token that each answer of an encoder-decoder begins with.
        chat_template: name of the Jinja template's file in the folder; None for none.
        tokenizer: None where the checkpoint has none.
        embedding: facts about an encoder's embeddings.
    """

    task: str
    name: str
    family: str
    model: str
    scheme: str
    parameters: int
    context_length: int
    cache_length: int = 0
    prefill_lengths: tuple[int, ...] = ()
    encode_lengths: tuple[int, ...] = ()
    verify_lengths: tuple[int, ...] = ()
    max_rollback_tokens: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    start_token_id: int | None = None
    chat_template: str | None = None
    tokenizer: TokenizerFacts | None = None
    embedding: EmbeddingFacts | None = None

    @property
    def generates(self) -> bool:
        """True if the model makes text."""
        return self.task != "feature-extraction"

    def to_json(self) -> dict[str, Any]:
        """The document; what has no value is left out."""
        fields = {name: value for name, value in asdict(self).items() if value is not None and value != ()}
        return {"schema_version": SCHEMA_VERSION, **fields}

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a ``manifest.json``.

        Raises:
            UsageError: it cannot be read, or is damaged.
            UnsupportedError: a later version wrote it.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                f"cannot read {path}: {error}", code=ErrorCode.INVALID_MANIFEST, hint=EXPORT_AGAIN
            ) from error
        if not isinstance(document, dict):
            raise UsageError(f"{path} does not hold a JSON object", code=ErrorCode.INVALID_MANIFEST, hint=EXPORT_AGAIN)
        return cls.from_json(document, str(path))

    @classmethod
    def from_json(cls, document: Mapping[str, Any], where: str = MANIFEST_FILE) -> Manifest:
        """Check a document and take its fields.

        Args:
            document: as :meth:`to_json` makes it, of this version or an earlier one.
            where: the file, for messages.

        Raises:
            UsageError: a field is missing or makes no sense.
            UnsupportedError: a later version wrote it.
        """
        reader = _Reader(document, where)
        version = reader.field("schema_version", int)
        if not 1 <= version <= SCHEMA_VERSION:
            raise UnsupportedError(
                f"{where} has schema version {version}; this version reads up to {SCHEMA_VERSION}",
                code=ErrorCode.UNSUPPORTED_MANIFEST_VERSION,
                hint="update edgegen-runtime, or " + EXPORT_AGAIN,
            )
        task = reader.task(version)
        generates = task != "feature-extraction"
        rollback = "max_rollback_tokens" if version > 1 else "rewindable_tokens"
        return cls(
            task=task,
            name=reader.field("name", str),
            family=reader.field("family", str),
            model=reader.file_name("model"),
            scheme=reader.field("scheme", str),
            parameters=reader.positive("parameters"),
            context_length=reader.positive("context_length"),
            cache_length=reader.positive("cache_length") if generates else 0,
            prefill_lengths=reader.integers("prefill_lengths") if generates else (),
            encode_lengths=reader.integers("encode_lengths"),
            verify_lengths=reader.integers("verify_lengths"),
            max_rollback_tokens=reader.limit(rollback),
            stop_token_ids=reader.integers("stop_token_ids"),
            stop_tokens=reader.strings("stop_tokens"),
            start_token_id=reader.field("start_token_id", int) if task == "text2text-generation" else None,
            chat_template=reader.file_name("chat_template") if reader.optional("chat_template", str) else None,
            tokenizer=_tokenizer(reader),
            embedding=None if generates else _embedding(reader.section("embedding")),
        )


def _embedding(reader: _Reader) -> EmbeddingFacts:
    return EmbeddingFacts(
        dimensions=reader.positive("dimensions"),
        pooling=reader.field("pooling", str),
        normalized=reader.field("normalized", bool),
    )


def _tokenizer(reader: _Reader) -> TokenizerFacts | None:
    if reader.optional("tokenizer", dict) is None:
        return None
    section = reader.section("tokenizer")
    facts = TokenizerFacts(
        file=section.file_name("file"),
        bos_token_id=section.optional("bos_token_id", int),
        add_bos=section.optional("add_bos", bool) or False,
        special_tokens=section.texts("special_tokens"),
    )
    if facts.add_bos and facts.bos_token_id is None:
        raise reader.damaged("tokenizer.add_bos is true, but tokenizer.bos_token_id is missing")
    return facts


class _Reader:
    """Typed access to a JSON object; every complaint names the file and the field."""

    def __init__(self, document: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self._document = document
        self._where = where
        self._prefix = prefix

    def damaged(self, problem: str) -> UsageError:
        return UsageError(f"{self._where}: {problem}", code=ErrorCode.INVALID_MANIFEST, hint=EXPORT_AGAIN)

    def section(self, key: str) -> _Reader:
        return _Reader(self.field(key, dict), self._where, f"{key}.")

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

    def limit(self, key: str) -> int | None:
        """A number from 0 on; None where there is none."""
        value = self.optional(key, int)
        if value is not None and value < 0:
            raise self.damaged(f"{self._prefix}{key} should be 0 or more, but is {value}")
        return value

    def task(self, version: int) -> str:
        key, known = ("task", {task: task for task in TASKS}) if version > 1 else ("kind", _KINDS)
        stated = self.field(key, str) if version > 1 else self.optional(key, str) or "decoder"
        if stated not in known:
            raise self.damaged(f"{key} should be one of {', '.join(known)}, but is {stated!r}")
        return known[stated]

    def positive(self, key: str) -> int:
        value = self.field(key, int)
        if value <= 0:
            raise self.damaged(f"{self._prefix}{key} should be positive, but is {value}")
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        values = self.optional(key, list) or []
        if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
            raise self.damaged(f"{self._prefix}{key} should be a list of integers, but is {json.dumps(values)}")
        return tuple(values)

    def strings(self, key: str) -> tuple[str, ...]:
        values = self.optional(key, list) or []
        if not all(isinstance(value, str) for value in values):
            raise self.damaged(f"{self._prefix}{key} should hold strings, but is {json.dumps(values)}")
        return tuple(values)

    def texts(self, key: str) -> dict[str, str] | None:
        values = self.optional(key, dict)
        if values is not None and not all(isinstance(value, str) for value in values.values()):
            raise self.damaged(f"{self._prefix}{key} should map names to strings, but is {json.dumps(values)}")
        return values

    def file_name(self, key: str) -> str:
        name = self.field(key, str)
        if name != PurePath(name).name or name in ("", ".", ".."):
            raise self.damaged(f"{self._prefix}{key} should be a plain file name, but is {name!r}")
        return name
