"""The ``tflite`` target: a folder with the model, its tokenizer, a manifest for runtimes, recipe and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegen.export.model_card import model_card
from edgegen.export.recipe import recipe
from edgegen.lora import LAYOUT_FILE

if TYPE_CHECKING:
    from edgegen.export.job import Job

MANIFEST_VERSION = 1


def package(job: Job, folder: Path) -> None:
    """Write everything but the model, which is there already."""
    tokenizer = job.tokenizer
    if tokenizer is not None:
        for name, contents in tokenizer.files.items():
            (folder / name).write_bytes(contents)
        template = tokenizer.chat_template or job.variant.chat_template
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    write_json(folder / "manifest.json", manifest(job))
    write_json(folder / "recipe.json", recipe(job))
    if job.lora is not None:
        write_json(folder / LAYOUT_FILE, job.lora.as_json())
    (folder / "README.md").write_text(model_card(job), encoding="utf-8")


def manifest(job: Job) -> dict[str, Any]:
    """What a runtime must know to run the folder."""
    tokenizer = job.tokenizer
    template = tokenizer is not None and (tokenizer.chat_template or job.variant.chat_template)
    return {
        "schema_version": MANIFEST_VERSION,
        "name": job.variant.name,
        "family": job.family.name,
        "model": "model.tflite",
        "scheme": job.scheme_name,
        "parameters": job.variant.parameters,
        "cache_length": job.options.cache_length,
        "prefill_lengths": list(job.options.prefill_lengths),
        "verify_lengths": list(job.options.speculate),
        "context_length": job.variant.context_length,
        "rewindable_tokens": job.rewindable,
        "tokenizer": tokenizer
        and {
            "file": next(iter(tokenizer.files)),
            "bos_token_id": tokenizer.bos_token_id,
            "add_bos": tokenizer.add_bos,
        },
        "stop_token_ids": list(tokenizer.eos_token_ids) if tokenizer else [],
        "stop_tokens": list(job.variant.stop_tokens),
        "chat_template": "chat_template.jinja" if template else None,
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write JSON for people and programs."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
