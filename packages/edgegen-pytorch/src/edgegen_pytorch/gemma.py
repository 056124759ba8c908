"""Gemma's own PyTorch checkpoints, as Kaggle publishes them: a ``.ckpt`` and a SentencePiece model.

It is the container of :mod:`edgegen_pytorch.reader` with three differences: its names, weights that may be 8-bit
integers with a scale for each row, and no configuration beside it.

Source of the names: ``gemma/model.py`` and ``gemma/gemma3_model.py`` of https://github.com/google/gemma_pytorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint, LazyTensor, TokenizerAssets
from edgegen.weights.dtypes import Float32
from edgegen.weights.files import DOWNLOAD_AGAIN
from edgegen_pytorch.identify import GEMMA, identify
from edgegen_pytorch.reader import open_as

FORMAT = NAMING = GEMMA

_SCALER = "_scaler"
"""``x.weight_scaler`` holds the scales of ``x.weight``."""


def detect(path: Path) -> bool:
    """True for a PyTorch checkpoint whose tensors have Gemma's own names. Never raises."""
    return identify(path) == NAMING


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file, a folder or an index of shards; reads pickles only.

    Raises:
        CheckpointError: a file is damaged or wants code to be run, a shard is missing.
        UnsupportedError: tensors that are not plain numbers.
        UsageError: the folder holds several files and no index.
    """
    opened = open_as(path, FORMAT, NAMING)

    def tokenizer() -> TokenizerAssets | None:
        found = opened.tokenizer()
        return found and _with_tokens(found)

    return replace(
        opened,
        tensors=_dequantized(opened.tensors),
        # A config.json is of use where it is that of transformers; others name no model that a family knows.
        config=opened.config if "model_type" in opened.config else {},
        tokenizer=tokenizer,
    )


def _dequantized(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """The tensors without their scales, which are multiplied in when rows are read."""
    return {
        name: _scaled(tensor, tensors[name + _SCALER]) if name + _SCALER in tensors else tensor
        for name, tensor in tensors.items()
        if not (name.endswith(_SCALER) and name.removesuffix(_SCALER) in tensors)
    }


def _scaled(weight: LazyTensor, scales: LazyTensor) -> LazyTensor:
    if len(weight.shape) != 2 or scales.shape != weight.shape[:1]:
        raise CheckpointError(
            f"{scales.name} has shape {list(scales.shape)}, not one scale for each row of {list(weight.shape)}",
            code=ErrorCode.CHECKPOINT_DAMAGED,
            hint=DOWNLOAD_AGAIN,
        )

    def read_rows(start: int, stop: int) -> Float32:
        values: Float32 = weight.read_rows(start, stop)
        return values * scales.read_rows(start, stop)[:, None]

    return replace(weight, nbytes=weight.nbytes + scales.nbytes, read_rows=read_rows)


def _with_tokens(assets: TokenizerAssets) -> TokenizerAssets:
    """Start and end tokens from the SentencePiece model, where no other file states them."""
    model = assets.files.get("tokenizer.model")
    if model is None or assets.bos_token_id is not None or assets.eos_token_ids:
        return assets
    import sentencepiece

    try:
        processor: Any = sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, OSError) as error:
        raise CheckpointError(
            f"tokenizer.model is not a SentencePiece model: {error}",
            code=ErrorCode.TOKENIZER_DAMAGED,
            hint=DOWNLOAD_AGAIN,
        ) from error
    bos, eos = processor.bos_id(), processor.eos_id()  # -1 where there is none
    return replace(
        assets,
        bos_token_id=bos if bos >= 0 else None,
        eos_token_ids=(eos,) if eos >= 0 else (),
        add_bos=bos >= 0,  # Gemma's rule
    )
