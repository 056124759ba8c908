"""Compares an exported file with the eager model block by block, to find where they part."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.export.offloaded import streamed_weights
from edgegen.export.verify import Array, open_session
from edgegen.tflite.debug_outputs import write_probe
from edgegen.tracing import Repeated

if TYPE_CHECKING:
    from edgegen.export.job import Job


@dataclass(frozen=True)
class BlockError:
    """How far a block's output is from the eager model's, what went before it included.

    Attributes:
        path: of the module.
        error: root-mean-square difference, relative to the eager output's own root mean square.
    """

    path: str
    error: float


def compare_blocks(job: Job, path: Path) -> list[BlockError]:
    """Of every block of ``job``'s model, in the order in which they run, in the file at ``path``.

    Raises:
        UsageError: the file does not say where its blocks end.
        UnsupportedError: its blocks are not the model's.
    """
    with tempfile.TemporaryDirectory(prefix="edgegen-blocks-") as folder:
        probe = Path(folder) / path.name
        blocks = [block for found in write_probe(path, job.kind.probed(job), probe).values() for block in found]
        ours, read_eagerly = job.kind.read(job, open_session(job, probe))
        with streamed_weights(job.model, job.sources), watched(job.model) as theirs:
            read_eagerly()
    missing = [name for name in blocks if name not in theirs]
    if missing:
        raise UnsupportedError(
            f"the file has blocks {', '.join(missing)}, which the model has not",
            code=ErrorCode.BLOCKS_MISMATCH,
            hint="export it again with this version of the model",
        )
    return [BlockError(name, _error(ours[name], theirs[name])) for name in blocks]


def first_beyond(errors: list[BlockError], limit: float) -> BlockError | None:
    """The first block that is further off than ``limit``."""
    return next((each for each in errors if not each.error <= limit), None)


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Array]]:
    """What comes out of repeated modules (first, of several) meanwhile, as arrays by path."""
    seen: dict[str, Array] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            first = output if isinstance(output, torch.Tensor) else output[0]
            seen[name] = first.detach().numpy()

        return hook

    blocks = [(name, module) for name, module in model.named_modules() if isinstance(module, Repeated)]
    hooks = [module.register_forward_hook(note(name)) for name, module in blocks]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _error(got: Array, expected: Array) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
