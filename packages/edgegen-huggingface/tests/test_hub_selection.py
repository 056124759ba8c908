"""Which files of a repository are wanted."""

from __future__ import annotations

import pytest

from edgegen.errors import CheckpointError, UsageError
from edgegen_huggingface.hub.reference import Reference
from edgegen_huggingface.hub.selection import beside, choose

REPOSITORY = Reference("org/name")


def chosen(*names: str, inside: str | None = None) -> tuple[str, ...]:
    return choose(names, Reference("org/name", inside=inside)).files


def test_safetensors_come_before_pytorch_before_gguf() -> None:
    assert chosen("m.gguf", "pytorch_model.bin", "model.safetensors") == ("model.safetensors",)
    assert chosen("m.gguf", "pytorch_model.bin") == ("pytorch_model.bin",)
    assert chosen("README.md", "m.gguf") == ("m.gguf",)


def test_shards_come_with_their_index_and_nothing_else() -> None:
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index = "model.safetensors.index.json"
    assert chosen(*shards, index, "consolidated.safetensors", "model.safetensors") == (index, *shards)


def test_an_index_speaks_for_parts_that_are_not_numbered() -> None:
    index = "model.safetensors.index.json"
    assert chosen("a.safetensors", "b.safetensors", index) == (index, "a.safetensors", "b.safetensors")


def test_what_trainers_leave_is_no_model() -> None:
    assert chosen("training_args.bin", "optimizer.pt", "m.gguf") == ("m.gguf",)


def test_only_the_outermost_folder_counts_unless_a_folder_is_named() -> None:
    names = ("original/model.safetensors", "model.safetensors", "onnx/model.bin")
    assert chosen(*names) == ("model.safetensors",)
    assert chosen(*names, inside="original") == ("original/model.safetensors",)


def test_one_of_several_gguf_files_has_to_be_named() -> None:
    names = ("name-Q4_K_M.gguf", "name-Q8_0.gguf")
    with pytest.raises(UsageError, match="2 gguf models") as caught:
        chosen(*names)
    assert caught.value.details == names
    assert caught.value.hint == "name one: hf:org/name/name-Q4_K_M.gguf"
    assert chosen(*names, inside="name-Q8_0.gguf") == ("name-Q8_0.gguf",)


def test_parts_of_a_gguf_are_one_model_wherever_they_lie() -> None:
    parts = ("Q8/m-00001-of-00002.gguf", "Q8/m-00002-of-00002.gguf")
    assert chosen(*parts) == parts
    assert chosen(*parts, "Q4/m.gguf", inside="Q8/m-00002-of-00002.gguf") == parts
    assert choose(parts, REPOSITORY).entry == parts[0]


def test_a_path_without_weights_says_what_comes_close() -> None:
    with pytest.raises(UsageError, match=r"no weights at name-q8\.gguf") as caught:
        chosen("name-Q8_0.gguf", inside="name-q8.gguf")
    assert caught.value.hint == "did you mean hf:org/name/name-Q8_0.gguf?"


def test_a_repository_without_weights_says_what_it_has() -> None:
    with pytest.raises(CheckpointError, match="no weights") as caught:
        chosen("README.md", "tf_model.h5")
    assert caught.value.details == ("README.md", "tf_model.h5")


def test_sidecars_are_those_of_the_folder_and_a_gguf_needs_none() -> None:
    names = ["config.json", "tokenizer.json", "onnx/config.json", "README.md", "model.safetensors", "m.gguf"]
    assert beside(choose(names, REPOSITORY), names) == ["config.json", "tokenizer.json"]
    assert beside(choose(["m.gguf"], REPOSITORY), names) == []
