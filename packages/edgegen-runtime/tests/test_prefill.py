from __future__ import annotations

import itertools
import time
from functools import cache

import pytest

from edgegen_runtime.cache.prefill_plan import CALL_COST, Chunk, plan

LENGTHS = (8, 64, 128)


def cost(chunks: list[Chunk], call_cost: int = CALL_COST) -> int:
    return sum(chunk.length + call_cost for chunk in chunks)


def assert_valid(chunks: list[Chunk], start: int, end: int, cache_length: int) -> None:
    position = start
    for chunk in chunks:
        assert 0 <= chunk.start <= position < chunk.end <= cache_length
        position = chunk.end
    assert position >= end


def cheapest(lengths: tuple[int, ...], start: int, end: int, cache_length: int, call_cost: int) -> int:
    """Brute force: every chunk at every place that is allowed."""

    @cache
    def remaining(position: int) -> int:
        if position >= end:
            return 0
        return min(
            length + call_cost + remaining(begin + length)
            for length in {1, *lengths}
            for begin in range(max(0, position - length + 1), position + 1)
            if begin + length <= cache_length
        )

    return remaining(start)


@pytest.mark.parametrize("lengths", [(), (1,), (2,), (3, 5), (4, 16), (2, 7, 11), (40,)])
@pytest.mark.parametrize("call_cost", [0, 1, 4, 16])
def test_no_plan_is_cheaper(lengths: tuple[int, ...], call_cost: int) -> None:
    for cache_length in (1, 2, 5, 11, 16, 18):
        for start, end in itertools.combinations_with_replacement(range(cache_length + 1), 2):
            chunks = plan(lengths, start, end, cache_length, call_cost=call_cost)
            assert_valid(chunks, start, end, cache_length)
            assert cost(chunks, call_cost) == cheapest(lengths, start, end, cache_length, call_cost)


def test_every_prompt_of_a_real_cache_is_planned_validly() -> None:
    for start in (0, 1, 700, 1200, 1279):
        for end in {*range(start, 1281, 13), *range(max(start, 1140), 1281)}:
            assert_valid(plan(LENGTHS, start, end, 1280), start, end, 1280)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0, []),
        (0, 1, [Chunk(0, 1)]),
        (0, 2, [Chunk(0, 8)]),
        (0, 128, [Chunk(0, 128)]),
        (0, 60, [Chunk(0, 64)]),
        (0, 136, [Chunk(0, 128), Chunk(128, 8)]),
        # A chunk of 8 from 1278 would reach past the end: it starts earlier, though rows are computed again.
        (1277, 1280, [Chunk(1272, 8)]),
    ],
)
def test_plans_read_well(start: int, end: int, expected: list[Chunk]) -> None:
    assert plan(LENGTHS, start, end, 1280) == expected


def test_a_signature_longer_than_the_cache_is_left_alone() -> None:
    assert {chunk.length for chunk in plan([64], 0, 10, 32)} == {1}


def test_a_long_prompt_is_planned_quickly() -> None:
    started = time.perf_counter()
    plan(LENGTHS, 0, 8191, 8192)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(("start", "end"), [(0, 33), (5, 4), (-1, 2)])
def test_rows_outside_the_cache_are_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="cache of 32"):
        plan(LENGTHS, start, end, 32)


@pytest.mark.parametrize("limit", [0, 1, 3, 8])
@pytest.mark.parametrize("lengths", [(3, 5), (4, 16), (2, 7, 11)])
def test_no_chunk_asks_for_more_rollback_than_there_may_be(limit: int, lengths: tuple[int, ...]) -> None:
    for cache_length in (5, 11, 18):
        for start, end in itertools.combinations_with_replacement(range(cache_length + 1), 2):
            for written in range(start, min(start + limit, cache_length) + 1):
                chunks = plan(lengths, start, end, cache_length, max_rollback=limit, written=written)
                assert_valid(chunks, start, end, cache_length)
                rows = written
                for chunk in chunks:
                    assert chunk.start >= rows - limit
                    rows = max(rows, chunk.end)
                assert rows <= max(end + limit, written)
                assert cost(chunks) <= (end - start) * (1 + CALL_COST)


def test_a_recurrent_state_is_given_what_fills_a_chunk() -> None:
    assert plan(LENGTHS, 0, 74, 1280, max_rollback=0) == [Chunk(0, 64), Chunk(64, 8), Chunk(72, 1), Chunk(73, 1)]
