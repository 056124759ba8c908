"""What an export will take, told before it begins: files, disk, memory, and roughly how long."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from edgegen.errors import ErrorCode, ResourceError
from edgegen.export.job import MODEL_FILE, Job
from edgegen.export.verify import keeps_packed_weights_on_disk
from edgegen.plugins import load, registry
from edgegen.tflite.writer import SLICE_BYTES, memory_needed, written_size
from edgegen_quant.ptq import activations as reading
from edgegen_quant.ptq import gptq_pass as calibration

_CGROUP = Path("/sys/fs/cgroup")
_CONTROL_GROUPS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""Files with the limit and the use of a container's memory, of version 2 and 1 of Linux' control groups."""

_SMALL_FILES = 1 << 20
"""Manifest, recipe and model card, generously."""

_VERIFYING = 2.5
"""How much longer verifying takes than writing, as measured on models of 0.1 to 8 billion weights."""

_EQUALIZING = 1.0
"""Likewise how much time goes by before writing where channels are scaled."""

_SAMPLES = 3

_HASHED_PER_SECOND = 1.5e9
_WRITTEN_PER_SECOND = 1.0e9
"""Bytes, on one core; of the order that today's machines have."""


@dataclass(frozen=True)
class Forecast:
    """What an export will take.

    Attributes:
        files: name -> bytes, of what will be in the output folder.
        disk: bytes needed beside it while it works, these files included.
        disk_free: bytes; None where the place has no size.
        memory: bytes needed beyond what can be dropped and read again from disk, this process's own included.
        memory_free: bytes that this process may have, its own included.
        seconds: roughly, for writing and verifying.
    """

    files: Mapping[str, int]
    disk: int
    disk_free: int | None
    memory: int
    memory_free: int
    seconds: float

    def check(self, output: Path) -> None:
        """Raise ResourceError for what the machine does not have."""
        folder = existing(output)
        if self.disk_free is not None and self.disk_free < self.disk:
            raise ResourceError(
                f"the export needs {_megabytes(self.disk)} of disk and {folder} has {_megabytes(self.disk_free)} free",
                code=ErrorCode.DISK_TOO_SMALL,
                hint="make room, or name a folder on another disk with -o",
            )
        if self.memory_free < self.memory:
            raise ResourceError(
                f"the export needs {_megabytes(self.memory)} of memory and there are "
                f"{_megabytes(self.memory_free)} free",
                code=ErrorCode.OUT_OF_MEMORY,
                hint="close other programs; --no-verify needs less",
            )


def forecast(job: Job) -> Forecast:
    """Look ahead; reads a few slices of the checkpoint to see how fast that goes.

    Raises:
        CheckpointError: a slice cannot be read.
    """
    model = written_size(job.program, job.parameters)
    files = _files(job, model)
    beside = 0 if MODEL_FILE in files else model
    disk = shutil.disk_usage(existing(job.options.output))
    packed = job.weight_bytes if job.options.verify else 0
    on_disk = job.options.verify and keeps_packed_weights_on_disk(job)
    reads = bool(job.equalizing or job.text)
    own = psutil.Process().memory_info().rss
    return Forecast(
        files=files,
        disk=sum(files.values()) + _SMALL_FILES + max(beside, packed if on_disk else 0),
        disk_free=disk.free if disk.total else None,
        memory=own + memory_needed() + (0 if on_disk else packed) + reads * reading.MEMORY,
        memory_free=_memory_free(own),
        seconds=_seconds(job),
    )


def _files(job: Job, model: int) -> Mapping[str, int]:
    """What the target makes of a ``model.tflite`` of that size."""
    target = registry().target(job.options.target)
    if target.files is not None:
        files: Mapping[str, int] = load(target.files)(job, model)
        return files
    tokenizer = job.tokenizer
    return {MODEL_FILE: model, **{name: len(data) for name, data in (tokenizer.files if tokenizer else {}).items()}}


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.absolute()
    return next((path for path in (folder, *folder.parents) if path.is_dir()), folder)


def _memory_free(own: int) -> int:
    free: int = psutil.virtual_memory().available
    limits = [limit for group in _CONTROL_GROUPS if (limit := _left_in(group)) is not None]
    return min([free, *limits]) + own


def _left_in(group: tuple[str, str]) -> int | None:
    """What a container may still take, if there is a limit; pages of files are dropped when memory is short."""
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in group)
        statistics = (_CGROUP / group[0]).with_name("memory.stat")
        lines = statistics.read_text().split("\n") if statistics.is_file() else []
        files = sum(int(line.split()[1]) for line in lines if line.startswith(("active_file ", "inactive_file ")))
    except (OSError, ValueError, IndexError):
        return None
    return limit - used + files


def _seconds(job: Job) -> float:
    """From how long a few slices take: out of the middle of the weights that have most numbers."""
    weights = sum(math.prod(parameter.source.shape) for parameter in job.parameters.values())
    samples = sorted(job.parameters.values(), key=lambda parameter: -math.prod(parameter.source.shape))[:_SAMPLES]
    elapsed, sampled = 0.0, 0
    for parameter in samples:
        row = math.prod(parameter.source.shape[1:])
        rows = min(parameter.source.rows, max(1, SLICE_BYTES // (4 * row)))
        middle = (parameter.source.rows - rows) // 2
        begin = time.perf_counter()
        parameter.encode(parameter.scheme or job.scheme, middle, middle + rows)
        elapsed += time.perf_counter() - begin
        sampled += rows * row
    encoding = elapsed / max(sampled, 1) * weights
    hashing = sum(path.stat().st_size for path in job.checkpoint.files) / _HASHED_PER_SECOND
    writing = job.weight_bytes / _WRITTEN_PER_SECOND
    seconds = (encoding + hashing + writing) * (
        1 + _VERIFYING * job.options.verify + _EQUALIZING * bool(job.equalizing)
    )
    calibrating = calibration.work(job) / calibration.PER_SECOND if job.text else 0
    return (seconds + calibrating) / (os.cpu_count() or 1)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
