"""The model card: a README for people, beside the model."""

from __future__ import annotations

from edgegen.export.conversion_report import MEANINGS, summaries
from edgegen.export.records import NO_TOKENIZER, ExportResult
from edgegen.export.tasks import TASKS


def model_card(result: ExportResult, command: str | None = None) -> str:
    """Markdown with the metadata block that model hubs read.

    Args:
        result: the export.
        command: command that runs the model, typed in its folder; default: the task's.
    """
    plan = result.plan
    task, variant = TASKS[plan.family.task], plan.variant
    rows = "\n".join(f"| {title} | {text} |" for title, text in task.card(plan).items())
    weights = "\n".join(
        f"| `{row.pattern}` | {row.count} | {row.source} | {row.storage} | {row.nbytes / 1e6:,.1f} | {row.conversion} |"
        for row in plan.conversion
    )
    used = {row.conversion: MEANINGS[row.conversion] for row in plan.conversion}
    conversions = "\n".join(f"- {line}" for line in summaries(plan.conversion))
    meanings = "\n".join(f"- *{conversion}*: {meaning}" for conversion, meaning in used.items())
    verified = str(result.verification) if result.verification else "not verified (`--no-verify`)"
    keys = "".join(
        f"| not looked at | `{key}` of the checkpoint's configuration (`--allow-key`) |\n"
        for key in plan.options.allow_keys
    )
    tokenizer = "" if plan.tokenizer else f"| tokenizer | none: {NO_TOKENIZER}; the model takes token ids |\n"
    return f"""---
license: {variant.license}
base_model: {variant.source}
library_name: litert
pipeline_tag: {task.name}
---

# {variant.name} for LiteRT

`{variant.source}`, exported by edgegen.

| | |
| --- | --- |
| parameters | {variant.parameters:,} |
| quantization | {plan.scheme_name} |
{rows}
| trained context | {variant.context_length} tokens |
| licence | {variant.license} |
{tokenizer}{keys}| against the float model | {verified} |
| against another implementation | {result.oracle or "not compared"} |

## Weights

{conversions}

| weight | tensors | checkpoint | file | MB | conversion |
| --- | ---: | --- | --- | ---: | --- |
{weights}

{meanings}

`export.json` says what this was made from and how to make it again.

```sh
{command or task.command}
```
"""
