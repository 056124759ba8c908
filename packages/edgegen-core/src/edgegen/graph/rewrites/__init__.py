"""Rewrites: rows of a table, each of which makes something simpler; :func:`optimize` applies them all."""

from __future__ import annotations

from collections.abc import Sequence

from edgegen.graph.ir import Graph
from edgegen.graph.rewrites import folding, fusing, moving
from edgegen.graph.rewrites.engine import Rewrite, Rewriter, apply

__all__ = ["REWRITES", "Rewrite", "Rewriter", "optimize"]

REWRITES: list[Rewrite] = [*folding.ROWS, *moving.ROWS, *fusing.ROWS]
"""The rows, in the order in which they are tried: the first that matches an operator is applied."""


def optimize(graph: Graph, rewrites: Sequence[Rewrite] | None = None) -> Graph:
    """The graph after all rewrites; see :func:`edgegen.graph.rewrites.engine.apply`."""
    return apply(graph, REWRITES if rewrites is None else rewrites)
