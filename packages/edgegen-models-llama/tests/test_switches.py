"""Parity with transformers for every switch that Llama's kin add to it."""

from __future__ import annotations

import pytest
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from edgegen.errors import CheckpointError
from edgegen.weights import open_checkpoint
from edgegen_layers.testing import TOKENS, check_parity, expected_logits, load_published, random_model, save
from edgegen_models_llama.llama import read_config

SMALL = {
    "vocab_size": 48,
    "hidden_size": 64,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
REFERENCES = {
    "yarn frequencies": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, rope_parameters=YARN)),
    "llama 3.1 frequencies": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, rope_parameters=LLAMA3)),
    "linear frequencies": lambda: LlamaForCausalLM(
        LlamaConfig(**SMALL, rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0})
    ),
    "heads of their own width": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, head_dim=8)),
    "mistral with a window": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=5)),
    "mistral without": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=None)),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_logits_are_the_references(name, tmp_path):
    theirs = random_model(REFERENCES[name]())
    check_parity(load_published("llama", save(theirs, tmp_path)), TOKENS, expected_logits(theirs))


def test_another_scaling_of_frequencies_is_refused(tmp_path):
    dynamic = {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0}
    LlamaForCausalLM(LlamaConfig(**SMALL, rope_parameters=dynamic)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="dynamic"):
        read_config(open_checkpoint(tmp_path))
