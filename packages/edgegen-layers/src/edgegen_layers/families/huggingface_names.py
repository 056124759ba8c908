"""Names of tensors that decoders in Hugging Face's repositories share."""

from __future__ import annotations

from edgegen.weights.weight_map import SourceLike, first_of

HEAD = "lm_head.weight"


def embedding_table(tied: bool) -> SourceLike:
    """The embedding table; a tied one is sometimes saved as the head alone."""
    return first_of("model.embed_tokens.weight", HEAD) if tied else "model.embed_tokens.weight"


def unused(tied: bool, head: str = HEAD) -> tuple[str, ...]:
    """Patterns of tensors that no model uses: frequencies that are computed, and a tied head, stored a second time."""
    return ("*.rotary_emb.inv_freq", *((head,) if tied else ()))
