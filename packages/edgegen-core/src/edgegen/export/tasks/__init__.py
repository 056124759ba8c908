"""Tasks of models, one file each; a family names the one that its models are for."""

from edgegen.export.tasks import feature_extraction, text2text_generation, text_generation
from edgegen.export.tasks.task import Task

__all__ = ["TASKS", "Task"]

TASKS = {task.name: task for task in (text_generation.TASK, feature_extraction.TASK, text2text_generation.TASK)}
"""Name, as in :data:`edgegen.descriptors.TASKS` -> how such models are exported."""
