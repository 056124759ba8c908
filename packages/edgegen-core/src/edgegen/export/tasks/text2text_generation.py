"""Text-to-text generation: encoder-decoders, which read one text and answer with another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from edgegen.export.options import ExportOptions
from edgegen.export.oracle import LONGEST, OracleModel, error, top1
from edgegen.export.records import ExportPlan
from edgegen.export.reference import Reference
from edgegen.export.results import LogitsVerification, OracleVerification
from edgegen.export.tasks import text_generation
from edgegen.export.tasks.feature_extraction import padded
from edgegen.export.tasks.task import Task, listed
from edgegen.export.verify import (
    LENGTH,
    Array,
    Logits,
    compare_logits,
    first_logits_error,
    joined,
    read_text,
    write_text,
)
from edgegen.genai.signature_names import encode_signatures, is_encoder_state, signature_groups
from edgegen.litert.session import Session
from edgegen.modeling import Seq2SeqLM, require
from edgegen.module_calls import module_code
from edgegen.tracing import Signature


def _signatures(module: nn.Module, options: ExportOptions) -> list[Signature]:
    model = require(module, Seq2SeqLM, options.variant)
    return model.signatures(
        options.encode_lengths or (), options.prefill_lengths, options.cache_length, options.shorter_caches
    )


def _verify(session: Session, reference: Reference) -> LogitsVerification:
    """A text of random tokens is read by each ``encode_<N>``, padded in each; the file answers, the eager model reads
    both."""
    encoders = encode_signatures(session.signatures)
    text = reference.random_tokens(-(-min(encoders) // 2))
    whole = signature_groups(session.signatures)[-1]

    def read(length: int) -> Any:
        return session.set_static_inputs(whole.decode, session.run(encoders[length], padded(text, length)))

    first, *others = encoders
    start, encoded = reference.config.decoder_start_token_id, read(first)
    result = compare_logits(
        session, reference, start, encoded, lambda tokens: _eager_logits(reference.as_protocol(Seq2SeqLM), text, tokens)
    )
    errors = [first_logits_error(session, whole, start, encoded, read(length)) for length in others]
    return result.with_errors(errors)


def _against(session: Session, reference: Reference, oracle: OracleModel) -> OracleVerification:
    """The oracle's text is read; the beginning of it is the answer as well."""
    encoders = encode_signatures(session.signatures)
    text = oracle.tokens[: min(LONGEST, max(encoders))]
    answer = [reference.config.decoder_start_token_id, *text][: min(LENGTH, reference.cache_length)]
    expected = oracle.run({"tokens": text, "answer": answer})["logits"]
    with reference.loaded():
        model = _eager_logits(reference.as_protocol(Seq2SeqLM), text, answer)
    length = min(length for length in encoders if length >= len(text))
    whole = signature_groups(session.signatures)[-1]
    encoded = session.run(encoders[length], padded(text, length))
    states = {name: array for name, array in encoded.items() if is_encoder_state(name)}
    file = read_text(session, whole, answer, session.set_static_inputs(whole.decode, states))
    return OracleVerification(
        oracle=oracle.name,
        tokens=len(answer),
        model_error=error(model, expected),
        file_error=error(file, expected),
        top1=top1(file, expected),
        tokenizer=oracle.tokenizer,
    )


def _debug_signatures(names: Iterable[str]) -> list[str]:
    names = list(names)
    return [next(iter(encode_signatures(names).values())), signature_groups(names)[-1].decode]


def _debug_run(session: Session, reference: Reference) -> tuple[dict[str, Array], Callable[[], object]]:
    """Random tokens, as many as the shortest ``encode_<N>`` takes, and the file's own answer."""
    length, signature = next(iter(encode_signatures(session.signatures).items()))
    text = reference.random_tokens(length)
    encoded = session.run(signature, padded(text, length))
    whole = signature_groups(session.signatures)[-1]
    states = session.set_static_inputs(
        whole.decode, {name: array for name, array in encoded.items() if is_encoder_state(name)}
    )
    start = reference.config.decoder_start_token_id
    answer, outputs = write_text(session, whole, start, min(LENGTH, reference.cache_length), states)
    return {**encoded, **joined(outputs)}, lambda: _eager_logits(reference.as_protocol(Seq2SeqLM), text, answer)


def _eager_logits(module: Seq2SeqLM, text: list[int], answer: list[int]) -> Logits:
    positions = torch.arange(len(answer), dtype=torch.int32)
    with torch.no_grad(), torch.device("cpu"):
        tokens = torch.tensor([text], dtype=torch.int32)
        with module_code(module, "new_cache"):
            cache = module.new_cache(len(answer), device="cpu")
        ids = torch.tensor([answer], dtype=torch.int32)
        with module_code(module, "forward"):
            states = module(tokens, torch.ones_like(tokens))["encoder_states"]
            outputs = module(ids, input_pos=positions, kv_cache=cache, encoder_states=states)
            logits: Logits = outputs["logits"][0].numpy()
    return logits


def _manifest(plan: ExportPlan) -> dict[str, Any]:
    return {
        "encode_lengths": plan.options.encode_lengths or (),
        "start_token_id": plan.config.decoder_start_token_id,
        **text_generation.generation_fields(plan),
    }


def _card(plan: ExportPlan) -> dict[str, str]:
    return {
        "encode signatures": listed(plan.options.encode_lengths, "encode"),
        "prefill signatures of the answer": listed(plan.options.prefill_lengths, "prefill"),
        "cache of the answer": f"{plan.options.cache_length} tokens",
    }


TASK = Task(
    name="text2text-generation",
    title="an encoder-decoder",
    protocol=Seq2SeqLM,
    command='edgegen run . --prompt "translate English to German: Hello"',
    rejected=("verify_lengths", "lora_rank", "calibration"),
    encode_lengths=(32, 128, 512),
    # Answers are short, and seldom have a beginning that is given.
    defaults={"cache_length": 512, "prefill_lengths": (8,)},
    signatures=_signatures,
    verify=_verify,
    against=_against,
    debug_signatures=_debug_signatures,
    debug_run=_debug_run,
    manifest=_manifest,
    card=_card,
)
