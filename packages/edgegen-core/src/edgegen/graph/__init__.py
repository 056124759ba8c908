"""The graph between PyTorch and the flatbuffer: LiteRT operators on typed values, nothing else.

Imports neither torch nor LiteRT.
"""

from edgegen.graph.builder import GraphBuilder
from edgegen.graph.dynamic_shapes import FixedSizeError, generalize
from edgegen.graph.folded_parameters import Derivation
from edgegen.graph.ir import DTYPES, Graph, Op, Program, Value, dtype_of, numpy_dtype
from edgegen.graph.rewrites import REWRITES, Rewrite, optimize
from edgegen.graph.validate import validate

__all__ = [
    "DTYPES",
    "REWRITES",
    "Derivation",
    "FixedSizeError",
    "Graph",
    "GraphBuilder",
    "Op",
    "Program",
    "Rewrite",
    "Value",
    "dtype_of",
    "generalize",
    "numpy_dtype",
    "optimize",
    "validate",
]
