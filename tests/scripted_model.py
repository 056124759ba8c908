"""A tiny Llama that says what a test wants it to: each token decides the next one, whatever came before."""

from __future__ import annotations

from pathlib import Path

import torch

HIDDEN = 64


def write_scripted_model(folder: Path, follows: dict[int, int], vocab_size: int, **config: object) -> None:
    """Write ``config.json`` and weights of a Llama whose most likely token after ``key`` is ``value``.

    Attention and feed-forward add nothing, so that a token's own vector is all that the head sees.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    settings = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=HIDDEN,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        **config,
    )
    model = LlamaForCausalLM(settings)
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(torch.randn(vocab_size, HIDDEN), dim=1)
        model.model.embed_tokens.weight.copy_(vectors)
        model.lm_head.weight.zero_()
        for token, following in follows.items():
            model.lm_head.weight[following] += vectors[token]
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
