"""Writes an adapter of random weights in the form of the library peft, but without it, for a model of any size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SMOLLM2 = {
    f"model.layers.{i}.self_attn.{name}_proj": shape
    for i in range(30)
    for name, shape in {"q": (576, 576), "k": (192, 576), "v": (192, 576), "o": (576, 576)}.items()
}
"""SmolLM2-135M's attention: module -> outputs, inputs."""


def write_random_adapter(
    folder: Path, modules: Mapping[str, tuple[int, int]], seed: int, rank: int = 8, strength: float = 0.5
) -> None:
    """Make ``folder``; ``strength`` is about what the adapter gives relative to a projection's input."""
    generator = np.random.default_rng(seed)
    tensors = {}
    for module, (outputs, inputs) in modules.items():
        factors = {"A": ((rank, inputs), 1 / inputs), "B": ((outputs, rank), strength**2 / rank)}
        for side, (shape, variance) in factors.items():
            values = generator.normal(scale=np.sqrt(variance), size=shape).astype(np.float32)
            tensors[f"base_model.model.{module}.lora_{side}.weight"] = values
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
