"""Rotary scaling that GGUF metadata state, against transformers' model of the same settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from llama_checkpoints import CONFIGS

from edgegen_layers.testing import TOKENS, expected_logits, load_published, random_model, save_gguf, settings, step

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
CASES = {
    "a factor without a type is linear": ({"rope.scaling.factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
    "linear": ({"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
    "as older files say it": ({"rope.scale_linear": 2.0}, {"rope_type": "linear", "factor": 2.0}),
    "none, whatever the factor": ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, {}),
    "yarn": (
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16},
        YARN,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("family", "architecture"), [("llama", "llama"), ("qwen", "qwen3")])
@pytest.mark.parametrize("case", CASES)
def test_scaling_is_that_of_the_format(case, family, architecture, tmp_path: Path):
    metadata, rope = CASES[case]
    config = CONFIGS["untied"]
    own = settings(
        config, "rope_theta", "rope_scaling", "sliding_window", "layer_types", "qk_norm", "attention_output_bias",
        "hidden_act", "mlp_bias", "attention_bias",
    )  # fmt: skip
    parameters = {"rope_type": "default", "rope_theta": config.rope_theta, **rope}
    kinds = {"llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
             "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM)}  # fmt: skip
    make, build = kinds[architecture]
    theirs = random_model(build(make(**own, rope_parameters=parameters)))

    def reordered(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            rows, columns = tensor.shape
            tensor = tensor.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
        return {name: tensor}

    stated = {
        "attention.layer_norm_rms_epsilon": theirs.config.rms_norm_eps,
        "rope.freq_base": config.rope_theta,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
    }
    file = save_gguf(theirs, tmp_path, architecture, {**stated, **metadata}, reordered)
    model = load_published(family, file)
    _, logits = step(model, model.new_cache(len(TOKENS)), 0, len(TOKENS))
    torch.testing.assert_close(logits, expected_logits(theirs), atol=1e-4, rtol=1e-4)
