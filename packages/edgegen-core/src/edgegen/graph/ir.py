"""Values, operators, graphs and programs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PERMUTE = "PERMUTE"
"""Kind of a folded parameter that is another one with its axes in another order."""

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name) for name in ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
}
"""Types that a value may have while a graph is built. Storage of parameters is decided later, by a scheme."""


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy type of a value's dtype name."""
    return DTYPES[dtype]


def dtype_of(array: Array) -> str:
    """The dtype name of a numpy array; raises KeyError for one that LiteRT has no type for."""
    name = array.dtype.name
    if name not in DTYPES:
        raise KeyError(f"no tensor type for numpy {name}; expected one of {', '.join(DTYPES)}")
    return name


@dataclass(frozen=True, eq=False)
class FoldedParameter:
    """A parameter computed from others as the file is written; see :mod:`edgegen.graph.folded_parameters`.

    Attributes:
        kind: an elementwise operator, a key of :data:`~edgegen.graph.folded_parameters.EVALUATE`; or ``PERMUTE``.
        operands: parameters and constants.
        order: of ``PERMUTE``: source axis of each axis; -1 stands for a new axis of length 1.
    """

    kind: str
    operands: tuple[Value, ...]
    order: tuple[int, ...] = ()


@dataclass(eq=False, slots=True)
class Value:
    """A tensor in a graph: computed by an operator, or one of the three kinds that need none.

    Attributes:
        name: for people; need not be unique.
        shape: static, may be ``()``.
        dtype: a key of :data:`DTYPES`.
        constant: the contents of a small constant, kept inside the flatbuffer.
        parameter: name of the model's parameter, whose contents are streamed when the file is written.
        folded: how the parameter is computed from others, if it is none of the model's own.
        dynamic: axes with a dynamic length; ``shape`` has the example's.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: Array | None = None
    parameter: str | None = None
    folded: FoldedParameter | None = None
    dynamic: frozenset[int] = frozenset()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(eq=False, slots=True)
class Op:
    """One LiteRT operator.

    Attributes:
        kind: name in LiteRT's ``BuiltinOperator`` enumeration, e.g. ``FULLY_CONNECTED``.
        inputs: in the operator's own order; ``None`` for an optional input that is absent.
        outputs: values that this operator defines.
        options: fields of the operator's options table, spelt as in LiteRT's schema.
        body: the decomposition of a composite.
        origin: module path and source line that this came from, for error messages.
    """

    kind: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    options: dict[str, Any] = field(default_factory=dict)
    body: Graph | None = None
    origin: str = ""

    @property
    def output(self) -> Value:
        """The only output."""
        (value,) = self.outputs
        return value

    def __str__(self) -> str:
        ins = ", ".join("-" if v is None else v.name for v in self.inputs)
        return f"{', '.join(map(str, self.outputs))} = {self.kind}({ins})"


@dataclass(eq=False, slots=True)
class Graph:
    """A straight line of operators with named inputs and outputs.

    Attributes:
        debug_outputs: path of a repeated module -> its (first) output, named in the file for comparison by block.
    """

    name: str
    inputs: dict[str, Value] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    debug_outputs: dict[str, Value] = field(default_factory=dict)

    def values(self) -> Iterator[Value]:
        """Every value, each once, in order of first appearance."""
        seen: dict[Value, None] = dict.fromkeys(self.inputs.values())
        for op in self.ops:
            seen.update(dict.fromkeys(v for v in op.inputs if v is not None))
            seen.update(dict.fromkeys(op.outputs))
        seen.update(dict.fromkeys(self.outputs.values()))
        return iter(seen)

    def __str__(self) -> str:
        head = f"{self.name}({', '.join(map(str, self.inputs.values()))})"
        return "\n  ".join([head, *map(str, self.ops), f"return {', '.join(self.outputs)}"])


@dataclass(eq=False, slots=True)
class Program:
    """The contents of one file: a graph per signature. Parameters of one name are one buffer in the file."""

    signatures: dict[str, Graph]
    metadata: dict[str, bytes] = field(default_factory=dict)

    def graphs(self) -> Iterator[Graph]:
        """Every signature's graph, then the bodies of composites, each once."""
        pending = list(self.signatures.values())
        for graph in pending:
            yield graph
            pending.extend(op.body for op in graph.ops if op.body is not None)
