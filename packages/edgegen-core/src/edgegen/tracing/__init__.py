"""Tracing of an ``nn.Module`` to ATen graphs: one per signature, with named boundaries kept whole. Needs torch."""

from edgegen.tracing.operators import dynamic_update_slice
from edgegen.tracing.regions import Composites, RepeatedBlock, composite
from edgegen.tracing.trace import Dynamic, Signature, Trace, Tracer

__all__ = [
    "Composites",
    "Dynamic",
    "RepeatedBlock",
    "RepeatedBlock",
    "Signature",
    "Trace",
    "Tracer",
    "composite",
    "dynamic_update_slice",
]
