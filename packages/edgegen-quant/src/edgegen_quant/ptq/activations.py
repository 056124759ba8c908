"""A text for a model to read before it is written: which one, and the reading itself, with weights streamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.offloaded import Observer, streamed_weights
from edgegen.export.verify import first_token
from edgegen.weights.tensors import LazyTensor, TokenizerAssets
from edgegen_quant.ptq.calibration_text import mixed_text

if TYPE_CHECKING:
    from edgegen.export.job import Job


_FEWEST = 64
"""Tokens of a text that a user gives."""

_CHARACTERS = 1 << 16
"""Of a user's text that are looked at: encoding a whole book would only take its time."""

MEMORY = 200 << 20
"""Bytes that are in memory while a model reads: a sequence's activations, and above all the scores of attention."""


@dataclass(frozen=True)
class Text:
    """What a model reads.

    Attributes:
        name: ``calibration`` (the user's), ``built-in``, or ``random``.
        tokens: ids; those of a text begin with the start token.
    """

    name: str
    tokens: Sequence[int]


def text_for(job: Job, count: int) -> Text | None:
    """The user's text, or else the built-in one, in at most ``count`` tokens that fit the model's context.

    Returns:
        None where no tokenizer can be run that gives the model's tokens.

    Raises:
        UsageError: the user's text cannot be read, or is too short.
    """
    count = min(count, job.variant.context_length)
    start = first_token(job)
    if job.options.calibration is not None:
        return Text("calibration", [start, *users_tokens(job)[: count - 1]])
    tokens = _encoded(job)[: count - 1]
    model: Any = job.model
    if not tokens or max(tokens) >= model.config.vocab_size:
        return None
    return Text("built-in", [start, *tokens])


def users_tokens(job: Job) -> list[int]:
    """The text that the user gave, its beginning if it is long.

    Raises:
        UsageError: it cannot be read, there is no tokenizer, or it is too short.
    """
    path = job.options.calibration
    assert path is not None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the calibration text {path}: {error}", code=ErrorCode.FILE_UNREADABLE) from error
    if job.tokenizer is None:
        raise UsageError(
            "a calibration text needs a tokenizer, and the checkpoint has none",
            code=ErrorCode.CALIBRATION_NEEDS_TOKENIZER,
        )
    tokens = encode(job.tokenizer, text[:_CHARACTERS])
    if len(tokens) < _FEWEST:
        raise UsageError(
            f"the calibration text {path} has {len(tokens)} tokens, too few to go by",
            code=ErrorCode.INVALID_CALIBRATION_DATA,
            hint=f"give a page or two of what the model will read; {_FEWEST} tokens are the least",
        )
    return tokens


def read(job: Job, sources: Mapping[str, LazyTensor], tokens: Sequence[int], observe: Observer) -> None:
    """Let the model read, in one sequence, until ``observe`` was told what every matrix is multiplied with.

    The last is the head, whose product is as large as the vocabulary, and of no use here.
    """
    model: Any = job.model
    left = linear_weights(model)

    def observe_all(name: str, x: torch.Tensor) -> None:
        observe(name, x)
        left.discard(name)
        if not left:
            raise _AllSeenError

    with streamed_weights(model, sources, observe_all), torch.no_grad(), torch.device("cpu"):
        ids = torch.tensor([list(tokens)], dtype=torch.int32)
        positions = torch.arange(len(tokens), dtype=torch.int32)
        with suppress(_AllSeenError):
            model(ids, positions, model.new_cache(len(tokens), device="cpu"))


class _AllSeenError(Exception):
    """Leaves a model's forward early."""


def linear_weights(model: nn.Module) -> set[str]:
    """The names of linear layers' matrices."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(module.weight)] for module in model.modules() if type(module) is nn.Linear}


def _encoded(job: Job) -> list[int]:
    """The built-in text; nothing where there is no tokenizer, or none that can be run here."""
    if job.tokenizer is None:
        return []
    try:
        return encode(job.tokenizer, mixed_text())
    except Exception:  # whatever a library raises for what it cannot read: an export need not be able to
        return []


def encode(tokenizer: TokenizerAssets, text: str) -> list[int]:
    """Token ids of a text, without any that the tokenizer would add. Needs ``tokenizers`` or ``sentencepiece``."""
    try:
        if "tokenizer.json" in tokenizer.files:
            from tokenizers import Tokenizer

            loaded = Tokenizer.from_buffer(tokenizer.files["tokenizer.json"])
            loaded.no_truncation()
            return list(loaded.encode(text, add_special_tokens=False).ids)
        from sentencepiece import SentencePieceProcessor

        return list(SentencePieceProcessor(model_proto=tokenizer.files["tokenizer.model"]).encode(text))
    except ImportError as error:
        raise UsageError(
            f"a calibration text needs the library {error.name}",
            code=ErrorCode.DEPENDENCY_MISSING,
            hint="pip install 'edgegen-core[convert]'",
        ) from error
