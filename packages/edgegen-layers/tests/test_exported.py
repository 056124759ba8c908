"""The decoder on LiteRT against itself in PyTorch: both kernels, composites on and off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_llama import KERNELS, ours, reference
from torch import nn

import edgegen
from edgegen.api import ConvertedModel
from edgegen.litert.session import Session
from edgegen.tflite.reader import read_model
from edgegen.tracing import Composites
from edgegen_layers import TransformerLM
from edgegen_layers.testing import TOKENS, step
from edgegen_quant.schemes import INT8_CHANNEL

CHUNK = 4
LENGTH = len(TOKENS)
"""Also the slots of the cache: the last token goes to the last one."""

NORM, ATTENTION, SWIGLU = "odml.rms_norm", "odml.scaled_dot_product_attention", "odml.swiglu"


def convert(model: TransformerLM, *, composites: str = "all", scheme: str = "fp32") -> ConvertedModel:
    prefill, decode = model.signatures([CHUNK], LENGTH)
    return (
        edgegen.signature(prefill.name, model, prefill.args, prefill.kwargs)
        .signature(decode.name, model, decode.args, decode.kwargs)
        .convert(scheme=scheme, composites=Composites.parse(composites))
    )


CHOICES = [("matmul", "all"), ("matmul", "none"), ("sdpa", "all"), ("sdpa", "none"), ("sdpa", NORM)]
"""Kernel, and the composites that are kept."""


@dataclass
class Exported:
    """A tiny model as a file."""

    kernel: str
    composites: str
    model: TransformerLM
    edge: ConvertedModel
    path: Path

    @property
    def operators(self) -> dict[str, dict[str, int]]:
        """Signature -> composite -> how often."""
        return {signature.name: signature.composites for signature in read_model(self.path).signatures}


@pytest.fixture(scope="module", params=CHOICES, ids="-".join)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    kernel, composites = request.param
    model = ours(reference(attention_bias=True, mlp_bias=True), KERNELS[kernel]())
    edge = convert(model, composites=composites)
    return Exported(kernel, composites, model, edge, edge.export(tmp_path_factory.mktemp("model") / "model.tflite"))


def run_with_state(path: Path) -> np.ndarray:
    """Prefill two chunks, decode the rest; logits ``[LENGTH - 8, V]``."""
    session = Session(path, threads=2)
    state = session.new_state()

    def run(signature: str, start: int, stop: int) -> dict[str, np.ndarray]:
        inputs = {
            "tokens": np.array([TOKENS[start:stop]], np.int32),
            "input_pos": np.arange(start, stop, dtype=np.int32),
        }
        return session.run(signature, inputs, state)

    for start in (0, CHUNK):
        assert run(f"prefill_{CHUNK}", start, start + CHUNK) == {}
    return np.stack([run("decode", at, at + 1)["logits"][0, 0] for at in range(2 * CHUNK, LENGTH)])


def test_prefill_then_decode_through_state_agrees_with_eager(exported: Exported):
    _, expected = step(exported.model, exported.model.new_cache(LENGTH), 0, LENGTH)
    got = torch.from_numpy(run_with_state(exported.path))
    torch.testing.assert_close(got, expected[2 * CHUNK :], atol=1e-4, rtol=1e-4)


def test_a_signature_called_with_a_cache_gives_the_cache_of_eager(exported: Exported):
    model = exported.model
    cache, _ = step(model, model.new_cache(LENGTH), 0, CHUNK, logits=False)
    tokens, positions = torch.tensor([[TOKENS[CHUNK]]], dtype=torch.int32), torch.tensor([CHUNK], dtype=torch.int32)
    outputs = exported.edge(tokens, positions, cache, signature="decode")
    updated, logits = step(model, cache, CHUNK, CHUNK + 1)
    torch.testing.assert_close(outputs.pop("logits")[0], logits, atol=1e-4, rtol=1e-4)
    expected = {f"kv_cache_{side}_{i}": t for side in "kv" for i, t in enumerate(getattr(updated, side))}
    assert outputs.keys() == expected.keys()
    for name, tensor in outputs.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=1e-4)


def test_composites_are_in_the_file_when_on_and_not_when_off(exported: Exported):
    layers = exported.model.config.num_hidden_layers
    # Prefill ends where the last layer's keys and values are in the cache: nobody asks for what comes after.
    full = {
        "decode": {NORM: 2 * layers + 1, ATTENTION: layers, SWIGLU: layers},
        f"prefill_{CHUNK}": {NORM: 2 * layers - 1, ATTENTION: layers - 1, SWIGLU: layers - 1},
    }
    kept = {"all": {NORM, ATTENTION, SWIGLU}, "none": set(), NORM: {NORM}}[exported.composites]
    if exported.kernel != "sdpa":
        kept = kept - {ATTENTION}
    expected = {key: {name: n for name, n in counts.items() if name in kept} for key, counts in full.items()}
    assert exported.operators == expected


def test_composites_state_scale_and_epsilon(exported: Exported):
    config = exported.model.config.block_config
    attributes = {
        NORM: {"epsilon": pytest.approx(config.pre_attention_norm_config.epsilon)},
        ATTENTION: {"scale": pytest.approx(config.attn_config.head_dim**-0.5)},
        SWIGLU: {"gate_size": config.ff_config.intermediate_size},
    }
    for graph in exported.edge.program.signatures.values():
        for op in graph.ops:
            if op.kind == "STABLEHLO_COMPOSITE":
                assert op.options["attributes"] == attributes[op.options["name"]]


@pytest.mark.parametrize("kernel", KERNELS)
def test_results_agree_with_composites_on_and_off(kernel: str, tmp_path: Path):
    model = ours(reference(), KERNELS[kernel]())
    on, off = (
        run_with_state(convert(model, composites=choice).export(tmp_path / f"{choice}.tflite"))
        for choice in ("all", "none")
    )
    np.testing.assert_allclose(on, off, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_8_bit_weights_give_what_8_bit_arithmetic_gives(kernel: str, tied: bool, tmp_path: Path):
    model = ours(reference(tie_word_embeddings=tied), KERNELS[kernel]())
    got = run_with_state(convert(model, scheme="int8-channel").export(tmp_path / "model.tflite"))
    _, exact = step(model, model.new_cache(LENGTH), 0, LENGTH)
    emulate_8_bits(model)
    _, emulated = step(model, model.new_cache(LENGTH), 0, LENGTH)
    assert relative_error(got, emulated) < 1e-3
    assert relative_error(got, exact) < INT8_CHANNEL.tolerance.logits


def relative_error(got: np.ndarray, expected: torch.Tensor) -> float:
    last = expected[2 * CHUNK :].numpy()
    return float(np.linalg.norm(got - last) / np.linalg.norm(last))


def emulate_8_bits(model: TransformerLM) -> None:
    """Matrices rounded row by row around 0, the inputs of products row by row over their range."""
    for parameter in model.parameters():
        if parameter.dim() == 2:
            scales = parameter.abs().amax(dim=1, keepdim=True) / 127
            parameter.copy_((parameter / scales).round() * scales)

    def round_input(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (x,) = inputs
        low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
        scale = (high - low) / 255
        zero = (-low / scale).round()
        return ((((x / scale).round() + zero).clamp(0, 255) - zero) * scale,)

    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(round_input)


@pytest.mark.parametrize("scheme", ["fp32", "int8-channel"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_verifying_gives_the_logits_of_decoding_and_rejected_tokens_leave_no_trace(
    kernel: str, scheme: str, tmp_path: Path
):
    model = ours(reference(), KERNELS[kernel]())
    prefill, verify, decode = model.signatures([CHUNK], LENGTH, verify_lengths=[CHUNK])
    converter = edgegen.signature(prefill.name, model, prefill.args, prefill.kwargs)
    for signature in (verify, decode):
        converter = converter.signature(signature.name, model, signature.args, signature.kwargs)
    session = Session(converter.convert(scheme=scheme, composites="all").export(tmp_path / "model.tflite"))

    def read(name, tokens, start, state):
        positions = np.arange(start, start + len(tokens), dtype=np.int32)
        return session.run(name, {"tokens": np.array([tokens], np.int32), "input_pos": positions}, state)["logits"][0]

    state = session.new_state()
    expected = np.concatenate([read("decode", [token], i, state) for i, token in enumerate(TOKENS)])
    state = session.new_state()
    for start in range(0, LENGTH, CHUNK):
        read("verify_4", [7, 7, 40, 41], start, state)  # wrong guesses, taken back by reading on from the same place
        got = read("verify_4", TOKENS[start : start + CHUNK], start, state)
        np.testing.assert_allclose(got, expected[start : start + CHUNK], atol=1e-4, rtol=1e-4)
