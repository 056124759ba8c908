"""Which files are weights, and which of those belong together."""

from __future__ import annotations

from edgegen_huggingface.find_weights import Weights, find_weights


def only(*names: str) -> Weights:
    [found] = find_weights(names)
    return found


def test_a_single_file_is_what_to_open() -> None:
    found = only("pkg/__init__.py", "pkg/m.gguf", "config.json")
    assert (found.kind, found.folder, found.stem, found.files) == ("gguf", "pkg", "m", ("pkg/m.gguf",))
    assert found.entry == "pkg/m.gguf"
    assert found.complete


def test_an_index_speaks_for_its_shards() -> None:
    shards = ("a/model-00001-of-00002.safetensors", "a/model-00002-of-00002.safetensors")
    found = only(*shards, "a/model.safetensors.index.json")
    assert found.files == ("a/model.safetensors.index.json", *shards)
    assert found.entry == found.files[0]
    assert found.indexed
    assert found.complete


def test_shards_without_an_index_open_as_their_folder() -> None:
    assert only("a/m-1-of-2.bin", "a/m-2-of-2.bin").entry == "a"
    assert only("m-1-of-2.safetensors", "m-2-of-2.safetensors").entry == "."


def test_parts_of_a_gguf_open_as_the_first() -> None:
    found = only("m-00002-of-00002.gguf", "m-00001-of-00002.gguf")
    assert found.entry == "m-00001-of-00002.gguf"


def test_missing_parts_are_noticed() -> None:
    assert not only("m-00001-of-00002.gguf").complete
    assert not only("m-1-of-3.bin", "m-3-of-3.bin", "m.bin.index.json").complete


def test_a_file_beside_shards_of_its_name_is_another_model() -> None:
    names = ("model.bin", "model-1-of-2.bin", "model-2-of-2.bin", "model.bin.index.json")
    assert sorted(len(found.files) for found in find_weights(names)) == [1, 3]


def test_an_index_alone_speaks_for_all_files_of_its_kind_beside_it() -> None:
    names = ("a.safetensors", "b.safetensors", "m.safetensors.index.json", "c.gguf", "sub/d.safetensors")
    assert [len(found.files) for found in find_weights(names)] == [1, 3, 1]


def test_what_trainers_leave_is_no_model() -> None:
    assert find_weights(["training_args.bin", "optimizer.pt", "checkpoint/scheduler.pt", "x.pth", "x.txt"]) == []
