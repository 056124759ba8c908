"""Makes checkpoints with the exact shapes of published models and random weights, to convert where none can be fetched.

A folder as the publisher's: bfloat16 safetensors, sharded beyond 5 GB, and ``config.json``. It converts as the
real one does and generates nonsense. Names and shapes come from transformers' own model of the configuration; their
number must be that of edgegen's variant. Weights are written as they are made, so that 16 GB take no more memory than
2 GB do.

    python bench/shapes.py tinyllama-1.1b build/bench/shapes/tinyllama-1.1b
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from measuring import megabytes, note

from edgegen.plugins import registry

SHARD_BYTES = 5_000_000_000
"""Beyond this a published checkpoint is split."""

Settings = Mapping[str, Any]
Shapes = dict[str, tuple[int, ...]]

_LLAMA: Settings = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
}
_LLAMA3_ROPE: Settings = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

CONFIGS: dict[str, Settings] = {
    "smollm2-135m": {
        **_LLAMA,
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rope_theta": 100_000.0,
        "tie_word_embeddings": True,
    },
    "tinyllama-1.1b": {
        **_LLAMA,
        "vocab_size": 32_000,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": False,
    },
    "gemma2-2b": {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "vocab_size": 256_000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "hidden_activation": "gelu_pytorch_tanh",
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "torch_dtype": "bfloat16",
    },
    "llama3.1-8b": {
        **_LLAMA,
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "rope_theta": 500_000.0,
        "rope_scaling": _LLAMA3_ROPE,
        "tie_word_embeddings": False,
    },
}
"""A variant of edgegen -> its published ``config.json``, as far as it says anything about the shapes."""


def make(name: str, folder: Path) -> Path:
    """Make the checkpoint unless ``folder`` has it; returns ``folder``.

    Args:
        name: a key of :data:`CONFIGS`.
        folder: for one checkpoint alone. The configuration is written last, so one that has it is complete.
    """
    if (folder / "config.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIGS[name]
    shapes = published_shapes(config)
    expected = registry().variant(name)[1].parameters
    if sum(map(math.prod, shapes.values())) != expected:
        raise SystemExit(f"{name} should have {expected:,} parameters, not {sum(map(math.prod, shapes.values())):,}")
    shards = split(shapes)
    files = ["model.safetensors"]
    if len(shards) > 1:
        files = [f"model-{at:05}-of-{len(shards):05}.safetensors" for at in range(1, len(shards) + 1)]
        index = {
            "metadata": {"total_size": 2 * expected},
            "weight_map": {tensor: file for file, shard in zip(files, shards, strict=True) for tensor in shard},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    norm = 0.0 if config["model_type"].startswith("gemma") else 1.0
    weights = Weights(norm, layers=config["num_hidden_layers"])
    for file, shard in zip(files, shards, strict=True):
        note(f"writing {folder / file}, {megabytes(sum(2 * math.prod(shape) for shape in shard.values()))}")
        write(folder / file, shard, weights)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def published_shapes(config: Settings) -> Shapes:
    """Names and shapes as transformers has them; a tied head is not stored, being the embedding."""
    import torch
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**config))
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set[str]()
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def split(shapes: Shapes) -> list[Shapes]:
    """Consecutive tensors together, as long as they fit into one shard."""
    shards: list[Shapes] = [{}]
    filled = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        if filled + size > SHARD_BYTES and shards[-1]:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += size
    return shards


class Weights:
    """An endless stream of bfloat16 numbers: one block, drawn once, over and over.

    Embeddings are large and what blocks add to them is small. Otherwise rounding errors would grow from block to block,
    as they do in no trained model, and verification would rightly refuse the result.

    Args:
        norm: what scales of norms lie around: 1, or 0 where the model adds the 1.
        layers: number of blocks.
    """

    # A prime: no matrix has rows of such a length, so that each row begins elsewhere in the block.
    LENGTH = 4_194_301

    def __init__(self, norm: float, layers: int) -> None:
        drawn = np.random.default_rng(0).standard_normal(self.LENGTH, dtype=np.float32)
        small = drawn * np.float32(0.02)
        self._embedding, self._matrices, self._norms = map(bfloat16, (drawn, small, small + np.float32(norm)))
        self._residual = bfloat16(small / np.float32(math.sqrt(2 * layers)))
        self._position = 0

    def take(self, name: str, shape: tuple[int, ...]) -> Iterator[memoryview]:
        """The next numbers, as pieces of bytes that fill a tensor."""
        block = self._norms if len(shape) == 1 else self._matrices
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            block = self._residual
        elif name.endswith("embed_tokens.weight"):
            block = self._embedding
        left = math.prod(shape)
        while left:
            count = min(left, self.LENGTH - self._position)
            yield block[self._position : self._position + count].data.cast("B")
            self._position = (self._position + count) % self.LENGTH
            left -= count


def bfloat16(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The upper half of each float32."""
    return (numbers.view(np.uint32) >> 16).astype(np.uint16)


def write(path: Path, shapes: Shapes, weights: Weights) -> None:
    """One safetensors file: length of the header, header, data without gaps."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)  # so that the data is aligned
    with path.open("wb", buffering=0) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, shape in shapes.items():
            for piece in weights.take(name, shape):
                write_all(file, piece)


def write_all(file: BinaryIO, data: memoryview) -> None:
    """An unbuffered file may take less than it is given."""
    while data:
        data = data[file.write(data) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(make(arguments.name, arguments.folder))


if __name__ == "__main__":
    main()
