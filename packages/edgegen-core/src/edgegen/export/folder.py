"""The ``tflite`` target: a folder with the model, its tokenizer, a manifest for runtimes, recipe and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegen.adapters.layout import LAYOUT_FILE
from edgegen.export.model_card import model_card
from edgegen.export.provenance import recipe

if TYPE_CHECKING:
    from edgegen.export.job import Job

MANIFEST_VERSION = 1


def package(job: Job, folder: Path) -> None:
    """Write everything but the model, which is there already."""
    tokenizer, facts = job.tokenizer, manifest(job)
    if tokenizer is not None:
        for name, contents in tokenizer.files.items():
            (folder / name).write_bytes(contents)
    if job.chat_template and facts.get("chat_template"):
        (folder / facts["chat_template"]).write_text(job.chat_template, encoding="utf-8")
    write_json(folder / "manifest.json", facts)
    write_json(folder / "export.json", recipe(job))
    if job.lora is not None:
        write_json(folder / LAYOUT_FILE, job.lora.as_json())
    (folder / "README.md").write_text(model_card(job), encoding="utf-8")


def manifest(job: Job) -> dict[str, Any]:
    """What a runtime must know to run the folder."""
    tokenizer = job.tokenizer
    return {
        "schema_version": MANIFEST_VERSION,
        "kind": job.kind.name,
        "name": job.variant.name,
        "family": job.family.name,
        "model": "model.tflite",
        "scheme": job.scheme_name,
        "parameters": job.variant.parameters,
        "context_length": job.variant.context_length,
        **job.kind.manifest(job),
        "tokenizer": tokenizer
        and {
            "file": next(iter(tokenizer.files)),
            "bos_token_id": tokenizer.bos_token_id,
            "add_bos": tokenizer.add_bos,
        },
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write JSON for people and programs."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
