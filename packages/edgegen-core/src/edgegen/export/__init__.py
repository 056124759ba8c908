"""Exporting a model: checkpoint in, verified and packaged model out.

:func:`plan` resolves everything and writes nothing, :func:`estimate` says what the plan takes, :func:`run` carries it
out. Needs torch.
"""

from edgegen.export.options import ExportOptions
from edgegen.export.planner import defaults, plan
from edgegen.export.preflight import estimate
from edgegen.export.records import ExportPlan, ExportResult
from edgegen.export.runner import run
from edgegen.progress import Reporter

__all__ = ["ExportOptions", "ExportPlan", "ExportResult", "Reporter", "defaults", "estimate", "plan", "run"]
