"""Running an export: writes, verifies and packages what was planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgegen.export.compare_oracle import compare_with_oracle
from edgegen.export.options import MODEL_FILE
from edgegen.export.output_folder import list_files, put_in_place, work_folder
from edgegen.export.provenance import sha256
from edgegen.export.quality_warning import warn_of_quality
from edgegen.export.records import ExportPlan, ExportResult
from edgegen.export.results import OracleVerification, VerificationResult
from edgegen.export.tasks import TASKS
from edgegen.export.verify import PACKED_FILE, open_session
from edgegen.plugins import load, registry
from edgegen.progress import Reporter
from edgegen.quantization.assign import plan_parameters
from edgegen.quantization.passes import PassReport
from edgegen.tflite.writer import ModelFile


def run(plan: ExportPlan, report: Reporter) -> ExportResult:
    """Write, verify and package; the output folder appears only when all of it is done.

    Raises:
        VerificationError: the file does not compute what the model computes.
        ResourceError: no room on the disk, no right to write there, or another export is writing there.
    """
    output = plan.options.output
    package = load(registry().target(plan.options.target).package)
    with work_folder(output) as folder, _background() as background:
        hashes = {path: background.submit(sha256, path) for path in _inputs(plan)}
        passes = _write(plan, folder / MODEL_FILE, report)
        verification, oracle = _verify(plan, folder / MODEL_FILE, report) if plan.options.verify else (None, None)
        with report.stage("package") as stage:
            result = ExportResult(
                plan=plan,
                hashes={path: future.result() for path, future in hashes.items()},
                passes=passes,
                verification=verification,
                oracle=oracle,
            )
            package(result, folder)
            stage.detail(str(output))
        list_files(folder)
        put_in_place(folder, output)
    return result


def _write(plan: ExportPlan, file: Path, report: Reporter) -> Mapping[str, PassReport]:
    """Run the passes and write the file; returns the passes' reports."""
    reports: dict[str, PassReport] = {}
    weights, parameters = plan.weights, plan.parameters
    for each in plan.passes:
        if each.transform is not None:
            with report.stage(each.name) as stage:
                weights, reports[each.name] = each.transform(weights)
                stage.detail(str(reports[each.name]))
    if weights is not plan.weights:
        # Storage stays as planned; what is folded from other parameters is computed anew.
        changed = plan_parameters(plan.program, weights, plan.scheme)
        parameters = {name: replace(planned, source=changed[name].source) for name, planned in parameters.items()}
    with ModelFile(plan.program, parameters, plan.scheme, file) as model:
        for each in plan.passes:
            if each.encode is not None:
                with report.stage(each.name) as stage:
                    reports[each.name] = each.encode(weights, model.write)
                    stage.detail(str(reports[each.name]))
        with report.stage("weights", model.bytes_left) as stage:
            model.write_rest(stage.advance)
            stage.detail(plan.scheme_name)
    return reports


def _verify(plan: ExportPlan, file: Path, report: Reporter) -> tuple[VerificationResult, OracleVerification | None]:
    task = TASKS[plan.family.task]
    with report.stage("verify") as stage:
        session = open_session(file, plan.weight_bytes)
        figures = task.verify(session, plan.reference)
        stage.detail(str(figures))
    figures.check(plan.scheme_name, plan.scheme.tolerance)
    oracle = compare_with_oracle(task, plan, session, report, plan.options.verify_against)
    file.with_name(PACKED_FILE).unlink(missing_ok=True)
    warn_of_quality(plan, figures, report)
    return figures, oracle


def _inputs(plan: ExportPlan) -> list[Path]:
    calibration = plan.options.calibration
    return [*plan.checkpoint.files, *([] if calibration is None else [calibration])]


@contextmanager
def _background() -> Iterator[ThreadPoolExecutor]:
    """A thread; what it has not begun when something fails is left undone."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
