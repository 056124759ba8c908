"""Checkpoints as they are published, through the family's weight maps, against transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gemma_checkpoints import CONFIGS, GLOBAL, SAVERS, reference, save_seeing

from edgegen.api import Converter
from edgegen.litert.session import Session
from edgegen.tracing import Composites
from edgegen.weights import open_checkpoint
from edgegen_layers.testing import TOKENS, eager_logits, expected_logits, load_model, resolve, step
from edgegen_models_gemma.gemma import build

LENGTH = len(TOKENS)


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("size", CONFIGS)
def test_logits_are_those_of_transformers(size: str, saver: str, kernel: str, tmp_path: Path):
    """At once, and token by token past the window to the cache's last slot."""
    theirs = reference(size)
    model = load_model("gemma", SAVERS[saver](theirs, tmp_path), CONFIGS[size], attention=kernel)
    expected = expected_logits(theirs)
    _, whole = step(model, model.new_cache(LENGTH), 0, LENGTH)
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-4)
    cache, _ = step(model, model.new_cache(LENGTH), 0, 5)
    for position in range(5, LENGTH):
        cache, logits = step(model, cache, position, position + 1)
        torch.testing.assert_close(logits[0], expected[position], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", ["gemma2", "gemma3"])
@pytest.mark.parametrize("cuts", [[1, 2, 12], [6, 7, 12], [4, 8, 12], [11, 12]])
def test_prefill_in_any_split_equals_prefill_at_once(size: str, cuts: list[int], tmp_path: Path):
    model = load_model("gemma", SAVERS["one file"](reference(size), tmp_path), CONFIGS[size])
    whole, expected = step(model, model.new_cache(LENGTH), 0, LENGTH)
    cache, parts = model.new_cache(LENGTH), []
    for start, stop in zip([0, *cuts], cuts, strict=False):
        cache, logits = step(model, cache, start, stop)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip([*cache.k, *cache.v], [*whole.k, *whole.v], strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "change"),
    [
        ("gemma2", {"sliding_window": 64}),
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": None}),
        ("gemma2", {"query_pre_attn_scalar": 16.0}),
        ("gemma3", {"layer_types": (GLOBAL,) * 7}),
        ("gemma3", {"rope_local_base_freq": None}),
        ("gemma3-scaled", {"rope_scaling": None}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_each_switch_matters_in_these_cases(size: str, change: dict, tmp_path: Path):
    """Parity would otherwise say nothing of it."""
    theirs = reference(size)
    model = load_model("gemma", SAVERS["one file"](theirs, tmp_path), replace(CONFIGS[size], **change))
    assert (eager_logits(model) - expected_logits(theirs)).abs().max() > 1e-2


def test_the_text_part_of_a_checkpoint_that_sees_images_is_found(tmp_path: Path):
    theirs = reference("gemma3-scaled")
    model = load_model("gemma", save_seeing(theirs, tmp_path), CONFIGS["gemma3-scaled"])
    torch.testing.assert_close(eager_logits(model), expected_logits(theirs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("scheme", "composites", "tolerance"),
    [("fp32", "none", 1e-5), ("fp32", "all", 1e-5), ("int8-channel", "none", 0.15)],
)
@pytest.mark.parametrize(("size", "saver"), [("gemma", "gguf"), ("gemma2", "shards"), ("gemma3-scaled", "gguf")])
def test_the_exported_file_gives_them_too(
    size: str, saver: str, scheme: str, composites: str, tolerance: float, tmp_path: Path
):
    theirs = reference(size)
    config = CONFIGS[size]
    sources = resolve("gemma", SAVERS[saver](theirs, tmp_path), config)
    with torch.device("meta"):
        model = build(config, layers={})
    converter = Converter(model.signatures([5], LENGTH))
    edge = converter.convert(scheme=scheme, parameters=sources, composites=Composites.parse(composites))
    session = Session(edge.export(tmp_path / "model.tflite"), threads=2)
    state = session.new_state()

    def run(signature: str, start: int, stop: int) -> dict[str, np.ndarray]:
        positions = np.arange(start, stop, dtype=np.int32)
        return session.run(
            signature, {"tokens": np.array([TOKENS[start:stop]], np.int32), "input_pos": positions}, state
        )

    run("prefill_5", 0, 5)
    got = np.stack([run("decode", at, at + 1)["logits"][0, 0] for at in range(5, LENGTH)])
    expected = expected_logits(theirs)[5:].numpy()
    assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < tolerance


@pytest.mark.parametrize("size", ["gemma", "gemma2", "gemma3"])
def test_gguf_names_are_exactly_those_of_the_architecture(size: str, tmp_path: Path):
    tensors, layers = gguf.MODEL_TENSOR, CONFIGS[size].num_hidden_layers
    architecture = {"gemma": "GEMMA", "gemma2": "GEMMA2", "gemma3": "GEMMA3"}[size]
    kinds = set(gguf.MODEL_TENSORS[gguf.MODEL_ARCH[architecture]]) - {tensors.OUTPUT, tensors.ROPE_FREQS}
    kinds = {kind for kind in kinds if "DENSE" not in kind.name}  # of sentence embedders
    expected = {gguf.TENSOR_NAMES[kind].format(bid=i) + ".weight" for kind in kinds for i in range(layers)}
    file = SAVERS["gguf"](reference(size), tmp_path)
    assert set(open_checkpoint(file).tensors) == expected
    resolve("gemma", file, CONFIGS[size])  # refuses names that are missing or left over
