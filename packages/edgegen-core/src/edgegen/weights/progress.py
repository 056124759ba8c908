"""Older names of :mod:`edgegen.progress`."""

from edgegen.progress import Stage as Listener
from edgegen.progress import current_stage as listener
from edgegen.progress import reporting_to as heard_by

__all__ = ["Listener", "heard_by", "listener"]
