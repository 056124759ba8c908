"""What quantization costs: a text read by exported models and by a float one, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UsageError
from edgegen.tflite.weights import read_weights
from edgegen.weights import LazyTensor
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.scoring import READ_AT_ONCE, log_softmax, read

_SLICE_BYTES = 16 << 20


@dataclass(frozen=True)
class Quality:
    """How well a model predicts a text, and how much as the reference does.

    Attributes:
        positions: tokens whose successor was predicted.
        perplexity: of the text; the exponential of the mean surprise in nats.
        divergence: mean Kullback-Leibler divergence of the next token's distribution from the reference's, in nats;
            None without a reference, like ``top1``.
        top1: share of positions where both find the same token likeliest.
    """

    positions: int
    perplexity: float
    divergence: float | None = None
    top1: float | None = None


def windows(model: LanguageModel, text: str, tokens: int, length: int) -> list[list[int]]:
    """The text's first ``tokens`` tokens in pieces of at most ``length``, each after the model's start token.

    Raises:
        UsageError: the model has no tokenizer, or the text has fewer tokens than that.
    """
    ids = model.encode(text)
    begins = ids[:1] if ids[:1] == model.encode("") else []
    ids = ids[len(begins) : len(begins) + tokens]
    if len(ids) < tokens:
        raise UsageError(
            f"the text has {len(ids)} tokens, not {tokens}", code=ErrorCode.INPUT_TOO_SHORT, hint="give a longer --text"
        )
    step = length - len(begins)
    pieces = [begins + ids[start : start + step] for start in range(0, len(ids), step)]
    return [piece for piece in pieces if len(piece) > 1]


def evaluate(
    models: Sequence[LanguageModel],
    reference: LanguageModel | None,
    pieces: Sequence[Sequence[int]],
    progress: Callable[[int], None] = lambda tokens: None,
) -> list[Quality]:
    """Read ``pieces`` of a text with all models at once, a few tokens at a time.

    Args:
        models: with one vocabulary.
        reference: what they are held against; may be one of them. None for nothing.
        pieces: token ids that fit each model's cache; what is read in one is not known in the next.
        progress: told how many tokens have been read.

    Raises:
        UsageError: vocabularies differ.
    """
    everyone = [*models, *([] if reference is None else [reference])]
    sizes = {model.vocab_size for model in everyone}
    if len(sizes) > 1:
        raise UsageError(
            f"vocabularies differ: {sorted(sizes)} tokens",
            code=ErrorCode.VOCABULARY_MISMATCH,
            hint="evaluate them apart",
        )
    sums = [_Sums() for _ in models]
    for count, following, logits in _read_together(everyone, pieces):
        expected = logits[-1] if reference is not None else None
        for total, got in zip(sums, logits[: len(models)], strict=True):
            total.add(got, following, expected)
        progress(count)
    return [total.quality() for total in sums]


def _read_together(
    models: Sequence[LanguageModel], pieces: Sequence[Sequence[int]]
) -> Iterator[tuple[int, Sequence[int], list[npt.NDArray[np.float64]]]]:
    """Tokens read so far, those that follow each of the last ones, and each model's log-probabilities of them."""
    contexts = [model.new_context() for model in models]
    done = 0
    for piece in pieces:
        for context in contexts:
            context.rewind(0)
        for start in range(0, len(piece) - 1, READ_AT_ONCE):
            chunk = piece[start : min(start + READ_AT_ONCE, len(piece) - 1)]
            done += len(chunk)
            yield (
                done,
                piece[start + 1 : start + 1 + len(chunk)],
                [log_softmax(read(context, chunk)) for context in contexts],
            )


class _Sums:
    def __init__(self) -> None:
        self.positions = 0
        self.surprise = self.divergence = self.same = 0.0
        self.compared = False

    def add(
        self,
        got: npt.NDArray[np.float64],
        following: Sequence[int],
        expected: npt.NDArray[np.float64] | None,
    ) -> None:
        self.positions += len(following)
        self.surprise -= float(got[np.arange(len(following)), list(following)].sum())
        if expected is not None:
            self.compared = True
            self.divergence += float((np.exp(expected) * (expected - got)).sum())
            self.same += float((expected.argmax(axis=-1) == got.argmax(axis=-1)).sum())

    def quality(self) -> Quality:
        n = self.positions
        perplexity = math.exp(self.surprise / n)
        return Quality(n, perplexity, self.divergence / n, self.same / n) if self.compared else Quality(n, perplexity)


@dataclass(frozen=True)
class Noise:
    """What rounding did to a weight.

    Attributes:
        name: path of the parameter.
        storage: how it is kept.
        decibels: power of the weight relative to that of the error; infinite where there is none.
    """

    name: str
    storage: str
    decibels: float


def weight_noise(model: Path, reference: Path) -> list[Noise]:
    """Of every weight that both files have, by the signal-to-noise ratio, the worst first."""
    ours, theirs = read_weights(model), read_weights(reference)
    shared = [name for name in ours if name in theirs and ours[name].shape == theirs[name].shape]
    return sorted((_noise(ours[name], theirs) for name in shared), key=lambda noise: noise.decibels)


def _noise(weight: LazyTensor, theirs: Mapping[str, LazyTensor]) -> Noise:
    step = max(1, _SLICE_BYTES // (4 * math.prod(weight.shape[1:])))
    signal = error = 0.0
    for start in range(0, weight.rows, step):
        stop = min(start + step, weight.rows)
        wanted = theirs[weight.name].read_rows(start, stop).astype(np.float64)
        signal += float((wanted**2).sum())
        error += float(((weight.read_rows(start, stop) - wanted) ** 2).sum())
    return Noise(weight.name, weight.dtype, 10 * math.log10(signal / error) if signal and error else math.inf)
