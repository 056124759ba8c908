"""Bundler: makes a ``.task`` file of files that are at hand, whoever made them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litert_lm_builder.runtime.proto import llm_metadata_pb2

from edgegen.errors import ErrorCode, UsageError
from edgegen_bundles.mediapipe.task_file import NO_TOKEN, write
from edgegen_bundles.mediapipe.task_reader import open_sentencepiece, read_task


@dataclass(frozen=True, kw_only=True)
class BundleConfig:
    """Inputs of :func:`create_bundle`.

    Fields have their names from MediaPipe's ``llm_bundler.BundleConfig``. Its ``enable_bytes_to_unicode_mapping`` has
    no counterpart: it is for vocabularies in GPT-2's alphabet, and pieces here are text (``edgegen tokenizer`` makes
    such).

    Attributes:
        tflite_model: file of the LiteRT model.
        tokenizer_model: file of the SentencePiece model.
        start_token: name of the start piece (BOS); None for none.
        stop_tokens: names of the stop pieces.
        output_filename: file to write; ``.task`` is added if it is missing.
        prompt_prefix: text before each question.
        prompt_suffix: text after each question.
        max_num_tokens: cache length in tokens; 0 if not to be stated.
    """

    tflite_model: Path
    tokenizer_model: Path
    start_token: str | None
    stop_tokens: Sequence[str]
    output_filename: Path
    prompt_prefix: str = ""
    prompt_suffix: str = ""
    max_num_tokens: int = 0


def create_bundle(config: BundleConfig) -> Path:
    """Write a ``.task`` file, and check it.

    Returns:
        The file written.

    Raises:
        UsageError: a file is missing or of another kind, or a token is no piece; nothing is left behind.
    """
    tokenizer = _read(config.tokenizer_model)
    pieces = open_sentencepiece(tokenizer, str(config.tokenizer_model))
    if not config.stop_tokens:
        raise UsageError(
            "a .task file needs stop tokens",
            code=ErrorCode.INVALID_SPECIAL_TOKENS,
            hint="name the piece that ends a text",
        )
    metadata = llm_metadata_pb2.LlmMetadata(max_num_tokens=config.max_num_tokens)
    metadata.llm_model_type.generic_model.SetInParent()
    start = NO_TOKEN if config.start_token is None else _piece_id(pieces, config.start_token)
    metadata.start_token.token_ids.ids.append(start)
    for name in config.stop_tokens:
        metadata.stop_tokens.add().token_ids.ids.append(_piece_id(pieces, name))
    if config.prompt_prefix or config.prompt_suffix:
        metadata.prompt_templates.user.prefix = config.prompt_prefix
        metadata.prompt_templates.user.suffix = config.prompt_suffix
    if not config.tflite_model.is_file():
        raise UsageError(f"no such file: {config.tflite_model}", code=ErrorCode.FILE_UNREADABLE)
    output = config.output_filename
    output = output if output.suffix == ".task" else output.with_name(f"{output.name}.task")
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        write(beside, metadata, tokenizer, config.tflite_model)
        read_task(beside, name=output)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    return output


def _piece_id(pieces: Any, name: str) -> int:
    token = int(pieces.piece_to_id(name))
    if pieces.id_to_piece(token) != name:
        raise UsageError(
            f"the tokenizer has no piece {name!r}",
            code=ErrorCode.INVALID_SPECIAL_TOKENS,
            hint="edgegen tokenizer FILE --json lists special pieces",
        )
    return token


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", code=ErrorCode.FILE_UNREADABLE) from error
