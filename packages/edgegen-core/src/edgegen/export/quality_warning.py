"""Says so where a scheme costs more quality than a family's users want to lose, and what else there is."""

from __future__ import annotations

from edgegen.conversion import plan_parameters
from edgegen.export.job import Job, Reporter
from edgegen.plugins import load, registry
from edgegen.weights.storage import Scheme


def warn_of_loss(job: Job, report: Reporter) -> None:
    """Warn, if verification found more than the family accepts."""
    figures, limit = job.verification, job.family.acceptable_error
    if figures is None or figures.error <= limit:
        return
    better = _better(job, min(limit, figures.error))
    hint = "a scheme of more bits loses less"
    if better is not None:
        name, size = better
        hint = (
            f"--scheme {name} loses less, with {size / 1e6:.0f} MB of weights instead of {job.weight_bytes / 1e6:.0f}"
        )
    report.warn(f"{job.scheme_name} costs much of what {job.variant.name} can do: {figures}; {hint}")


def _better(job: Job, limit: float) -> tuple[str, int] | None:
    """The scheme that takes the fewest bytes among those that promise to stay within ``limit``."""
    found = []
    for name, provided in registry().quant_schemes.items():
        scheme: Scheme = load(provided.descriptor.scheme)
        if name == provided.descriptor.name and not provided.descriptor.caution and scheme.tolerance.logits <= limit:
            parameters = plan_parameters(job.program, job.sources, scheme)
            found.append((name, sum(parameter.nbytes for parameter in parameters.values())))
    return min(found, key=lambda row: row[1], default=None)
