"""Texts for an encoder: which signature reads one, and what goes into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UsageError
from edgegen.genai.signature_names import encode_signatures
from edgegen.litert.session import Session
from edgegen_runtime.bundle import Bundle


class TextReader:
    """Runs the shortest ``encode_<N>`` that takes a text.

    Args:
        session: the loaded file.
        bundle: what the manifest says.

    Raises:
        UsageError: the file has no such signature.
    """

    def __init__(self, session: Session, bundle: Bundle) -> None:
        self._session, self._bundle = session, bundle
        self.signatures = encode_signatures(session.signatures)
        if not self.signatures:
            raise UsageError(
                f"{bundle.name} has no encode signatures",
                code=ErrorCode.SIGNATURES_MISSING,
                hint="export the model again",
            )

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max(self.signatures)

    def check(self, token_ids: Sequence[int], remedy: str) -> None:
        """Refuse a text that is empty or too long.

        Args:
            token_ids: the text.
            remedy: what else can be done with one that is too long.

        Raises:
            UsageError: with code EG742, or EG741.
        """
        count = len(token_ids)
        if not count:
            raise UsageError(
                "the text is empty", code=ErrorCode.INPUT_TOO_SHORT, hint="give a text of at least one token"
            )
        if count > self.longest:
            trained_for = count <= self._bundle.context_length
            raise UsageError(
                f"the text has {count} tokens, and the file reads {self.longest} at most",
                code=ErrorCode.CONTEXT_EXCEEDED,
                hint=f"{remedy}, or export with --encode-lengths up to {count}" if trained_for else remedy,
            )

    def read(self, token_ids: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """The signature's outputs for a text that :meth:`check` passes."""
        length = min(length for length in self.signatures if length >= len(token_ids))
        tokens, mask = np.zeros((2, 1, length), np.int32)
        tokens[0, : len(token_ids)], mask[0, : len(token_ids)] = token_ids, 1
        return self._session.run(self.signatures[length], {"tokens": tokens, "attention_mask": mask})
