"""The whole job: checkpoint in, verified and packaged model out. Composes the public steps; needs torch."""

from edgegen.export.job import ExportOptions, Job
from edgegen.export.plan import defaults, plan
from edgegen.export.run import run

__all__ = ["ExportOptions", "Job", "defaults", "plan", "run"]
