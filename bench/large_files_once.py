"""Continue a text with one ``.tflite`` file in one of LiteRT's Python runtimes; ``large_files.py`` calls it.

Every token goes through the signature ``decode``, so that both do the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Decode = Callable[[Arrays], npt.NDArray[Any]]
"""Tokens and positions -> logits."""


def compiled_model(model: Path) -> Decode:
    """LiteRT's CompiledModel as ``edgegen run`` uses it."""
    from edgegen.litert.session import Session

    session = Session(model)
    state = session.new_state(["decode"])
    return lambda inputs: session.run("decode", inputs, state)["logits"]


def interpreter(model: Path) -> Decode:
    """The older Interpreter, which hands caches out and takes them back."""
    from ai_edge_litert.interpreter import Interpreter

    decode = Interpreter(str(model)).get_signature_runner("decode")
    caches = {
        name: np.zeros(details["shape"], details["dtype"])
        for name, details in decode.get_input_details().items()
        if name in decode.get_output_details()
    }

    def run(inputs: Arrays) -> npt.NDArray[Any]:
        outputs = decode(**inputs, **caches)
        caches.update((name, outputs[name]) for name in caches)
        return outputs["logits"]

    return run


RUNTIMES = {"CompiledModel": compiled_model, "Interpreter": interpreter}


def continuation(decode: Decode, token_ids: list[int], count: int) -> list[int]:
    """Greedy: ``count`` tokens after ``token_ids``."""
    known = list(token_ids)
    for position in range(len(token_ids) + count - 1):
        inputs = {"tokens": np.array([[known[position]]], np.int32), "input_pos": np.array([position], np.int32)}
        logits = decode(inputs)
        if position + 1 >= len(token_ids):
            known.append(int(logits.argmax()))
    return known[len(token_ids) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("model", type=Path, help="a .tflite file")
    parser.add_argument("token_ids", help="with commas between them")
    parser.add_argument("count", type=int, help="tokens to say")
    arguments = parser.parse_args()
    token_ids = [int(token_id) for token_id in arguments.token_ids.split(",")]
    print(*continuation(RUNTIMES[arguments.runtime](arguments.model), token_ids, arguments.count))


if __name__ == "__main__":
    main()
