"""``edgegen verify``: an exported folder against the float model, once more and block by block."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, output_options

if TYPE_CHECKING:
    from edgegen.export.compare_layers import BlockError


@click.command(
    cls=GroupedCommand,
    examples=[
        ("edgegen verify ./smollm2", "Check as when it was exported"),
        ("edgegen verify ./smollm2 --against transformers", "Compare with the published modelling code as well"),
        ("edgegen verify ./smollm2 --layers", "Compare block by block, to find where the two part"),
    ],
)
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    group="Model",
    help="Checkpoint with the weights.  [default: the one that DIR was exported from]",
)
@option(
    "--against",
    metavar="NAME",
    group="Checks",
    help="Oracle to compare with too, such as transformers; see edgegen list-plugins.  [default: none]",
)
@option(
    "--layers",
    is_flag=True,
    group="Checks",
    help="Compare each block's output too, and name the first that is beyond the limit.",
)
@output_options
def verify(path: Path, checkpoint: Path | None, against: str | None, layers: bool, output: Output) -> int:
    """Run an export against the float model, as `edgegen export` did when it made it.

    DIR is a folder that `edgegen export` wrote. Ends with exit code 5 where the two differ by more than the scheme
    allows.
    """
    import tempfile

    from edgegen.errors import ErrorCode, UsageError, VerificationError
    from edgegen.export import plan
    from edgegen.export.compare_layers import compare_blocks, first_beyond
    from edgegen.export.compare_oracle import compare_with_oracle
    from edgegen.export.options import MODEL_FILE
    from edgegen.export.reproduce import reproduce
    from edgegen.export.tasks import TASKS
    from edgegen.export.verify import open_session

    # Passes are planned, since they may add parameters, and not run: the text that they read may be gone.
    options = replace(reproduce(path, checkpoint), calibration=None)
    file = options.output / MODEL_FILE
    if not file.is_file():
        raise UsageError(
            f"no such file: {file}", code=ErrorCode.FILE_UNREADABLE, hint="bundles are not verified; export to tflite"
        )
    planned = plan(options, output)
    task, reference = TASKS[planned.family.task], planned.reference
    limit = planned.scheme.tolerance.logits
    blocks: list[BlockError] = []
    with tempfile.TemporaryDirectory(prefix="edgegen-verify-") as scratch:
        # What verifying leaves beside a file is left there.
        beside = Path(scratch) / MODEL_FILE
        beside.symlink_to(file.resolve())
        with output.stage("verify") as stage:
            session = open_session(beside, planned.weight_bytes)
            figures = task.verify(session, reference)
            stage.detail(str(figures))
        oracle = None if against is None else compare_with_oracle(task, planned, session, output, against)
        if layers:
            with output.stage("layers"):
                blocks = compare_blocks(task, reference, beside)
    first = first_beyond(blocks, limit)
    problem: VerificationError | None = None
    try:
        figures.check(planned.scheme_name, planned.scheme.tolerance)
    except VerificationError as error:
        problem = error
    document = {
        "path": path,
        "verification": asdict(figures),
        "oracle": oracle and asdict(oracle),
        "passed": problem is None,
        "problems": [] if problem is None else list(problem.details),
        "limit": limit,
        "blocks": [asdict(block) for block in blocks],
        "first_diverging": first and first.path,
    }
    shown = str(figures) if oracle is None else f"{figures}\n{oracle}"
    output.result(document, _shown(shown, problem, blocks, first, limit))
    return 0 if problem is None else VerificationError.exit_code


def _shown(
    figures: str, problem: Exception | None, blocks: list[BlockError], first: BlockError | None, limit: float
) -> str:
    lines = [f"{'passed' if problem is None else 'FAILED'}: {figures}"]
    width = max([len(block.path) for block in blocks], default=0)
    lines += [
        f"  {block.path:<{width}}  {block.error:.2e}{'  <- the first beyond ' + str(limit) if block is first else ''}"
        for block in blocks
    ]
    if blocks and first is None:
        lines.append(f"every block is within {limit}")
    return "\n".join(lines) + "\n"
