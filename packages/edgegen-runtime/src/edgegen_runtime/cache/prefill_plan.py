"""Prefill plan: the cheapest sequence of prefill signatures for a prompt.

A model has prefill signatures of a few fixed lengths (8, 64, 128, ...) and ``decode``, of length 1. A chunk
may be longer than what is left of the prompt: the surplus rows of the cache hold nonsense then, which the
causal mask hides until the tokens that belong there overwrite it. But no chunk may reach past the end of the
cache, because LiteRT would silently move its start back so that it fits and overwrite rows that are in use.
Near the end a chunk therefore starts earlier than it needs to and computes some known tokens once more.

Where a cache can forget a limited number of tokens only (ring buffers, recurrent states), there are no more surplus
rows and no more that are computed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CALL_COST = 6
"""Fixed cost of a call in tokens, about that of reading all weights once.

SmolLM2-135M with int8 weights took 11.7, 18.6, 108 and 214 ms for lengths 1, 8, 64 and 128 on two x86 cores;
with anything from 2 to 10 the plans took the same time within 1 %.
"""


@dataclass(frozen=True)
class Chunk:
    """A call of a prefill signature, which fills the rows ``start`` to ``start + length - 1`` of the cache."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The row after the last."""
        return self.start + self.length


def plan(
    lengths: Iterable[int],
    start: int,
    end: int,
    cache_length: int,
    *,
    max_rollback: int | None = None,
    written: int = 0,
    call_cost: int = CALL_COST,
) -> list[Chunk]:
    """The cheapest calls that fill the rows ``start`` to ``end - 1``.

    Args:
        lengths: lengths of the prefill signatures; 1, that of ``decode``, need not be named.
        start: rows before it are filled already; a chunk may fill some of them again, with the same tokens.
        end: rows after it need not be filled.
        cache_length: no chunk ends beyond it.
        max_rollback: most tokens that the cache can be rolled back by; None for all of them.
        written: rows of the cache that have been written to, of which those from ``start`` on were dropped.
        call_cost: fixed cost of a call, in tokens.

    Returns:
        Chunks in order, each beginning where the one before ended or earlier. The cost is the sum of
        ``length + call_cost``; of equally cheap plans, the one of fewest calls with the longest first.

    Raises:
        ValueError: not ``0 <= start <= end <= cache_length``.
    """
    if not 0 <= start <= end <= cache_length:
        raise ValueError(f"cannot fill rows {start} to {end} of a cache of {cache_length}")
    usable = sorted({1, *(length for length in lengths if length <= cache_length)}, reverse=True)
    # best[n]: (cost, calls, length of the first chunk) when n rows are left. A chunk that has to start
    # earlier fills fewer new rows, which depends on where its row is, so go backwards from the end.
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for left in range(1, end - start + 1):
        position = end - left
        chosen: tuple[int, int, int] | None = None
        for length in usable:
            filled = min(length, cache_length - position)
            if not _allowed(length, position, end, cache_length, max_rollback, written):
                continue
            cost, calls, _ = best[max(0, left - filled)]
            option = (cost + length + call_cost, calls + 1, length)
            if chosen is None or option[:2] < chosen[:2]:
                chosen = option
        assert chosen is not None  # decode always fits, as its rows are neither surplus nor computed again
        best.append(chosen)
    chunks: list[Chunk] = []
    position = start
    while position < end:
        length = best[end - position][2]
        chunk = Chunk(min(position, cache_length - length), length)
        chunks.append(chunk)
        position = chunk.end
    return chunks


def _allowed(length: int, position: int, end: int, cache_length: int, max_rollback: int | None, written: int) -> bool:
    """True if a chunk from ``position`` on, or from before it near the end of the cache, needs no longer a rollback."""
    if length == 1 or max_rollback is None:
        return True
    start = min(position, cache_length - length)
    return start >= max(position, written) - max_rollback and start + length <= end + max_rollback
