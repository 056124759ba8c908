"""The graph between PyTorch and the flatbuffer: LiteRT operators on typed values, nothing else.

Imports neither torch nor LiteRT.
"""

from edgegen.graph.builder import GraphBuilder
from edgegen.graph.dynamic_shapes import FixedSizeError, with_dynamic_shapes
from edgegen.graph.ir import DTYPES, FoldedParameter, Graph, Op, Program, Value, dtype_of, numpy_dtype
from edgegen.graph.rewrites import REWRITES, Rewrite, optimize
from edgegen.graph.validate import validate

__all__ = [
    "DTYPES",
    "REWRITES",
    "FixedSizeError",
    "FoldedParameter",
    "Graph",
    "GraphBuilder",
    "Op",
    "Program",
    "Rewrite",
    "Value",
    "dtype_of",
    "numpy_dtype",
    "optimize",
    "validate",
    "with_dynamic_shapes",
]
