"""Comparison with an oracle: another implementation of the checkpoint's model, which reads the checkpoint by itself.

Verification compares the file with edgegen's own reading of the checkpoint, so a misreading agrees with itself. An
oracle (:class:`edgegen.descriptors.Oracle`) is given nothing but the checkpoint. Two things are compared with it on a
real text: edgegen's float model, which must compute the same but for rounding; and the file, which may differ as the
scheme allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgegen.errors import UnsupportedError
from edgegen.plugins import load, registry
from edgegen.plugins.calls import plugin_code
from edgegen.weights import Checkpoint, TokenizerAssets

Array = npt.NDArray[Any]

LONGEST = 48
"""Tokens of the text that are compared."""


class OracleModel(Protocol):
    """A model as another implementation has it."""

    name: str
    """The implementation and its version, ``transformers 5.24.0``."""

    tokens: list[int]
    """A real text in the checkpoint's own words: by its chat template and tokenizer, where it has them."""

    tokenizer: str
    """How the ids of that text compare with those of the exported tokenizer, in words; empty where they are equal."""

    def run(self, inputs: Mapping[str, list[int]]) -> Mapping[str, Array]:
        """Outputs for a text, float32: ``tokens`` gives ``logits [T, V]``, or ``token_vectors [T, D]`` of an encoder;
        an encoder-decoder is also given the ``answer``, whose logits it gives."""
        ...


def error(got: Array, expected: Array) -> float:
    """Root-mean-square difference relative to ``expected``'s own, both about their mean along the last axis."""
    got, expected = (each - each.mean(axis=-1, keepdims=True) for each in (got, expected))
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def top1(got: Array, expected: Array) -> float:
    """Share of rows whose largest numbers are at one place."""
    return float(np.mean(got.argmax(-1) == expected.argmax(-1)))


def open_oracle(
    name: str | None, checkpoint: Checkpoint, task: str, tokenizer: TokenizerAssets | None, lora: Path | None
) -> tuple[OracleModel | None, str]:
    """The oracle of that name, or the first that knows the model (None where none does); and why others were not taken.

    Raises:
        UsageError: there is no oracle of that name.
        UnsupportedError: the one that was named does not know the model, or cannot run it here.
    """
    registered = registry()
    chosen = [registered.oracle(name)] if name else [each.descriptor for each in registered.oracles.values()]
    reasons = []
    for oracle in chosen:
        try:
            with plugin_code(f"oracle {oracle.name}", "open"):
                found: OracleModel = load(oracle.open)(checkpoint, task, tokenizer, lora, asked=name is not None)
                return found, ""
        except UnsupportedError as problem:
            if name:
                raise
            reasons.append(problem.message)
    return None, "; ".join(reasons)
