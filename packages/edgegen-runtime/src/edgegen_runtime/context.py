"""A KV cache and the tokens in it: the model at one point of one text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgegen.errors import UsageError
from edgegen_runtime import prefill
from edgegen_runtime.sampling import Logits

if TYPE_CHECKING:
    from edgegen.tflite.session import Session, SignatureInfo

_PREFILL = re.compile(r"prefill(_\d+)?")
_OWN_INPUTS = {"tokens", "input_pos"}


@dataclass(frozen=True)
class LanguageSignatures:
    """The signatures of a language model that the runtime uses; a file may hold others."""

    prefill: Mapping[int, str]
    """Length -> name."""
    vocab_size: int
    """Number of logits that ``decode`` returns."""

    @classmethod
    def of(cls, session: Session, cache_length: int) -> LanguageSignatures:
        """Find them, and check that the cache has the length that the manifest claims.

        Raises:
            UsageError: no ``decode`` signature with ``logits``, or a cache of another length.
        """
        decode = session.signatures.get(prefill.DECODE)
        if decode is None or "logits" not in decode.outputs or not _takes_tokens(decode):
            raise UsageError(
                f"not a language model: no signature decode from tokens and input_pos to logits "
                f"(found {', '.join(session.signatures) or 'none'})",
                code="EG705",
            )
        for name in decode.state:
            if name.startswith("kv_cache_") and cache_length not in decode.inputs[name].shape:
                raise UsageError(
                    f"{name} is {decode.inputs[name].shape}, but the manifest's cache_length {cache_length}",
                    code="EG706",
                    hint="manifest.json and model.tflite are of different exports; export again",
                )
        lengths = {
            int(info.inputs["tokens"].shape[1]): name
            for name, info in session.signatures.items()
            if _PREFILL.fullmatch(name) and _takes_tokens(info)
        }
        return cls(dict(sorted(lengths.items())), int(decode.outputs["logits"].shape[-1]))


def _takes_tokens(info: SignatureInfo) -> bool:
    """Whether the signature needs nothing but tokens, their positions and the state."""
    return set(info.inputs) - set(info.state) == _OWN_INPUTS


class Context:
    """Tokens that a model has read, as rows of its KV cache.

    Rows beyond :attr:`tokens` may hold anything: the causal mask hides them until they are overwritten. One
    context serves one text at a time; make one for each conversation. All contexts of a session must be used
    from one thread at a time.
    """

    def __init__(self, session: Session, signatures: LanguageSignatures, cache_length: int) -> None:
        self._session = session
        self._signatures = signatures
        self._state = session.new_state()
        self._tokens: list[int] = []
        self.cache_length = cache_length
        self._token = np.zeros((1, 1), np.int32)
        self._position = np.zeros(1, np.int32)

    @property
    def tokens(self) -> Sequence[int]:
        """What the rows of the cache stand for; the next token goes to row ``len(tokens)``."""
        return self._tokens

    def rewind(self, length: int) -> None:
        """Forget all tokens but the first ``length``."""
        del self._tokens[length:]

    def prefill(self, token_ids: Sequence[int]) -> None:
        """Read ``token_ids``; their logits are not wanted.

        Raises:
            ValueError: they do not fit the cache.
        """
        start = len(self._tokens)
        text = [*self._tokens, *token_ids]
        for chunk in prefill.plan(self._signatures.prefill, start, len(text), self.cache_length):
            # If the call is interrupted, the rows it was to fill are in doubt, and only those.
            self.rewind(chunk.start)
            tokens = np.zeros((1, chunk.length), np.int32)
            known = text[chunk.start : chunk.end]
            tokens[0, : len(known)] = known
            positions = np.arange(chunk.start, chunk.end, dtype=np.int32)
            self._session.run(chunk.signature, {"tokens": tokens, "input_pos": positions}, self._state)
            self._tokens.extend(known)

    def step(self, token_id: int) -> Logits:
        """Read one token.

        Returns:
            Logits of the token after it, float32 [V].

        Raises:
            ValueError: the cache is full.
        """
        position = len(self._tokens)
        if position >= self.cache_length:
            raise ValueError(f"the cache of {self.cache_length} tokens is full")
        self._token[0, 0] = token_id
        self._position[0] = position
        inputs = {"tokens": self._token, "input_pos": self._position}
        logits: Logits = self._session.run(prefill.DECODE, inputs, self._state)["logits"]
        self._tokens.append(token_id)
        return logits.reshape(-1)
