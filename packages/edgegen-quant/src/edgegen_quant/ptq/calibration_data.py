"""Calibration data: the text that a model reads before its weights are encoded, and the activations it gives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.offloaded import Observer, streamed_weights
from edgegen.modeling import CausalLM, require
from edgegen.module_calls import module_code
from edgegen.quantization.passes import PassContext, Weights
from edgegen.weights.tensors import TokenizerAssets
from edgegen_quant.ptq.calibration_text import mixed_text

_FEWEST = 64
"""Tokens of a text that a user gives."""

_CHARACTERS = 1 << 16
"""Characters of a user's text that are read: encoding a whole book would only take its time."""

MEMORY = 200 << 20
"""Bytes that are in memory while a model reads: a sequence's activations, and above all the scores of attention."""


@dataclass(frozen=True)
class CalibrationData:
    """Tokens to calibrate on.

    Attributes:
        name: ``calibration`` (the user's text), ``built-in``, or ``random``.
        tokens: ids; those of a text begin with the start token.
    """

    name: str
    tokens: Sequence[int]


def calibration_data(context: PassContext, count: int) -> CalibrationData | None:
    """The user's text, or else the built-in one, in at most ``count`` tokens that fit the model's context.

    Returns:
        None where no tokenizer can be run that gives the model's tokens.

    Raises:
        UsageError: the user's text cannot be read, or is too short.
    """
    count = min(count, context.context_length)
    start = context.start_token_id
    if context.calibration is not None:
        return CalibrationData("calibration", [start, *users_tokens(context)[: count - 1]])
    tokens = _built_in_tokens(context.tokenizer)[: count - 1]
    if not tokens or max(tokens) >= require(context.module, CausalLM, context.subject).config.vocab_size:
        return None
    return CalibrationData("built-in", [start, *tokens])


def users_tokens(context: PassContext) -> list[int]:
    """The text that the user gave, its beginning if it is long.

    Raises:
        UsageError: it cannot be read, there is no tokenizer, or it is too short.
    """
    path = context.calibration
    assert path is not None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the calibration text {path}: {error}", code=ErrorCode.FILE_UNREADABLE) from error
    if context.tokenizer is None:
        raise UsageError(
            "a calibration text needs a tokenizer, and the checkpoint has none",
            code=ErrorCode.CALIBRATION_NEEDS_TOKENIZER,
        )
    tokens = encode(context.tokenizer, text[:_CHARACTERS])
    if len(tokens) < _FEWEST:
        raise UsageError(
            f"the calibration text {path} has {len(tokens)} tokens, too few to go by",
            code=ErrorCode.INVALID_CALIBRATION_DATA,
            hint=f"give a page or two of what the model will read; {_FEWEST} tokens are the least",
        )
    return tokens


def collect_activations(module: nn.Module, weights: Weights, tokens: Sequence[int], observe: Observer) -> None:
    """Run a decoder over one sequence until ``observe`` was told the inputs of every linear layer.

    The last is the head, whose product is as large as the vocabulary, and of no use here.

    Args:
        module: fulfils :class:`edgegen.modeling.CausalLM`; on the ``meta`` device.
        weights: its weights, streamed.
        tokens: ids.
        observe: ``(name of the matrix, inputs [1, T, K])``.
    """
    left = linear_weights(module)

    def observe_all(name: str, x: torch.Tensor) -> None:
        observe(name, x)
        left.discard(name)
        if not left:
            raise _AllSeenError

    decoder = require(module, CausalLM, type(module).__name__)
    with streamed_weights(module, weights, observe_all), torch.no_grad(), torch.device("cpu"):
        ids = torch.tensor([list(tokens)], dtype=torch.int32)
        positions = torch.arange(len(tokens), dtype=torch.int32)
        with module_code(module, "forward"), suppress(_AllSeenError):
            decoder(ids, positions, decoder.new_cache(len(tokens), device="cpu"))


class _AllSeenError(Exception):
    """Leaves a model's forward early."""


def linear_weights(module: nn.Module) -> set[str]:
    """Names of the matrices of linear layers."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {names[id(layer.weight)] for layer in module.modules() if type(layer) is nn.Linear}


def _built_in_tokens(tokenizer: TokenizerAssets | None) -> list[int]:
    """The built-in text; nothing where there is no tokenizer, or none that can be run here."""
    if tokenizer is None:
        return []
    try:
        return encode(tokenizer, mixed_text())
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
            hint="pip install --upgrade edgegen-quant",
        ) from error
