"""LiteRT files with signatures and no operators, and SentencePiece models, to put into bundles."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from sentencepiece import SentencePieceTrainer

Signatures = Mapping[str, tuple[Sequence[str], Sequence[str]]]

CACHES = ("kv_cache_k_0", "kv_cache_v_0")
GOOD: Signatures = {
    "prefill_8": (("tokens", "input_pos", *CACHES), CACHES),
    "decode": (("tokens", "input_pos", "mask", *CACHES), ("logits", *CACHES)),
}


def tflite(signatures: Signatures = GOOD) -> bytes:
    names = sorted({name for inputs, outputs in signatures.values() for name in (*inputs, *outputs)})
    tensors = [schema.TensorT(name=name, shape=[1], type=schema.TensorType.FLOAT32, buffer=0) for name in names]

    def maps(wanted: Sequence[str]) -> list[schema.TensorMapT]:
        return [schema.TensorMapT(name=name, tensorIndex=names.index(name)) for name in wanted]

    model = schema.ModelT(
        version=3,
        subgraphs=[schema.SubGraphT(tensors=tensors, inputs=[], outputs=[], operators=[])],
        buffers=[schema.BufferT()],
        signatureDefs=[
            schema.SignatureDefT(inputs=maps(inputs), outputs=maps(outputs), signatureKey=key, subgraphIndex=0)
            for key, (inputs, outputs) in signatures.items()
        ],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def sentencepiece() -> bytes:
    file = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["to be or not to be"] * 9), model_writer=file, vocab_size=11, minloglevel=2
    )
    return file.getvalue()
