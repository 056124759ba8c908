"""The decoder stack: a language model of blocks over an external cache."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import nn

from edgegen.tflite.naming import decode_name, prefill_name
from edgegen.tracing import Repeated, Signature
from edgegen_layers.attention import CausalSelfAttention
from edgegen_layers.cache import KVCache
from edgegen_layers.config import ModelConfig, TransformerBlockConfig
from edgegen_layers.feed_forward import GatedFeedForward
from edgegen_layers.kernels import AttentionKernel, MatmulAttention, causal_hidden
from edgegen_layers.norm import RMSNorm
from edgegen_layers.rotary import RotaryTable, rotary_table


class TransformerBlock(Repeated):
    """Attention and feed-forward, each normalized first and added to the residual stream."""

    def __init__(self, dim: int, config: TransformerBlockConfig, kernel: AttentionKernel) -> None:
        super().__init__()
        self.structure_key = (dim, config, type(kernel))
        self.attention_norm = RMSNorm(dim, config.pre_attention_norm_config)
        self.attention = CausalSelfAttention(dim, config.attn_config, kernel)
        self.feed_forward_norm = RMSNorm(dim, config.pre_ff_norm_config)
        self.feed_forward = GatedFeedForward(dim, config.ff_config)

    @property
    def structure(self) -> Hashable:
        return self.structure_key

    def forward(
        self,
        x: torch.Tensor,
        rotary: RotaryTable,
        mask: torch.Tensor,
        start: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        attended, keys, values = self.attention(self.attention_norm(x), rotary, mask, start, keys, values)
        x = x + attended
        x = x + self.feed_forward(self.feed_forward_norm(x))
        return x, keys, values


class DecoderLM(nn.Module):
    """A decoder-only language model, configured by :class:`ModelConfig`.

    Args:
        config: sizes.
        kernel: how to attend; default: :class:`MatmulAttention`.
    """

    def __init__(self, config: ModelConfig, kernel: AttentionKernel | None = None) -> None:
        super().__init__()
        self.config = config
        self.kernel = kernel or MatmulAttention()
        dim = config.embedding_dim
        self.embedding = nn.Embedding(config.vocab_size, dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, config.block_config, self.kernel) for _ in range(config.num_layers)
        )
        self.final_norm = RMSNorm(dim, config.final_norm_config)
        self.lm_head = nn.Linear(dim, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.embedding.weight

    def forward(
        self, tokens: torch.Tensor, input_pos: torch.Tensor, kv_cache: KVCache, *, logits: bool = True
    ) -> dict[str, torch.Tensor | KVCache]:
        """Run T tokens.

        Args:
            tokens: ``[1, T]`` int32.
            input_pos: ``[T]`` int32, consecutive: positions of the tokens, and the cache slots that they go to.
            kv_cache: keys and values of all earlier positions.
            logits: whether to compute them; prefill does without.

        Returns:
            ``kv_cache``, updated, and ``logits [1, T, V]`` if asked for.
        """
        attention = self.config.block_config.attn_config
        rotary = rotary_table(input_pos, attention.head_dim, attention.rotary_base)
        slots = self.kernel.cache_length(kv_cache.k[0])
        mask = self.kernel.mask(causal_hidden(input_pos, slots), attention)
        start = input_pos[:1]
        x = self.embedding(tokens)  # [1, T, D]
        updated = KVCache([], [])
        for block, keys, values in zip(self.blocks, kv_cache.k, kv_cache.v, strict=True):
            x, keys, values = block(x, rotary, mask, start, keys, values)
            updated.k.append(keys)
            updated.v.append(values)
        if not logits:
            return {"kv_cache": updated}
        return {"kv_cache": updated, "logits": self.lm_head(self.final_norm(x))}

    def new_cache(self, length: int, device: str | torch.device | None = None) -> KVCache:
        """An empty cache with ``length`` slots, on ``device`` (default: the model's)."""
        k, v = self.kernel.cache_shapes(self.config.block_config.attn_config, length)
        device = device or self.embedding.weight.device
        layers = range(self.config.num_layers)
        return KVCache([torch.zeros(k, device=device) for _ in layers], [torch.zeros(v, device=device) for _ in layers])

    def signatures(
        self, prefill_lengths: Sequence[int], cache_length: int, short_caches: Sequence[int] = ()
    ) -> list[Signature]:
        """``prefill_<N>`` for each length, which fill the cache, and ``decode``, which gives logits.

        The same again on each of ``short_caches`` (in tokens, shorter than ``cache_length``), as
        :mod:`edgegen.tflite.naming` names them, with those prefill lengths that fit.
        """
        device = self.embedding.weight.device

        def arguments(length: int, cache: KVCache) -> tuple[torch.Tensor, torch.Tensor, KVCache]:
            tokens = torch.zeros(1, length, dtype=torch.int32, device=device)
            return tokens, torch.arange(length, dtype=torch.int32, device=device), cache

        result = []
        for name, slots in [(None, cache_length), *((slots, slots) for slots in short_caches)]:
            cache = self.new_cache(slots)
            result += [
                Signature(prefill_name(n, name), self, arguments(n, cache), {"logits": False})
                for n in prefill_lengths
                if n <= slots
            ]
            result.append(Signature(decode_name(name), self, arguments(1, cache), {"logits": True}))
        return result
