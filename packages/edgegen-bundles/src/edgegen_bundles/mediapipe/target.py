"""Export target ``task``: one file for MediaPipe's LLM Inference API, with export record and model card beside it."""

from __future__ import annotations

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
from edgegen_bundles.chat.templates import affixes
from edgegen_bundles.litertlm import target as litertlm
from edgegen_bundles.mediapipe import task_file
from edgegen_bundles.mediapipe.pieces import Pieces, pieces_of
from edgegen_bundles.mediapipe.task_reader import read_task
from edgegen_bundles.sentencepiece.vocabulary import vocabulary


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
    found = pieces(plan)
    if found.agreement:
        with report.stage("tokenizer") as stage:
            stage.detail(found.agreement)
    for warning in (*litertlm.prompt_format_of(plan).warnings, *found.warnings):
        report.warn(warning)


def files(plan: ExportPlan, model: int) -> dict[str, int]:
    """Files of the target with their sizes in bytes: the bundle."""
    return {file_name(plan): task_file.size(llm_metadata(plan), pieces(plan).model, model)}


def package(result: ExportResult, folder: Path) -> None:
    """Package the export: the bundle in place of ``model.tflite``, checked, with its record and model card."""
    plan = result.plan
    name, model = file_name(plan), folder / MODEL_FILE
    task_file.write(folder / name, llm_metadata(plan), pieces(plan).model, model)
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


def pieces(plan: ExportPlan) -> Pieces:
    """The checkpoint's SentencePiece model, or the one converted from its ``tokenizer.json``."""
    prompt, assets = litertlm.prompt_format_of(plan), litertlm.tokenizer_of(plan)
    start = "" if prompt.start_token is None else vocabulary(assets).name_of(prompt.start_token) or ""
    return pieces_of(assets.files, prompt, start)
