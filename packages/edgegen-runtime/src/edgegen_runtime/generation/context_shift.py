"""What to do when a text outgrows the cache.

``error``, the default: a prompt that does not fit is refused, and an answer ends where the cache ends.

``slide``: the model goes on and forgets. The first tokens stay (the beginning of the text, or the system message of a
chat), since models lean on them; of the rest the older part is dropped, and what remains is read again, because its
positions have changed. Half of the room is freed at a time, so that this is rare. What was dropped is lost to the
model for good; the answer itself is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Overflow = Literal["error", "slide"]

KEEP = 4
"""First tokens to keep where nobody says how many: attention rests on them whatever they are (Xiao et al., 2023,
*Efficient Streaming Language Models with Attention Sinks*)."""


def slide(text: Sequence[int], keep: int, cache_length: int) -> list[int]:
    """The first ``keep`` tokens of ``text`` and as many of its last as leave half of the other slots free.

    At least one token stays beside those kept, as the last one is what the next follows from.
    """
    keep = min(keep, cache_length // 2)
    recent = max(1, (cache_length - keep) // 2)
    return list(text) if len(text) <= keep + recent else [*text[:keep], *text[len(text) - recent :]]
