"""Text generation: decoders, which continue a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.options import ExportOptions
from edgegen.export.oracle import LONGEST, OracleModel, error, top1
from edgegen.export.records import ExportPlan
from edgegen.export.reference import Reference
from edgegen.export.results import LogitsVerification, OracleVerification
from edgegen.export.tasks.task import Task, listed
from edgegen.export.verify import LENGTH, Array, compare_logits, eager_logits, joined, read_text, write_text
from edgegen.genai.signature_names import signature_groups
from edgegen.litert.session import Session
from edgegen.modeling import CausalLM, SupportsLora, SupportsVerifyLengths, missing, require
from edgegen.module_calls import module_code
from edgegen.tracing import Signature

CHAT_TEMPLATE_FILE = "chat_template.jinja"


def _signatures(module: nn.Module, options: ExportOptions) -> list[Signature]:
    decoder = require(module, CausalLM, options.variant)
    # Passed only where they are asked for, so that a family's own module need not know of them.
    extra: dict[str, Any] = {}
    if options.verify_lengths:
        _need(module, SupportsVerifyLengths, "--verify-lengths")
        extra["verify_lengths"] = options.verify_lengths
    if options.lora_rank:
        _need(module, SupportsLora, "--lora-rank")
        extra["lora_rank"] = options.lora_rank
    return decoder.signatures(options.prefill_lengths, options.cache_length, options.shorter_caches, **extra)


def _need(module: nn.Module, protocol: type[Any], option: str) -> None:
    lacking = missing(module, protocol)
    if lacking:
        raise UsageError(
            f"{option} has no effect on a {type(module).__name__}: it lacks {', '.join(lacking)}",
            code=ErrorCode.PROTOCOL_MISMATCH,
            hint=f"leave out {option}; a module that takes it fulfils edgegen.modeling.{protocol.__name__}",
        )


def _verify(session: Session, reference: Reference) -> LogitsVerification:
    static_inputs = session.set_static_inputs(
        signature_groups(session.signatures)[-1].decode, reference.random_adapter()
    )
    return compare_logits(session, reference, reference.start_token_id, static_inputs, _eager(reference))


def _eager(reference: Reference) -> Callable[[list[int]], Any]:
    """``(tokens) -> [T, V]`` logits of the float model, with the adapter that a file that takes one is given."""
    decoder = reference.as_protocol(CausalLM)
    adapter = None
    if reference.lora is not None:
        adaptable = reference.as_protocol(SupportsLora)
        with module_code(adaptable, "adapter"):
            adapter = adaptable.adapter(reference.random_adapter())
    return lambda tokens: eager_logits(decoder, tokens, adapter)


def _against(session: Session, reference: Reference, oracle: OracleModel) -> OracleVerification:
    """The oracle's text, token by token; without what an adapter would add."""
    tokens = oracle.tokens[: min(LONGEST, reference.cache_length)]
    expected = oracle.run({"tokens": tokens})["logits"]
    with reference.loaded():
        model = eager_logits(reference.as_protocol(CausalLM), tokens)
    whole = signature_groups(session.signatures)[-1]
    adapter = {name: np.zeros_like(array) for name, array in reference.random_adapter().items()}
    file = read_text(session, whole, tokens, session.set_static_inputs(whole.decode, adapter))
    return OracleVerification(
        oracle=oracle.name,
        tokens=len(tokens),
        model_error=error(model, expected),
        file_error=error(file, expected),
        top1=top1(file, expected),
        tokenizer=oracle.tokenizer,
    )


def _debug_signatures(names: Iterable[str]) -> list[str]:
    return [signature_groups(names)[-1].decode]


def _debug_run(session: Session, reference: Reference) -> tuple[dict[str, Array], Callable[[], object]]:
    """A text that the file writes itself."""
    whole = signature_groups(session.signatures)[-1]
    static_inputs = session.set_static_inputs(whole.decode, reference.random_adapter())
    length = min(LENGTH, reference.cache_length)
    tokens, outputs = write_text(session, whole, reference.start_token_id, length, static_inputs)
    return joined(outputs), lambda: _eager(reference)(tokens)


def _manifest(plan: ExportPlan) -> dict[str, Any]:
    return {
        **generation_fields(plan),
        "verify_lengths": plan.options.verify_lengths,
        "chat_template": CHAT_TEMPLATE_FILE if plan.chat_template else None,
    }


def generation_fields(plan: ExportPlan) -> dict[str, Any]:
    """Fields of ``manifest.json`` for models that make text."""
    return {
        "cache_length": plan.options.cache_length,
        "prefill_lengths": plan.options.prefill_lengths,
        "max_rollback_tokens": plan.max_rollback,
        "stop_token_ids": plan.stop_token_ids,
        "stop_tokens": plan.variant.stop_tokens,
    }


def _card(plan: ExportPlan) -> dict[str, str]:
    return {
        "prefill signatures": listed(plan.options.prefill_lengths, "prefill"),
        "cache": f"{plan.options.cache_length} tokens",
    }


TASK = Task(
    name="text-generation",
    title="a decoder",
    protocol=CausalLM,
    command='edgegen run . --prompt "Hello"',
    rejected=("encode_lengths",),
    signatures=_signatures,
    verify=_verify,
    against=_against,
    debug_signatures=_debug_signatures,
    debug_run=_debug_run,
    manifest=_manifest,
    card=_card,
)
