"""Stop strings: texts that end an answer, wherever the borders between tokens fall."""

from __future__ import annotations

from collections.abc import Sequence

from edgegen.errors import ErrorCode, UsageError


class StopStrings:
    """Filter of streamed text that ends at the first stop string and holds back a possible beginning of one.

    Attributes:
        met: True once a stop string has come; nothing more is let through.

    Raises:
        UsageError: a stop string is empty.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        if not all(strings):
            raise UsageError(
                "a stop string is empty",
                code=ErrorCode.INVALID_GENERATION_OPTION,
                hint="leave it out, or give --stop TEXT",
            )
        self._strings = tuple(strings)
        self._pending = ""
        self.met = False

    def push(self, piece: str) -> str:
        """Text that is certain to come before any stop string now."""
        if self.met:
            return ""
        text = self._pending + piece
        begins = [at for at in map(text.find, self._strings) if at >= 0]
        if begins:
            self.met, self._pending = True, ""
            return text[: min(begins)]
        pending = max((_overlap(text, string) for string in self._strings), default=0)
        self._pending = text[len(text) - pending :]
        return text[: len(text) - pending]

    def flush(self) -> str:
        """Text held back, at the end: it began no stop string after all."""
        pending, self._pending = self._pending, ""
        return pending


def _overlap(text: str, string: str) -> int:
    """Length of the longest ending of ``text`` that ``string`` begins with, short of all of it."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0
