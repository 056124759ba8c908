"""Speed-ups of a weight cache, a prefix cache and speculative decoding over doing without.

Each is measured in turn with the plain way of doing the same, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgegen_runtime.cache.prefix_cache import PrefixCache
from edgegen_runtime.generation.generation import Generation
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.protocols import Drafter

_PASSAGE = (
    "The river rises in the hills above the town, where three springs feed a small lake. From there it runs south "
    "through meadows and orchards, turns two old mills, and passes under a stone bridge that was built in 1742. Below "
    "the bridge lies the harbour, from which barges once carried salt, timber and wool to the coast."
)
REPEAT = f"Repeat the following text word for word, without changing anything:\n\n{_PASSAGE}\n\n{_PASSAGE}"
"""Prompt whose answer quotes it: the case that prompt lookup is made for."""


@dataclass(frozen=True, kw_only=True)
class SpeedUp:
    """Time without and with a speed-up, medians of several runs."""

    plain_seconds: float
    seconds: float
    identical: bool
    """True if both gave the same tokens."""

    @property
    def ratio(self) -> float:
        """Speed-up factor over plain."""
        return self.plain_seconds / self.seconds


def reload(path: Path | str, *, threads: int | None = None, runs: int = 3) -> SpeedUp:
    """Load time up to the first token: with a new weight cache file, and with the file that this left."""
    first: list[float] = []
    second: list[float] = []
    said: set[tuple[int, ...]] = set()
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            for seconds in (first, second):
                started = time.perf_counter()
                model = LanguageModel.load(path, threads=threads, weight_cache=Path(folder) / "weights")
                said.add(tuple(model.generate([0], max_new_tokens=1, ignore_eos=True)))
                seconds.append(time.perf_counter() - started)
                del model
                gc.collect()  # unmaps the file
    return _speed_up(first, second, said)


def prefix(model: LanguageModel, prompt_tokens: int, *, runs: int = 5) -> SpeedUp:
    """Time to first token of a prompt: from scratch, and with all but its last tokens in a prefix cache."""
    prompt = [index * 7919 % model.vocab_size for index in range(prompt_tokens)]
    cache = PrefixCache(model, entries=1)
    cache.add(prompt[: -min(8, prompt_tokens // 2) or None])

    def first_token(generation: Generation) -> tuple[float, tuple[int, ...]]:
        tokens = tuple(generation)
        return generation.timings.first_token_seconds or 0.0, tokens

    return _in_turn(
        lambda: first_token(model.generate(prompt, max_new_tokens=1, ignore_eos=True)),
        lambda: first_token(model.generate(prompt, max_new_tokens=1, ignore_eos=True, cache=cache)),
        runs,
    )


def speculation(model: LanguageModel, drafter: Drafter, decode_tokens: int, *, runs: int = 5) -> SpeedUp:
    """Greedy decoding time of a text that its prompt holds already: plain, and with speculative decoding."""

    def decoding(drafter: Drafter | None) -> tuple[float, tuple[int, ...]]:
        messages = [{"role": "user", "content": REPEAT}]
        prompt = model.encode(REPEAT) if model.template is None else model.encode_chat(messages)
        room = model.exported.cache_length - len(prompt)
        limit = max(1, min(decode_tokens, room))
        generation = model.answer(prompt, max_new_tokens=limit, ignore_eos=True, drafter=drafter)
        tokens = tuple(generation)
        return generation.timings.decode_seconds, tokens

    return _in_turn(lambda: decoding(None), lambda: decoding(drafter), runs)


Timed = Callable[[], tuple[float, tuple[int, ...]]]


def _in_turn(plain: Timed, faster: Timed, runs: int) -> SpeedUp:
    seconds: tuple[list[float], list[float]] = ([], [])
    said: set[tuple[int, ...]] = set()
    for run in range(runs + 1):
        for way, measured in zip((plain, faster), seconds, strict=True):
            took, tokens = way()
            said.add(tokens)
            if run:  # the first warms up
                measured.append(took)
    return _speed_up(*seconds, said)


def _speed_up(plain: list[float], faster: list[float], said: set[tuple[int, ...]]) -> SpeedUp:
    return SpeedUp(plain_seconds=statistics.median(plain), seconds=statistics.median(faster), identical=len(said) == 1)
