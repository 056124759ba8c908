"""Context shift: how a text goes on that has outgrown the KV cache.

The first ``n_keep`` tokens stay (the beginning of the text, or the system message of a chat), since attention leans on
them; the older part of the rest is dropped, and what remains is prefilled again, because its positions have changed.
Half of the room is freed at a time, so that this is rare. Dropped tokens are lost to the model for good; the answer
itself is whole.

Without context shift, the default, a prompt that does not fit is refused, and an answer ends where the cache ends.
"""

from __future__ import annotations

from collections.abc import Sequence

N_KEEP = 4
"""First tokens to keep by default: attention rests on them whatever they are (Xiao et al., 2023,
*Efficient Streaming Language Models with Attention Sinks*)."""


def shift_context(text: Sequence[int], n_keep: int, cache_length: int) -> list[int]:
    """The first ``n_keep`` tokens of ``text`` and as many of its last as leave half of the other slots free.

    At least one token stays beside those kept, as the last one is what the next follows from.
    """
    n_keep = min(n_keep, cache_length // 2)
    recent = max(1, (cache_length - n_keep) // 2)
    return list(text) if len(text) <= n_keep + recent else [*text[:n_keep], *text[len(text) - recent :]]
