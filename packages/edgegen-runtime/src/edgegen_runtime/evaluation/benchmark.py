"""How fast an exported model runs on this machine."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.evaluation.evaluation import speedups
from edgegen_runtime.evaluation.speedups import SpeedUp
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.sampling import Sampler, SamplingOptions
from edgegen_runtime.generation.speculative import Drafter


@dataclass(frozen=True)
class Spread:
    """A measure over several runs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of ``values``, one for each run."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Medians of ``runs`` runs, after one that does not count."""

    model: str
    scheme: str
    threads: int
    runs: int
    prompt_tokens: int
    decode_tokens: int
    load_seconds: float
    """Once: opening the file, packing the weights, tokenizer and template."""
    prefill_tokens_per_second: Spread
    decode_tokens_per_second: Spread
    first_token_seconds: Spread
    """Prefill and one decoding step."""
    peak_memory_bytes: int
    """Of the whole process, the interpreter included; before what was measured beyond the above."""
    speed_ups: Mapping[str, SpeedUp] = field(default_factory=dict)
    """``reload``, ``prefix`` and ``speculation``, where they were asked for."""


def measure(
    path: Path | str,
    *,
    threads: int | None = None,
    prompt_tokens: int = 128,
    decode_tokens: int = 64,
    runs: int = 5,
    weight_cache: Path | str | None = None,
    reload: bool = False,
    prefix: bool = False,
    speculate: Drafter | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """Load a model and measure it: ``prompt_tokens`` prefilled from an empty cache, then greedy decoding.

    Args:
        path: as for :meth:`LanguageModel.load`, like ``threads`` and ``weight_cache``.
        reload: measure loading with a weight cache file too.
        prefix: measure a prompt that a prefix cache knows too.
        speculate: measure decoding with these guesses too.
        progress: told before each run.

    Raises:
        UsageError: the tokens do not fit the cache, or a number below 1.
    """
    for name, value in (("runs", runs), ("prompt-tokens", prompt_tokens), ("decode-tokens", decode_tokens)):
        if value < 1:
            raise UsageError(f"{name} is {value}, but should be at least 1", code=ErrorCode.INVALID_GENERATION_OPTION)
    model = LanguageModel.load(path, threads=threads, weight_cache=weight_cache)
    cache_length = model.bundle.cache_length
    if prompt_tokens + decode_tokens > cache_length:
        raise UsageError(
            f"{prompt_tokens} + {decode_tokens} tokens do not fit the cache of {cache_length}",
            code=ErrorCode.CONTEXT_EXCEEDED,
            hint=f"choose --prompt-tokens and --decode-tokens that add up to {cache_length} or less",
        )
    context = model.new_context()
    # Which tokens they are makes no difference to the speed; 7919 is a prime, so that they differ.
    prompt = [index * 7919 % model.vocab_size for index in range(prompt_tokens)]
    sampler = Sampler(SamplingOptions())
    prefill: list[float] = []
    first: list[float] = []
    decode: list[float] = []
    for run in range(runs + 1):
        progress(f"run {run} of {runs}" if run else "warming up")
        context.rewind(0)
        begin = time.perf_counter()
        context.prefill(prompt)
        prefilled = time.perf_counter()
        token_id = sampler.sample(context.step(prompt[0]))
        answered = time.perf_counter()
        for _ in range(decode_tokens - 1):
            token_id = sampler.sample(context.step(token_id))
        end = time.perf_counter()
        if run:
            prefill.append(prompt_tokens / (prefilled - begin))
            first.append(answered - begin)
            decode.append(decode_tokens / (end - prefilled))
    peak = peak_memory()
    ratios: dict[str, SpeedUp] = {}
    if prefix:
        progress("a prompt that is cached")
        ratios["prefix"] = speedups.prefix(model, prompt_tokens, runs=runs)
    if speculate is not None:
        progress("decoding with guesses")
        ratios["speculation"] = speedups.speculation(model, speculate, decode_tokens, runs=runs)
    if reload:
        progress("loading with a weight cache")
        ratios["reload"] = speedups.reload(path, threads=threads, runs=runs)
    return Benchmark(
        model=model.bundle.name,
        scheme=model.bundle.scheme,
        threads=threads or os.cpu_count() or 1,
        runs=runs,
        prompt_tokens=prompt_tokens,
        decode_tokens=decode_tokens,
        load_seconds=model.load_seconds,
        prefill_tokens_per_second=Spread.of(prefill),
        decode_tokens_per_second=Spread.of(decode),
        first_token_seconds=Spread.of(first),
        peak_memory_bytes=peak,
        speed_ups=ratios,
    )


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    try:
        # ru_maxrss would include a larger parent's pages from before exec.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
