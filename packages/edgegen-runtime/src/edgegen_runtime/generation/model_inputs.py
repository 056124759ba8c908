"""Inputs that stay the same for all tokens of a model: its LoRA factors and its chat template."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgegen.adapters.layout import LoraLayout, is_lora_input
from edgegen.adapters.peft import SavedAdapter
from edgegen.errors import ErrorCode, UsageError
from edgegen.litert.session import Session
from edgegen_runtime.bundle import ExportedModel
from edgegen_runtime.cache.kv_cache import LanguageSignatures, StaticInputs
from edgegen_runtime.text.chat_template import ChatTemplate
from edgegen_runtime.text.tokenizer import Tokenizer


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads below 1.

    Raises:
        UsageError: it is.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads asked for; at least 1 is needed", code=ErrorCode.INVALID_GENERATION_OPTION)


def lora_inputs(
    session: Session, signatures: LanguageSignatures, exported: ExportedModel, adapter: Path | None
) -> StaticInputs:
    """The LoRA factors of an adapter as static inputs; zeros where the file takes an adapter and none is given."""
    decode = signatures.whole_cache.decode
    if adapter is not None:
        return session.set_static_inputs(decode, LoraLayout.open(exported.folder).factors(SavedAdapter.open(adapter)))
    inputs = session.signatures[decode].inputs.items()
    return session.set_static_inputs(
        decode, {name: np.zeros(info.shape, info.dtype) for name, info in inputs if is_lora_input(name)}
    )


def open_chat_template(exported: ExportedModel, tokenizer: Tokenizer | None) -> ChatTemplate | None:
    """The compiled chat template of an export, None if it has none.

    Raises:
        UsageError: its file cannot be read, or is not valid Jinja.
    """
    if exported.chat_template is None:
        return None
    try:
        source = exported.chat_template.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {exported.chat_template}: {error}", code=ErrorCode.INVALID_CHAT_TEMPLATE
        ) from error

    def name(token_id: int | None) -> str:
        return (tokenizer and token_id is not None and tokenizer.id_to_token(token_id)) or ""

    spec = exported.tokenizer
    if spec is not None and spec.special_tokens is not None:
        return ChatTemplate(source, **spec.special_tokens)
    eos = exported.stop_token_ids[0] if exported.stop_token_ids else None
    return ChatTemplate(source, bos_token=name(spec.bos_token_id if spec else None), eos_token=name(eos))
