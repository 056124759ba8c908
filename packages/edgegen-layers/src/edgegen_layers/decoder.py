"""Bases of decoder-only language models: everything but the forward pass.

A family subclasses both: its block computes one layer, its model a whole step. From them :class:`DecoderLM` gets what
exporting needs (:mod:`edgegen.modeling`): the cache, the signatures, adapters, channels to scale, rollback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy.typing as npt
import torch
from torch import nn

from edgegen.genai.signature_names import decode_name, prefill_name, verify_name
from edgegen.quantization.channel_scaling import ScalingGroup
from edgegen.tracing import RepeatedBlock, Signature
from edgegen_layers.attention import AttentionInputs
from edgegen_layers.cache import KVCache
from edgegen_layers.channel_scaling import EMBEDDING_SCALES, block_scaling_groups, head_scaling_group
from edgegen_layers.config import AttentionConfig
from edgegen_layers.kernels import AttentionKernel
from edgegen_layers.layer_choices import Mixer, Mlp, Norm
from edgegen_layers.lora import LoraWeights
from edgegen_layers.positions import alibi_bias
from edgegen_layers.rotary import rotary_table


class DecoderConfig(Protocol):
    """Hyper-parameters that every decoder's configuration has among others."""

    @property
    def vocab_size(self) -> int:
        """V: rows of the embedding table."""
        ...

    @property
    def hidden_size(self) -> int:
        """D: channels of the residual stream."""
        ...

    @property
    def max_position_embeddings(self) -> int:
        """Longest sequence that the model was trained for, in tokens."""
        ...

    @property
    def tie_word_embeddings(self) -> bool:
        """True if the head is the embedding table."""
        ...


class DecoderBlock(RepeatedBlock):
    """Base of a decoder's blocks; a subclass makes the parts below and has a ``forward`` of these arguments::

        def forward(self, x, inputs, keys, values, lora=None): ...  # to x, keys, values

    Args:
        attention_config: of self-attention.
        trace_key: whatever else the code depends on; blocks of one class with equal keys are traced once.

    Attributes:
        attention_norm: normalization of attention's input.
        attention: the token mixer.
        feed_forward_norm: normalization of the feed-forward layer's input; None if that reads what attention reads.
        feed_forward: the MLP.
    """

    attention_norm: Norm
    attention: Mixer
    feed_forward_norm: Norm | None
    feed_forward: Mlp

    def __init__(self, attention_config: AttentionConfig, *trace_key: object) -> None:
        super().__init__()
        self.attention_config = attention_config
        self.trace_key = (attention_config, *trace_key)


