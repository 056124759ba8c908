"""The tiny model of conftest as a GGUF file, its matrices quantized as asked for."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import quantize

from edgegen.weights import open_checkpoint


def write_gguf(folder: Path, file: Path, kinds: Mapping[str, str]) -> Path:
    """Write ``file`` from the safetensors in ``folder``.

    Args:
        kinds: ``fnmatch`` pattern on GGUF names -> quantized type; what no pattern takes stays float32.
    """
    checkpoint = open_checkpoint(folder, "safetensors")
    config = checkpoint.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for tensor in checkpoint.tensors.values():
        name, numbers = names.get_name(tensor.name, try_suffixes=(".weight",)), tensor.read()
        if "attn_q" in name or "attn_k" in name:
            heads = config["num_attention_heads" if "attn_q" in name else "num_key_value_heads"]
            rows, columns = numbers.shape  # llama.cpp's order of rows, see interleaved_to_half_rotary
            numbers = numbers.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        kind = next((kind for pattern, kind in kinds.items() if fnmatchcase(name, pattern)), "F32")
        if kind == "F32":
            writer.add_tensor(name, np.ascontiguousarray(numbers))
        else:
            quantized = GGMLQuantizationType[kind]
            writer.add_tensor(name, quantize(numbers, quantized), raw_dtype=quantized)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
