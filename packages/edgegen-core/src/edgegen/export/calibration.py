"""What a text says of a model's weights: which columns of each matrix its products depend on most.

The float model reads the text, its matrices passing through in slices. A matrix's row times an input errs by the sum of
the weights' errors times the inputs, so, inputs taken as independent, each column's squared error counts by the mean
square of its input: the diagonal of the Hessian that GPTQ works with, and what llama.cpp calls an importance matrix. A
scheme then rounds with those in mind. Memory holds one sequence's activations and a number for each column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from edgegen.checkpoints.tensors import LazyTensor, TokenizerAssets
from edgegen.errors import UsageError
from edgegen.export.streaming import Observer, streamed_weights
from edgegen.storage import Calibratable
from edgegen.tflite.writer import Parameter

if TYPE_CHECKING:
    from edgegen.export.job import Job

CODE = "EG108"

TOKENS = 4096
"""Read at most: more change little, and reading takes time."""

_FEWEST = 64

_SEQUENCE = 512
"""Tokens that see each other."""

_LOGITS = 1 << 25
"""Numbers that the logits of a sequence may be."""

MEMORY = 3 * 4 * _LOGITS
"""Bytes that are in memory while the model reads: a sequence's logits in parts and whole, and as much for the rest."""

Importance = Mapping[str, npt.NDArray[np.float32]]


def check(job: Job) -> None:
    """Raise UsageError where a calibration text cannot be read, is too short, or makes no difference."""
    read_tokens(job)
    if not job.equalizing and not teaches(job):
        raise UsageError(
            f"{job.scheme_name} has no use for a calibration text",
            code=CODE,
            hint="leave --calibration out, or choose a scheme of fewer bits, such as int4-block32",
        )


def teaches(job: Job) -> bool:
    """Whether any of the job's schemes rounds otherwise for knowing what matters."""
    return any(_with(parameter, np.ones(1, np.float32)) != parameter for parameter in job.parameters.values())


def calibrated(job: Job, sources: Mapping[str, LazyTensor]) -> dict[str, Parameter]:
    """``job``'s parameters, with schemes that know what matters where the model has the weights ``sources``."""
    found = importance(job, sources, read_tokens(job))
    return {name: _with(parameter, found.get(name)) for name, parameter in job.parameters.items()}


def _with(parameter: Parameter, columns: npt.NDArray[np.float32] | None) -> Parameter:
    if columns is None or not isinstance(parameter.scheme, Calibratable):
        return parameter
    return replace(parameter, scheme=parameter.scheme.with_importance(columns))


def importance(job: Job, sources: Mapping[str, LazyTensor], tokens: Sequence[int]) -> Importance:
    """The mean square of what each matrix is multiplied with: parameter -> float32 ``[columns]``."""
    return {name: mean.astype(np.float32) for name, mean in mean_powers(job, sources, tokens, 2).items()}


def mean_powers(
    job: Job, sources: Mapping[str, LazyTensor], tokens: Sequence[int], power: int
) -> dict[str, npt.NDArray[np.float64]]:
    """The mean of an even power of what each matrix is multiplied with: parameter -> ``[columns]``."""
    sums: dict[str, npt.NDArray[np.float64]] = {}

    def observe(name: str, x: torch.Tensor) -> None:
        total = x.reshape(-1, x.shape[-1]).double().pow(power).sum(dim=0).numpy()
        sums[name] = sums.get(name, 0) + total

    _read(job, sources, tokens, observe)
    return {name: total / len(tokens) for name, total in sums.items()}


def _read(job: Job, sources: Mapping[str, LazyTensor], tokens: Sequence[int], observe: Observer) -> None:
    """Let the model read, in sequences that are not too long."""
    model: Any = job.model
    widest = max(parameter.source.rows for parameter in job.parameters.values())
    length = max(1, min(_SEQUENCE, job.variant.context_length, _LOGITS // widest))
    with streamed_weights(model, sources, observe), torch.no_grad(), torch.device("cpu"):
        for start in range(0, len(tokens), length):
            part = torch.tensor([tokens[start : start + length]], dtype=torch.int32)
            positions = torch.arange(part.shape[1], dtype=torch.int32)
            model(part, positions, model.new_cache(part.shape[1], device="cpu"))


def read_tokens(job: Job) -> list[int]:
    """The text that the user gave, as the model's tokens; no more than are of use.

    Raises:
        UsageError: there is no such text or no tokenizer, or it is too short.
    """
    path = job.options.calibration
    assert path is not None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the calibration text {path}: {error}", code=CODE) from error
    if job.tokenizer is None:
        raise UsageError("a calibration text needs a tokenizer, and the checkpoint has none", code=CODE)
    # A token is a few characters long; encoding a whole book would only take its time.
    tokens = encode(job.tokenizer, text[: 16 * TOKENS])[:TOKENS]
    if len(tokens) < _FEWEST:
        raise UsageError(
            f"the calibration text {path} has {len(tokens)} tokens, too few to go by",
            code=CODE,
            hint=f"give some pages of what the model will read; {TOKENS} tokens are of use, {_FEWEST} the least",
        )
    return tokens


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
            f"a calibration text needs the library {error.name}", code=CODE, hint="pip install edgegen-core[calibrate]"
        ) from error
