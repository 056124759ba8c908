"""A checkpoint of a tiny Llama with random weights, and a family that knows its size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

NAME = "parrot-100k"
VOCAB, DIM, HIDDEN, LAYERS, HEADS, GROUPS, CACHE = 320, 64, 128, 2, 4, 2, 256
SPECIAL = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}{% if m['content'] == 'refuse' %}{{ raise_exception('it refuses') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}<|assistant|>"
)
PLUGIN = f"""
from edgegen import hookimpl
from edgegen.descriptors import ModelFamily, Variant

@hookimpl
def edgegen_model_families():
    llama = "edgegen_layers.families.llama"
    yield ModelFamily(
        name="parrot", summary="a Llama for tests", config="parrot_size:config", builder=f"{{llama}}:build",
        read_config="edgegen_models_llama.llama:read_config",
        variants=(
            Variant(
                name="{NAME}", parameters=94_528, context_length={CACHE}, source="nowhere/parrot", license="apache-2.0"
            ),
        ),
        weight_maps={{"huggingface": f"{{llama}}:huggingface"}},
    )
"""
SIZE = f"""
from edgegen_layers.families.llama import LlamaConfig

def config(name):
    return LlamaConfig(
        vocab_size={VOCAB}, hidden_size={DIM}, intermediate_size={HIDDEN}, num_hidden_layers={LAYERS},
        num_attention_heads={HEADS}, num_key_value_heads={GROUPS}, head_dim={DIM // HEADS},
        max_position_embeddings={CACHE}, tie_word_embeddings=True,
    )
"""


def write_checkpoint(folder: Path) -> None:
    """Random weights under Llama's names, with a byte-level tokenizer."""
    random = np.random.default_rng(0)
    heads, groups = (DIM, DIM), (DIM * GROUPS // HEADS, DIM)
    block = {
        "self_attn.q_proj": heads, "self_attn.k_proj": groups, "self_attn.v_proj": groups, "self_attn.o_proj": heads,
        "mlp.gate_proj": (HIDDEN, DIM), "mlp.up_proj": (HIDDEN, DIM), "mlp.down_proj": (DIM, HIDDEN),
        "input_layernorm": (DIM,), "post_attention_layernorm": (DIM,),
    }  # fmt: skip
    shapes = {"model.embed_tokens": (VOCAB, DIM), "model.norm": (DIM,)}
    shapes |= {f"model.layers.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in block.items()}
    save_file(
        {
            f"{name}.weight": np.ones(shape, np.float32)
            if len(shape) == 1
            else random.normal(0, 0.2, shape).astype(np.float32)
            for name, shape in shapes.items()
        },
        folder / "model.safetensors",
    )
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": DIM,
        "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS, "max_position_embeddings": CACHE, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 3], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE})
    )
