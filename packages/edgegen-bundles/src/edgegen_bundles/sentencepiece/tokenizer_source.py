"""Where a tokenizer is taken from: its own file, a folder, or whatever holds a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgegen.errors import ErrorCode, UsageError
from edgegen.weights import open_checkpoint
from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, SENTENCEPIECE_FILE
from edgegen_huggingface.repository_files import TOKENIZER_FILES, read_config, read_tokenizer

_NAMES = {".json": HF_FILE, ".model": SENTENCEPIECE_FILE}
"""Suffix -> what such a file is called among the files of a model."""


def find_tokenizer(source: Path) -> Mapping[str, bytes]:
    """The tokenizer's files, by name.

    Args:
        source: ``tokenizer.json`` or a file like it, a SentencePiece ``.model``, a folder with one of them, or a
            checkpoint.

    Raises:
        UsageError: there is nothing, or it has no tokenizer.
        CheckpointError: it is damaged.
    """
    if source.suffix in _NAMES and not source.is_dir():
        try:
            return {_NAMES[source.suffix]: source.read_bytes()}
        except OSError as error:
            raise UsageError(f"cannot read {source}: {error.strerror}", code=ErrorCode.FILE_UNREADABLE) from error
    if source.is_dir() and any((source / name).is_file() for name in TOKENIZER_FILES):
        found = read_tokenizer(source, read_config(source))
    else:
        found = open_checkpoint(source).tokenizer()
    if found is None:
        raise UsageError(
            f"{source} has no tokenizer",
            code=ErrorCode.TOKENIZER_NOT_FOUND,
            hint=f"name a {HF_FILE}, a SentencePiece .model, or a checkpoint that comes with one",
        )
    return found.files
