"""Carries a planned export out: the output folder appears only when all of it is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from edgegen.conversion import plan_parameters
from edgegen.errors import ErrorCode, ResourceError
from edgegen.export.job import MODEL_FILE, Job, Reporter
from edgegen.export.provenance import sha256
from edgegen.export.quality_warning import warn_of_loss
from edgegen.export.verify import PACKED_FILE
from edgegen.plugins import load, registry
from edgegen.tflite.writer import ModelFile
from edgegen_quant.ptq.gptq_pass import calibrate
from edgegen_quant.ptq.smoothquant_pass import equalized

_OWNER = "owner"
"""A file that says which process a work folder belongs to."""


def run(job: Job, report: Reporter) -> Path:
    """Write, verify and package; the output folder appears only when all of it is done.

    Raises:
        VerificationError: the file does not compute what the model computes.
        ResourceError: no room on the disk, no right to write there, or another export is writing there.
    """
    output = job.options.output
    package = load(registry().target(job.options.target).package)
    with _work_folder(output) as folder, _background() as background:
        hashes = {path: background.submit(sha256, path) for path in _inputs(job)}
        sources = job.sources
        if job.equalizing:
            with report.stage("equalize") as stage:
                sources, job.equalization = equalized(job)
                scaled = plan_parameters(job.program, sources, job.scheme)
                job.parameters = {
                    name: replace(parameter, source=scaled[name].source) for name, parameter in job.parameters.items()
                }
                stage.detail(str(job.equalization))
        with ModelFile(job.program, job.parameters, job.scheme, folder / MODEL_FILE) as file:
            if job.text is not None:
                with report.stage("calibrate") as stage:
                    job.calibration = calibrate(job, sources, job.text, file)
                    stage.detail(str(job.calibration))
            with report.stage("weights", file.bytes_left) as stage:
                file.write_rest(stage.advance)
                stage.detail(job.scheme_name)
        if job.options.verify:
            with report.stage("verify") as stage:
                job.verification = job.kind.verify(job, folder / MODEL_FILE)
                (folder / PACKED_FILE).unlink(missing_ok=True)
                stage.detail(str(job.verification))
            job.verification.check(job.scheme_name, job.scheme.tolerance)
            warn_of_loss(job, report)
        with report.stage("package") as stage:
            job.hashes = {path: future.result() for path, future in hashes.items()}
            package(job, folder)
            stage.detail(str(output))
        _put_in_place(folder, output)
    return output


def _inputs(job: Job) -> list[Path]:
    text = job.options.calibration
    return [*job.checkpoint.files, *([] if text is None else [text])]


@contextmanager
def _background() -> Iterator[ThreadPoolExecutor]:
    """A thread; what it has not begun when something fails is left undone."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """A folder beside ``output``, gone afterwards whatever happens; cleans up after a run that was killed."""
    folder = output.with_name(f".{output.name}.partial")
    if _is_in_use(folder):
        raise ResourceError(
            f"another export is writing to {output}",
            code=ErrorCode.OUTPUT_LOCKED,
            hint="wait for it, or name another folder with -o",
        )
    try:
        _begin(folder, output)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _begin(folder: Path, output: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
        _restore(output)
        folder.mkdir(parents=True)
        (folder / _OWNER).write_text(f"{os.getpid()} {psutil.Process().create_time()}")
    except OSError as error:
        raise ResourceError(
            f"cannot write to {output.parent}: {error.strerror}",
            code=ErrorCode.FILE_SYSTEM,
            hint="name a folder that you may write to with -o",
        ) from error


def _is_in_use(folder: Path) -> bool:
    try:
        number, started = (folder / _OWNER).read_text().split()
        return bool(psutil.Process(int(number)).create_time() == float(started))  # numbers of processes are used again
    except (OSError, ValueError, psutil.Error):
        return False


def _put_in_place(folder: Path, output: Path) -> None:
    """Give ``folder`` its name; an earlier export goes only once the new one is there."""
    (folder / _OWNER).unlink()
    previous = _previous(output)
    if output.exists():
        shutil.rmtree(previous, ignore_errors=True)
        output.rename(previous)
    folder.rename(output)
    shutil.rmtree(previous, ignore_errors=True)


def _restore(output: Path) -> None:
    """Undo half of :func:`_put_in_place`, or finish it."""
    previous = _previous(output)
    if previous.exists() and not output.exists():
        previous.rename(output)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(output: Path) -> Path:
    return output.with_name(f".{output.name}.previous")
