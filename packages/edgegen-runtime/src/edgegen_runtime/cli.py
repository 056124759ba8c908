"""``edgegen run`` and ``edgegen bench``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.output import Output, format_bytes, output_options
from edgegen.errors import UsageError

if TYPE_CHECKING:
    from edgegen_runtime.benchmark import Benchmark, Spread
    from edgegen_runtime.engine import LanguageModel
    from edgegen_runtime.generation import Generation
    from edgegen_runtime.sampling import SamplingOptions

_MODEL = click.argument("model", metavar="DIR_OR_FILE", type=click.Path(path_type=Path))
_THREADS = click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
_WEIGHT_CACHE = click.option(
    "--weight-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps packed weights, so that the next start is faster.",
)


@click.command()
@_MODEL
@click.option("-p", "--prompt", help="The text to answer or continue.  [default: stdin, or a chat on a terminal]")
@click.option("--chat/--raw", default=None, help="Use the chat template, or none.  [default: if there is one]")
@click.option("--system", help="System message of the chat.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Length limit.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: the most likely token always.")
@click.option("--top-k", type=int, default=0, show_default=True, help="Only the K most likely tokens; 0: all.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Only the likeliest that sum to P.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes sampling repeatable.")
@_THREADS
@_WEIGHT_CACHE
@click.option("--ignore-eos", is_flag=True, help="Go on after stop tokens.")
@output_options
def run(
    model: Path,
    *,
    prompt: str | None,
    chat: bool | None,
    system: str | None,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int | None,
    threads: int | None,
    weight_cache: Path | None,
    ignore_eos: bool,
    output: Output,
) -> None:
    """Generate text with an exported model.

    DIR_OR_FILE is a folder that `edgegen export` wrote, or the .tflite file in it. Text goes to stdout as it
    comes.
    """
    from edgegen_runtime.sampling import SamplingOptions

    options = SamplingOptions(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    interactive = prompt is None and sys.stdin.isatty()
    if interactive and (output.json or chat is False):
        raise UsageError(
            f"{'--json' if output.json else '--raw'} needs a prompt",
            code="EG744",
            hint="give --prompt or pipe text in",
        )
    if prompt is None and not interactive:
        prompt = _read_stdin()
    with output.stage("load"):
        loaded = _load(model, threads, weight_cache)
    use_chat = loaded.template is not None if chat is None else chat
    if system is not None and not use_chat:
        raise UsageError(
            "--system needs a chat template",
            code="EG723",
            hint="leave out --system, or put its text into the prompt",
        )
    history = [] if system is None else [{"role": "system", "content": system}]
    limits: dict[str, Any] = {"max_new_tokens": max_new_tokens, "ignore_eos": ignore_eos}
    if prompt is None:
        _converse(loaded, history, options, limits, output)
        return
    if use_chat:
        generation = loaded.chat([*history, {"role": "user", "content": prompt}], options, **limits)
    else:
        generation = loaded.generate(prompt, options, **limits)
    text = _stream(generation, output)
    if output.json:
        output.result(_payload(loaded, generation, text), text)
    else:
        output.note(_summary(generation))


@click.command()
@_MODEL
@_THREADS
@_WEIGHT_CACHE
@click.option("--prompt-tokens", type=click.IntRange(min=1), default=128, show_default=True, help="Tokens to prefill.")
@click.option("--decode-tokens", type=click.IntRange(min=1), default=64, show_default=True, help="Tokens to decode.")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Runs to take medians of.")
@output_options
def bench(
    model: Path,
    *,
    threads: int | None,
    weight_cache: Path | None,
    prompt_tokens: int,
    decode_tokens: int,
    runs: int,
    output: Output,
) -> None:
    """Measure an exported model's speed.

    DIR_OR_FILE is a folder that `edgegen export` wrote, or the .tflite file in it. Prints medians of several
    runs.
    """
    from edgegen_runtime.benchmark import measure

    with output.stage("bench") as stage:
        result = measure(
            model,
            threads=threads,
            prompt_tokens=prompt_tokens,
            decode_tokens=decode_tokens,
            runs=runs,
            weight_cache=weight_cache,
            progress=stage.detail,
        )
        stage.detail(f"{runs} runs")
    output.result(asdict(result), _table(result))


def _load(path: Path, threads: int | None, weight_cache: Path | None) -> LanguageModel:
    from edgegen_runtime.engine import LanguageModel

    return LanguageModel.load(path, threads=threads, weight_cache=weight_cache)


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is not UTF-8 text: {error}", code="EG744", hint="convert it first") from error


def _stream(generation: Generation, output: Output) -> str:
    """Write the text as it comes, with a newline at its end."""
    pieces: list[str] = []
    for piece in generation.text():
        pieces.append(piece)
        output.write(piece)
    text = "".join(pieces)
    if not text.endswith("\n"):
        output.write("\n")
    return text


def _converse(
    model: LanguageModel,
    history: list[dict[str, str]],
    options: SamplingOptions,
    limits: dict[str, Any],
    output: Output,
    *,
    read_line: Callable[[str], str] = input,
) -> None:
    """A chat on the terminal; what was said stays in the cache, so each turn computes only what is new."""
    if model.template is None:
        raise UsageError(
            f"{model.bundle.name} has no chat template, so there is no chat",
            code="EG723",
            hint="give --prompt",
        )
    _enable_line_editing()
    output.note("chat with the model; an empty line or Ctrl-D ends it, Ctrl-C stops an answer")
    context = model.new_context()
    while True:
        try:
            line = read_line("> ").strip()
        except EOFError:
            output.write("\n")
            return
        if not line:
            return
        question = {"role": "user", "content": line}
        try:
            generation = model.chat([*history, question], options, context=context, **limits)
        except UsageError as error:
            if error.code != "EG741":
                raise
            output.warn(f"{error.message}; the conversation starts anew")
            history = [message for message in history if message["role"] == "system"]
            continue
        pieces: list[str] = []
        try:
            for piece in generation.text():
                pieces.append(piece)
                output.write(piece)
        except KeyboardInterrupt:
            pass  # the answer so far is part of the conversation
        output.write("\n")
        history += [question, {"role": "assistant", "content": "".join(pieces)}]


def _enable_line_editing() -> None:
    with suppress(ImportError):  # not on every platform
        import readline  # noqa: F401  (importing it gives input() its editing and history)


def _payload(model: LanguageModel, generation: Generation, text: str) -> dict[str, Any]:
    return {
        "model": model.bundle.name,
        "text": text,
        "token_ids": generation.token_ids,
        "prompt_token_ids": generation.prompt_ids,
        "finish_reason": generation.finish_reason,
        "seed": generation.seed,
        "timings": generation.timings.as_dict(),
    }


def _summary(generation: Generation) -> str:
    timings = generation.timings.as_dict()
    parts = [f"{len(generation.token_ids)} tokens"]
    if timings["prefill_tokens_per_second"]:
        parts.append(f"prefill {timings['prefill_tokens_per_second']:.0f} tokens/s")
    parts.append(f"decode {timings['decode_tokens_per_second']:.1f} tokens/s")
    if generation.finish_reason == "length":
        parts.append("cut off at the length limit (--max-new-tokens, or the cache)")
    if generation.seed is not None:
        parts.append(f"seed {generation.seed}")
    return "  ".join(parts)


def _table(result: Benchmark) -> str:
    def row(title: str, spread: Spread, unit: str, digits: int) -> str:
        values = (f"{value:,.{digits}f}" for value in (spread.median, spread.low, spread.high))
        median, low, high = values
        return f"{title:<14}{median:>9} {unit:<9} {low} to {high}"

    return "\n".join(
        [
            f"{result.model} {result.scheme}, {result.threads} threads, medians of {result.runs} runs",
            row(f"prefill {result.prompt_tokens}", result.prefill_tokens_per_second, "tokens/s", 1),
            row(f"decode {result.decode_tokens}", result.decode_tokens_per_second, "tokens/s", 1),
            row("first token", result.first_token_seconds, "s", 3),
            f"{'load':<14}{result.load_seconds:>9.3f} s",
            f"{'peak memory':<14}{format_bytes(result.peak_memory_bytes):>9}",
        ]
    )
