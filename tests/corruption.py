"""Damaged checkpoints of every format: the corpora beside the formats' tests, and the sound ones they are made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import damaged_gguf
import damaged_pytorch
import damaged_safetensors
import numpy as np
from damaged_gguf import GGUF, with_tokenizer
from damaged_pytorch import PYTORCH, PYTORCH_INDEX, saved, state_dict, views, write_archive
from damaged_safetensors import (
    CONFIG,
    GENERATION,
    SAFETENSORS,
    SETTINGS,
    TOKENIZER,
    read_safetensors,
    write_safetensors,
)

from edgegen.testing.damage import Files

CASES = [*damaged_safetensors.CASES, *damaged_gguf.CASES, *damaged_pytorch.CASES]

BASES = (
    "safetensors", "sharded", "gguf", "gguf-q4", "pytorch", "pytorch-sharded", "pytorch-legacy", "pytorch-by-hand",
)  # fmt: skip

LEAST = {
    "truncated": (20, 5), "flipped": (30, 10), "code": (20, 5), "types": (10, 4), "sizes": (30, 20), "shards": (10, 5),
    "paths": (8, 3), "places": (10, 4), "config": (20, 8), "tokenizer": (15, 6),
}  # fmt: skip
"""Category -> how many rows and distinct messages there must be."""


@dataclass
class Sound:
    """What all cases are made from.

    Attributes:
        tensors: name -> numbers.
        bases: kind of checkpoint -> its files.
    """

    tensors: dict[str, np.ndarray]
    bases: dict[str, Files]


def sound(folder: Path, floats: bytes, blocks: bytes) -> Sound:
    """All formats of one model.

    Args:
        folder: with shards of safetensors.
        floats: the model as GGUF.
        blocks: the same, in blocks of Q4_0.
    """
    sharded: Files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    shards = [name for name in sharded if name.endswith(".safetensors")]
    parts = [read_safetensors(sharded[name]) for name in shards]
    tensors = {name: array for part in parts for name, array in part.items()}
    beside = {name: sharded[name] for name in (CONFIG, TOKENIZER, SETTINGS, GENERATION)}
    tokenizer = json.loads(sharded[TOKENIZER])
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    weight_map = {name: file for file, part in zip(names, parts, strict=True) for name in part}
    return Sound(
        tensors,
        {
            "safetensors": {SAFETENSORS: write_safetensors(tensors), **beside},
            "sharded": sharded,
            "gguf": {GGUF: with_tokenizer(floats, tokenizer)},
            "gguf-q4": {GGUF: with_tokenizer(blocks, tokenizer)},
            "pytorch": {PYTORCH: saved(state_dict(tensors)), **beside},
            "pytorch-sharded": {
                **{name: saved(state_dict(part)) for name, part in zip(names, parts, strict=True)},
                PYTORCH_INDEX: json.dumps({"weight_map": weight_map}).encode(),
                **beside,
            },
            "pytorch-legacy": {PYTORCH: saved(state_dict(tensors), legacy=True), **beside},
            "pytorch-by-hand": {PYTORCH: write_archive(views(tensors)), **beside},
        },
    )
