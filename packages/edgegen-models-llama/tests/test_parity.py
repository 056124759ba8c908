"""Checkpoints as they are published, through the family's weight maps, against transformers."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from llama_checkpoints import CONFIGS, SAVERS, TIED, reference

from edgegen.api import Converter
from edgegen.litert.session import Session
from edgegen.tracing import Composites
from edgegen.weights import open_checkpoint
from edgegen_layers.families.llama import build
from edgegen_layers.testing import TOKENS, expected_logits, load_model, resolve, step

LENGTH = len(TOKENS)


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("size", CONFIGS)
def test_logits_are_those_of_transformers(size: str, saver: str, kernel: str, tmp_path: Path):
    theirs = reference(CONFIGS[size])
    model = load_model("llama", SAVERS[saver](theirs, tmp_path), CONFIGS[size], attention=kernel)
    expected = expected_logits(theirs)
    _, whole = step(model, model.new_cache(LENGTH), 0, LENGTH)
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-4)
    cache, _ = step(model, model.new_cache(LENGTH), 0, 5)
    for position in range(5, LENGTH):
        cache, logits = step(model, cache, position, position + 1)
        torch.testing.assert_close(logits[0], expected[position], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("scheme", "composites", "tolerance"),
    [("fp32", "none", 1e-5), ("fp32", "all", 1e-5), ("int8-channel", "none", 0.15)],
)
@pytest.mark.parametrize("saver", ["shards", "gguf"])
@pytest.mark.parametrize("size", ["tied", "untied"])
def test_the_exported_file_gives_them_too(
    size: str, saver: str, scheme: str, composites: str, tolerance: float, tmp_path: Path
):
    theirs = reference(CONFIGS[size])
    config = CONFIGS[size]
    sources = resolve("llama", SAVERS[saver](theirs, tmp_path), config)
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


@pytest.mark.parametrize("size", ["tied", "untied"])
def test_gguf_names_are_exactly_those_of_the_architecture(size: str, tmp_path: Path):
    tensors, layers = gguf.MODEL_TENSOR, CONFIGS[size].num_hidden_layers
    not_here = {tensors.ROPE_FREQS, tensors.ATTN_ROT_EMBD} | (
        {tensors.OUTPUT} if CONFIGS[size].tie_word_embeddings else set()
    )
    dense = [
        kind
        for kind in gguf.MODEL_TENSORS[gguf.MODEL_ARCH.LLAMA]
        if kind not in not_here and "EXP" not in kind.name and kind != tensors.FFN_GATE_INP
    ]
    expected = {gguf.TENSOR_NAMES[kind].format(bid=i) + ".weight" for kind in dense for i in range(layers)}
    file = SAVERS["gguf"](reference(CONFIGS[size]), tmp_path)
    assert set(open_checkpoint(file).tensors) == expected
    resolve("llama", file, CONFIGS[size])  # refuses names that are missing or left over


def test_queries_and_keys_of_a_gguf_really_are_reordered(tmp_path: Path):
    theirs = reference(TIED)
    tensors = open_checkpoint(SAVERS["gguf"](theirs, tmp_path)).tensors
    published = theirs.state_dict()
    for stored, name in (("attn_q", "q_proj"), ("attn_k", "k_proj")):
        own = published[f"model.layers.0.self_attn.{name}.weight"].numpy()
        assert not np.array_equal(tensors[f"blk.0.{stored}.weight"].read(), own)
    np.testing.assert_array_equal(
        resolve("llama", tmp_path / "model.gguf", TIED)["blocks.0.attention.qkv.weight"].read(),
        np.concatenate([published[f"model.layers.0.self_attn.{n}_proj.weight"].numpy() for n in "qkv"]),
    )
