"""Weight maps: expressions read what a whole-tensor computation gives, and mismatches are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgegen.errors import CheckpointError, UnsupportedError, UsageError
from edgegen.weights import Checkpoint, LazyTensor, WeightMap
from edgegen.weights.files import check_rows
from edgegen.weights.weight_map import (
    Source,
    add,
    concat,
    first_of,
    multiply,
    permute_rows,
    reshape,
    slice_rows,
    transpose,
)

RANDOM = np.random.default_rng(0)
A = RANDOM.standard_normal((12, 6)).astype(np.float32)
B = RANDOM.standard_normal((5, 6)).astype(np.float32)
Reads = list[tuple[str, int, int]]


def make(arrays: dict[str, npt.NDArray[np.float32]], reads: Reads | None = None, naming: str = "test") -> Checkpoint:
    def lazy(name: str, array: npt.NDArray[np.float32]) -> LazyTensor:
        def read_rows(start: int, stop: int) -> npt.NDArray[np.float32]:
            check_rows(name, start, stop, len(array) if array.shape else 1)
            if reads is not None and start < stop:
                reads.append((name, start, stop))
            return array.reshape(-1)[:1] if not array.shape else array[start:stop]

        return LazyTensor(name=name, shape=array.shape, dtype="F32", nbytes=array.nbytes, read_rows=read_rows)

    tensors = {name: lazy(name, array) for name, array in arrays.items()}
    return Checkpoint(path=Path("x"), format="test", naming=naming, tensors=tensors)


def resolve(source: Source, shape: tuple[int, ...], reads: Any = None, **arrays: Any) -> LazyTensor:
    return WeightMap({"p": source}).resolve(make(arrays, reads), {"p": shape}, "m")["p"]


PERMUTATION = RANDOM.permutation(12)
CASES: dict[str, tuple[Source, npt.NDArray[np.float32]]] = {
    "concat": (concat("a", "b"), np.concatenate([A, B])),
    "concat of three": (concat("b", "a", "b"), np.concatenate([B, A, B])),
    "slice_rows": (slice_rows("a", 3, 9), A[3:9]),
    "permuted": (permute_rows("a", PERMUTATION), A[PERMUTATION]),
    "permuted by a function": (permute_rows("a", lambda n: np.arange(n)[::-1]), A[::-1]),
    "picked twice": (permute_rows("a", [0, 0, 11]), A[[0, 0, 11]]),
    "transposed": (transpose("a"), A.T),
    "reshaped": (reshape("a", (4, 3, 6)), A.reshape(4, 3, 6)),
    "reshaped across rows": (reshape("a", (9, 8)), A.reshape(9, 8)),
    "flattened": (reshape("a", (72,)), A.reshape(72)),
    "multiply": (multiply("a", 0.5), A * np.float32(0.5)),
    "add": (add("a", 1), A + np.float32(1)),
    "first present": (first_of("absent", "a"), A),
    "nested": (
        slice_rows(concat(permute_rows(slice_rows("a", 0, 6), [5, 4, 3, 2, 1, 0]), first_of("absent", "b")), 2, 10),
        np.concatenate([A[:6][::-1], B])[2:10],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_slice_of_an_expression_equals_the_whole_computation(case: str) -> None:
    source, expected = CASES[case]
    used = {name: array for name, array in (("a", A), ("b", B)) if name in source.names({}, ("a", "b"))}
    tensor = resolve(source, expected.shape, **used)
    assert tensor.shape == expected.shape
    np.testing.assert_array_equal(tensor.read(), expected)
    for start in range(len(expected) + 1):
        for stop in range(start, len(expected) + 1):
            part = tensor.read_rows(start, stop)
            assert part.dtype == np.float32
            np.testing.assert_array_equal(part, expected[start:stop])
    with pytest.raises(ValueError, match="rows"):
        tensor.read_rows(0, len(expected) + 1)


def test_slices_touch_only_the_rows_they_need() -> None:
    reads: Reads = []
    tensor = resolve(concat(slice_rows("a", 2, 8), "b"), (11, 6), reads, a=A, b=B)
    tensor.read_rows(1, 4)
    assert reads == [("a", 3, 6)]
    reads.clear()
    tensor.read_rows(5, 7)
    assert reads == [("a", 7, 8), ("b", 0, 1)]


def test_gathering_distant_rows_does_not_read_what_lies_between() -> None:
    reads: Reads = []
    big = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    tensor = resolve(permute_rows("a", [990, 3, 5, 500]), (4, 2), reads, a=big)
    np.testing.assert_array_equal(tensor.read(), big[[990, 3, 5, 500]])
    assert reads == [("a", 3, 6), ("a", 500, 501), ("a", 990, 991)]


def test_resolving_reads_no_weights() -> None:
    reads: Reads = []
    resolve(concat(transpose("a"), reshape("c", (2, 12))), (8, 12), reads, a=A, c=np.zeros((4, 6), np.float32))
    assert reads == []


def test_placeholders_stand_for_the_same_number_on_both_sides() -> None:
    arrays = {f"layer.{i}.expert.{e}.w": np.full((1, 1), 10 * i + e, np.float32) for i in range(12) for e in range(3)}
    weight_map = WeightMap({"blocks.{i}.experts.{e}.weight": "layer.{i}.expert.{e}.w"})
    expected = {f"blocks.{i}.experts.{e}.weight": (1, 1) for i in range(12) for e in range(3)}
    resolved = weight_map.resolve(make(arrays), expected, "m")
    assert list(resolved) == list(expected)
    assert resolved["blocks.11.experts.2.weight"].read().item() == 112


def test_an_exact_rule_wins_over_a_pattern() -> None:
    weight_map = WeightMap({"b.{i}.w": "x.{i}", "b.0.w": "first"})
    arrays = {"first": np.ones((1,), np.float32), "x.1": np.zeros((1,), np.float32)}
    resolved = weight_map.resolve(make(arrays), {"b.0.w": (1,), "b.1.w": (1,)}, "m")
    assert resolved["b.0.w"].read().item() == 1


def test_a_source_with_an_unknown_placeholder_is_refused_when_the_map_is_made() -> None:
    with pytest.raises(UsageError, match="placeholder"):
        WeightMap({"b.{i}.w": "x.{j}"})


# --- mismatches ---------------------------------------------------------------------------------------------


def layers(name: str, count: int, shape: tuple[int, ...] = (2, 2)) -> dict[str, npt.NDArray[np.float32]]:
    return {name.format(i=i): np.zeros(shape, np.float32) for i in range(count)}


LLAMA = WeightMap(
    {"blocks.{i}.up.weight": "model.layers.{i}.mlp.up_proj.weight", "norm.weight": "model.norm.weight"},
    ignore=("*.inv_freq",),
)
EXPECTED = {**{f"blocks.{i}.up.weight": (2, 2) for i in range(18)}, "norm.weight": (2,)}


def failure(
    arrays: dict[str, npt.NDArray[np.float32]], weight_map: WeightMap = LLAMA, naming: str = "test"
) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        weight_map.resolve(make(arrays, naming=naming), EXPECTED, "gemma3-270m")
    assert caught.value.code == "EG204"
    assert caught.value.hint
    return caught.value


def test_renamed_layers_are_one_line_each_with_the_closest_name() -> None:
    arrays = {**layers("model.layers.{i}.mlp.up.weight", 18), "model.norm.weight": np.zeros((2,), np.float32)}
    error = failure(arrays)
    assert error.message == "checkpoint does not match gemma3-270m (format test)"
    assert error.details == (
        "missing     model.layers.*.mlp.up_proj.weight  18 tensors  for blocks.*.up.weight",
        "unexpected  model.layers.*.mlp.up.weight  18 tensors  close to: model.layers.*.mlp.up_proj.weight",
    )


def test_everything_wrong_is_reported_at_once() -> None:
    arrays = {
        **layers("model.layers.{i}.mlp.up_proj.weight", 17, (3, 2)),
        "model.layers.0.inv_freq": np.zeros((2,), np.float32),
        "extra": np.zeros((2,), np.float32),
    }
    assert failure(arrays).details == (
        "missing     model.layers.*.mlp.up_proj.weight  1 tensor  for blocks.*.up.weight",
        "missing     model.norm.weight                  1 tensor  for norm.weight",
        "unexpected  extra  1 tensor",
        "shape       model.layers.*.mlp.up_proj.weight  17 tensors  is [3, 2], expected [2, 2]",
    )


def test_ignored_tensors_may_be_left_over() -> None:
    arrays = {
        **layers("model.layers.{i}.mlp.up_proj.weight", 18),
        "model.norm.weight": np.zeros((2,), np.float32),
        "model.layers.0.inv_freq": np.zeros((9,), np.float32),
    }
    assert len(LLAMA.resolve(make(arrays), EXPECTED, "m")) == 19


def test_a_tied_duplicate_is_unexpected_unless_ignored() -> None:
    arrays = {"e": A, "head": A}
    with pytest.raises(CheckpointError, match="unexpected  head"):
        WeightMap({"p": "e"}).resolve(make(arrays), {"p": A.shape}, "m")
    WeightMap({"p": "e"}, ignore=("head",)).resolve(make(arrays), {"p": A.shape}, "m")


def test_a_parameter_without_a_rule_is_reported() -> None:
    error = failure({}, WeightMap({"norm.weight": "n"}))
    assert "no rule for blocks.*.up.weight  18 tensors" in error.details


def test_expressions_that_do_not_fit_are_shape_errors() -> None:
    bad = WeightMap({"norm.weight": concat("a", "c"), "blocks.{i}.up.weight": slice_rows("b", 0, 99)})
    arrays = {"a": A, "b": B, "c": np.zeros((2, 7), np.float32)}
    details = "\n".join(failure(arrays, bad).details)
    assert "not stackable: [12, 6], [2, 7]" in details
    assert "[5, 6] has no rows 0:99" in details


@pytest.mark.parametrize(
    ("names", "naming"),
    [
        (["blk.0.attn_q.weight", "token_embd.weight"], "gguf"),
        (["model.layers.3.self_attn.qkv_proj.weight", "embedder.weight"], "gemma-pytorch"),
        (["layers.0.attention.wq.weight"], "llama-original"),
        (["h.0.attn.c_attn.weight"], "gpt2"),
    ],
)
def test_another_naming_convention_is_recognised(names: list[str], naming: str) -> None:
    arrays = {name: np.zeros((2, 2), np.float32) for name in names}
    hint = failure(arrays, naming="huggingface").hint
    assert hint is not None
    assert f"looks like {naming} naming" in hint


def test_a_map_for_another_naming_is_recognised() -> None:
    weight_map = WeightMap({"norm.weight": "model.embed_tokens.weight"})
    arrays = {"token_embd.weight": np.zeros((2, 2), np.float32)}
    hint = failure(arrays, weight_map, naming="gguf").hint
    assert hint == "the tensors have gguf names, but the weight map is for huggingface names"


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("module.model.norm.weight", "wrapped"),
        ("language_model.model.norm.weight", "multimodal"),
    ],
)
def test_left_over_names_that_mean_something_are_explained(name: str, meaning: str) -> None:
    assert meaning in str(failure({name: np.zeros((2, 2), np.float32)}).hint)


def test_a_wholly_different_checkpoint_stays_short_and_quick() -> None:
    arrays = {f"strange_{i}.weight": np.zeros((1,), np.float32) for i in range(20_000)}
    details = failure(arrays).details
    assert len(details) < 20
    assert details[-1] == "unexpected  ... and 19988 more names"


def test_a_storage_type_without_decoder_stops_before_anything_is_read() -> None:
    def refuse(start: int, stop: int) -> npt.NDArray[np.float32]:
        raise UnsupportedError("F8")

    tensors = {"a": LazyTensor(name="a", shape=(2, 2), dtype="F8", nbytes=4, read_rows=refuse)}
    checkpoint = Checkpoint(path=Path("x"), format="test", naming="test", tensors=tensors)
    derived = (
        slice_rows("a", 0, 2),
        permute_rows("a", [1, 0]),
        transpose("a"),
        reshape("a", (2, 2)),
        multiply("a", 2),
    )
    for source in ("a", concat("a"), *derived):
        with pytest.raises(UnsupportedError):
            WeightMap({"p": source}).resolve(checkpoint, {"p": (2, 2)}, "m")
