"""An encoder and a decoder that attends to what it made: one text in, another one out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edgegen.genai.signature_names import encode_name
from edgegen.tracing import Signature
from edgegen_layers.cache import KVCache
from edgegen_layers.config import EncoderDecoderConfig
from edgegen_layers.decoder import DecoderLM, EncoderStates
from edgegen_layers.encoder import Encoder, hidden_padding
from edgegen_layers.kernels import AttentionKernel


class EncoderDecoderLM(nn.Module):
    """An encoder-decoder language model, configured by :class:`EncoderDecoderConfig`.

    Args:
        config: of both halves, which share the table of tokens.
        kernel: how the decoder attends to its own text.
    """

    def __init__(self, config: EncoderDecoderConfig, kernel: AttentionKernel | None = None) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.decoder.embedding_dim)
        self.encoder = Encoder(config.encoder, self.embedding)
        self.decoder = DecoderLM(config.decoder, kernel, self.embedding)

    @property
    def kernel(self) -> AttentionKernel:
        """How the decoder attends to its own text."""
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
        """Read the text to answer (with ``attention_mask``), or go on with the answer (with all the others).

        Args:
            tokens: ``[1, T]`` int32.
            attention_mask: ``[1, T]`` int32, 1 for tokens and 0 for padding.
            input_pos: see :meth:`DecoderLM.forward`, like all that follows.
            kv_cache: of the answer.
            encoder_states: what reading the text gave.
            encoder_length: slots that the encoder states get, T or more; default: T.
            logits: whether to compute them.

        Returns:
            ``encoder_states``; or ``kv_cache``, and ``logits [1, T, V]`` if asked for.
        """
        if attention_mask is not None:
            encoded = self.encoder(tokens, attention_mask)
            return {"encoder_states": self.remember(encoded, attention_mask, encoder_length or tokens.shape[1])}
        assert input_pos is not None
        assert kv_cache is not None
        return self.decoder(tokens, input_pos, kv_cache, encoder_states=encoder_states, logits=logits)  # type: ignore[no-any-return]

    def remember(self, encoded: torch.Tensor, attention_mask: torch.Tensor, length: int) -> EncoderStates:
        """What the decoder's blocks need of the encoder's output ``[1, T, D]``, in ``length`` slots."""
        empty = length - encoded.shape[1]
        pairs = [block.cross_attention.remember(encoded) for block in self.decoder.blocks]  # type: ignore[union-attr, operator]
        if empty:
            pairs = [tuple(nn.functional.pad(part, (0, 0, 0, 0, 0, empty)) for part in pair) for pair in pairs]
            attention_mask = nn.functional.pad(attention_mask.float(), (0, empty))
        keys, values = zip(*pairs, strict=True)
        return EncoderStates(list(keys), list(values), hidden_padding(attention_mask))

    def new_cache(self, length: int, device: str | torch.device | None = None) -> KVCache:
        """See :meth:`DecoderLM.new_cache`."""
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
            encode_lengths: of the text to answer, padding included; the encoder states have slots for the longest.
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

    def empty_encoder_states(self, slots: int) -> EncoderStates:
        """Zeros of the shapes of encoder states with ``slots`` slots."""
        device = self.embedding.weight.device
        attentions = [block.cross_attn_config for block in self.decoder.config.blocks]
        shapes = [(1, slots, config.num_kv_heads, config.head_dim) for config in attentions if config]
        keys, values = ([torch.zeros(shape, device=device) for shape in shapes] for _ in "kv")
        return EncoderStates(keys, values, torch.zeros(1, 1, 1, slots, device=device))
