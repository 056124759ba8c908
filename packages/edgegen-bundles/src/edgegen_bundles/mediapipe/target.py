"""The ``task`` target: one ``.task`` file for MediaPipe's LLM Inference API, with recipe and model card beside it."""

from __future__ import annotations

import functools
from pathlib import Path

from litert_lm_builder.runtime.proto import llm_metadata_pb2

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.export.folder import write_json
from edgegen.export.job import MODEL_FILE, Job, Reporter
from edgegen.export.model_card import model_card
from edgegen.export.provenance import recipe
from edgegen_bundles.chat.templates import affixes, example_chats
from edgegen_bundles.litertlm import target as litertlm
from edgegen_bundles.mediapipe import task_file
from edgegen_bundles.mediapipe.task_reader import read_task
from edgegen_bundles.sentencepiece import Conversion, compare, convert, sentence
from edgegen_bundles.sentencepiece.control_pieces import findable
from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, SENTENCEPIECE_FILE
from edgegen_runtime.evaluation.sample_text import sample_text


def check(job: Job, report: Reporter) -> None:
    """Convert the tokenizer if need be, and say how well that went; say what the bundle will lack.

    Raises:
        UnsupportedError: there is no tokenizer, none that can become a SentencePiece model, or no token that ends a
            text; caches are rings; or adapters are to be given at run time.
    """
    litertlm.refuse_rings(job)
    if job.lora is not None:
        raise UnsupportedError(
            "a .task bundle takes no adapters at run time",
            code=ErrorCode.BUNDLE_TAKES_NO_ADAPTERS,
            hint="use --target litertlm, or merge: --lora",
        )
    if not litertlm.stop_tokens(job):
        raise UnsupportedError(
            "a .task bundle needs a token that ends a text, and neither checkpoint nor model names one",
            code=ErrorCode.BUNDLE_NEEDS_STOP_TOKEN,
            hint="state eos_token_id in generation_config.json beside the weights",
        )
    conversion = _conversion(job)
    if conversion is not None:
        with report.stage("tokenizer") as stage:
            stage.detail(f"{HF_FILE} as SentencePiece: {sentence(compare(conversion, sample_text()))}")
    for warning in litertlm.prompts_of(job).warnings:
        report.warn(warning)


def files(job: Job, model: int) -> dict[str, int]:
    """The bundle, and how large it will be."""
    return {file_name(job): task_file.size(llm_metadata(job), tokenizer(job), model)}


def package(job: Job, folder: Path) -> None:
    """Write the bundle in the place of ``model.tflite``, read it again, and write what people want to know of it."""
    name, model = file_name(job), folder / MODEL_FILE
    task_file.write(folder / name, llm_metadata(job), tokenizer(job), model)
    read_task(folder / name)
    model.unlink()
    write_json(folder / "export.json", recipe(job))
    chat = "" if litertlm.prompts_of(job).template else "--no-template "
    (folder / "README.md").write_text(model_card(job, f'litert-lm run {name} {chat}--prompt "Hello"'), encoding="utf-8")


def file_name(job: Job) -> str:
    """Named after the variant: a bundle travels alone."""
    return f"{job.variant.name}.task"


def llm_metadata(job: Job) -> llm_metadata_pb2.LlmMetadata:
    """As in a ``.litertlm`` file. A start token has to be stated; clients that know no Jinja find what to put around a
    question."""
    metadata = litertlm.llm_metadata(job)
    around = affixes(metadata.jinja_prompt_template)
    if around is not None:
        metadata.prompt_templates.user.prefix, metadata.prompt_templates.user.suffix = around
    if not metadata.HasField("start_token"):
        metadata.start_token.token_ids.ids.append(task_file.NO_TOKEN)
    return metadata


def tokenizer(job: Job) -> bytes:
    """The checkpoint's SentencePiece model, or what its ``tokenizer.json`` was converted to."""
    conversion = _conversion(job)
    if conversion is not None:
        return conversion.model
    chats = example_chats(litertlm.prompts_of(job).template)
    return findable(litertlm.tokenizer_of(job).files[SENTENCEPIECE_FILE], chats)


def _conversion(job: Job) -> Conversion | None:
    files = litertlm.tokenizer_of(job).files
    return None if SENTENCEPIECE_FILE in files else _converted(files[HF_FILE])


@functools.lru_cache(maxsize=1)
def _converted(contents: bytes) -> Conversion:
    return convert(contents)
