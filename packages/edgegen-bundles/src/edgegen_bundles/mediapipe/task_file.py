"""``.task`` files: what MediaPipe's LLM Inference API and LiteRT-LM take in one piece.

A zip file with three members, all stored as they are:

- ``METADATA``: LiteRT-LM's ``LlmMetadata``, with a start token: without one, LiteRT-LM refuses it and MediaPipe takes
  it for ``LlmParameters``, its earlier message;
- ``TOKENIZER_MODEL``: a SentencePiece model;
- ``TF_LITE_PREFILL_DECODE``: a LiteRT model with a signature ``decode`` and some that begin with ``prefill``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litert_lm_builder.runtime.proto import llm_metadata_pb2

from edgegen.errors import ErrorCode, UsageError
from edgegen_bundles.mediapipe import aligned_zip
from edgegen_bundles.mediapipe.aligned_zip import ALIGNMENT, Member

METADATA, TOKENIZER, MODEL = "METADATA", "TOKENIZER_MODEL", "TF_LITE_PREFILL_DECODE"
NO_TOKEN = -1
"""A start token that is none: LiteRT-LM demands the field and takes this for absent."""


@dataclass(frozen=True, kw_only=True)
class BundleConfig:
    """A bundle of files that are at hand, whoever made them.

    Fields have their names from MediaPipe's ``llm_bundler.BundleConfig``. Its ``enable_bytes_to_unicode_mapping`` has
    no counterpart: it is for vocabularies in GPT-2's alphabet, and pieces here are text (``edgegen tokenizer`` makes
    such).

    Attributes:
        tflite_model: LiteRT model.
        tokenizer_model: SentencePiece model.
        start_token: name of the piece that is put before a text; None for none.
        stop_tokens: names of the pieces that end one.
        output_filename: where to write; ``.task`` is added if it is missing.
        prompt_prefix: what precedes each question.
        prompt_suffix: what follows it.
        max_num_tokens: length of the cache; 0 if not to be stated.
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
    """Write it, and read it again.

    Returns:
        The file.

    Raises:
        UsageError: a file is missing or of another kind, or a token is no piece; nothing is left behind.
    """
    from edgegen_bundles.mediapipe.task_reader import open_sentencepiece, read_task

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


def write(file: Path, metadata: llm_metadata_pb2.LlmMetadata, tokenizer: bytes, model: Path) -> None:
    """Write a ``.task`` file; the model is copied a piece at a time."""
    aligned_zip.write(
        file,
        (
            Member(name=METADATA, contents=metadata.SerializeToString(deterministic=True)),
            Member(name=TOKENIZER, contents=tokenizer),
            Member(name=MODEL, contents=model, alignment=ALIGNMENT),
        ),
    )


def size(metadata: llm_metadata_pb2.LlmMetadata, tokenizer: bytes, model: int) -> int:
    """How large it will be, from the size of the model."""
    return aligned_zip.size(
        ((METADATA, metadata.ByteSize(), 64), (TOKENIZER, len(tokenizer), 64), (MODEL, model, ALIGNMENT))
    )


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
