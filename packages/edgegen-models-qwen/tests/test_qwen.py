"""Parity with transformers, for every switch that tells Qwen from Llama."""

from __future__ import annotations

import pytest
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from edgegen.errors import CheckpointError
from edgegen.weights import open_checkpoint
from edgegen_layers.testing import TOKENS, check_parity, expected_logits, load_published, random_model, save
from edgegen_models_qwen.qwen import read_config

SMALL = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
}
REFERENCES = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL)),
    "qwen2 untied": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL, tie_word_embeddings=False)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=16, tie_word_embeddings=True)),
}


@pytest.fixture(params=REFERENCES)
def published(request, tmp_path):
    """A random model as its authors would publish it, and its logits."""
    theirs = random_model(REFERENCES[request.param]())
    return save(theirs, tmp_path), expected_logits(theirs)


def test_logits_are_the_references(published):
    folder, expected = published
    check_parity(load_published("qwen", folder), TOKENS, expected)


def test_another_architecture_is_refused(published):
    folder, _ = published
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"model_type": "qwen', '"model_type": "gwen'))
    with pytest.raises(CheckpointError, match="gwen"):
        read_config(open_checkpoint(folder))
