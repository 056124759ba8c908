"""The ``tflite`` target: a folder with the model, its tokenizer, a manifest for runtimes, provenance and model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgegen.adapters.layout import LAYOUT_FILE
from edgegen.export.model_card import model_card
from edgegen.export.options import MODEL_FILE
from edgegen.export.provenance import provenance
from edgegen.export.records import ExportPlan, ExportResult
from edgegen.export.tasks import TASKS
from edgegen.genai.manifest import MANIFEST_FILE, EmbeddingFacts, Manifest, TokenizerFacts
from edgegen.genai.provenance import EXPORT_FILE


def package(result: ExportResult, folder: Path) -> None:
    """Write everything but the model, which is there already."""
    plan, facts = result.plan, manifest(result.plan)
    if plan.tokenizer is not None:
        for name, contents in plan.tokenizer.files.items():
            (folder / name).write_bytes(contents)
    if plan.chat_template and facts.chat_template:
        (folder / facts.chat_template).write_text(plan.chat_template, encoding="utf-8")
    write_json(folder / MANIFEST_FILE, facts.to_json())
    write_json(folder / EXPORT_FILE, provenance(result))
    if plan.lora is not None:
        write_json(folder / LAYOUT_FILE, plan.lora.as_json())
    (folder / "README.md").write_text(model_card(result), encoding="utf-8")


def manifest(plan: ExportPlan) -> Manifest:
    """Facts that a runtime needs to run the folder."""
    tokenizer = plan.tokenizer
    fields = dict(TASKS[plan.family.task].manifest(plan))
    if "embedding" in fields:
        fields["embedding"] = EmbeddingFacts(**fields["embedding"])
    return Manifest(
        task=plan.family.task,
        name=plan.variant.name,
        family=plan.family.name,
        model=MODEL_FILE,
        scheme=plan.scheme_name,
        parameters=plan.variant.parameters,
        context_length=plan.variant.context_length,
        tokenizer=None
        if tokenizer is None
        else TokenizerFacts(
            file=next(iter(tokenizer.files)),
            bos_token_id=tokenizer.bos_token_id,
            add_bos=tokenizer.add_bos,
            special_tokens=tokenizer.special_tokens,
        ),
        **fields,
    )


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON for people and programs."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
