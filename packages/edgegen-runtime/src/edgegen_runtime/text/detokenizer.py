"""Streaming detokenizer: token by token to text, never half a character."""

from __future__ import annotations

import codecs

from edgegen_runtime.text.tokenizer import Tokenizer, drop_leading_spaces

_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """Incremental decoder from token ids to pieces of text.

    The pieces in a row, with :meth:`flush` last, are exactly :func:`edgegen_runtime.text.tokenizer.decode` of all
    ids. A character whose bytes are spread over several tokens comes out with the last of them; U+FFFD
    appears only where the bytes are not UTF-8.

    Args:
        continuation: the tokens follow earlier text, so a space at their beginning is kept.
    """

    def __init__(self, tokenizer: Tokenizer, *, continuation: bool = False) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._spaces_to_drop = 0 if continuation else tokenizer.leading_spaces
        self._utf8 = _utf8_decoder(errors="replace")

    def push(self, token_id: int) -> str:
        """Text that is certain now, often of this token alone; may be empty."""
        data = self._token_bytes(token_id)
        if self._spaces_to_drop and data:
            kept = drop_leading_spaces(data, self._spaces_to_drop)
            # Once anything but a space came, the beginning of the text is over.
            self._spaces_to_drop = 0 if kept else self._spaces_to_drop - len(data)
            data = kept
        return self._utf8.decode(data)

    def flush(self) -> str:
        """Rest of the text at the end: U+FFFD if the last character is incomplete, else nothing."""
        return self._utf8.decode(b"", final=True)
