"""Provenance: ``export.json``, everything needed to repeat an export."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from edgegen.export.records import ExportResult
from edgegen.genai.provenance import SCHEMA_VERSION
from edgegen.plugins import registry

LIBRARIES = ("torch", "ai-edge-litert", "numpy", "flatbuffers", "safetensors")
"""Libraries whose versions decide the result, beside edgegen's own packages."""


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance(result: ExportResult) -> dict[str, Any]:
    """Contents of ``export.json``: inputs with hashes, options, versions, and what passes and verification found."""
    plan = result.plan
    options, calibration = plan.options, plan.options.calibration
    running = {each.name for each in plan.passes}
    return {
        "schema_version": SCHEMA_VERSION,
        "variant": plan.variant.name,
        "family": plan.family.name,
        "source": plan.variant.source,
        "checkpoint": {
            "path": str(options.checkpoint),
            "format": plan.checkpoint.format,
            "files": {name: {"sha256": result.hashes[path]} for name, path in _named(plan.checkpoint.files).items()},
        },
        "passes": {
            each.name: {
                "transforms_weights": each.transform is not None,
                "report": dict(result.passes[each.name].details),
            }
            for each in plan.passes
        },
        "calibration": calibration and {"path": str(calibration), "sha256": result.hashes[calibration]},
        "options": {
            "variant": options.variant,
            "scheme": plan.scheme_name,
            "encode_lengths": None if options.encode_lengths is None else list(options.encode_lengths),
            "prefill_lengths": list(options.prefill_lengths),
            "cache_length": options.cache_length,
            "cache_buckets": list(options.cache_buckets),
            "verify_lengths": list(options.verify_lengths),
            "target": options.target,
            "composites": options.composites,
            "allow_keys": list(options.allow_keys),
            "lora": None if options.lora is None else str(options.lora),
            "lora_rank": options.lora_rank,
            "layers": dict(options.layers),
            "calibration": calibration and str(calibration),
            # As decided, so that a repetition does not decide anew.
            "weight_passes": {name: name in running for name in sorted(registry().weight_passes)},
        },
        "weights": [asdict(row) for row in plan.conversion],
        "versions": {"python": platform.python_version(), **_versions()},
        "verification": asdict(result.verification) if result.verification else None,
        "oracle": asdict(result.oracle) if result.oracle else None,
    }


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """Name -> file; a name that an earlier file has is preceded by its folder."""
    named: dict[str, Path] = {}
    for path in files:
        named[path.name if path.name not in named else f"{path.parent.name}/{path.name}"] = path
    return named


def _versions() -> dict[str, str]:
    """Versions of the libraries that decide the result, and of every edgegen package."""
    installed = {dist.name: dist.version for dist in metadata.distributions()}
    relevant = sorted(n for n in installed if n and (n in LIBRARIES or n.startswith("edgegen-")))
    return {name: installed[name] for name in relevant}
