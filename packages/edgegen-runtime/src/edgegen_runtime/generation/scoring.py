"""How probable a model finds a given text, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from edgegen_runtime.cache.kv_cache import Context

LogProbabilities = npt.NDArray[np.float32]

READ_AT_ONCE = 64
"""Tokens whose logits are in memory together."""


def score(context: Context, token_ids: Sequence[int]) -> LogProbabilities:
    """Natural logarithms of the probabilities of ``token_ids[1:]``, each after all tokens before it.

    Reads several tokens a call where the file has ``verify_<N>`` signatures, else one by one.

    Args:
        context: is overwritten.
        token_ids: T of them.

    Returns:
        float32 [T-1].

    Raises:
        UsageError: fewer than two tokens, or more than the cache holds.
    """
    count = len(token_ids)
    if count < 2:  # the first token has nothing to be judged by
        raise UsageError(f"{count} tokens cannot be scored", code=ErrorCode.INPUT_TOO_SHORT, hint="give two or more")
    if count - 1 > context.cache_length:
        raise UsageError(
            f"{count} tokens do not fit the cache of {context.cache_length}",
            code=ErrorCode.CONTEXT_EXCEEDED,
            hint="score the text in parts, or export with a longer --cache-length",
        )
    context.rewind(0)
    scores: list[npt.NDArray[Any]] = []
    for start in range(0, count - 1, READ_AT_ONCE):
        chunk = token_ids[start : min(start + READ_AT_ONCE, count - 1)]
        following = list(token_ids[start + 1 : start + 1 + len(chunk)])
        scores.append(log_softmax(read(context, chunk))[np.arange(len(chunk)), following])
    return np.concatenate(scores).astype(np.float32)


def read(context: Context, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
    """The logits after each of ``token_ids``, ``[N, V]``, which follow what the context has read; it goes on."""
    rows: list[npt.NDArray[np.float32]] = []
    start = 0
    while start < len(token_ids):
        length = context.verify_length(len(token_ids) - start)
        chunk = token_ids[start : start + max(length, 1)]
        rows.append(context.verify(chunk) if length > 1 else context.step(chunk[0])[None])
        start += len(chunk)
    return np.concatenate(rows)


def log_softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Log-probabilities of ``logits [N, V]``."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
