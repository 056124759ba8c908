"""The ``litertlm`` target: one file that LiteRT-LM runs, with recipe and model card beside it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

from litert_lm_builder.runtime.proto import llm_metadata_pb2, sampler_params_pb2

from edgegen.adapters.layout import LAYOUT_FILE
from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.export.folder import write_json
from edgegen.export.job import MODEL_FILE, Job, Reporter
from edgegen.export.model_card import model_card
from edgegen.export.provenance import recipe
from edgegen.weights import TokenizerAssets
from edgegen_bundles import __version__
from edgegen_bundles.chat.prompts import Prompts, prompts
from edgegen_bundles.chat.templates import example_chats
from edgegen_bundles.litertlm.adapter import check_rank, write_adapter
from edgegen_bundles.litertlm.container import Kind, Section
from edgegen_bundles.litertlm.target import container
from edgegen_bundles.sentencepiece.control_pieces import findable
from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, SENTENCEPIECE_FILE, vocabulary

NO_ADAPTER = "no-adapter.tflite"
"""An adapter of zeros, for sessions without one."""


def check(job: Job, report: Reporter) -> None:
    """Refuse a model without a tokenizer; say what the bundle will lack.

    Raises:
        UnsupportedError: the checkpoint has no tokenizer that LiteRT-LM reads, caches are rings, or adapters would have
            a rank that it does not take.
    """
    refuse_rings(job)
    if job.lora is not None:
        check_rank(job.lora.rank)
    for warning in prompts_of(job).warnings:
        report.warn(warning)


def refuse_rings(job: Job) -> None:
    """Refuse caches that LiteRT-LM, which is also what MediaPipe runs, does not know.

    Raises:
        UnsupportedError: the caches of some blocks keep the end of a text only.
    """
    if job.max_rollback is not None:
        raise UnsupportedError(
            "LiteRT-LM keeps the whole text in every block's cache",
            code=ErrorCode.BUNDLE_NEEDS_FULL_CACHE,
            hint="leave out --layer attention=ring",
        )


def files(job: Job, model: int) -> dict[str, int]:
    """The bundle, and how large it will be."""
    others = [len(llm_metadata(job).SerializeToString()), len(_tokenizer_section(job).contents)]  # type: ignore[arg-type]
    return {file_name(job): container.size([*others, model])}


def package(job: Job, folder: Path) -> None:
    """Write the bundle in the place of ``model.tflite``, and what people want to know of it."""
    name, model = file_name(job), folder / MODEL_FILE
    sections = [
        Section(kind=Kind.LLM_METADATA, contents=llm_metadata(job).SerializeToString(deterministic=True)),
        _tokenizer_section(job),
        Section(kind=Kind.MODEL, contents=model, labels={"model_type": "tf_lite_prefill_decode"}),
    ]
    container.write(folder / name, sections, {"Name": job.variant.name, "Generator": f"edgegen-bundles {__version__}"})
    model.unlink()
    if job.lora is not None:
        write_json(folder / LAYOUT_FILE, job.lora.as_json())
        # Without one LiteRT-LM leaves in the adapter's place whatever was there before.
        write_adapter(folder / NO_ADAPTER, job.lora.rank, job.lora.zeros())
    write_json(folder / "export.json", recipe(job))
    (folder / "README.md").write_text(model_card(job, _command(job)), encoding="utf-8")


def file_name(job: Job) -> str:
    """Named after the variant: a bundle travels alone."""
    return f"{job.variant.name}.litertlm"


def llm_metadata(job: Job) -> llm_metadata_pb2.LlmMetadata:
    """What LiteRT-LM must know beside the graph."""
    begins = prompts_of(job)
    metadata = llm_metadata_pb2.LlmMetadata(
        max_num_tokens=job.options.cache_length,
        jinja_prompt_template=begins.template,
        # The most likely token always, as `edgegen run` does; whoever wants chance asks for it. There is a type for
        # that, GREEDY, but LiteRT-LM 0.18 does not implement it.
        sampler_params=sampler_params_pb2.SamplerParameters(
            type=sampler_params_pb2.SamplerParameters.TOP_P, k=1, p=1.0, temperature=1.0
        ),
    )
    # The other types name models that take pictures, sound or tools in ways of their own.
    metadata.llm_model_type.generic_model.SetInParent()
    if begins.start_token is not None:
        metadata.start_token.token_ids.ids.append(begins.start_token)
    for token in stop_tokens(job):
        metadata.stop_tokens.add().token_ids.ids.append(token)
    return metadata


def stop_tokens(job: Job) -> list[int]:
    """The checkpoint's and the variant's; a name that the vocabulary lacks cannot come up."""
    tokenizer = tokenizer_of(job)
    names = vocabulary(tokenizer)
    named = (names.id_of(name) for name in job.variant.stop_tokens)
    return list(dict.fromkeys([*tokenizer.eos_token_ids, *(token for token in named if token is not None)]))


def prompts_of(job: Job) -> Prompts:
    """Start token and chat template."""
    tokenizer = tokenizer_of(job)
    return prompts(tokenizer, vocabulary(tokenizer), tokenizer.chat_template or job.variant.chat_template)


def tokenizer_of(job: Job) -> TokenizerAssets:
    """Of the checkpoint.

    Raises:
        UnsupportedError: it has none that LiteRT-LM reads.
    """
    tokenizer = job.tokenizer
    if tokenizer is None or not {HF_FILE, SENTENCEPIECE_FILE} & set(tokenizer.files):
        raise UnsupportedError(
            f"a bundle holds a tokenizer, and {job.checkpoint.path} has none that LiteRT-LM reads",
            code=ErrorCode.BUNDLE_NEEDS_TOKENIZER,
            hint=f"put {HF_FILE} or {SENTENCEPIECE_FILE} beside the weights, or use --target tflite",
        )
    return tokenizer


def _tokenizer_section(job: Job) -> Section:
    """Hugging Face's is packed, with its size before it."""
    assets: Mapping[str, bytes] = tokenizer_of(job).files
    if HF_FILE not in assets:
        chats = example_chats(prompts_of(job).template)
        return Section(kind=Kind.SENTENCEPIECE, contents=findable(assets[SENTENCEPIECE_FILE], chats))
    contents = assets[HF_FILE]
    return Section(kind=Kind.HF_TOKENIZER, contents=len(contents).to_bytes(8, "little") + zlib.compress(contents))


def _command(job: Job) -> str:
    chat = "" if prompts_of(job).template else "--no-template "
    return f'litert-lm run {file_name(job)} {chat}--prompt "Hello"'
