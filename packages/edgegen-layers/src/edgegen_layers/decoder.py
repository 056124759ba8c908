"""The decoder stack: a language model of blocks over an external cache."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import nn

from edgegen.genai.signature_names import decode_name, prefill_name, verify_name
from edgegen.quantization.channel_scaling import ScalingGroup
from edgegen.tracing import Repeated, Signature
from edgegen_layers.attention import CausalSelfAttention, CrossAttention, Place
from edgegen_layers.cache import KVCache
from edgegen_layers.channel_scaling import EMBEDDING_SCALES, decoder_scaling_groups
from edgegen_layers.config import AttentionConfig, ModelConfig, TransformerBlockConfig
from edgegen_layers.feed_forward import build_feed_forward
from edgegen_layers.kernels import AttentionKernel, MatmulAttention, softcap
from edgegen_layers.lora import AttentionLora, LoraWeights
from edgegen_layers.norm import build_norm
from edgegen_layers.positions import RelativePositionBias, alibi_bias
from edgegen_layers.rotary import rotary_table


class EncoderStates(NamedTuple):
    """What a decoder knows of another text: keys and values of every block's cross attention, and what to leave out.

    Attributes:
        k: for each block ``[1, S, KH, H]``.
        v: likewise.
        mask: ``[1, 1, 1, S]``, added to scores.
    """

    k: list[torch.Tensor]
    v: list[torch.Tensor]
    mask: torch.Tensor


class TransformerBlock(Repeated):
    """Attention and feed-forward, each normalized first and added to the residual stream.

    Between the two, in a block that is configured for it, attention to another text.
    """

    def __init__(self, dim: int, config: TransformerBlockConfig, kernel: AttentionKernel) -> None:
        super().__init__()
        self.config = config
        self.structure_key = (dim, config, kernel)
        self.attention_norm = build_norm(dim, config.pre_attention_norm_config)
        self.attention = CausalSelfAttention(dim, config.attn_config, kernel)
        if config.cross_attn_config is not None:
            self.cross_attention_norm = build_norm(dim, config.pre_cross_attention_norm_config)
            self.cross_attention = CrossAttention(dim, config.cross_attn_config, encoder_dim=dim)
        if not config.parallel_residual:
            self.feed_forward_norm = build_norm(dim, config.pre_ff_norm_config)
        self.feed_forward = build_feed_forward(dim, config.ff_config)
        if config.post_attention_norm_config is not None:
            self.post_attention_norm = build_norm(dim, config.post_attention_norm_config)
        if config.post_ff_norm_config is not None:
            self.post_feed_forward_norm = build_norm(dim, config.post_ff_norm_config)

    @property
    def structure(self) -> Hashable:
        return self.structure_key

    def forward(
        self,
        x: torch.Tensor,
        place: Place,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
        encoder_states: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``encoder_states``: keys, values and mask of the other text."""
        normalized = self.attention_norm(x)
        attended, keys, values = self.attention(normalized, place, keys, values, lora)
        if self.config.post_attention_norm_config is not None:
            attended = self.post_attention_norm(attended)
        if self.config.parallel_residual:
            return x + attended + self.feed_forward(normalized), keys, values
        x = x + attended
        if encoder_states is not None:
            x = x + self.cross_attention(self.cross_attention_norm(x), *encoder_states)
        forwarded = self.feed_forward(self.feed_forward_norm(x))
        if self.config.post_ff_norm_config is not None:
            forwarded = self.post_feed_forward_norm(forwarded)
        return x + forwarded, keys, values


