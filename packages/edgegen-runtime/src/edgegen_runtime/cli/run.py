"""``edgegen run``: text generation with an exported model."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, output_options
from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.cli.chat import chat_loop
from edgegen_runtime.cli.shared_options import (
    MODEL,
    SPECULATE,
    THREADS,
    WEIGHT_CACHE,
    open_drafter,
    read_file_or_text,
    read_stdin,
)

if TYPE_CHECKING:
    from edgegen_runtime.generation.config import GenerationConfig
    from edgegen_runtime.generation.generation import Generation
    from edgegen_runtime.generation.language_model import LanguageModel
    from edgegen_runtime.generation.structured_output import ResponseFormat

EXAMPLES = (
    ('edgegen run smollm2 --prompt "Name the capital of France."', "Answer one question, greedily"),
    ("edgegen run smollm2", "Chat on the terminal"),
    (
        'edgegen run smollm2 -p "Write a haiku." --temperature 0.8 --top-p 0.95 --min-p 0.05 --seed 1',
        "Sample, repeatably",
    ),
    ('edgegen run smollm2 -p "Is water wet?" --regex "(yes|no)" --json', "One of two answers, as a JSON document"),
)


def _biases(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[int, float]:
    """Token id -> bias, of values such as ``42=-1.5``."""
    try:
        return {int(token_id): float(number) for token_id, _, number in (value.partition("=") for value in values)}
    except ValueError:
        raise click.BadParameter(f"{' '.join(values)} should be of the form 42=-1.5") from None


@click.command(cls=GroupedCommand, examples=EXAMPLES)
@MODEL
@option(
    "-p", "--prompt", group="Prompt", help="Text to answer or to continue.  [default: stdin, or a chat on a terminal]"
)
@option(
    "--chat/--raw", default=None, group="Prompt",
    help="Render the prompt with the chat template, or encode it as it is.  [default: chat, if there is a template]",
)  # fmt: skip
@option("--system", group="Prompt", help="System message of the chat.")
@option(
    "--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True, group="Generation",
    help="Length limit of the answer, in tokens.",
)  # fmt: skip
@option(
    "--stop", multiple=True, metavar="TEXT", group="Generation",
    help="Stop string, which ends the answer and is not part of it; repeatable.",
)  # fmt: skip
@option("--ignore-eos", is_flag=True, group="Generation", help="Go on after stop tokens.")
@option(
    "--context-shift/--no-context-shift", default=False, show_default=True, group="Generation",
    help="When the KV cache is full, drop the oldest turns or tokens (never the system message or the first tokens) "
    "and go on; else refuse the prompt or end the answer.",
)  # fmt: skip
@option(
    "--temperature", type=float, default=0.0, show_default=True, group="Sampling",
    help="Softmax temperature; 0 is greedy, 1 the model's own distribution.",
)  # fmt: skip
@option(
    "--top-k", type=int, default=0, metavar="K", show_default=True, group="Sampling",
    help="Sample among the K most likely tokens; 0: all.",
)  # fmt: skip
@option(
    "--top-p", type=float, default=1.0, metavar="P", show_default=True, group="Sampling",
    help="Nucleus sampling: the fewest most likely tokens whose probabilities reach P (above 0, at most 1) together.",
)  # fmt: skip
@option(
    "--min-p", type=float, default=0.0, metavar="P", show_default=True, group="Sampling",
    help="Only tokens at least P (from 0 to 1) times as probable as the most likely one.",
)  # fmt: skip
@option("--seed", type=click.IntRange(min=0), group="Sampling", help="Random seed.  [default: a new one each time]")
@option(
    "--repetition-penalty", type=float, default=1.0, show_default=True, group="Sampling",
    help="Divisor of the positive logits of tokens in prompt or answer (multiplier of negative ones); 1: none.",
)  # fmt: skip
@option(
    "--presence-penalty", type=float, default=0.0, show_default=True, group="Sampling",
    help="Subtracted from the logit of each token in the answer, once.",
)  # fmt: skip
@option(
    "--frequency-penalty", type=float, default=0.0, show_default=True, group="Sampling",
    help="Subtracted from the logit of each token in the answer, for each time it occurs.",
)  # fmt: skip
@option(
    "--logit-bias", multiple=True, callback=_biases, metavar="ID=NUMBER", group="Sampling",
    help="Added to the logit of a token id; -inf forbids it; repeatable.",
)  # fmt: skip
@option(
    "--json-schema", metavar="FILE_OR_TEXT", group="Structured output",
    help='JSON Schema that the answer has to match. The options of this group need pip install '
    '"edgegen-runtime[constrained]".',
)  # fmt: skip
@option("--regex", metavar="PATTERN", group="Structured output", help="Regular expression for the whole answer.")
@option("--grammar", metavar="FILE_OR_TEXT", group="Structured output", help="Lark grammar of the answer.")
@SPECULATE
@THREADS
@option(
    "--adapter", type=click.Path(path_type=Path), group="Model and memory",
    help="Folder of a LoRA adapter as peft saves it, for a model exported with --lora-rank.  [default: none]",
)  # fmt: skip
@option(
    "--prefix-cache", type=click.Path(dir_okay=False, path_type=Path), group="Model and memory",
    help="File for the KV cache, so that a prompt with the same prefix starts faster next time.  [default: none]",
)  # fmt: skip
@WEIGHT_CACHE
@output_options
def run(
    model: Path,
    *,
    prompt: str | None,
    chat: bool | None,
    system: str | None,
    max_new_tokens: int,
    ignore_eos: bool,
    stop: tuple[str, ...],
    context_shift: bool,
    json_schema: str | None,
    regex: str | None,
    grammar: str | None,
    speculate: str | None,
    adapter: Path | None,
    prefix_cache: Path | None,
    threads: int | None,
    weight_cache: Path | None,
    output: Output,
    **sampling: Any,
) -> None:
    """Generate text with an exported model.

    DIR_OR_FILE is a folder that `edgegen export` wrote, or the .tflite file in it. Text goes to stdout as it
    comes.
    """
    import edgegen_runtime
    from edgegen_runtime import Conversation, PrefixCache, SamplingOptions, TextToTextModel

    options = SamplingOptions(**sampling)
    response_format = _response_format(json_schema, regex, grammar)
    interactive = prompt is None and sys.stdin.isatty()
    if interactive and (output.json or chat is False):
        raise UsageError(
            f"{'--json' if output.json else '--raw'} needs a prompt",
            code=ErrorCode.NO_PROMPT,
            hint="give --prompt or pipe text in",
        )
    if prompt is None and not interactive:
        prompt = read_stdin()
    if prefix_cache is not None and not prefix_cache.parent.is_dir():
        raise UsageError(
            f"the prefix cache cannot be kept in {prefix_cache}: there is no folder {prefix_cache.parent}",
            code=ErrorCode.FILE_UNREADABLE,
            hint="name a file in a folder that you may write to",
        )
    with output.stage("load"):
        loaded = edgegen_runtime.load(model, threads=threads, weight_cache=weight_cache)
        if adapter is not None:
            loaded = loaded.with_adapter(adapter)
        drafter = open_drafter(speculate, threads)
    use_chat = loaded.template is not None if chat is None else chat
    if system is not None and not use_chat:
        raise UsageError(
            "--system needs a chat template",
            code=ErrorCode.NO_CHAT_TEMPLATE,
            hint="leave out --system, or put its text into the prompt",
        )
    config: GenerationConfig = {
        "max_new_tokens": max_new_tokens,
        "ignore_eos": ignore_eos,
        "stop": stop,
        "response_format": response_format,
        "drafter": drafter,
    }
    # An encoder-decoder's cache depends on the whole text: it has no use for a prefix, and says so if given one.
    reuses = prefix_cache is not None or not isinstance(loaded, TextToTextModel)
    cache = PrefixCache(loaded, entries=1)
    if prefix_cache is not None and prefix_cache.exists():
        cache.load(prefix_cache)
    if prompt is None and loaded.template is None:
        raise UsageError(
            f"{loaded.exported.name} has no chat template, so there is no chat",
            code=ErrorCode.NO_CHAT_TEMPLATE,
            hint="give --prompt",
        )
    if use_chat or prompt is None:
        conversation = Conversation(loaded, system=system, context_shift=context_shift, cache=cache)
    if prompt is None:
        chat_loop(conversation, options, config, output)
    elif use_chat:
        answer = conversation.ask(prompt, options, **config)
        text, generation = _stream(answer, output), answer.generation
    else:
        config["context_shift"], config["cache"] = context_shift, cache if reuses else None
        generation = loaded.generate(prompt, options, **config)
        text = _stream(generation.text(), output)
    if prefix_cache is not None and cache.texts:
        cache.save(prefix_cache)
    if prompt is None:
        return
    if output.json:
        output.result(_payload(loaded, generation, text), text)
    else:
        output.note(_summary(generation))


def _response_format(json_schema: str | None, regex: str | None, grammar: str | None) -> ResponseFormat | None:
    """The grammar that one of the options gives, None without any."""
    from edgegen_runtime import ResponseFormat

    options = {"--json-schema": json_schema, "--regex": regex, "--grammar": grammar}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise UsageError(
            f"{' and '.join(given)} exclude each other",
            code=ErrorCode.INVALID_GENERATION_OPTION,
            hint="give one of them",
        )
    if json_schema is not None:
        return ResponseFormat.json_schema(read_file_or_text(json_schema))
    if grammar is not None:
        return ResponseFormat.lark(read_file_or_text(grammar))
    return None if regex is None else ResponseFormat.regex(regex)


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


def _payload(model: LanguageModel, generation: Generation, text: str) -> dict[str, Any]:
    return {
        "model": model.exported.name,
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
