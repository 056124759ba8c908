"""Feature extraction: text encoders, which make vectors of a text, one for each token and one for all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegen.export.options import ExportOptions
from edgegen.export.oracle import LONGEST, OracleModel
from edgegen.export.records import ExportPlan
from edgegen.export.reference import Reference
from edgegen.export.results import EmbeddingVerification, OracleVerification, worst
from edgegen.export.tasks.task import Task, listed
from edgegen.export.verify import Array
from edgegen.genai.signature_names import encode_signatures
from edgegen.litert.session import Session
from edgegen.modeling import TextEncoder, require
from edgegen.module_calls import module_code
from edgegen.tracing import Signature


def _signatures(module: nn.Module, options: ExportOptions) -> list[Signature]:
    return require(module, TextEncoder, options.variant).signatures(options.encode_lengths or ())


def _verify(session: Session, reference: Reference) -> EmbeddingVerification:
    """Random tokens: every signature reads a short text, padded, and the longest one that fills it; the eager model
    reads both as they are."""
    signatures = encode_signatures(session.signatures)
    texts = [reference.random_tokens(count) for count in (-(-min(signatures) // 2), max(signatures))]
    with reference.loaded():
        short, long = (_eager(reference.module, text) for text in texts)
    compared = [(length, texts[0], short) for length in signatures] + [(max(signatures), texts[1], long)]
    errors, cosines, vectors = [], [], []
    for length, text, expected in compared:
        got = session.run(signatures[length], padded(text, length))
        errors.append(_distance(got["embedding"], expected["embedding"]))
        cosines.append(_cosine(got["embedding"], expected["embedding"]))
        vectors.append(_distance(got["token_vectors"][:, : len(text)], expected["token_vectors"]))
    return EmbeddingVerification(len(compared), worst(errors), -worst(-each for each in cosines), worst(vectors))


def _against(session: Session, reference: Reference, oracle: OracleModel) -> OracleVerification:
    """The oracle's text in the shortest signature that takes it, padded; vectors of its tokens are compared."""
    signatures = encode_signatures(session.signatures)
    tokens = oracle.tokens[: min(LONGEST, max(signatures))]
    length = min(length for length in signatures if length >= len(tokens))
    expected = oracle.run({"tokens": tokens})["token_vectors"]
    with reference.loaded():
        model = _eager(reference.module, tokens)["token_vectors"][0]
    file = session.run(signatures[length], padded(tokens, length))["token_vectors"][0, : len(tokens)]
    return OracleVerification(
        oracle=oracle.name,
        tokens=len(tokens),
        model_error=_distance(model, expected),
        file_error=_distance(file, expected),
        top1=1.0,
        tokenizer=oracle.tokenizer,
    )


def _debug_signatures(names: Iterable[str]) -> list[str]:
    return [next(iter(encode_signatures(names).values()))]


def _debug_run(session: Session, reference: Reference) -> tuple[Mapping[str, Array], Callable[[], object]]:
    """Random tokens, as many as the shortest signature takes."""
    length, signature = next(iter(encode_signatures(session.signatures).items()))
    text = reference.random_tokens(length)
    return session.run(signature, padded(text, length)), lambda: _eager(reference.module, text)


def padded(text: list[int], length: int) -> dict[str, Array]:
    """Inputs of an ``encode_<length>`` for a text of at most that many tokens."""
    tokens, mask = np.zeros((2, 1, length), np.int32)
    tokens[0, : len(text)], mask[0, : len(text)] = text, 1
    return {"tokens": tokens, "attention_mask": mask}


def _eager(module: nn.Module, text: list[int]) -> dict[str, Array]:
    with torch.no_grad(), torch.device("cpu"):
        tokens = torch.tensor([text], dtype=torch.int32)
        with module_code(module, "forward"):
            return {name: tensor.numpy() for name, tensor in module(tokens, torch.ones_like(tokens)).items()}


def _distance(got: Array, expected: Array) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def _cosine(got: Array, expected: Array) -> float:
    lengths = float(np.linalg.norm(got)) * float(np.linalg.norm(expected))
    return float(np.vdot(got.astype(np.float64), expected.astype(np.float64))) / lengths


def _manifest(plan: ExportPlan) -> dict[str, Any]:
    config = plan.config
    return {
        "encode_lengths": plan.options.encode_lengths or (),
        "embedding": {
            "dimensions": config.hidden_size,
            "pooling": config.pooling or "mean",
            "normalized": bool(config.normalize),
        },
    }


def _card(plan: ExportPlan) -> dict[str, str]:
    embedding = _manifest(plan)["embedding"]
    unit = ", brought to length 1" if embedding["normalized"] else ""
    return {
        "encode signatures": listed(plan.options.encode_lengths, "encode"),
        "embedding": f"{embedding['dimensions']} numbers, pooled by `{embedding['pooling']}`{unit}",
    }


TASK = Task(
    name="feature-extraction",
    title="an encoder",
    protocol=TextEncoder,
    command='edgegen embed . "Hello"',
    rejected=(
        "prefill_lengths",
        "cache_length",
        "cache_buckets",
        "verify_lengths",
        "lora_rank",
        "layers",
        "calibration",
    ),
    encode_lengths=(32, 128, 512),
    signatures=_signatures,
    verify=_verify,
    against=_against,
    debug_signatures=_debug_signatures,
    debug_run=_debug_run,
    manifest=_manifest,
    card=_card,
)
