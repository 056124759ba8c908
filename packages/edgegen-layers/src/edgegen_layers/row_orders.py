"""Row orders of published projection weights, for weight maps (:func:`edgegen.weights.weight_map.permute_rows`)."""

from __future__ import annotations

import numpy as np

from edgegen.weights.row_operations import Indices


def interleaved_to_half_rotary(heads: int, head_dim: int) -> Indices:
    """Row order that turns llama.cpp's query and key weights back into the published ones.

    Rotary embedding turns pairs of channels. Published Llama weights pair channel ``j`` with ``j + D/2`` of a
    head (two halves); llama.cpp's kernel pairs ``2j`` with ``2j + 1``, so its converter reorders the rows of
    each head: viewed as ``[heads, 2, D/2]``, the row ``(h, half, j)`` moves to where ``[heads, D/2, 2]`` has
    ``(h, j, half)``. To undo it, the published row ``h*D + half*D/2 + j`` is the stored row ``h*D + 2*j +
    half``: number the stored rows, view them as ``[heads, D/2, 2]`` and swap the last two axes.

    Source: ``LlamaModel.permute`` in llama.cpp's ``convert_hf_to_gguf.py``.

    Args:
        heads: heads of this weight (key/value heads for the key).
        head_dim: rows of a head, even.

    Returns:
        ``heads * head_dim`` indices.
    """
    if head_dim % 2:
        raise ValueError(f"rotary heads have an even number of channels, not {head_dim}")
    return np.arange(heads * head_dim).reshape(heads, head_dim // 2, 2).swapaxes(1, 2).reshape(-1)


def interleaved_qkv(heads: int, groups: int, head_dim: int) -> Indices:
    """Row order that takes a fused projection apart whose rows go group by group.

    GPT-NeoX, BLOOM and Falcon store, for each key/value head, its queries' rows, then its key's, then its value's. The
    result has all queries, then all keys, then all values.

    Args:
        heads: query heads.
        groups: key/value heads; as many as heads where each head has its own.
        head_dim: rows of a head.

    Returns:
        ``(heads + 2 * groups) * head_dim`` indices.
    """
    each = heads // groups
    stored = np.arange((heads + 2 * groups) * head_dim).reshape(groups, each + 2, head_dim)
    return np.concatenate([stored[:, part].reshape(-1) for part in (slice(each), each, each + 1)])
