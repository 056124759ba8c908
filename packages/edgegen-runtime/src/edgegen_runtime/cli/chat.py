"""Interactive chat of ``edgegen run`` on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from edgegen.cli.output import Output
from edgegen.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from edgegen_runtime.conversation import Conversation
    from edgegen_runtime.generation.config import GenerationConfig
    from edgegen_runtime.generation.sampling import SamplingOptions


def chat_loop(
    conversation: Conversation,
    options: SamplingOptions,
    config: GenerationConfig,
    output: Output,
    *,
    read_line: Callable[[str], str] = input,
) -> None:
    """Ask and answer until an empty line or the end of input; the KV cache keeps the conversation."""
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
            answer = conversation.ask(line, options, **config)
        except UsageError as error:
            if error.code != ErrorCode.CONTEXT_EXCEEDED:
                raise
            output.warn(f"{error.message}; the conversation starts anew (--context-shift would drop its oldest part)")
            conversation.clear()
            continue
        try:
            for piece in answer:
                output.write(piece)
        except KeyboardInterrupt:
            answer.close()  # its text so far is part of the conversation
        output.write("\n")


def _enable_line_editing() -> None:
    with suppress(ImportError):  # not on every platform
        import readline  # noqa: F401  (importing it gives input() its editing and history)
