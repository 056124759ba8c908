"""Parity with a reference implementation: models with a checkpoint's weights, run eagerly and exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegen.api import Converter
from edgegen.plugins import load, registry
from edgegen.tracing import Composites
from edgegen.weights import LazyTensor, open_checkpoint
from edgegen.weights.module import parameter_shapes
from edgegen_layers.cache import KVCache
from edgegen_layers.decoder import DecoderLM

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9]
"""A text for models that know 36 tokens or more."""

Run = Callable[[list[int], int, KVCache], tuple[KVCache, torch.Tensor]]
"""``(tokens, position of the first, cache) -> updated cache and logits [T, V]``."""


def stated_config(family: str, path: Path) -> Any:
    """Configuration that a checkpoint states, as an installed family reads it; None if it states none.

    Raises:
        CheckpointError: it is not known.
    """
    described = registry().family(family)
    assert described.read_config is not None, f"{family} reads no configurations"
    return load(described.read_config)(open_checkpoint(path))


def empty_model(family: str, config: Any, **layers: str) -> Any:
    """An installed family's model on the ``meta`` device, with the implementations that ``layers`` names."""
    with torch.device("meta"):
        return load(registry().family(family).builder)(config, layers=layers)


def resolve(family: str, path: Path, config: Any) -> dict[str, LazyTensor]:
    """Parameter name -> contents in a checkpoint, through the weight map that an installed family has for it.

    Raises:
        CheckpointError: weights are missing, left over or of another shape.
    """
    checkpoint, described = open_checkpoint(path), registry().family(family)
    shapes = parameter_shapes(empty_model(family, config))
    weight_map = load(described.weight_maps[checkpoint.naming])(config)
    resolved: dict[str, LazyTensor] = weight_map.resolve(checkpoint, shapes, family)
    return resolved


def fill(model: nn.Module, sources: dict[str, LazyTensor]) -> Any:
    """``model`` with these weights, in evaluation mode and without gradients."""
    for name, parameter in model.eval().requires_grad_(False).named_parameters():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(sources[name].read())))
    return model


def load_model(family: str, path: Path, config: Any, **layers: str) -> Any:
    """An installed family's model with the weights of a checkpoint, in float32 on the CPU; see :func:`resolve`."""
    return fill(load(registry().family(family).builder)(config, layers=layers), resolve(family, path, config))


def load_published(family: str, path: Path, **layers: str) -> Any:
    """The model that a checkpoint describes itself, with its weights; see :func:`load_model`.

    Raises:
        CheckpointError: the configuration is not known, or weights do not match.
    """
    config = stated_config(family, path)
    assert config is not None, f"{path} states no configuration"
    return load_model(family, path, config, **layers)


def step(
    model: DecoderLM, cache: KVCache, start: int, stop: int, *, tokens: Sequence[int] = TOKENS, logits: bool = True
) -> tuple[KVCache, Any]:
    """Run ``tokens[start:stop]`` eagerly: the new cache, and logits ``[T, V]`` (None without)."""
    piece = torch.tensor([list(tokens[start:stop])], dtype=torch.int32)
    outputs = model(piece, torch.arange(start, stop, dtype=torch.int32), cache, logits=logits)
    return outputs["kv_cache"], outputs["logits"][0] if logits else None


def eager_logits(model: DecoderLM, tokens: Sequence[int] = TOKENS) -> torch.Tensor:
    """Logits ``[T, V]`` of ``tokens``, run at once."""
    logits: torch.Tensor = step(model, model.new_cache(len(tokens)), 0, len(tokens), tokens=tokens)[1]
    return logits


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
    """Logits of all tokens whose signature gives any: a prefill gives none."""
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
