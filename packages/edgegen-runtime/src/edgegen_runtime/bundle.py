"""Exported model: the folder that ``edgegen export`` writes, its files and its ``manifest.json``.

The manifest is all that the runtime knows about a model besides the ``.tflite`` file itself. It is read and checked
here and nowhere else; everything behind this module works with an :class:`ExportedModel` that is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgegen.errors import ErrorCode, UnsupportedError, UsageError
from edgegen.genai.manifest import EXPORT_AGAIN, MANIFEST_FILE, EmbeddingFacts, Manifest


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """Tokenizer of an exported model: its file, and the BOS rule."""

    file: Path
    bos_token_id: int | None = None
    add_bos: bool = False
    """True if a prompt that is not a chat starts with ``bos_token_id``."""
    special_tokens: Mapping[str, str] | None = None
    """The chat template's names of tokens (``eos_token``) -> their texts; None in folders that do not say."""


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """An exported folder. :meth:`open` reads one; all paths exist."""

    folder: Path
    model: Path
    task: str
    """One of :data:`edgegen.descriptors.TASKS`, such as ``text-generation``."""
    name: str
    family: str
    scheme: str
    cache_length: int
    """Slots of the KV cache in tokens (prompt and answer; of an encoder-decoder the answer); 0 for an encoder."""
    context_length: int
    """Context length that the model was trained for, in tokens."""
    max_rollback_tokens: int | None
    """Most recent tokens that a rollback of the KV cache may drop; None for all of them."""
    parameters: int
    prefill_lengths: tuple[int, ...]
    stop_token_ids: tuple[int, ...]
    stop_tokens: tuple[str, ...]
    """Further stop tokens, by name."""
    tokenizer: TokenizerSpec | None
    chat_template: Path | None
    start_token_id: int | None = None
    """Decoder start token of an encoder-decoder."""
    embedding: EmbeddingFacts | None = None
    """Embedding of an encoder."""

    @classmethod
    def open(cls, path: Path | str) -> ExportedModel:
        """Read the manifest of an exported folder.

        Args:
            path: the folder, its ``manifest.json``, or the ``.tflite`` file that lies beside it.

        Raises:
            UsageError: no such folder, no manifest, a manifest that is damaged or names a file that is
                missing.
            UnsupportedError: the manifest was written by a later version.
        """
        folder, model = _locate(Path(path))
        facts = Manifest.read(folder / MANIFEST_FILE)
        tokenizer = facts.tokenizer
        return cls(
            folder=folder,
            model=model or _there(folder, facts.model),
            task=facts.task,
            name=facts.name,
            family=facts.family,
            scheme=facts.scheme,
            cache_length=facts.cache_length,
            context_length=facts.context_length,
            max_rollback_tokens=facts.max_rollback_tokens,
            parameters=facts.parameters,
            prefill_lengths=facts.prefill_lengths,
            stop_token_ids=facts.stop_token_ids,
            stop_tokens=facts.stop_tokens,
            tokenizer=None
            if tokenizer is None
            else TokenizerSpec(
                file=_there(folder, tokenizer.file),
                bos_token_id=tokenizer.bos_token_id,
                add_bos=tokenizer.add_bos,
                special_tokens=tokenizer.special_tokens,
            ),
            chat_template=None if facts.chat_template is None else _there(folder, facts.chat_template),
            start_token_id=facts.start_token_id,
            embedding=facts.embedding,
        )

    def expect(self, task: str) -> None:
        """Refuse a model of another task.

        Raises:
            UsageError: it is another one, with the command for those.
        """
        if self.task != task:
            raise UsageError(
                f"{self.name} is a model for {self.task}; this takes one for {task}",
                code=ErrorCode.WRONG_TASK,
                hint=_COMMANDS[self.task].format(self.folder),
            )


def has_manifest(path: Path) -> bool:
    """True if ``path`` is a folder with a manifest."""
    return (path / MANIFEST_FILE).is_file()


_COMMANDS = {
    "text-generation": 'edgegen run {} --prompt "Hello"',
    "feature-extraction": 'edgegen embed {} "Hello"',
    "text2text-generation": 'edgegen run {} --prompt "Hello"',
}
"""Task -> command that runs such a folder."""


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
    elif path.name == MANIFEST_FILE:
        folder, model = path.parent, None
    elif path.suffix == ".tflite":
        folder, model = path.parent, path
    else:
        raise UsageError(
            f"{path} is not an exported model",
            code=ErrorCode.NOT_AN_EXPORT,
            hint="name the export folder or its .tflite file",
        )
    if not (folder / MANIFEST_FILE).is_file():
        raise UsageError(
            f"no {MANIFEST_FILE} in {folder.resolve()}",
            code=ErrorCode.NOT_AN_EXPORT,
            hint="name the folder that edgegen export wrote (-o DIR), or " + EXPORT_AGAIN,
        )
    return folder, model


def _refuse_bundle(path: Path) -> None:
    """Refuse a bundle for LiteRT-LM, alone or in a folder of its own, with the command that runs it."""
    bundles = [path] if path.suffix == ".litertlm" else sorted(path.glob("*.litertlm"))
    if bundles and not (path / MANIFEST_FILE).is_file():
        raise UnsupportedError(
            f"{bundles[0]} is for LiteRT-LM; this runtime reads folders that --target tflite makes",
            code=ErrorCode.UNSUPPORTED_BUNDLE,
            hint=f'pip install litert-lm, then: litert-lm run {bundles[0]} --prompt "Hello"',
        )


def _there(folder: Path, name: str) -> Path:
    """A file that the manifest names."""
    path = folder / name
    if not path.is_file():
        raise UsageError(
            f"{path} is missing, though {MANIFEST_FILE} names it",
            code=ErrorCode.EXPORT_INCOMPLETE,
            hint="copy the whole export folder",
        )
    return path
