"""An encoder and a decoder that attends to what it made: one text in, another one out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgegen.tflite.naming import decode_name, prefill_name
from edgegen.tracing import Signature
from edgegen_layers.cache import KVCache
from edgegen_layers.config import EncoderConfig, ModelConfig
from edgegen_layers.decoder import DecoderLM, Memory
from edgegen_layers.encoder import Encoder, hidden_padding
from edgegen_layers.kernels import AttentionKernel

ENCODE = "encode"
"""Name of the signature that reads the text to answer."""


class EncoderDecoderLM(nn.Module):
    """An encoder-decoder language model, configured by its two halves, which share the table of tokens.

    Args:
        encoder: its configuration.
        decoder: its configuration; the blocks have cross attention, and both halves one width.
        kernel: how the decoder attends to its own text.
    """

    def __init__(self, encoder: EncoderConfig, decoder: ModelConfig, kernel: AttentionKernel | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(decoder.vocab_size, decoder.embedding_dim)
        self.encoder = Encoder(encoder, self.embedding)
        self.decoder = DecoderLM(decoder, kernel, self.embedding)

    def forward(
        self,
        tokens: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        input_pos: torch.Tensor | None = None,
        kv_cache: KVCache | None = None,
        memory: Memory | None = None,
        *,
        logits: bool = True,
    ) -> dict[str, torch.Tensor | KVCache | Memory]:
        """Read the text to answer (with ``attention_mask``), or go on with the answer (with all the others).

        Args:
            tokens: ``[1, T]`` int32.
            attention_mask: ``[1, T]`` int32, 1 for tokens and 0 for padding.
            input_pos: see :meth:`DecoderLM.forward`, like all that follows.
            kv_cache: of the answer.
            memory: what reading the text gave.
            logits: whether to compute them.

        Returns:
            ``memory``; or ``kv_cache``, and ``logits [1, T, V]`` if asked for.
        """
        if attention_mask is not None:
            return {"memory": self.remember(self.encoder(tokens, attention_mask), attention_mask)}
        assert input_pos is not None
        assert kv_cache is not None
        return self.decoder(tokens, input_pos, kv_cache, memory=memory, logits=logits)  # type: ignore[no-any-return]

    def remember(self, encoded: torch.Tensor, attention_mask: torch.Tensor) -> Memory:
        """What the decoder's blocks need of the encoder's output ``[1, S, D]``."""
        pairs = [block.cross_attention.remember(encoded) for block in self.decoder.blocks]  # type: ignore[union-attr, operator]
        keys, values = zip(*pairs, strict=True)
        return Memory(list(keys), list(values), hidden_padding(attention_mask))

    def new_cache(self, length: int, device: str | torch.device | None = None) -> KVCache:
        """See :meth:`DecoderLM.new_cache`."""
        return self.decoder.new_cache(length, device)

    def signatures(self, encode_length: int, prefill_lengths: Sequence[int], cache_length: int) -> list[Signature]:
        """``encode``, and the decoder's ``prefill_<N>`` and ``decode``, which take what ``encode`` gives.

        Args:
            encode_length: of the text to answer, padding included.
            prefill_lengths: see :meth:`DecoderLM.signatures`.
            cache_length: tokens of the answer.
        """
        device = self.embedding.weight.device
        attentions = [block.cross_attn_config for block in self.decoder.config.blocks]
        shapes = [(1, encode_length, config.num_query_groups, config.head_dim) for config in attentions if config]
        memory = Memory(
            [torch.zeros(shape, device=device) for shape in shapes],
            [torch.zeros(shape, device=device) for shape in shapes],
            torch.zeros(1, 1, 1, encode_length, device=device),
        )
        text = torch.zeros(1, encode_length, dtype=torch.int32, device=device)
        result = [Signature(ENCODE, self, (text, torch.ones_like(text)))]
        lengths = [(prefill_name(n), n, False) for n in prefill_lengths] + [(decode_name(), 1, True)]
        for name, n, logits in lengths:
            arguments = {
                "tokens": torch.zeros(1, n, dtype=torch.int32, device=device),
                "input_pos": torch.arange(n, dtype=torch.int32, device=device),
                "kv_cache": self.new_cache(cache_length),
                "memory": memory,
                "logits": logits,
            }
            result.append(Signature(name, self, (), arguments))
        return result
