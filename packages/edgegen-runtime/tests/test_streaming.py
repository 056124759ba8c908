from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.stop_strings import StopStrings

Load = Callable[..., LanguageModel]
PROMPT = [5, 6, 7]


def slow(model: LanguageModel, seconds: float) -> list[int]:
    """Make each call of the model take that long; the threads that called are returned."""
    session: Any = model._session
    run, threads = session.run, []

    def waiting(*arguments: Any) -> Any:
        time.sleep(seconds)
        threads.append(threading.get_ident())
        return run(*arguments)

    session.run = waiting
    return threads


def test_callbacks_hear_what_the_iterators_give(load_toy: Load) -> None:
    model = load_toy()
    wanted = model.generate("How are you", ignore_eos=True, max_new_tokens=20)
    pieces = list(wanted.text())
    tokens: list[int] = []
    texts: list[str] = []
    generation = model.generate("How are you", ignore_eos=True, max_new_tokens=20)
    assert generation.run(on_token=tokens.append, on_text=texts.append) == "".join(pieces)
    assert (tokens, texts) == (wanted.token_ids, pieces)


def test_a_callback_may_end_the_answer(load_toy: Load) -> None:
    generation = load_toy().generate(PROMPT, ignore_eos=True)
    generation.run(on_token=lambda _: generation.cancel() if len(generation.token_ids) == 3 else None)
    assert len(generation.token_ids) == 3
    assert generation.finish_reason == "cancelled"


def test_async_iterators_give_the_same(load_toy: Load) -> None:
    model = load_toy()
    expected = model.generate("How are you", ignore_eos=True)
    text = expected.run()

    async def collect() -> tuple[list[int], str]:
        tokens = [token async for token in model.generate("How are you", ignore_eos=True)]
        pieces = [piece async for piece in model.generate("How are you", ignore_eos=True).text_async()]
        return tokens, "".join(pieces)

    assert asyncio.run(collect()) == (expected.token_ids, text)


def test_the_event_loop_goes_on_and_answers_take_turns_in_one_thread(load_toy: Load) -> None:
    model = load_toy()
    threads = slow(model, 0.01)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.002)
            ticks += 1

    async def answer() -> list[int]:
        return [token async for token in model.generate(PROMPT, ignore_eos=True, max_new_tokens=10)]

    async def main() -> list[list[int]]:
        ticker = asyncio.create_task(tick())
        answers = await asyncio.gather(answer(), answer())
        ticker.cancel()
        return list(answers)

    first, second = asyncio.run(main())
    assert first == second
    assert ticks > 20
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("count", [3, 60])
def test_cancelling_ends_the_work_after_the_call_under_way(load_toy: Load, count: int) -> None:
    """Also within a long prompt."""
    model = load_toy(lengths=())
    threads = slow(model, 0.02)
    generation = model.generate([5] * count, ignore_eos=True)

    async def consume() -> None:
        async for _ in generation:
            pass

    async def main() -> float:
        task = asyncio.create_task(consume())
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.perf_counter() - began

    assert asyncio.run(main()) < 0.05
    time.sleep(0.1)
    calls = len(threads)
    time.sleep(0.1)
    assert len(threads) == calls < 15
    assert generation.finish_reason == "cancelled"
    assert len(model._pool._idle) == 1  # the cache is back


def test_stop_strings_end_the_text_wherever_tokens_end(load_toy: Load) -> None:
    model = load_toy()
    whole = model.generate("How are you", ignore_eos=True, max_new_tokens=40).run()
    for begin in range(2, len(whole) - 6, 3):
        stop = whole[begin : begin + 4]
        generation = model.generate("How are you", ignore_eos=True, max_new_tokens=40, stop=["never", stop])
        pieces = list(generation.text())
        assert "".join(pieces) == whole[: whole.index(stop)]
        assert all(pieces)
        assert generation.finish_reason == "stop"


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_what_may_begin_a_stop_string_is_held_back_until_it_is_certain(size: int) -> None:
    text = "one <en two <end three <end> four"
    stops = StopStrings(["<end>", "xyz"])
    out = ""
    for at in range(0, len(text), size):
        out += stops.push(text[at : at + size])
        assert "one <en two <end three ".startswith(out)
    assert (out, stops.met) == ("one <en two <end three ", True)
    stop = StopStrings(["<end>"])
    assert stop.push("almost <en") == "almost "
    assert stop.flush() == "<en"
