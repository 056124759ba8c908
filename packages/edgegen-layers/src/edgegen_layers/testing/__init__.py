"""For the tests of model families: tiny random checkpoints, and parity with a reference.

::

    def test_parity(tmp_path):
        theirs = random_model(LlamaForCausalLM(LlamaConfig(...)))
        model = load_published("llama", save(theirs, tmp_path))
        check_parity(model, TOKENS, expected_logits(theirs))
"""

from edgegen_layers.testing.checkpoints import (
    expected_logits,
    random_model,
    save,
    save_gguf,
    save_sharded,
    save_tensors,
    settings,
    write_gguf,
)
from edgegen_layers.testing.parity import (
    TOKENS,
    check_parity,
    eager_logits,
    empty_model,
    fill,
    load_model,
    load_published,
    resolve,
    stated_config,
    step,
)

__all__ = [
    "TOKENS",
    "check_parity",
    "eager_logits",
    "empty_model",
    "expected_logits",
    "fill",
    "load_model",
    "load_published",
    "random_model",
    "resolve",
    "save",
    "save_gguf",
    "save_sharded",
    "save_tensors",
    "settings",
    "stated_config",
    "step",
    "write_gguf",
]
