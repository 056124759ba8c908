"""Comparison of an export with an oracle, see :mod:`edgegen.export.oracle`."""

from __future__ import annotations

from edgegen.export.oracle import open_oracle
from edgegen.export.records import ExportPlan
from edgegen.export.results import OracleVerification
from edgegen.export.tasks import Task
from edgegen.litert.session import Session
from edgegen.plugins import registry
from edgegen.progress import Reporter


def compare_with_oracle(
    task: Task, plan: ExportPlan, session: Session, report: Reporter, name: str | None
) -> OracleVerification | None:
    """Figures of a file against an oracle; None where there is none.

    Args:
        task: the family's.
        plan: the export's.
        session: the file.
        report: where it is shown.
        name: the oracle's; None for any that knows the model, ``none`` for none.

    Raises:
        VerificationError: they differ by more than they may.
    """
    if name == "none" or (name is None and not registry().oracles):
        return None
    with report.stage("oracle") as stage:
        oracle, reason = open_oracle(name, plan.checkpoint, task.name, plan.tokenizer, plan.options.lora)
        if oracle is None:
            stage.detail(f"none: {reason}")
            return None
        found = task.against(session, plan.reference, oracle)
        stage.detail(str(found))
    found.check(plan.scheme_name, plan.scheme.tolerance)
    return found
