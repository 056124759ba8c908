"""What there is to know of each kind of model, one file each; a family says which its models are."""

from edgegen.export.tasks import feature_extraction, text2text_generation, text_generation
from edgegen.export.tasks.options import Kind

__all__ = ["KINDS", "Kind"]

KINDS = {kind.name: kind for kind in (text_generation.KIND, feature_extraction.KIND, text2text_generation.KIND)}
"""Name, as in :data:`edgegen.descriptors.KINDS` -> how such models are exported."""