class DecoderLM(nn.Module):
    """A decoder-only language model, configured by :class:`ModelConfig`.

    Args:
        config: sizes.
        kernel: how to attend; default: :class:`MatmulAttention`.
        embedding: a table of tokens that is shared with another part of a model; default: one of its own.
    """

    def __init__(
        self, config: ModelConfig, kernel: AttentionKernel | None = None, embedding: nn.Embedding | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.kernel = kernel or MatmulAttention()
        dim = config.embedding_dim
        self.embedding = nn.Embedding(config.vocab_size, dim) if embedding is None else embedding
        if config.learned_positions:
            self.positions = nn.Embedding(config.max_seq_len, dim)
        if config.embedding_norm_config is not None:
            self.embedding_norm = build_norm(dim, config.embedding_norm_config)
        if config.relative_position is not None:
            relative, heads = config.relative_position, config.blocks[0].attn_config.num_heads
            self.relative_position = RelativePositionBias(
                relative.num_buckets, relative.max_distance, heads, bidirectional=False
            )
        self.blocks = nn.ModuleList(TransformerBlock(dim, block, self.kernel) for block in config.blocks)
        self.final_norm = build_norm(dim, config.final_norm_config)
        self.lm_head = nn.Linear(dim, config.vocab_size, bias=config.lm_head_use_bias)
        if config.tie_embeddings:
            self.lm_head.weight = self.embedding.weight

    def forward(
        self,
        tokens: torch.Tensor,
        input_pos: torch.Tensor,
        kv_cache: KVCache,
        lora_atten: LoraWeights | None = None,
        *,
        encoder_states: EncoderStates | None = None,
        logits: bool = True,
    ) -> dict[str, torch.Tensor | KVCache]:
        """Run T tokens.

        Args:
            tokens: ``[1, T]`` int32.
            input_pos: ``[T]`` int32, consecutive: positions of the tokens, and the cache slots that they go to.
            kv_cache: keys and values of all earlier positions.
            lora_atten: an adapter of attention; default: none.
            encoder_states: another text, where the blocks attend to one.
            logits: whether to compute them; prefill does without.

        Returns:
            ``kv_cache``, updated, and ``logits [1, T, V]`` if asked for.
        """
        places = self._places(input_pos, kv_cache)
        x = self.embedding(tokens)  # [1, T, D]
        if self.config.embedding_scale is not None:
            x = x * self.config.embedding_scale
        if hasattr(self, EMBEDDING_SCALES):
            x = x * self.embedding_scales
        if self.config.learned_positions:
            x = x + self.positions(input_pos)
        if self.config.embedding_norm_config is not None:
            x = self.embedding_norm(x)
        updated = KVCache([], [])
        for index, (block, config) in enumerate(zip(self.blocks, self.config.blocks, strict=True)):
            extra: dict[str, Any] = {}
            if lora_atten is not None:
                extra["lora"] = lora_atten.block(index)
            if encoder_states is not None:
                extra["encoder_states"] = (encoder_states.k[index], encoder_states.v[index], encoder_states.mask)
            x, keys, values = block(x, places[config.attn_config], kv_cache.k[index], kv_cache.v[index], **extra)
            updated.k.append(keys)
            updated.v.append(values)
        if not logits:
            return {"kv_cache": updated}
        x = self.final_norm(x)
        if self.config.logit_scale is not None:
            x = x * self.config.logit_scale
        scores = self.lm_head(x)
        return {"kv_cache": updated, "logits": softcap(scores, self.config.final_logit_softcap)}

    def _places(self, input_pos: torch.Tensor, kv_cache: KVCache) -> dict[AttentionConfig, Place]:
        """One for each kind of attention among the blocks."""
        kinds = {block.attn_config: keys for block, keys in zip(self.config.blocks, kv_cache.k, strict=True)}
        return {
            config: self._place(config, input_pos, self.kernel.cache_length(keys)) for config, keys in kinds.items()
        }

    def _place(self, config: AttentionConfig, input_pos: torch.Tensor, slots: int) -> Place:
        rotary, bias = None, None
        if config.rotary_dim:
            rotary = rotary_table(
                input_pos,
                config.rotary_dim,
                config.rotary_base,
                config.rotary_scaling,
                interleaved=config.rotary_interleaved,
            )
        every_slot = torch.arange(slots, dtype=torch.int32, device=input_pos.device)
        if config.alibi:
            bias = alibi_bias(input_pos, every_slot, config.num_heads)
        if self.config.relative_position is not None:
            learned = self.relative_position(input_pos, every_slot)
            bias = learned if bias is None else bias + learned
        return Place(rotary, self.kernel.mask(input_pos, slots, config, bias), input_pos[:1])

    def new_cache(self, length: int, device: str | torch.device | None = None) -> KVCache:
        """An empty cache with ``length`` slots, on ``device`` (default: the model's)."""
        device = device or self.embedding.weight.device
        cache = KVCache([], [])
        for block in self.config.blocks:
            keys, values = self.kernel.cache_shapes(block.attn_config, length)
            cache.k.append(torch.zeros(keys, device=device))
            cache.v.append(torch.zeros(values, device=device))
        return cache

    def adapter(self, inputs: Mapping[str, npt.NDArray[Any]]) -> LoraWeights:
        """What :meth:`forward` takes, from arrays by the names of the exported file's inputs."""
        return LoraWeights.named(
            {name: torch.from_numpy(array) for name, array in inputs.items()}, self.config.num_layers
        )

    def lora_projections(self) -> list[dict[str, tuple[str, int]]]:
        """For each block: projection -> the parameter that holds it and its rows there; of one parameter, in order."""
        result = []
        for index, block in enumerate(self.config.blocks):
            attention, prefix = block.attn_config, f"blocks.{index}.attention."
            names = ("qkv",) * 3 if attention.qkv_fused else ("query", "key", "value")
            rows = (attention.query_rows, attention.group_rows, attention.group_rows)
            parts = zip("qkvo", (*names, "output"), (*rows, self.config.embedding_dim), strict=True)
            result.append({part: (f"{prefix}{name}.weight", count) for part, name, count in parts})
        return result

    def scaling_groups(self) -> list[ScalingGroup]:
        """Channels that can be scaled without changing what the model computes."""
        return decoder_scaling_groups(self.config)

    def add_scales(self, name: str) -> None:
        """Let the model multiply channels by a parameter, ones; ``name`` is an ``added`` of :meth:`scaling_groups`."""
        assert name == EMBEDDING_SCALES
        self.embedding_scales = nn.Parameter(torch.ones_like(self.embedding.weight[0]))

    def max_rollback(self, cache_length: int) -> int | None:
        """How many of the tokens read last a cache of this length lets one forget again; None for all of them."""
        each = (self.kernel.max_rollback(block.attn_config, cache_length) for block in self.config.blocks)
        return min((tokens for tokens in each if tokens is not None), default=None)

    def signatures(
        self,
        prefill_lengths: Sequence[int],
        cache_length: int,
        cache_buckets: Sequence[int] = (),
        verify_lengths: Sequence[int] = (),
        lora_rank: int | None = None,
    ) -> list[Signature]:
        """``prefill_<N>`` for each length, which fill the cache, and ``decode``, which gives logits.

        For each of ``verify_lengths`` there is a ``verify_<N>``, which does both: the logits after each of N tokens.
        With a ``lora_rank`` all of them take an adapter of that rank too, see :mod:`edgegen_layers.lora`.

        The same again on each of ``cache_buckets`` (in tokens, shorter than ``cache_length``), as
        :mod:`edgegen.genai.signature_names` names them, with those lengths that fit.
        """
        device = self.embedding.weight.device
        adapter = (
            ()
            if lora_rank is None
            else (LoraWeights.zeros(self.config.embedding_dim, self.config.blocks, lora_rank, device),)
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
