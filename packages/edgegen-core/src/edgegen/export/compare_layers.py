"""Comparison of an exported file with the eager model block by block, to find where they part."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.export.reference import Reference
from edgegen.export.tasks import Task
from edgegen.export.verify import Array
from edgegen.litert.session import Session
from edgegen.tflite.debug_outputs import write_debug_outputs
from edgegen.tracing import RepeatedBlock


@dataclass(frozen=True)
class BlockError:
    """The error of a block's output against the eager model's, that of the blocks before it included.

    Attributes:
        path: the module's.
        error: root-mean-square difference, relative to the eager output's own root mean square.
    """

    path: str
    error: float


def compare_blocks(task: Task, reference: Reference, path: Path) -> list[BlockError]:
    """Errors of all blocks, in the order in which they run.

    Args:
        task: the model's.
        reference: the float model.
        path: the exported file.

    Raises:
        UsageError: the file does not say where its blocks end.
        UnsupportedError: its blocks are not the model's.
    """
    with tempfile.TemporaryDirectory(prefix="edgegen-blocks-") as folder:
        debug_file = Path(folder) / path.name
        signatures = task.debug_signatures(Session(path).signatures)
        found = write_debug_outputs(path, signatures, debug_file)
        blocks = [block for names in found.values() for block in names]
        ours, run_eager = task.debug_run(Session(debug_file), reference)
        with reference.loaded(), watched(reference.module) as theirs:
            run_eager()
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
    """A context that collects the (first) outputs of repeated blocks as arrays, by path."""
    seen: dict[str, Array] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            first = output if isinstance(output, torch.Tensor) else output[0]
            seen[name] = first.detach().numpy()

        return hook

    blocks = [(name, module) for name, module in model.named_modules() if isinstance(module, RepeatedBlock)]
    hooks = [module.register_forward_hook(note(name)) for name, module in blocks]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _error(got: Array, expected: Array) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
