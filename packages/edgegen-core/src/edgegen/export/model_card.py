"""The model card: a README for people, beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegen.export.weight_report import MEANINGS, summaries

if TYPE_CHECKING:
    from edgegen.export.job import Job


def model_card(job: Job, command: str | None = None) -> str:
    """Markdown with the metadata block that model hubs read.

    Args:
        command: what runs the model, typed in its folder; default: that of its kind.
    """
    variant = job.variant
    rows = "\n".join(f"| {title} | {text} |" for title, text in job.kind.card(job).items())
    weights = "\n".join(
        f"| `{row.kind}` | {row.count} | {row.source} | {row.storage} | {row.nbytes / 1e6:,.1f} | {row.how} |"
        for row in job.transfers
    )
    used = {row.how: MEANINGS[row.how] for row in job.transfers}
    ways = "\n".join(f"- {line}" for line in summaries(job.transfers))
    words = "\n".join(f"- *{how}*: {meaning}" for how, meaning in used.items())
    verified = str(job.verification) if job.verification else "not verified (`--no-verify`)"
    return f"""---
license: {variant.license}
base_model: {variant.source}
library_name: litert
pipeline_tag: {job.kind.pipeline}
---

# {variant.name} for LiteRT

`{variant.source}`, exported by edgegen.

| | |
| --- | --- |
| parameters | {variant.parameters:,} |
| quantization | {job.scheme_name} |
{rows}
| trained context | {variant.context_length} tokens |
| licence | {variant.license} |
| against the float model | {verified} |

## Weights

{ways}

| weight | tensors | checkpoint | file | MB | how |
| --- | ---: | --- | --- | ---: | --- |
{weights}

{words}

`export.json` says what this was made from and how to make it again.

```sh
{command or job.kind.command}
```
"""
