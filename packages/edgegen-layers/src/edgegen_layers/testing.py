"""Parity with a reference implementation, for the tests of model families.

::

    def test_parity(tmp_path):
        reference.save_pretrained(tmp_path)
        model = load_published("llama", tmp_path)
        check_parity(model, TOKENS, reference(torch.tensor([TOKENS])).logits[0])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from edgegen.api import Converter
from edgegen.conversion import parameter_shapes
from edgegen.plugins import load, registry
from edgegen.tracing import Composites
from edgegen.weights import LazyTensor, open_checkpoint
from edgegen_layers.cache import KVCache
from edgegen_layers.config import TransformerConfig
from edgegen_layers.decoder import DecoderLM

Run = Callable[[list[int], int, KVCache], tuple[KVCache, torch.Tensor]]
"""``(tokens, position of the first, cache) -> updated cache and logits [T, V]``."""


def resolve(family: str, path: Path, config: TransformerConfig) -> dict[str, LazyTensor]:
    """Parameter name -> contents in a checkpoint, through the weight map that an installed family has for it.

    Raises:
        CheckpointError: weights are missing, left over or of another shape.
    """
    checkpoint, described = open_checkpoint(path), registry().family(family)
    with torch.device("meta"):
        model = load(described.builder)(config, layers={})
    resolved: dict[str, LazyTensor] = load(described.weight_maps[checkpoint.naming])(config).resolve(
        checkpoint, parameter_shapes(model), family
    )
    return resolved


def load_model(family: str, path: Path, config: TransformerConfig, kernel: str = "matmul") -> DecoderLM:
    """An installed family's model with the weights of a checkpoint, in float32 on the CPU; see :func:`resolve`."""
    sources = resolve(family, path, config)
    model: DecoderLM = load(registry().family(family).builder)(config, layers={"attention": kernel})
    for name, parameter in model.eval().requires_grad_(False).named_parameters():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(sources[name].read())))
    return model


def load_published(family: str, path: Path) -> DecoderLM:
    """The model that a checkpoint describes itself, with its weights; see :func:`load_model`.

    Raises:
        CheckpointError: the configuration is not known, or weights do not match.
    """
    described = registry().family(family)
    assert described.read_config is not None, f"{family} reads no configurations"
    config = load(described.read_config)(open_checkpoint(path))
    assert config is not None, f"{path} states no configuration"
    return load_model(family, path, config)


def check_parity(model: DecoderLM, tokens: Sequence[int], expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    """Compare a model's logits with a reference's, eagerly and exported.

    The prompt at once; in two pieces; token by token, to the last slot of the cache; the same in LiteRT with float32
    weights, with composites and without them, and with 8-bit weights within that scheme's tolerance.

    Args:
        model: with weights.
        tokens: at least 8.
        expected: ``[T, V]``, the reference's logits after each token.
        tolerance: absolute, for float32.

    Raises:
        AssertionError: they differ.
    """
    tokens, length = list(tokens), len(tokens)

    def eager(piece: list[int], start: int, cache: KVCache) -> tuple[KVCache, torch.Tensor]:
        positions = torch.arange(start, start + len(piece), dtype=torch.int32)
        outputs = model(torch.tensor([piece], dtype=torch.int32), positions, cache)
        return outputs["kv_cache"], outputs["logits"][0]

    for pieces in ([length], [length // 2, length - length // 2], [1] * length):
        torch.testing.assert_close(_logits(eager, model, tokens, pieces), expected, atol=tolerance, rtol=tolerance)
    steps = [4, *[1] * (length - 4)]
    exact = _logits(_exported(model, length, "fp32", "none"), model, tokens, steps)
    torch.testing.assert_close(exact, expected[-len(exact) :], atol=tolerance, rtol=tolerance)
    composed = _logits(_exported(model, length, "fp32", "all"), model, tokens, steps)
    torch.testing.assert_close(composed, exact, atol=1e-4, rtol=1e-4)
    rounded = _logits(_exported(model, length, "int8-channel", "none"), model, tokens, steps)
    error = (rounded - exact).norm() / (exact - exact.mean(-1, keepdim=True)).norm()
    assert error < 0.15, f"8-bit logits are off by {error:.2f}"


def _logits(run: Run, model: DecoderLM, tokens: list[int], pieces: list[int]) -> torch.Tensor:
    """Of all tokens whose piece gives any: those that are exported give none for a prefill."""
    cache, rows, start = model.new_cache(len(tokens)), [], 0
    for size in pieces:
        cache, logits = run(tokens[start : start + size], start, cache)
        rows.append(logits)
        start += size
    return torch.cat(rows)


def _exported(model: DecoderLM, length: int, scheme: str, composites: str) -> Run:
    converter = Converter()
    for signature in model.signatures([4], length):
        converter = converter.signature(signature.name, model, signature.args, signature.kwargs)
    edge = converter.convert(scheme=scheme, composites=Composites.parse(composites))

    def run(piece: list[int], start: int, cache: KVCache) -> tuple[KVCache, torch.Tensor]:
        positions = torch.arange(start, start + len(piece), dtype=torch.int32)
        name = "decode" if len(piece) == 1 else "prefill_4"
        outputs = edge(torch.tensor([piece], dtype=torch.int32), positions, cache, signature=name)
        layers = range(len(model.blocks))
        updated = KVCache([outputs[f"kv_cache_k_{i}"] for i in layers], [outputs[f"kv_cache_v_{i}"] for i in layers])
        nothing = torch.empty(0, model.config.vocab_size)
        return updated, outputs["logits"][0] if "logits" in outputs else nothing

    return run
