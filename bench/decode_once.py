"""Load one language model's ``.tflite`` file, measure it and print the figures as JSON; ``decode.py`` takes turns.

Takes any file whose signatures ``prefill_<N>`` and ``decode`` have the inputs ``tokens`` and ``input_pos``, a cache
under the same names as input and output, and maybe the causal ``mask`` as an input of float or bool, as the reference's
files have. A mask is made before the clock starts, though a client has to make one for each call. Of a file that also
has signatures on shorter caches those are run that hold the whole text, as ``edgegen run`` does.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.genai.signature_names import signature_groups
from edgegen.litert.session import Session, SignatureInfo

PROMPT_TOKENS = 128
DECODE_TOKENS = 64
CONTINUATION = 24
HIDDEN = -0.7 * float(np.finfo(np.float32).max)
"""What a float mask holds for a key that a query must not see."""

Array = npt.NDArray[Any]


class Model:
    """One file with one cache; positions are the caller's business.

    Args:
        path: the ``.tflite`` file.
        threads: for XNNPACK.
        whole_cache: leave signatures on shorter caches alone.
    """

    def __init__(self, path: Path, threads: int, *, whole_cache: bool) -> None:
        self._session = Session(path, threads=threads, weight_cache=":memory:")
        *short, whole = signature_groups(self._session.signatures)
        fitting = [group for group in short if (group.cache or 0) >= PROMPT_TOKENS + DECODE_TOKENS]
        self._group = whole if whole_cache or not fitting else fitting[0]
        self._state = self._session.new_state(self._group.names)

    @property
    def vocab_size(self) -> int:
        return self._session.signatures[self._group.decode].outputs["logits"].shape[-1]

    def prefill_inputs(self, token_ids: list[int]) -> tuple[str, dict[str, Array]]:
        """The shortest signature that takes all of ``token_ids`` from position 0, and its inputs, padded."""
        length = min(length for length in self._group.prefill if length >= len(token_ids))
        return self._inputs(self._group.prefill[length], token_ids + [0] * (length - len(token_ids)), 0)

    def decode_inputs(self, token_id: int, position: int) -> tuple[str, dict[str, Array]]:
        return self._inputs(self._group.decode, [token_id], position)

    def _inputs(self, signature: str, token_ids: list[int], position: int) -> tuple[str, dict[str, Array]]:
        info = self._session.signatures[signature]
        positions = np.arange(position, position + len(token_ids), dtype=np.int32)
        inputs: dict[str, Array] = {"tokens": np.array([token_ids], np.int32), "input_pos": positions}
        if "mask" in info.inputs:
            inputs["mask"] = causal_mask(info, positions)
        return signature, inputs

    def run(self, signature: str, inputs: dict[str, Array]) -> dict[str, Array]:
        return self._session.run(signature, inputs, self._state)

    def step(self, signature: str, inputs: dict[str, Array]) -> int:
        """Run ``decode``; the likeliest next token."""
        return int(self.run(signature, inputs)["logits"].argmax())


def causal_mask(info: SignatureInfo, positions: Array) -> Array:
    """[1, 1, T, S]: each query sees its own position and those before it."""
    mask = info.inputs["mask"]
    visible = np.arange(mask.shape[-1])[None, :] <= positions[:, None]
    if mask.dtype == "bool":
        return visible.reshape(mask.shape)
    return np.where(visible, 0, HIDDEN).astype(mask.dtype).reshape(mask.shape)


def continuation(model: Model, prompt_ids: list[int]) -> list[int]:
    """Greedy: ``CONTINUATION`` tokens after the prompt."""
    *head, token_id = prompt_ids
    if head:
        model.run(*model.prefill_inputs(head))
    said: list[int] = []
    for position in range(len(head), len(head) + CONTINUATION):
        token_id = model.step(*model.decode_inputs(token_id, position))
        said.append(token_id)
    return said


def measure(path: Path, threads: int, repeats: int, whole_cache: bool) -> tuple[Model, dict[str, list[float]]]:
    """The model, and for each measure one figure for each repeat."""
    began = time.perf_counter()
    model = Model(path, threads, whole_cache=whole_cache)
    loaded = time.perf_counter()
    # Which tokens they are makes no difference to the speed; 7919 is a prime, so that they differ.
    prompt = [index * 7919 % model.vocab_size for index in range(PROMPT_TOKENS)]
    prefill = model.prefill_inputs(prompt)
    steps = [model.decode_inputs(token_id, PROMPT_TOKENS + at) for at, token_id in enumerate(prompt[:DECODE_TOKENS])]
    warming = time.perf_counter()
    model.run(*prefill)
    model.step(*steps[0])
    answered = time.perf_counter()
    prefill_speeds: list[float] = []
    prefill_cpu: list[float] = []
    decode_speeds: list[float] = []
    decode_cpu: list[float] = []
    for _ in range(repeats):
        begin, cpu_start = time.perf_counter(), time.process_time()
        model.run(*prefill)
        prefilled, cpu_begin = time.perf_counter(), time.process_time()
        for signature, inputs in steps:
            model.step(signature, inputs)
        cpu_end, end = time.process_time(), time.perf_counter()
        prefill_speeds.append(PROMPT_TOKENS / (prefilled - begin))
        prefill_cpu.append((cpu_begin - cpu_start) * 1000)
        decode_speeds.append(DECODE_TOKENS / (end - prefilled))
        decode_cpu.append((cpu_end - cpu_begin) * 1000 / DECODE_TOKENS)
    return model, {
        "load": [loaded - began],
        "first_answer": [loaded - began + answered - warming],
        "prefill": prefill_speeds,
        "prefill_cpu": prefill_cpu,
        "decode": decode_speeds,
        "decode_cpu": decode_cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .tflite file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="after one that does not count")
    parser.add_argument("--whole-cache", action="store_true", help="do not use signatures on shorter caches")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json, to continue the prompt with")
    parser.add_argument("--prompt", help="a text to continue")
    arguments = parser.parse_args()
    model, figures = measure(arguments.model, arguments.threads, arguments.repeats, arguments.whole_cache)
    said: dict[str, Any] = {"token_ids": [], "text": ""}
    if arguments.tokenizer and arguments.prompt:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
        token_ids = continuation(model, tokenizer.encode(arguments.prompt).ids)
        said = {"token_ids": token_ids, "text": tokenizer.decode(token_ids)}
    print(json.dumps({**figures, **said}, indent=2))


if __name__ == "__main__":
    main()
