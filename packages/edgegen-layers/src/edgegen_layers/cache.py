"""The key/value cache: tensors that the caller owns and every signature updates in place."""

from __future__ import annotations

from typing import NamedTuple

import torch


class KVCache(NamedTuple):
    """Keys and values of all layers. Their layout is the attention kernel's affair.

    As an argument named ``kv_cache`` its tensors become ``kv_cache_k_<layer>`` and ``kv_cache_v_<layer>``, the names
    that LiteRT-LM and MediaPipe look for.
    """

    k: list[torch.Tensor]
    v: list[torch.Tensor]
