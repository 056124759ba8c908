"""Arguments and options that several commands have, and reading of texts from stdin or files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegen.cli.options import option
from edgegen.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from edgegen_runtime.protocols import Drafter

MODEL = click.argument("model", metavar="DIR_OR_FILE", type=click.Path(path_type=Path))
THREADS = option(
    "--threads", type=click.IntRange(1, 1024), group="Model and memory", help="CPU threads.  [default: all cores]"
)
WEIGHT_CACHE = option(
    "--weight-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    group="Model and memory",
    help="File for XNNPACK's packed weights, which later starts map instead of packing again.  [default: none]",
)
SPECULATE = option(
    "--speculate",
    metavar="prompt-lookup|DIR",
    group="Speculative decoding",
    help="Source of draft tokens: n-grams of the text so far (prompt-lookup), or the exported folder of a smaller "
    "model with the same tokenizer. The answer stays the same. Needs an export with --verify-lengths.  "
    "[default: none]",
)


def open_drafter(speculate: str | None, threads: int | None) -> Drafter | None:
    """The drafter that ``--speculate`` names; None without the option."""
    from edgegen_runtime.generation.language_model import LanguageModel
    from edgegen_runtime.generation.speculative import DraftModel, PromptLookup

    if speculate is None:
        return None
    if speculate == "prompt-lookup":
        return PromptLookup()
    return DraftModel(LanguageModel.load(Path(speculate), threads=threads))


def read_stdin() -> str:
    """All text of stdin, without the newline at its end.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"stdin is not UTF-8 text: {error}", code=ErrorCode.NOT_UTF8, hint="convert it first"
        ) from error


def read_file_or_text(file_or_text: str) -> str:
    """Contents of the file of that name, if there is one, else the text itself.

    Raises:
        UsageError: the file cannot be read, or is not UTF-8.
    """
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
