"""What there is to know of each kind of model, one file each; a family says which its models are."""

from edgegen.export.kinds import decoder, encoder, encoder_decoder
from edgegen.export.kinds.kind import Kind

__all__ = ["KINDS", "Kind"]

KINDS = {kind.name: kind for kind in (decoder.KIND, encoder.KIND, encoder_decoder.KIND)}
"""Name, as in :data:`edgegen.descriptors.KINDS` -> how such models are exported."""
