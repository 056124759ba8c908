"""A decoder put together by configuration: for architectures that no family has (GPT-2, BLOOM, GPT-J, Falcon, ...).

A family writes its own block and forward pass instead, so that its file says what it computes.
"""

from __future__ import annotations

import torch
from torch import nn

from edgegen_layers.attention import AttentionInputs
from edgegen_layers.cache import KVCache
from edgegen_layers.config import TransformerBlockConfig, TransformerConfig
from edgegen_layers.decoder import DecoderBlock, DecoderLM
from edgegen_layers.kernels import AttentionKernel, softcap
from edgegen_layers.layer_choices import LayerChoices
from edgegen_layers.lora import AttentionLora, LoraWeights


class TransformerBlock(DecoderBlock):
    """Attention and feed-forward, each normalized first and added to the residual stream.

    Args:
        hidden_size: D.
        config: of its parts.
        kernel: how to attend to the cache.
        layers: implementations of the parts; default: the built-in ones.
    """

    def __init__(
        self,
        hidden_size: int,
        config: TransformerBlockConfig,
        kernel: AttentionKernel,
        layers: LayerChoices | None = None,
    ) -> None:
        layers = layers or LayerChoices()
        super().__init__(config.attn_config, hidden_size, config, kernel, layers.key)
        self.config = config
        self.attention_norm = layers.norm(hidden_size, config.pre_attention_norm_config)
        self.attention = layers.mixer(hidden_size, config.attn_config, kernel)
        self.feed_forward_norm = None
        if not config.parallel_residual:
            self.feed_forward_norm = layers.norm(hidden_size, config.pre_ff_norm_config)
        self.feed_forward = layers.mlp(hidden_size, config.ff_config)
        if config.post_attention_norm_config is not None:
            self.post_attention_norm = layers.norm(hidden_size, config.post_attention_norm_config)
        if config.post_ff_norm_config is not None:
            self.post_feed_forward_norm = layers.norm(hidden_size, config.post_ff_norm_config)

    def forward(
        self,
        x: torch.Tensor,
        inputs: AttentionInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``x [1, T, D]`` to ``[1, T, D]``, and the cache's new keys and values."""
        normalized = self.attention_norm(x)
        attended, keys, values = self.attention(normalized, inputs, keys, values, lora)
        if self.config.post_attention_norm_config is not None:
            attended = self.post_attention_norm(attended)
        if self.feed_forward_norm is None:  # parallel residual
            return x + attended + self.feed_forward(normalized), keys, values
        x = x + attended
        forwarded = self.feed_forward(self.feed_forward_norm(x))
        if self.config.post_ff_norm_config is not None:
            forwarded = self.post_feed_forward_norm(forwarded)
        return x + forwarded, keys, values


class TransformerLM(DecoderLM):
    """Decoder-only language model, configured by :class:`~edgegen_layers.config.TransformerConfig`.

    Args:
        config: of its parts.
        kernel: how to attend to the cache; default: the one that ``layers`` names, or ``matmul``.
        layers: implementations of the blocks' parts; default: the built-in ones.
    """

    config: TransformerConfig

    def __init__(
        self, config: TransformerConfig, kernel: AttentionKernel | None = None, layers: LayerChoices | None = None
    ) -> None:
        layers = layers or LayerChoices()
        super().__init__(config, kernel or layers.attention(*(block.attn_config for block in config.blocks)))
        hidden = config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, hidden)
        if config.learned_positions:
            self.positions = nn.Embedding(config.max_position_embeddings, hidden)
        if config.embedding_norm_config is not None:
            self.embedding_norm = layers.norm(hidden, config.embedding_norm_config)
        self.blocks = nn.ModuleList(TransformerBlock(hidden, block, self.kernel, layers) for block in config.blocks)
        self.final_norm = layers.norm(hidden, config.final_norm_config)
        self.lm_head = nn.Linear(hidden, config.vocab_size, bias=config.lm_head_use_bias)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embedding.weight

    def forward(
        self,
        tokens: torch.Tensor,
        input_pos: torch.Tensor,
        kv_cache: KVCache,
        lora_atten: LoraWeights | None = None,
        *,
        logits: bool = True,
    ) -> dict[str, torch.Tensor | KVCache]:
        """Run T tokens.

        Args:
            tokens: ``[1, T]`` int32.
            input_pos: ``[T]`` int32, consecutive: positions of the tokens, and the cache slots that they go to.
            kv_cache: keys and values of all earlier positions.
            lora_atten: an adapter of attention; default: none.
            logits: False to leave them out, as prefill does.

        Returns:
            ``kv_cache``, updated, and ``logits [1, T, V]`` if asked for.
        """
        inputs = self.attention_inputs(input_pos, kv_cache)
        x = self.embedding(tokens)  # [1, T, D]
        if self.config.embedding_scale is not None:
            x = x * self.config.embedding_scale
        x = self.scale_channels(x)
        if self.config.learned_positions:
            x = x + self.positions(input_pos)
        if self.config.embedding_norm_config is not None:
            x = self.embedding_norm(x)
        x, updated = self.run_blocks(x, inputs, kv_cache, lora_atten)
        if not logits:
            return {"kv_cache": updated}
        scores = self.lm_head(self.final_norm(x))
        return {"kv_cache": updated, "logits": softcap(scores, self.config.final_logit_softcap)}
