"""Sessions for files with dynamic shapes: LiteRT's Interpreter resizes tensors; its faster CompiledModel does not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UsageError
from edgegen.litert.quiet import quiet_stderr

Array = npt.NDArray[Any]


class ResizingSession:
    """A loaded model whose inputs may have other shapes at each run.

    Args:
        path: the ``.tflite`` file.
        threads: for XNNPACK; default: all cores.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet_stderr():
            self._interpreter = Interpreter(str(path), num_threads=threads or os.cpu_count() or 1)
        self._runners: dict[str, Any] = {}

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one signature; returns copies of all outputs.

        Raises:
            UsageError: an input is missing, unknown, or of a shape that the file does not take.
        """
        if signature not in self._runners:
            self._runners[signature] = self._interpreter.get_signature_runner(signature)
        runner = self._runners[signature]
        try:
            with quiet_stderr():
                outputs = runner(**inputs)
        except (ValueError, RuntimeError) as error:
            shapes = {name: list(np.shape(array)) for name, array in inputs.items()}
            raise UsageError(
                f"signature {signature} does not take {shapes}: {error}", code=ErrorCode.INPUT_MISMATCH
            ) from error
        return {name: np.array(array) for name, array in outputs.items()}
