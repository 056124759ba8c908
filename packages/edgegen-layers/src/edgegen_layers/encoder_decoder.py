"""Base of encoder-decoder language models: encoder states, the cache and the signatures of both halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from edgegen.genai.signature_names import encode_name
from edgegen.tracing import Signature
from edgegen_layers.attention import CrossAttention
from edgegen_layers.cache import KVCache
from edgegen_layers.decoder import DecoderLM
from edgegen_layers.encoder import padding_mask
from edgegen_layers.kernels import AttentionKernel


class EncoderStates(NamedTuple):
    """Cross-attention cache: keys and values that every decoder block makes of the encoder's output, and the mask.

    Attributes:
        k: for each block ``[1, S, KH, H]``.
        v: likewise.
        mask: ``[1, 1, 1, S]``, added to scores.
    """

    k: list[torch.Tensor]
    v: list[torch.Tensor]
    mask: torch.Tensor


class EncoderDecoderConfig(Protocol):
    """Hyper-parameters that every encoder-decoder's configuration has among others."""

    @property
    def vocab_size(self) -> int:
        """V: rows of the embedding table."""
        ...

    @property
    def max_position_embeddings(self) -> int:
        """Longest text that the model was trained for, in tokens."""
        ...

    @property
    def decoder_start_token_id(self) -> int:
        """Token that every answer begins with, unseen."""
        ...


class EncoderDecoderLM(nn.Module):
    """Base of encoder-decoder language models; a subclass makes the parts below.

    Args:
        config: hyper-parameters.

    Attributes:
        embedding: table of tokens, shared by both halves.
        encoder: ``(tokens [B, T], attention_mask [B, T])`` to ``[B, T, D]``.
        decoder: takes ``encoder_states=`` besides what :class:`DecoderLM` takes.
        cross_attentions: cross attention of each decoder block.
    """

    embedding: nn.Embedding
    encoder: nn.Module
    decoder: DecoderLM
    cross_attentions: list[CrossAttention]

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def kernel(self) -> AttentionKernel:
        """Attention kernel of the decoder's cache."""
        return self.decoder.kernel

    def forward(
        self,
        tokens: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        input_pos: torch.Tensor | None = None,
        kv_cache: KVCache | None = None,
        encoder_states: EncoderStates | None = None,
        *,
        encoder_length: int | None = None,
        logits: bool = True,
    ) -> dict[str, torch.Tensor | KVCache | EncoderStates]:
        """Encode the source text (with ``attention_mask``), or run T tokens of the answer (with all the others).

        Args:
            tokens: ``[1, T]`` int32.
            attention_mask: ``[1, T]`` int32, 1 for tokens and 0 for padding.
            input_pos: ``[T]`` int32, consecutive: positions in the answer, and the cache slots.
            kv_cache: of the answer.
            encoder_states: result of encoding.
            encoder_length: slots of the encoder states, T or more; default: T.
            logits: False to leave them out, as prefill does.

        Returns:
            ``encoder_states``; or ``kv_cache``, and ``logits [1, T, V]`` if asked for.
        """
        if attention_mask is not None:
            encoded = self.encoder(tokens, attention_mask)
            return {"encoder_states": self.encoder_states(encoded, attention_mask, encoder_length or tokens.shape[1])}
        assert input_pos is not None
        assert kv_cache is not None
        return self.decoder(tokens, input_pos, kv_cache, encoder_states=encoder_states, logits=logits)  # type: ignore[no-any-return]

    def encoder_states(self, encoded: torch.Tensor, attention_mask: torch.Tensor, length: int) -> EncoderStates:
        """Keys, values and mask of the encoder's output ``[1, T, D]``, padded to ``length`` slots."""
        empty = length - encoded.shape[1]
        pairs = [attention.project_states(encoded) for attention in self.cross_attentions]
        if empty:
            padding = (0, 0, 0, 0, 0, empty)
            pairs = [(nn.functional.pad(k, padding), nn.functional.pad(v, padding)) for k, v in pairs]
            attention_mask = nn.functional.pad(attention_mask.float(), (0, empty))
        keys, values = zip(*pairs, strict=True)
        return EncoderStates(list(keys), list(values), padding_mask(attention_mask))

    def empty_encoder_states(self, slots: int) -> EncoderStates:
        """Zeros of the shapes of encoder states with ``slots`` slots."""
        device = self.embedding.weight.device
        configs = [attention.config for attention in self.cross_attentions]
        shapes = [(1, slots, config.num_kv_heads, config.head_dim) for config in configs]
        keys, values = ([torch.zeros(shape, device=device) for shape in shapes] for _ in "kv")
        return EncoderStates(keys, values, torch.zeros(1, 1, 1, slots, device=device))

    def new_cache(self, length: int, device: str | torch.device | None = None) -> KVCache:
        """Empty cache of ``length`` slots for the answer; see :meth:`DecoderLM.new_cache`."""
        return self.decoder.new_cache(length, device)

    def max_rollback(self, cache_length: int) -> int | None:
        """See :meth:`DecoderLM.max_rollback`."""
        return self.decoder.max_rollback(cache_length)

    def signatures(
        self,
        encode_lengths: Sequence[int],
        prefill_lengths: Sequence[int],
        cache_length: int,
        cache_buckets: Sequence[int] = (),
    ) -> list[Signature]:
        """``encode_<N>`` for each length, and the decoder's, which take what any of those gives.

        Args:
            encode_lengths: of the source text, padding included; the encoder states have slots for the longest.
            prefill_lengths: see :meth:`DecoderLM.signatures`, like all that follows.
            cache_length: tokens of the answer.
            cache_buckets: of the answer.
        """
        device, slots = self.embedding.weight.device, max(encode_lengths)
        result = []
        for length in encode_lengths:
            text = torch.zeros(1, length, dtype=torch.int32, device=device)
            result.append(
                Signature(encode_name(length), self, (text, torch.ones_like(text)), {"encoder_length": slots})
            )
        encoder_states = self.empty_encoder_states(slots)
        for signature in self.decoder.signatures(prefill_lengths, cache_length, cache_buckets):
            tokens, input_pos, kv_cache = signature.args
            arguments: dict[str, Any] = {"input_pos": input_pos, "kv_cache": kv_cache, "encoder_states": encoder_states}
            result.append(Signature(signature.name, self, (tokens,), {**arguments, **signature.kwargs}))
        return result
