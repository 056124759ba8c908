"""A step of ``llama_cpp.py`` in llama.cpp's environment: its name, and its arguments in JSON; JSON is what it prints.

It needs ``python -I``, or else ``import llama_cpp`` finds that script.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np


def widen(source: str, target: str) -> None:
    """Write the same model in float32: its numbers as they are after dequantization, its metadata and tokenizer."""
    reader = gguf.GGUFReader(source)
    fields = dict(reader.fields)
    writer = gguf.GGUFWriter(target, fields.pop("general.architecture").contents())
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for name, field in fields.items():
        if not name.startswith("GGUF.") and name not in ("general.file_type", "general.quantization_version"):
            kind, *inner = field.types
            writer.add_key_value(name, field.contents(), kind, sub_type=inner[-1] if inner else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    written = {tensor.name: tensor.data for tensor in gguf.GGUFReader(target).tensors}
    for tensor in reader.tensors:
        if not np.array_equal(written[tensor.name], gguf.dequantize(tensor.data, tensor.tensor_type)):
            raise SystemExit(f"{tensor.name} is not the same in {target}")


def quantize(source: str, target: str, kind: str, pure: bool, threads: int) -> dict[str, Any]:
    """Let llama.cpp quantize a file: all of it if ``pure``, else with more bits where it finds them well spent."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    parameters.pure = pure
    parameters.nthread = threads
    failed = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters))
    if failed:
        raise SystemExit(f"{source} cannot be quantized to {kind}")
    (embedding,) = (t for t in gguf.GGUFReader(target).tensors if t.name == "token_embd.weight")
    return {"embedding": embedding.tensor_type.name}


def read(model: str, windows: str, logits: str, threads: int) -> None:
    """Keep the logits after each token of each window but its last, ``[N, V]`` in a .npy file."""
    pieces = json.loads(Path(windows).read_text())
    # Keys and values in float32, as in a .tflite file: what differs is to be the weights, and how they are multiplied.
    exact = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
    llm = _load(model, max(map(len, pieces)), threads, logits_all=True, **exact)
    shape = (sum(len(piece) - 1 for piece in pieces), llm.n_vocab())
    kept = np.lib.format.open_memmap(logits, mode="w+", dtype=np.float32, shape=shape)
    at = 0
    for piece in pieces:
        llm.reset()
        llm.eval(piece[:-1])
        kept[at : at + llm.n_tokens] = llm.scores[: llm.n_tokens]
        at += llm.n_tokens
    kept.flush()


def speed(model: str, prompt: int, decode: int, runs: int, threads: int) -> dict[str, Any]:
    """Greedy decoding as ``edgegen bench`` does it: the same prompt, and a run before that does not count."""
    llm = _load(model, prompt + decode, threads)
    vocabulary = llm.n_vocab()
    token_ids = [index * 7919 % vocabulary for index in range(prompt)]
    found = []
    for _ in range(runs + 1):
        llm.reset()
        llm.eval(token_ids)
        token_id = token_ids[0]
        begin = time.perf_counter()
        for _ in range(decode):
            llm.eval([token_id])
            token_id = int(np.ctypeslib.as_array(llama_cpp.llama_get_logits(llm.ctx), shape=(vocabulary,)).argmax())
        found.append(decode / (time.perf_counter() - begin))
    return {"decode_tokens_per_second": statistics.median(found[1:])}


def _load(model: str, length: int, threads: int, **options: Any) -> llama_cpp.Llama:
    threading = {"n_threads": threads, "n_threads_batch": threads}
    return llama_cpp.Llama(model, n_ctx=length, verbose=False, **threading, **options)


STEPS = {"widen": widen, "quantize": quantize, "read": read, "speed": speed}


if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))
