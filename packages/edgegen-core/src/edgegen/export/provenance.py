"""``export.json``: everything needed to repeat an export."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgegen.export.job import Job

SCHEMA_VERSION = 1

LIBRARIES = ("torch", "ai-edge-litert", "numpy", "flatbuffers", "safetensors")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recipe(job: Job) -> dict[str, Any]:
    """What went in: inputs with hashes, options, versions; and what verification found."""
    options = job.options
    text = options.calibration
    return {
        "schema_version": SCHEMA_VERSION,
        "variant": job.variant.name,
        "family": job.family.name,
        "source": job.variant.source,
        "checkpoint": {
            "path": str(options.checkpoint),
            "format": job.checkpoint.format,
            "files": {name: {"sha256": job.hashes[path]} for name, path in _named(job.checkpoint.files).items()},
        },
        "equalization": asdict(job.equalization) if job.equalization else None,
        "calibration": asdict(job.calibration) if job.calibration else None,
        "text": text and {"path": str(text), "sha256": job.hashes[text]},
        "options": {
            "variant": options.variant,
            "scheme": job.scheme_name,
            "encode_lengths": None if options.encode_lengths is None else list(options.encode_lengths),
            "prefill_lengths": list(options.prefill_lengths),
            "cache_length": options.cache_length,
            "cache_buckets": list(options.cache_buckets),
            "verify_lengths": list(options.verify_lengths),
            "target": options.target,
            "composites": options.composites,
            "lora": None if options.lora is None else str(options.lora),
            "lora_rank": options.lora_rank,
            "layers": dict(options.layers),
            "calibration": text and str(text),
            "calibrate": bool(job.text) or options.calibrate,
            "equalize": bool(job.equalizing),
        },
        "weights": [asdict(row) for row in job.transfers],
        "versions": {"python": platform.python_version(), **_versions()},
        "verification": asdict(job.verification) if job.verification else None,
    }


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """Files by their names; those whose name an earlier one has, with the folder that they lie in."""
    named: dict[str, Path] = {}
    for path in files:
        named[path.name if path.name not in named else f"{path.parent.name}/{path.name}"] = path
    return named


def _versions() -> dict[str, str]:
    """Of the libraries that decide the result, and of every edgegen package."""
    installed = {dist.name: dist.version for dist in metadata.distributions()}
    relevant = sorted(n for n in installed if n and (n in LIBRARIES or n.startswith("edgegen-")))
    return {name: installed[name] for name in relevant}
