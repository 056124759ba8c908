"""Files with composites and without them compute the same, signature by signature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from encoder_checkpoints import FIRST_T5, SECOND_T5, bert, save_t5, sources, t5

from edgegen.api import Converter
from edgegen.litert.session import Session
from edgegen.tflite.reader import read_model
from edgegen.tracing import Composites
from edgegen_layers.testing import save

MODELS = {
    "bert": lambda folder: sources("bert", save(bert(), folder)),
    "first t5": lambda folder: sources("t5", save_t5(t5(**FIRST_T5), folder)),
    "second t5": lambda folder: sources("t5", save_t5(t5(**SECOND_T5), folder)),
}


@pytest.mark.parametrize("name", MODELS)
def test_results_agree_with_composites_on_and_off(name: str, tmp_path: Path):
    model, weights = MODELS[name](tmp_path)
    signatures = model.signatures([12]) if name == "bert" else model.signatures([12], [4], 8)
    files = {}
    for choice in ("all", "none"):
        edge = Converter(signatures).convert(parameters=weights, composites=Composites.parse(choice))
        files[choice] = edge.export(tmp_path / f"{choice}.tflite")
    kept = {choice: [bool(each.composites) for each in read_model(file).signatures] for choice, file in files.items()}
    assert all(kept["all"])
    assert not any(kept["none"])
    sessions = [Session(file, threads=1) for file in files.values()]
    random = np.random.default_rng(0)
    for signature, info in sessions[0].signatures.items():
        inputs = {
            key: random.normal(size=each.shape).astype("f4") if each.dtype == "float32" else np.ones(each.shape, "i4")
            for key, each in info.inputs.items()
        }
        if "input_pos" in inputs:
            inputs["input_pos"] = np.arange(inputs["input_pos"].size, dtype=np.int32)
        on, off = (session.run(signature, inputs) for session in sessions)
        for key in on:
            np.testing.assert_allclose(on[key], off[key], atol=1e-4, rtol=1e-4)
