"""``edgegen verify``: an exported folder against the float model, once more and block by block."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegen.cli.output import Output, output_options

if TYPE_CHECKING:
    from edgegen.export.compare_layers import BlockError


@click.command()
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path), help="The weights.  [default: where they were]")
@click.option("--layers", is_flag=True, help="Also say how far each block's output is off, and which is the first.")
@output_options
def verify(path: Path, checkpoint: Path | None, layers: bool, output: Output) -> int:
    """Run an export against the float model, as `edgegen export` did when it made it.

    DIR is a folder that `edgegen export` wrote. Ends with exit code 5 where the two differ by more than the scheme
    allows.
    """
    import tempfile

    from edgegen.errors import ErrorCode, UsageError, VerificationError
    from edgegen.export import plan
    from edgegen.export.compare_layers import compare_blocks, first_beyond
    from edgegen.export.job import MODEL_FILE
    from edgegen.export.reproduce import options_of

    # What was learnt is in the file; the text may be gone.
    options = replace(options_of(path, checkpoint), calibration=None, calibrate=None)
    file = options.output / MODEL_FILE
    if not file.is_file():
        raise UsageError(
            f"no such file: {file}", code=ErrorCode.FILE_UNREADABLE, hint="bundles are not verified; export to tflite"
        )
    job = plan(options, output)
    limit = job.scheme.tolerance.logits
    blocks: list[BlockError] = []
    with tempfile.TemporaryDirectory(prefix="edgegen-verify-") as scratch:
        # What verifying leaves beside a file is left there.
        beside = Path(scratch) / MODEL_FILE
        beside.symlink_to(file.resolve())
        with output.stage("verify") as stage:
            figures = job.kind.verify(job, beside)
            stage.detail(str(figures))
        if layers:
            with output.stage("layers"):
                blocks = compare_blocks(job, beside)
    first = first_beyond(blocks, limit)
    problem: VerificationError | None = None
    try:
        figures.check(job.scheme_name, job.scheme.tolerance)
    except VerificationError as error:
        problem = error
    document = {
        "path": path,
        "verification": asdict(figures),
        "passed": problem is None,
        "problems": [] if problem is None else list(problem.details),
        "limit": limit,
        "blocks": [asdict(block) for block in blocks],
        "first_diverging": first and first.path,
    }
    output.result(document, _shown(str(figures), problem, blocks, first, limit))
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