class DecoderLM(nn.Module):
    """Base of decoder-only language models; a subclass makes the parts below and has a ``forward``.

    Args:
        config: hyper-parameters.
        kernel: how to attend to the cache.

    Attributes:
        embedding: table of tokens ``[V, D]``.
        blocks: :class:`DecoderBlock` each.
        final_norm: normalization of the head's input.
        lm_head: ``[V, D]``; its weight may be the table's.
        embedding_scales: ``[D]``, factor of the embeddings (SmoothQuant's, see :meth:`add_scales`); None for none.
    """

    embedding: nn.Embedding
    blocks: nn.ModuleList
    final_norm: Norm
    lm_head: nn.Linear
    embedding_scales: nn.Parameter | None

    def __init__(self, config: DecoderConfig, kernel: AttentionKernel) -> None:
        super().__init__()
        self.config = config
        self.kernel = kernel
        self.register_parameter(EMBEDDING_SCALES, None)

    # --- parts of a forward pass ------------------------------------------------------------------------------------

    def attention_inputs(
        self, input_pos: torch.Tensor, kv_cache: KVCache, bias: torch.Tensor | None = None
    ) -> list[AttentionInputs]:
        """For each block its RoPE tables, mask and cache offset; blocks of equal attention share them.

        Args:
            input_pos: ``[T]`` int32.
            kv_cache: tells how many slots there are.
            bias: ``[N, T, S]``, added to scores; None for none.
        """
        configs = self.attention_configs
        slots = {c: self.kernel.cache_length(keys) for c, keys in zip(configs, kv_cache.k, strict=True)}
        made = {config: self._inputs(config, input_pos, count, bias) for config, count in slots.items()}
        return [made[config] for config in configs]

    def _inputs(
        self, config: AttentionConfig, input_pos: torch.Tensor, slots: int, bias: torch.Tensor | None
    ) -> AttentionInputs:
        rotary = None
        if config.rotary_dim:
            rotary = rotary_table(
                input_pos,
                config.rotary_dim,
                config.rope_theta,
                config.rope_scaling,
                interleaved=config.rotary_interleaved,
            )
        if config.alibi:
            every_slot = torch.arange(slots, dtype=torch.int32, device=input_pos.device)
            fading = alibi_bias(input_pos, every_slot, config.num_attention_heads)
            bias = fading if bias is None else fading + bias
        return AttentionInputs(rotary, self.kernel.mask(input_pos, slots, config, bias), input_pos[:1])

    def run_blocks(
        self,
        x: torch.Tensor,
        inputs: Sequence[AttentionInputs],
        kv_cache: KVCache,
        lora_atten: LoraWeights | None = None,
        states: Sequence[Any] | None = None,
    ) -> tuple[torch.Tensor, KVCache]:
        """All blocks in turn, each with its own keys and values: ``x [1, T, D]``, and the new cache.

        Args:
            x: ``[1, T, D]``.
            inputs: of each block, see :meth:`attention_inputs`.
            kv_cache: keys and values of all earlier positions.
            lora_atten: an adapter, of which each block gets its part as ``lora``; None for none.
            states: a further argument of each block; None for none.
        """
        updated = KVCache([], [])
        for index, block in enumerate(self.blocks):
            more = () if states is None else (states[index],)
            adapter = {} if lora_atten is None else {"lora": lora_atten.block(index)}
            x, keys, values = block(x, inputs[index], kv_cache.k[index], kv_cache.v[index], *more, **adapter)
            updated.k.append(keys)
            updated.v.append(values)
        return x, updated

    def scale_channels(self, x: torch.Tensor) -> torch.Tensor:
        """Embeddings times :attr:`embedding_scales`, where there are any."""
        return x if self.embedding_scales is None else x * self.embedding_scales

    # --- what edgegen.modeling asks for -----------------------------------------------------------------------------

    @property
    def attention_configs(self) -> list[AttentionConfig]:
        """Attention of each block."""
        return [block.attention_config for block in self.decoder_blocks()]

    def decoder_blocks(self) -> Iterator[DecoderBlock]:
        """:attr:`blocks`, by their type."""
        return (cast(DecoderBlock, block) for block in self.blocks)

    def new_cache(self, length: int, device: str | torch.device | None = None) -> KVCache:
        """Empty cache of ``length`` slots, on ``device`` (default: the model's own)."""
        device = device or self.embedding.weight.device
        cache = KVCache([], [])
        for config in self.attention_configs:
            keys, values = self.kernel.cache_shapes(config, length)
            cache.k.append(torch.zeros(keys, device=device))
            cache.v.append(torch.zeros(values, device=device))
        return cache

    def max_rollback(self, cache_length: int) -> int | None:
        """Most tokens that a cache of ``cache_length`` slots can be rolled back by; None for all of them."""
        limits = (self.kernel.max_rollback(config, cache_length) for config in self.attention_configs)
        return min((tokens for tokens in limits if tokens is not None), default=None)

    def adapter(self, inputs: Mapping[str, npt.NDArray[Any]]) -> LoraWeights:
        """LoRA argument of ``forward``, from arrays by the names of the exported file's inputs."""
        return LoraWeights.named({name: torch.from_numpy(array) for name, array in inputs.items()}, len(self.blocks))

    def lora_projections(self) -> list[dict[str, tuple[str, int]]]:
        """For each block: projection -> parameter that holds it, and its rows there; of one parameter, in order."""
        result = []
        for index, config in enumerate(self.attention_configs):
            prefix = f"blocks.{index}.attention."
            names = ("qkv",) * 3 if config.qkv_fused else ("query", "key", "value")
            rows = (config.query_rows, config.kv_rows, config.kv_rows)
            parts = zip("qkvo", (*names, "output"), (*rows, self.config.hidden_size), strict=True)
            result.append({part: (f"{prefix}{name}.weight", count) for part, name, count in parts})
        return result

    def scaling_groups(self) -> list[ScalingGroup]:
        """Channels that can be scaled without changing what the model computes: of blocks, then of the head."""
        groups = []
        for index, block in enumerate(self.decoder_blocks()):
            feed_forward_norm = None if block.feed_forward_norm is None else block.feed_forward_norm.config
            groups += block_scaling_groups(
                f"blocks.{index}.",
                block.attention_norm.config,
                block.attention_config,
                feed_forward_norm,
                block.feed_forward.config,
            )
        return groups + head_scaling_group(self.final_norm.config, tied=self.config.tie_word_embeddings)

    def add_scales(self, name: str) -> None:
        """Add the parameter ``name``, the ``added`` of a scaling group: ones that multiply the embeddings."""
        assert name == EMBEDDING_SCALES
        self.embedding_scales = nn.Parameter(torch.ones_like(self.embedding.weight[0]))

    def signatures(
        self,
        prefill_lengths: Sequence[int],
        cache_length: int,
        cache_buckets: Sequence[int] = (),
        verify_lengths: Sequence[int] = (),
        lora_rank: int | None = None,
    ) -> list[Signature]:
        """Entry points of the file: ``prefill_<N>`` for each length, which fill the cache, and ``decode``, which gives
        logits.

        For each of ``verify_lengths`` there is a ``verify_<N>``, which does both: the logits after each of N tokens.
        With a ``lora_rank`` all of them take an adapter of that rank too, see :mod:`edgegen_layers.lora`.

        The same again on each of ``cache_buckets`` (in tokens, shorter than ``cache_length``), as
        :mod:`edgegen.genai.signature_names` names them, with those lengths that fit.
        """
        device = self.embedding.weight.device
        adapter = (
            ()
            if lora_rank is None
            else (LoraWeights.zeros(self.config.hidden_size, self.attention_configs, lora_rank, device),)
        )

        def arguments(length: int, cache: KVCache) -> tuple[Any, ...]:
            tokens = torch.zeros(1, length, dtype=torch.int32, device=device)
            return tokens, torch.arange(length, dtype=torch.int32, device=device), cache, *adapter

        result = []
        for name, slots in [(None, cache_length), *((slots, slots) for slots in cache_buckets)]:
            cache = self.new_cache(slots)
            result += [
                Signature(named(n, name), self, arguments(n, cache), {"logits": logits})
                for named, lengths, logits in (
                    (prefill_name, prefill_lengths, False),
                    (verify_name, verify_lengths, True),
                )
                for n in lengths
                if n <= slots
            ]
            result.append(Signature(decode_name(name), self, arguments(1, cache), {"logits": True}))
        return result
