"""Decoders: they continue a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgegen.export.job import ExportOptions, Job
from edgegen.export.tasks.options import Kind, listed
from edgegen.export.verify import (
    LENGTH,
    Array,
    eager_logits,
    first_token,
    joined,
    some_adapter,
    verify_decoder,
    write_text,
)
from edgegen.genai.signature_names import signature_groups
from edgegen.litert.session import Session
from edgegen.tracing import Signature


def _signatures(model: Any, options: ExportOptions) -> list[Signature]:
    # Named only where it is asked for, so that a family's own model need not know of it.
    asked = {"verify_lengths": options.verify_lengths, "lora_rank": options.lora_rank}
    extra = {name: value for name, value in asked.items() if value}
    signatures: list[Signature] = model.signatures(
        options.prefill_lengths, options.cache_length, shorter_caches(options), **extra
    )
    return signatures


def _probed(job: Job) -> list[str]:
    return [signature_groups(job.program.signatures)[-1].decode]


def _read(job: Job, session: Session) -> tuple[dict[str, Array], Callable[[], Any]]:
    """A text that the file writes itself."""
    whole = signature_groups(session.signatures)[-1]
    adapter = {} if job.lora is None else some_adapter(job.lora)
    held = session.hold(whole.decode, adapter)
    tokens, outputs = write_text(session, whole, first_token(job), min(LENGTH, job.options.cache_length), held)
    return joined(outputs), lambda: eager_logits(job.model, tokens, adapter)


def _manifest(job: Job) -> dict[str, Any]:
    return {
        **generating(job),
        "verify_lengths": list(job.options.verify_lengths),
        "chat_template": "chat_template.jinja" if job.chat_template else None,
    }


def shorter_caches(options: ExportOptions) -> list[int]:
    """Those of the short caches that are shorter than the cache."""
    return [slots for slots in options.cache_buckets if slots < options.cache_length]


def generating(job: Job) -> dict[str, Any]:
    """What ``manifest.json`` says of a model that makes text."""
    tokenizer = job.tokenizer
    return {
        "cache_length": job.options.cache_length,
        "prefill_lengths": list(job.options.prefill_lengths),
        "max_rollback_tokens": job.max_rollback,
        "stop_token_ids": list(tokenizer.eos_token_ids) if tokenizer else [],
        "stop_tokens": list(job.variant.stop_tokens),
    }


def _card(job: Job) -> dict[str, str]:
    return {
        "prefill signatures": listed(job.options.prefill_lengths, "prefill"),
        "cache": f"{job.options.cache_length} tokens",
    }


KIND = Kind(
    name="decoder",
    title="a decoder",
    pipeline="text-generation",
    command='edgegen run . --prompt "Hello"',
    without=("encode_lengths",),
    signatures=_signatures,
    verify=verify_decoder,
    probed=_probed,
    read=_read,
    manifest=_manifest,
    card=_card,
)
