"""Export target ``litertlm``: one file that LiteRT-LM runs, with its export record and model card beside it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from litert_lm_builder.runtime.proto import llm_metadata_pb2, sampler_params_pb2

from edgegen.adapters.layout import LAYOUT_FILE
from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.export.folder import write_json
from edgegen.export.model_card import model_card
from edgegen.export.options import MODEL_FILE
from edgegen.export.provenance import provenance
from edgegen.export.records import ExportPlan, ExportResult
from edgegen.genai.provenance import EXPORT_FILE
from edgegen.genai.token_decoders import unstreamable
from edgegen.progress import Reporter
from edgegen.weights import TokenizerAssets
from edgegen_bundles import __version__
from edgegen_bundles.chat.prompts import PromptFormat, prompt_format
from edgegen_bundles.chat.templates import example_chats
from edgegen_bundles.litertlm import container
from edgegen_bundles.litertlm.adapter import check_rank, write_adapter
from edgegen_bundles.litertlm.container import Section, SectionType
from edgegen_bundles.sentencepiece.control_pieces import findable
from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, SENTENCEPIECE_FILE, vocabulary

NO_ADAPTER = "no-adapter.tflite"
"""File of an adapter of zeros, for sessions without one."""


def check(plan: ExportPlan, report: Reporter) -> None:
    """Check that the model fits a ``.litertlm`` bundle; warn of what is left out.

    Raises:
        UnsupportedError: the checkpoint has no tokenizer that LiteRT-LM reads, caches are rings, or adapters would have
            a rank that it does not take.
    """
    refuse_rings(plan)
    if plan.lora is not None:
        check_rank(plan.lora.rank)
    for warning in prompt_format_of(plan).warnings:
        report.warn(warning)
    document = tokenizer_of(plan).files.get(HF_FILE)
    reason = None if document is None else unstreamable(json.loads(document).get("decoder"))
    if reason is not None:
        report.warn(f"{reason}, so that clients that write token by token may put spaces wrongly")


def refuse_rings(plan: ExportPlan) -> None:
    """Refuse ring buffers and recurrent states: LiteRT-LM, which MediaPipe runs too, pads what it reads and rolls back.

    Raises:
        UnsupportedError: the cache cannot forget every token again.
    """
    if plan.max_rollback is not None:
        raise UnsupportedError(
            "LiteRT-LM takes caches that keep the whole text, and this one can be rolled back by "
            f"{plan.max_rollback} tokens only",
            code=ErrorCode.BUNDLE_NEEDS_FULL_CACHE,
            hint="leave out --layer attention=ring, if that is why; --target tflite makes a file for edgegen run",
        )


def files(plan: ExportPlan, model: int) -> dict[str, int]:
    """Files of the target with their sizes in bytes: the bundle."""
    others = [len(llm_metadata(plan).SerializeToString()), len(_tokenizer_section(plan).contents)]  # type: ignore[arg-type]
    return {file_name(plan): container.size([*others, model])}


def package(result: ExportResult, folder: Path) -> None:
    """Package the export: the bundle in place of ``model.tflite``, with its record and model card."""
    plan = result.plan
    name, model = file_name(plan), folder / MODEL_FILE
    sections = [
        Section(type=SectionType.LLM_METADATA, contents=llm_metadata(plan).SerializeToString(deterministic=True)),
        _tokenizer_section(plan),
        Section(type=SectionType.MODEL, contents=model, labels={"model_type": "tf_lite_prefill_decode"}),
    ]
    container.write(folder / name, sections, {"Name": plan.variant.name, "Generator": f"edgegen-bundles {__version__}"})
    model.unlink()
    if plan.lora is not None:
        write_json(folder / LAYOUT_FILE, plan.lora.as_json())
        # Without one LiteRT-LM leaves in the adapter's place whatever was there before.
        write_adapter(folder / NO_ADAPTER, plan.lora.rank, plan.lora.zeros())
    write_json(folder / EXPORT_FILE, provenance(result))
    (folder / "README.md").write_text(model_card(result, _command(plan)), encoding="utf-8")


def file_name(plan: ExportPlan) -> str:
    """File name of the bundle, after the variant: a bundle travels alone."""
    return f"{plan.variant.name}.litertlm"


def llm_metadata(plan: ExportPlan) -> llm_metadata_pb2.LlmMetadata:
    """LiteRT-LM's metadata: cache length, chat template, sampler, start and stop tokens."""
    prompt = prompt_format_of(plan)
    metadata = llm_metadata_pb2.LlmMetadata(
        max_num_tokens=plan.options.cache_length,
        jinja_prompt_template=prompt.template,
        # The most likely token always, as `edgegen run` does; whoever wants chance asks for it. There is a type for
        # that, GREEDY, but LiteRT-LM 0.18 does not implement it.
        sampler_params=sampler_params_pb2.SamplerParameters(
            type=sampler_params_pb2.SamplerParameters.TOP_P, k=1, p=1.0, temperature=1.0
        ),
    )
    # The other types name models that take pictures, sound or tools in ways of their own.
    metadata.llm_model_type.generic_model.SetInParent()
    if prompt.start_token is not None:
        metadata.start_token.token_ids.ids.append(prompt.start_token)
    for token in stop_tokens(plan):
        metadata.stop_tokens.add().token_ids.ids.append(token)
    return metadata


def stop_tokens(plan: ExportPlan) -> list[int]:
    """Stop token ids of checkpoint and variant; a name that the vocabulary lacks cannot come up."""
    tokenizer = tokenizer_of(plan)
    names = vocabulary(tokenizer)
    named = (names.id_of(name) for name in plan.variant.stop_tokens)
    return list(dict.fromkeys([*plan.stop_token_ids, *(token for token in named if token is not None)]))


def prompt_format_of(plan: ExportPlan) -> PromptFormat:
    """Prompt format of the bundle: start token and chat template."""
    tokenizer = tokenizer_of(plan)
    return prompt_format(tokenizer, vocabulary(tokenizer), tokenizer.chat_template or plan.variant.chat_template)


def tokenizer_of(plan: ExportPlan) -> TokenizerAssets:
    """Tokenizer of the checkpoint.

    Raises:
        UnsupportedError: it has none that LiteRT-LM reads.
    """
    tokenizer = plan.tokenizer
    if tokenizer is None or not {HF_FILE, SENTENCEPIECE_FILE} & set(tokenizer.files):
        raise UnsupportedError(
            f"a bundle holds a tokenizer, and {plan.checkpoint.path} has none that LiteRT-LM reads",
            code=ErrorCode.BUNDLE_NEEDS_TOKENIZER,
            hint=f"put {HF_FILE} or {SENTENCEPIECE_FILE} beside the weights, or use --target tflite",
        )
    return tokenizer


def _tokenizer_section(plan: ExportPlan) -> Section:
    """Section of the tokenizer; ``tokenizer.json`` is compressed, with its size before it."""
    assets: Mapping[str, bytes] = tokenizer_of(plan).files
    if HF_FILE not in assets:
        chats = example_chats(prompt_format_of(plan).template)
        return Section(type=SectionType.SENTENCEPIECE, contents=findable(assets[SENTENCEPIECE_FILE], chats))
    contents = assets[HF_FILE]
    return Section(
        type=SectionType.HF_TOKENIZER, contents=len(contents).to_bytes(8, "little") + zlib.compress(contents)
    )


def _command(plan: ExportPlan) -> str:
    chat = "" if prompt_format_of(plan).template else "--no-template "
    return f'litert-lm run {file_name(plan)} {chat}--prompt "Hello"'
