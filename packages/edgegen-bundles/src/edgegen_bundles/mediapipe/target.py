"""Export target ``task``: one file for MediaPipe's LLM Inference API, with export record and model card beside it."""

from __future__ import annotations

import functools
from pathlib import Path

from litert_lm_builder.runtime.proto import llm_metadata_pb2

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.export.folder import write_json
from edgegen.export.model_card import model_card
from edgegen.export.options import MODEL_FILE
from edgegen.export.provenance import provenance
from edgegen.export.records import ExportPlan, ExportResult
from edgegen.genai.provenance import EXPORT_FILE
from edgegen.progress import Reporter
from edgegen_bundles.chat.templates import affixes, example_chats
from edgegen_bundles.litertlm import target as litertlm
from edgegen_bundles.mediapipe import task_file
from edgegen_bundles.mediapipe.task_reader import read_task
from edgegen_bundles.sentencepiece import Conversion, compare, convert, sentence
from edgegen_bundles.sentencepiece.control_pieces import findable
from edgegen_bundles.sentencepiece.sample_text import sample_text
from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, SENTENCEPIECE_FILE


def check(plan: ExportPlan, report: Reporter) -> None:
    """Check that the model fits a ``.task`` bundle; convert the tokenizer if need be; warn of what is left out.

    Raises:
        UnsupportedError: there is no tokenizer, none that can become a SentencePiece model, or no token that ends a
            text; caches are rings; or adapters are to be given at run time.
    """
    litertlm.refuse_rings(plan)
    if plan.lora is not None:
        raise UnsupportedError(
            "a .task bundle takes no adapters at run time",
            code=ErrorCode.BUNDLE_TAKES_NO_ADAPTERS,
            hint="use --target litertlm, or merge: --lora",
        )
    if not litertlm.stop_tokens(plan):
        raise UnsupportedError(
            "a .task bundle needs a token that ends a text, and neither checkpoint nor model names one",
            code=ErrorCode.BUNDLE_NEEDS_STOP_TOKEN,
            hint="state eos_token_id in generation_config.json beside the weights",
        )
    conversion = _conversion(plan)
    if conversion is not None:
        with report.stage("tokenizer") as stage:
            stage.detail(f"{HF_FILE} as SentencePiece: {sentence(compare(conversion, sample_text()))}")
    for warning in litertlm.prompt_format_of(plan).warnings:
        report.warn(warning)


def files(plan: ExportPlan, model: int) -> dict[str, int]:
    """Files of the target with their sizes in bytes: the bundle."""
    return {file_name(plan): task_file.size(llm_metadata(plan), tokenizer(plan), model)}


def package(result: ExportResult, folder: Path) -> None:
    """Package the export: the bundle in place of ``model.tflite``, checked, with its record and model card."""
    plan = result.plan
    name, model = file_name(plan), folder / MODEL_FILE
    task_file.write(folder / name, llm_metadata(plan), tokenizer(plan), model)
    read_task(folder / name)
    model.unlink()
    write_json(folder / EXPORT_FILE, provenance(result))
    chat = "" if litertlm.prompt_format_of(plan).template else "--no-template "
    (folder / "README.md").write_text(
        model_card(result, f'litert-lm run {name} {chat}--prompt "Hello"'), encoding="utf-8"
    )


def file_name(plan: ExportPlan) -> str:
    """File name of the bundle, after the variant: a bundle travels alone."""
    return f"{plan.variant.name}.task"


def llm_metadata(plan: ExportPlan) -> llm_metadata_pb2.LlmMetadata:
    """LiteRT-LM's metadata as in a ``.litertlm`` file, with a start token, which has to be stated, and the prefix and
    suffix of a question, for clients that know no Jinja."""
    metadata = litertlm.llm_metadata(plan)
    prefix_and_suffix = affixes(metadata.jinja_prompt_template)
    if prefix_and_suffix is not None:
        metadata.prompt_templates.user.prefix, metadata.prompt_templates.user.suffix = prefix_and_suffix
    if not metadata.HasField("start_token"):
        metadata.start_token.token_ids.ids.append(task_file.NO_TOKEN)
    return metadata


def tokenizer(plan: ExportPlan) -> bytes:
    """The checkpoint's SentencePiece model, or the one converted from its ``tokenizer.json``."""
    conversion = _conversion(plan)
    if conversion is not None:
        return conversion.model
    chats = example_chats(litertlm.prompt_format_of(plan).template)
    return findable(litertlm.tokenizer_of(plan).files[SENTENCEPIECE_FILE], chats)


def _conversion(plan: ExportPlan) -> Conversion | None:
    files = litertlm.tokenizer_of(plan).files
    return None if SENTENCEPIECE_FILE in files else _converted(files[HF_FILE])


@functools.lru_cache(maxsize=1)
def _converted(contents: bytes) -> Conversion:
    return convert(contents)
