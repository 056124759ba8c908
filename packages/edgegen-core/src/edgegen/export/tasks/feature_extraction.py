"""Encoders: they make vectors of a text, one for each token and one for all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgegen.export.job import ExportOptions, Job
from edgegen.export.offloaded import streamed_weights
from edgegen.export.tasks.options import Kind, listed
from edgegen.export.verify import Array, judge, open_session, some_tokens
from edgegen.genai.signature_names import encode_signatures
from edgegen.litert.session import Session
from edgegen.tracing import Signature
from edgegen.weights.storage import Tolerance


@dataclass(frozen=True)
class EncoderVerification:
    """How the exported file compares with the eager float model.

    Attributes:
        texts: compared texts.
        embedding_error: largest distance of an embedding from the eager one, relative to that one's length.
        cosine: smallest cosine between the two.
        vectors_error: largest distance of the vectors of a text's tokens, likewise.
    """

    texts: int
    embedding_error: float
    cosine: float
    vectors_error: float

    @property
    def error(self) -> float:
        """Of the embeddings."""
        return self.embedding_error

    def __str__(self) -> str:
        return f"embedding error {self.embedding_error:.2e}, cosine {self.cosine:.6f} or more for {self.texts} texts"

    def check(self, scheme: str, tolerance: Tolerance) -> None:
        """Raise VerificationError where a figure is beyond ``tolerance``, whose bound for logits is one for vectors."""
        errors = {"embedding error": self.embedding_error, "vectors error": self.vectors_error}
        judge(scheme, {name: (error, error <= tolerance.logits, f"at most {tolerance.logits}")
                       for name, error in errors.items()})  # fmt: skip


def _signatures(model: Any, options: ExportOptions) -> list[Signature]:
    signatures: list[Signature] = model.signatures(options.encode_lengths)
    return signatures


def _verify(job: Job, path: Path) -> EncoderVerification:
    """Random tokens: every signature reads a short text, padded, and the longest one that fills it; the eager model
    reads both as they are."""
    session, model = open_session(job, path), _model(job)
    signatures = encode_signatures(session.signatures)
    texts = [some_tokens(model.config.vocab_size, count) for count in (-(-min(signatures) // 2), max(signatures))]
    with streamed_weights(model, job.sources):
        short, long = (_eager(model, text) for text in texts)
    compared = [(length, texts[0], short) for length in signatures] + [(max(signatures), texts[1], long)]
    errors, cosines, vectors = [], [], []
    for length, text, expected in compared:
        got = session.run(signatures[length], padded(text, length))
        errors.append(_distance(got["embedding"], expected["embedding"]))
        cosines.append(_cosine(got["embedding"], expected["embedding"]))
        vectors.append(_distance(got["token_vectors"][:, : len(text)], expected["token_vectors"]))
    return EncoderVerification(len(compared), max(errors), min(cosines), max(vectors))


def _probed(job: Job) -> list[str]:
    return [next(iter(encode_signatures(job.program.signatures).values()))]


def _read(job: Job, session: Session) -> tuple[Mapping[str, Array], Callable[[], Any]]:
    """Random tokens, as many as the shortest signature takes."""
    length, signature = next(iter(encode_signatures(session.signatures).items()))
    text = some_tokens(_model(job).config.vocab_size, length)
    return session.run(signature, padded(text, length)), lambda: _eager(job.model, text)


def padded(text: list[int], length: int) -> dict[str, Array]:
    """What an ``encode_<length>`` takes."""
    tokens, mask = np.zeros((2, 1, length), np.int32)
    tokens[0, : len(text)], mask[0, : len(text)] = text, 1
    return {"tokens": tokens, "attention_mask": mask}


def _eager(model: Any, text: list[int]) -> dict[str, Array]:
    with torch.no_grad(), torch.device("cpu"):
        tokens = torch.tensor([text], dtype=torch.int32)
        outputs = model(tokens, torch.ones_like(tokens))
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def _distance(got: Array, expected: Array) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def _cosine(got: Array, expected: Array) -> float:
    lengths = float(np.linalg.norm(got)) * float(np.linalg.norm(expected))
    return float(np.vdot(got.astype(np.float64), expected.astype(np.float64))) / lengths


def _model(job: Job) -> Any:
    return job.model


def _manifest(job: Job) -> dict[str, Any]:
    config = _model(job).config
    return {
        "encode_lengths": list(job.options.encode_lengths or ()),
        "embedding": {
            "dimensions": config.hidden_size,
            "pooling": config.pooling or "mean",
            "normalized": bool(config.normalize),
        },
    }


def _card(job: Job) -> dict[str, str]:
    embedding = _manifest(job)["embedding"]
    unit = ", brought to length 1" if embedding["normalized"] else ""
    return {
        "encode signatures": listed(job.options.encode_lengths, "encode"),
        "embedding": f"{embedding['dimensions']} numbers, pooled by `{embedding['pooling']}`{unit}",
    }


KIND = Kind(
    name="encoder",
    title="an encoder",
    pipeline="feature-extraction",
    command='edgegen embed . "Hello"',
    without=(
        "prefill_lengths",
        "cache_length",
        "cache_buckets",
        "verify_lengths",
        "lora_rank",
        "layers",
        "calibration",
        "calibrate",
    ),
    encode_lengths=(32, 128, 512),
    signatures=_signatures,
    verify=_verify,
    probed=_probed,
    read=_read,
    manifest=_manifest,
    card=_card,
)
