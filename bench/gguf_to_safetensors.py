"""Turn a GGUF file into a Hugging Face folder in bfloat16, which is what the reference reads.

``reference.py`` runs this in the reference's environment; nothing here is measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import transformers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    folder, name = arguments.checkpoint.parent, arguments.checkpoint.name
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        dtype=torch.bfloat16,
        # Otherwise the weights stay in GGUF's blocks, and cannot be saved.
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    model.save_pretrained(arguments.output)
    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
