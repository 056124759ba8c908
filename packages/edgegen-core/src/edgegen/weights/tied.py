"""Tied weights: whether a checkpoint's head is its embedding table, by what it states and by its numbers."""

from __future__ import annotations

import numpy as np

from edgegen.weights.tensors import Checkpoint, LazyTensor

_AT_ONCE = 1 << 22
"""Numbers that are compared at a time."""


def head_is_tied(
    checkpoint: Checkpoint, stated: bool, table: str = "model.embed_tokens.weight", head: str = "lm_head.weight"
) -> bool:
    """True if the head is the table. As in transformers, both being there with other numbers unties them.

    Args:
        checkpoint: opened.
        stated: ``tie_word_embeddings``.
        table: name of the embedding table.
        head: name of the head's weight.
    """
    tensors = checkpoint.tensors
    return stated and not (table in tensors and head in tensors and not _equal(tensors[table], tensors[head]))


def _equal(one: LazyTensor, other: LazyTensor) -> bool:
    if one.shape != other.shape:
        return False
    rows = max(1, _AT_ONCE // max(1, one.shape[-1]))
    return all(
        np.array_equal(one.read_rows(start, stop), other.read_rows(start, stop))
        for start in range(0, one.rows, rows)
        for stop in (min(start + rows, one.rows),)
    )
