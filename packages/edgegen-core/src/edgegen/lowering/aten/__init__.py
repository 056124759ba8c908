"""Lowering rules for ATen operators, one file for each group of them.

Source of the operators' semantics: PyTorch's ``native_functions.yaml``; of LiteRT's: the kernels in ``tflite/kernels``.
"""

from edgegen.lowering.aten import (
    activation,
    arithmetic,
    constants,
    convolution,
    indexing,
    linear,
    logic,
    math,
    normalization,
    padding,
    pooling,
    reduction,
    resize,
    shape,
    slices,
    sorting,
)
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
"""The rules of all groups."""

for _group in (
    activation,
    arithmetic,
    constants,
    convolution,
    indexing,
    linear,
    logic,
    math,
    normalization,
    padding,
    pooling,
    reduction,
    resize,
    shape,
    slices,
    sorting,
):
    RULES.merge(_group.RULES)
