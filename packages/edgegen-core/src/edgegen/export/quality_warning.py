"""The quality warning: a scheme costs more than a family's users want to lose, and another one loses less."""

from __future__ import annotations

from edgegen.export.records import ExportPlan
from edgegen.export.results import VerificationResult
from edgegen.plugins import load, registry
from edgegen.progress import Reporter
from edgegen.quantization.assign import plan_parameters
from edgegen.weights.storage import Scheme


def warn_of_quality(plan: ExportPlan, figures: VerificationResult, report: Reporter) -> None:
    """Warn if verification found a larger error than the family accepts."""
    limit = plan.family.acceptable_error
    if figures.error <= limit:
        return
    better = _better(plan, min(limit, figures.error))
    hint = "a scheme of more bits loses less"
    if better is not None:
        name, size = better
        hint = (
            f"--scheme {name} loses less, with {size / 1e6:.0f} MB of weights instead of {plan.weight_bytes / 1e6:.0f}"
        )
    report.warn(f"{plan.scheme_name} costs much of what {plan.variant.name} can do: {figures}; {hint}")


def _better(plan: ExportPlan, limit: float) -> tuple[str, int] | None:
    """The scheme that takes the fewest bytes among those that promise to stay within ``limit``."""
    found = []
    for name, provided in registry().quant_schemes.items():
        scheme: Scheme = load(provided.descriptor.scheme)
        if name == provided.descriptor.name and not provided.descriptor.caution and scheme.tolerance.logits <= limit:
            parameters = plan_parameters(plan.program, plan.weights, scheme)
            found.append((name, sum(parameter.nbytes for parameter in parameters.values())))
    return min(found, key=lambda row: row[1], default=None)
