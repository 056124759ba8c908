"""Layout of ``.task`` files, the bundles of MediaPipe's LLM Inference API, which LiteRT-LM takes too.

A zip file with three members, stored uncompressed:

- ``METADATA``: LiteRT-LM's ``LlmMetadata``, with a start token: without one, LiteRT-LM refuses it and MediaPipe takes
  it for ``LlmParameters``, its earlier message;
- ``TOKENIZER_MODEL``: a SentencePiece model;
- ``TF_LITE_PREFILL_DECODE``: a LiteRT model with a signature ``decode`` and some that begin with ``prefill``.
"""

from __future__ import annotations

from pathlib import Path

from litert_lm_builder.runtime.proto import llm_metadata_pb2

from edgegen_bundles.mediapipe import aligned_zip
from edgegen_bundles.mediapipe.aligned_zip import ALIGNMENT, Member

METADATA, TOKENIZER, MODEL = "METADATA", "TOKENIZER_MODEL", "TF_LITE_PREFILL_DECODE"
NO_TOKEN = -1
"""Start token id for no start token: LiteRT-LM demands the field and takes this for absent."""


def write(file: Path, metadata: llm_metadata_pb2.LlmMetadata, tokenizer: bytes, model: Path) -> None:
    """Write a ``.task`` file; the model is copied a piece at a time."""
    aligned_zip.write(
        file,
        (
            Member(name=METADATA, contents=metadata.SerializeToString(deterministic=True)),
            Member(name=TOKENIZER, contents=tokenizer),
            Member(name=MODEL, contents=model, alignment=ALIGNMENT),
        ),
    )


def size(metadata: llm_metadata_pb2.LlmMetadata, tokenizer: bytes, model: int) -> int:
    """Size of a ``.task`` file in bytes, from the size of the model."""
    return aligned_zip.size(
        ((METADATA, metadata.ByteSize(), 64), (TOKENIZER, len(tokenizer), 64), (MODEL, model, ALIGNMENT))
    )
