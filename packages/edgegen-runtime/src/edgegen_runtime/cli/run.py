"""``edgegen run`` and ``edgegen bench``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from edgegen.cli.output import Output, format_bytes, output_options
from edgegen.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from edgegen_runtime.conversation import Conversation
    from edgegen_runtime.evaluation.benchmark import Benchmark, Spread
    from edgegen_runtime.generation.generation import Generation
    from edgegen_runtime.generation.language_model import LanguageModel, Limits
    from edgegen_runtime.generation.sampling import SamplingOptions
    from edgegen_runtime.generation.speculative import Drafter
    from edgegen_runtime.generation.structured_output import Form

MODEL = click.argument("model", metavar="DIR_OR_FILE", type=click.Path(path_type=Path))
THREADS = click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
WEIGHT_CACHE = click.option(
    "--weight-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps packed weights, so that the next start is faster.",
)
_SPECULATE = click.option(
    "--speculate",
    metavar="prompt-lookup|DIR",
    help="Guess what comes next, by repetitions in the text or with a smaller model, and check several at once.",
)


def _biases(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[int, float]:
    """Each ``id=number``."""
    try:
        return {int(token_id): float(number) for token_id, _, number in (value.partition("=") for value in values)}
    except ValueError:
        raise click.BadParameter(f"{' '.join(values)} should be of the form 42=-1.5") from None


@click.command()
@MODEL
@click.option("-p", "--prompt", help="The text to answer or continue.  [default: stdin, or a chat on a terminal]")
@click.option("--chat/--raw", default=None, help="Use the chat template, or none.  [default: if there is one]")
@click.option("--system", help="System message of the chat.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Length limit.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: the most likely token always.")
@click.option("--top-k", type=int, default=0, show_default=True, help="Only the K most likely tokens; 0: all.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Only the likeliest that sum to P.")
@click.option("--min-p", type=float, default=0.0, show_default=True, help="Only those P times as likely as the best.")
@click.option("--repetition-penalty", type=float, default=1.0, show_default=True, help="Divides logits; 1: none.")
@click.option("--presence-penalty", type=float, default=0.0, show_default=True, help="For tokens said already.")
@click.option("--frequency-penalty", type=float, default=0.0, show_default=True, help="For each time they were said.")
@click.option(
    "--logit-bias",
    multiple=True,
    callback=_biases,
    metavar="ID=NUMBER",
    help="Added to a token's logit; -inf forbids it.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Makes sampling repeatable.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Ends the answer and is not part of it; repeatable.")
@click.option("--json-schema", metavar="FILE_OR_TEXT", help="Answer with JSON of this schema.")
@click.option("--regex", metavar="PATTERN", help="Answer with text that matches.")
@click.option("--grammar", metavar="FILE_OR_TEXT", help="Answer with text of this Lark grammar.")
@_SPECULATE
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    help="Folder of an adapter, as peft saves it, for a model exported with --lora-rank.",
)
@click.option(
    "--overflow",
    type=click.Choice(["error", "slide"]),
    default="error",
    show_default=True,
    help="When the cache is full: end, or forget the oldest.",
)
@click.option(
    "--prefix-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps what was read, so that a prompt that begins alike starts faster.",
)
@THREADS
@WEIGHT_CACHE
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
    min_p: float,
    repetition_penalty: float,
    presence_penalty: float,
    frequency_penalty: float,
    logit_bias: dict[int, float],
    seed: int | None,
    stop: tuple[str, ...],
    json_schema: str | None,
    regex: str | None,
    grammar: str | None,
    speculate: str | None,
    adapter: Path | None,
    overflow: Literal["error", "slide"],
    prefix_cache: Path | None,
    threads: int | None,
    weight_cache: Path | None,
    ignore_eos: bool,
    output: Output,
) -> None:
    """Generate text with an exported model.

    DIR_OR_FILE is a folder that `edgegen export` wrote, or the .tflite file in it. Text goes to stdout as it
    comes.
    """
    from edgegen_runtime.cache.prefix_cache import PrefixCache
    from edgegen_runtime.conversation import Conversation
    from edgegen_runtime.generation.sampling import SamplingOptions
    from edgegen_runtime.generation.seq2seq import TextToTextModel

    options = SamplingOptions(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=logit_bias,
        seed=seed,
    )
    form = _form(json_schema, regex, grammar)
    interactive = prompt is None and sys.stdin.isatty()
    if interactive and (output.json or chat is False):
        raise UsageError(
            f"{'--json' if output.json else '--raw'} needs a prompt",
            code=ErrorCode.NO_PROMPT,
            hint="give --prompt or pipe text in",
        )
    if prompt is None and not interactive:
        prompt = read_stdin()
    with output.stage("load"):
        loaded = _load(model, threads, weight_cache)
        if adapter is not None:
            loaded = loaded.with_adapter(adapter)
        drafter = _drafter(speculate, threads)
    use_chat = loaded.template is not None if chat is None else chat
    if system is not None and not use_chat:
        raise UsageError(
            "--system needs a chat template",
            code=ErrorCode.NO_CHAT_TEMPLATE,
            hint="leave out --system, or put its text into the prompt",
        )
    limits: Limits = {
        "max_new_tokens": max_new_tokens,
        "ignore_eos": ignore_eos,
        "stop": stop,
        "form": form,
        "speculation": drafter,
    }
    # What an encoder-decoder says depends on the whole text: it has no use for a beginning, and says so if given one.
    reuses = prefix_cache is not None or not isinstance(loaded, TextToTextModel)
    cache = PrefixCache(loaded, entries=1)
    if prefix_cache is not None and prefix_cache.exists():
        cache.load(prefix_cache)
    if prompt is None and loaded.template is None:
        raise UsageError(
            f"{loaded.bundle.name} has no chat template, so there is no chat",
            code=ErrorCode.NO_CHAT_TEMPLATE,
            hint="give --prompt",
        )
    if use_chat or prompt is None:
        conversation = Conversation(loaded, system=system, overflow=overflow, cache=cache)
    if prompt is None:
        _converse(conversation, options, limits, output)
    elif use_chat:
        answer = conversation.ask(prompt, options, **limits)
        text, generation = _stream(answer, output), answer.generation
    else:
        limits["overflow"], limits["context"] = overflow, cache if reuses else None
        generation = loaded.generate(prompt, options, **limits)
        text = _stream(generation.text(), output)
    if prefix_cache is not None and cache.texts:
        cache.save(prefix_cache)
    if prompt is None:
        return
    if output.json:
        output.result(_payload(loaded, generation, text), text)
    else:
        output.note(_summary(generation))


@click.command()
@MODEL
@THREADS
@WEIGHT_CACHE
@click.option("--prompt-tokens", type=click.IntRange(min=1), default=128, show_default=True, help="Tokens to prefill.")
@click.option("--decode-tokens", type=click.IntRange(min=1), default=64, show_default=True, help="Tokens to decode.")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Runs to take medians of.")
@click.option("--reload", is_flag=True, help="Also the first and the second load with a weight cache file.")
@click.option("--prefix", is_flag=True, help="Also a prompt whose beginning is in a prefix cache.")
@_SPECULATE
@output_options
def bench(
    model: Path,
    *,
    threads: int | None,
    weight_cache: Path | None,
    prompt_tokens: int,
    decode_tokens: int,
    runs: int,
    reload: bool,
    prefix: bool,
    speculate: str | None,
    output: Output,
) -> None:
    """Measure an exported model's speed.

    DIR_OR_FILE is a folder that `edgegen export` wrote, or the .tflite file in it. Prints medians of several
    runs.
    """
    from edgegen_runtime.evaluation.benchmark import measure

    with output.stage("bench") as stage:
        result = measure(
            model,
            threads=threads,
            prompt_tokens=prompt_tokens,
            decode_tokens=decode_tokens,
            runs=runs,
            weight_cache=weight_cache,
            reload=reload,
            prefix=prefix,
            speculate=_drafter(speculate, threads),
            progress=stage.detail,
        )
        stage.detail(f"{runs} runs")
    ratios = {name: {**asdict(row), "ratio": row.ratio} for name, row in result.speed_ups.items()}
    output.result({**asdict(result), "speed_ups": ratios}, _table(result))


def _load(path: Path, threads: int | None, weight_cache: Path | None) -> LanguageModel:
    import edgegen_runtime

    return edgegen_runtime.load(path, threads=threads, weight_cache=weight_cache)


def _drafter(speculate: str | None, threads: int | None) -> Drafter | None:
    """Who guesses, by what ``--speculate`` says."""
    from edgegen_runtime.generation.language_model import LanguageModel
    from edgegen_runtime.generation.speculative import DraftModel, PromptLookup

    if speculate is None:
        return None
    if speculate == "prompt-lookup":
        return PromptLookup()
    return DraftModel(LanguageModel.load(Path(speculate), threads=threads))


def _form(json_schema: str | None, regex: str | None, grammar: str | None) -> Form | None:
    """What the answer has to look like, if one option says so."""
    from edgegen_runtime.generation.structured_output import Form

    given = {"--json-schema": json_schema, "--regex": regex, "--grammar": grammar}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(
            f"{' and '.join(named)} exclude each other",
            code=ErrorCode.INVALID_GENERATION_OPTION,
            hint="give one of them",
        )
    if json_schema is not None:
        return Form.json_schema(_contents(json_schema))
    if grammar is not None:
        return Form.lark(_contents(grammar))
    return None if regex is None else Form.regex(regex)


def _contents(file_or_text: str) -> str:
    """The contents of a file of that name, if there is one, else the text itself."""
    try:
        return Path(file_or_text).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file_or_text} is not UTF-8 text: {error}", code=ErrorCode.NOT_UTF8) from error
    except (OSError, ValueError) as error:  # no such file, or no possible name
        if Path(file_or_text).suffix in (".json", ".lark") and "\n" not in file_or_text:
            raise UsageError(
                f"cannot read {file_or_text}: {error}", code=ErrorCode.FILE_UNREADABLE, hint="name a file"
            ) from error
        return file_or_text


def read_stdin() -> str:
    """All of it, without the newline at its end."""
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"stdin is not UTF-8 text: {error}", code=ErrorCode.NOT_UTF8, hint="convert it first"
        ) from error


def _stream(answer: Iterable[str], output: Output) -> str:
    """Write the text as it comes, with a newline at its end."""
    pieces: list[str] = []
    for piece in answer:
        pieces.append(piece)
        output.write(piece)
    text = "".join(pieces)
    if not text.endswith("\n"):
        output.write("\n")
    return text


def _converse(
    conversation: Conversation,
    options: SamplingOptions,
    limits: Limits,
    output: Output,
    *,
    read_line: Callable[[str], str] = input,
) -> None:
    """A chat on the terminal; what was said stays in the cache, so each turn computes only what is new."""
    _enable_line_editing()
    output.note("chat with the model; an empty line or Ctrl-D ends it, Ctrl-C stops an answer")
    while True:
        try:
            line = read_line("> ").strip()
        except EOFError:
            output.write("\n")
            return
        if not line:
            return
        try:
            answer = conversation.ask(line, options, **limits)
        except UsageError as error:
            if error.code != ErrorCode.CONTEXT_EXCEEDED:
                raise
            output.warn(
                f"{error.message}; the conversation starts anew (--overflow slide would forget its oldest part)"
            )
            conversation.clear()
            continue
        try:
            for piece in answer:
                output.write(piece)
        except KeyboardInterrupt:
            answer.close()  # what came of it is part of the conversation
        output.write("\n")


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
            *(
                f"{name:<14}{row.ratio:>9.2f} times faster: {row.plain_seconds:.3f} to {row.seconds:.3f} s"
                f"{'' if row.identical else ', BUT WITH OTHER TOKENS'}"
                for name, row in result.speed_ups.items()
            ),
        ]
    )
