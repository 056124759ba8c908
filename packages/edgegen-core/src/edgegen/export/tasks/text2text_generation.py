"""Encoder-decoders: they read one text and answer with another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from edgegen.export.job import ExportOptions, Job
from edgegen.export.tasks import text_generation
from edgegen.export.tasks.feature_extraction import padded
from edgegen.export.tasks.options import Kind, listed
from edgegen.export.verify import (
    LENGTH,
    Array,
    Verification,
    compare,
    first_logits_error,
    joined,
    open_session,
    some_tokens,
    write_text,
)
from edgegen.genai.signature_names import encode_signatures, is_encoder_state, signature_groups
from edgegen.litert.session import Session
from edgegen.tracing import Signature


def _signatures(model: Any, options: ExportOptions) -> list[Signature]:
    signatures: list[Signature] = model.signatures(
        options.encode_lengths, options.prefill_lengths, options.cache_length, text_generation.shorter_caches(options)
    )
    return signatures


def _verify(job: Job, path: Path) -> Verification:
    """A text of random tokens is read by each ``encode_<N>``, padded in each; the file answers, the eager model reads
    both."""
    session, model = open_session(job, path), _model(job)
    encoders = encode_signatures(session.signatures)
    text = some_tokens(model.config.vocab_size, -(-min(encoders) // 2))
    whole = signature_groups(session.signatures)[-1]

    def read(length: int) -> Any:
        return session.hold(whole.decode, session.run(encoders[length], padded(text, length)))

    first, *others = encoders
    start, held = model.config.decoder_start_token_id, read(first)
    result = compare(job, session, start, held, lambda tokens: _eager_logits(model, text, tokens))
    errors = [first_logits_error(session, whole, start, held, read(length)) for length in others]
    return result.with_errors(errors)


def _probed(job: Job) -> list[str]:
    encoders = encode_signatures(job.program.signatures).values()
    return [next(iter(encoders)), signature_groups(job.program.signatures)[-1].decode]


def _read(job: Job, session: Session) -> tuple[dict[str, Array], Callable[[], Any]]:
    """Random tokens, as many as the shortest ``encode_<N>`` takes, and the file's own answer."""
    length, signature = next(iter(encode_signatures(session.signatures).items()))
    text = some_tokens(_model(job).config.vocab_size, length)
    encoded = session.run(signature, padded(text, length))
    whole = signature_groups(session.signatures)[-1]
    held = session.hold(whole.decode, {name: array for name, array in encoded.items() if is_encoder_state(name)})
    start = _model(job).config.decoder_start_token_id
    answer, outputs = write_text(session, whole, start, min(LENGTH, job.options.cache_length), held)
    return {**encoded, **joined(outputs)}, lambda: _eager_logits(job.model, text, answer)


def _eager_logits(model: Any, text: list[int], answer: list[int]) -> Array:
    positions = torch.arange(len(answer), dtype=torch.int32)
    with torch.no_grad(), torch.device("cpu"):
        tokens = torch.tensor([text], dtype=torch.int32)
        encoder_states = model(tokens, torch.ones_like(tokens))["encoder_states"]
        cache = model.new_cache(len(answer), device="cpu")
        outputs = model(
            torch.tensor([answer], dtype=torch.int32),
            input_pos=positions,
            kv_cache=cache,
            encoder_states=encoder_states,
        )
    logits: Array = outputs["logits"][0].numpy()
    return logits


def _model(job: Job) -> Any:
    return job.model


def _manifest(job: Job) -> dict[str, Any]:
    return {
        "encode_lengths": list(job.options.encode_lengths or ()),
        "start_token_id": _model(job).config.decoder_start_token_id,
        **text_generation.generating(job),
    }


def _card(job: Job) -> dict[str, str]:
    return {
        "encode signatures": listed(job.options.encode_lengths, "encode"),
        "prefill signatures of the answer": listed(job.options.prefill_lengths, "prefill"),
        "cache of the answer": f"{job.options.cache_length} tokens",
    }


KIND = Kind(
    name="encoder-decoder",
    title="an encoder-decoder",
    pipeline="text2text-generation",
    command='edgegen run . --prompt "translate English to German: Hello"',
    without=("verify_lengths", "lora_rank", "calibration", "calibrate"),
    encode_lengths=(32, 128, 512),
    # Answers are short, and seldom have a beginning that is given.
    defaults={"cache_length": 512, "prefill_lengths": (8,)},
    signatures=_signatures,
    verify=_verify,
    probed=_probed,
    read=_read,
    manifest=_manifest,
    card=_card,
)
