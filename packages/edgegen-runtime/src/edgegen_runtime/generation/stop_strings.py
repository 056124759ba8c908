"""Texts that end an answer, wherever the borders between tokens fall."""

from __future__ import annotations

from collections.abc import Sequence

from edgegen.errors import ErrorCode, UsageError


class StopStrings:
    """Lets text through up to the first stop string, and holds back what may turn out to begin one.

    Attributes:
        met: a stop string has come; nothing more is let through.

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
        self._held = ""
        self.met = False

    def push(self, piece: str) -> str:
        """What is certain to come before any stop string now."""
        if self.met:
            return ""
        text = self._held + piece
        begins = [at for at in map(text.find, self._strings) if at >= 0]
        if begins:
            self.met, self._held = True, ""
            return text[: min(begins)]
        held = max((_overlap(text, string) for string in self._strings), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """The text has ended: what was held back began no stop string after all."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Length of the longest ending of ``text`` that ``string`` begins with, short of all of it."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0
