"""The resource estimate of an export, made before it begins: files, disk, memory, and roughly how long."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from edgegen.export.options import MODEL_FILE
from edgegen.export.records import ExportPlan
from edgegen.export.results import ResourceEstimate, existing
from edgegen.export.verify import packs_on_disk
from edgegen.graph import DTYPES
from edgegen.plugins import load, registry
from edgegen.tflite.writer import SLICE_BYTES, memory_needed, written_size

_CGROUP = Path("/sys/fs/cgroup")
_CONTROL_GROUPS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""Files with the limit and the use of a container's memory, of version 2 and 1 of Linux' control groups."""

_SMALL_FILES = 1 << 20
"""Bytes of manifest, provenance and model card, generously."""

_VERIFYING = 2.5
"""Time of verifying, in times of writing, as measured on models of 0.1 to 8 billion weights."""

_SAMPLES = 3

_HASHED_PER_SECOND = 1.5e9
_WRITTEN_PER_SECOND = 1.0e9
"""Assumed hashing and write throughput, bytes/s per core."""


def estimate(plan: ExportPlan) -> ResourceEstimate:
    """The resource estimate of a plan; reads a few slices of the checkpoint to see how fast that goes.

    Raises:
        CheckpointError: a slice cannot be read.
    """
    model = written_size(plan.program, plan.parameters)
    files = _files(plan, model)
    beside = 0 if MODEL_FILE in files else model
    disk = shutil.disk_usage(existing(plan.options.output))
    packed = plan.weight_bytes if plan.options.verify else 0
    on_disk = plan.options.verify and packs_on_disk(plan.weight_bytes)
    own = psutil.Process().memory_info().rss
    passes = max((each.cost.memory for each in plan.passes), default=0)
    return ResourceEstimate(
        files=files,
        disk=sum(files.values()) + _SMALL_FILES + max(beside, packed if on_disk else 0),
        disk_free=disk.free if disk.total else None,
        memory=own + memory_needed() + (0 if on_disk else packed) + passes + _inputs(plan) * plan.options.verify,
        memory_free=_memory_free(own),
        seconds=_seconds(plan),
    )


def _files(plan: ExportPlan, model: int) -> Mapping[str, int]:
    """Files that the target makes of a ``model.tflite`` of that size."""
    target = registry().target(plan.options.target)
    if target.files is not None:
        files: Mapping[str, int] = load(target.files)(plan, model)
        return files
    tokenizer = plan.tokenizer
    return {MODEL_FILE: model, **{name: len(data) for name, data in (tokenizer.files if tokenizer else {}).items()}}


def _inputs(plan: ExportPlan) -> int:
    """Bytes of the inputs of the signature that has most: of a decoder, the cache."""
    graphs = plan.program.signatures.values()
    return max(sum(v.elements * DTYPES[v.dtype].itemsize for v in graph.inputs.values()) for graph in graphs)


def _memory_free(own: int) -> int:
    free: int = psutil.virtual_memory().available
    limits = [limit for group in _CONTROL_GROUPS if (limit := _left_in(group)) is not None]
    return min([free, *limits]) + own


def _left_in(group: tuple[str, str]) -> int | None:
    """Memory left in a container, in bytes; None without a limit. Pages of files are dropped when memory is short."""
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in group)
        statistics = (_CGROUP / group[0]).with_name("memory.stat")
        lines = statistics.read_text().split("\n") if statistics.is_file() else []
        files = sum(int(line.split()[1]) for line in lines if line.startswith(("active_file ", "inactive_file ")))
    except (OSError, ValueError, IndexError):
        return None
    return limit - used + files


def _seconds(plan: ExportPlan) -> float:
    """From how long a few slices take: out of the middle of the weights that have most numbers."""
    weights = sum(math.prod(parameter.source.shape) for parameter in plan.parameters.values())
    samples = sorted(plan.parameters.values(), key=lambda parameter: -math.prod(parameter.source.shape))[:_SAMPLES]
    elapsed, sampled = 0.0, 0
    for parameter in samples:
        row = math.prod(parameter.source.shape[1:])
        rows = min(parameter.source.rows, max(1, SLICE_BYTES // (4 * row)))
        middle = (parameter.source.rows - rows) // 2
        begin = time.perf_counter()
        parameter.encode(parameter.scheme or plan.scheme, middle, middle + rows)
        elapsed += time.perf_counter() - begin
        sampled += rows * row
    encoding = elapsed / max(sampled, 1) * weights
    hashing = sum(path.stat().st_size for path in plan.checkpoint.files) / _HASHED_PER_SECOND
    writing = plan.weight_bytes / _WRITTEN_PER_SECOND
    seconds = (encoding + hashing + writing) * (1 + _VERIFYING * plan.options.verify)
    return (seconds + sum(each.cost.seconds for each in plan.passes)) / (os.cpu_count() or 1)
