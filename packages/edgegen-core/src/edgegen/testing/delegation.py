"""Operators of a file that run outside of XNNPACK, for tests that ask for none."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def left_to_litert(path: Path) -> set[str]:
    """Kinds of operators that XNNPACK has left to LiteRT's own kernels, in the file's first graph."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    # Operators that a delegate has taken are still listed, before the delegate: walk back from the outputs.
    producers = {output: op for op in interpreter._get_ops_details() for output in op["outputs"]}
    pending, left = [detail["index"] for detail in interpreter.get_output_details()], set()
    while pending:
        op = producers.pop(pending.pop(), None)
        if op is not None:
            left.add(op["op_name"])
            pending.extend(op["inputs"])
    return left - {"DELEGATE"}
