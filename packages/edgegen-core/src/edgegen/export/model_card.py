"""The model card: a README for people, beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegen.export.job import Job


def model_card(job: Job) -> str:
    """Markdown with the metadata block that model hubs read."""
    variant, options = job.variant, job.options
    sizes = "\n".join(f"| {storage} | {size / 1e6:,.1f} |" for storage, size in sorted(job.bytes_by_storage.items()))
    verified = str(job.verification) if job.verification else "not verified (`--no-verify`)"
    return f"""---
license: {variant.license}
base_model: {variant.source}
library_name: litert
pipeline_tag: text-generation
---

# {variant.name} for LiteRT

`{variant.source}`, exported by edgegen.

| | |
| --- | --- |
| parameters | {variant.parameters:,} |
| quantization | {job.scheme_name} |
| prefill signatures | {", ".join(f"`prefill_{n}`" for n in options.prefill_lengths)} |
| cache | {options.cache_length} tokens |
| trained context | {variant.context_length} tokens |
| licence | {variant.license} |
| against the float model | {verified} |

| storage | MB |
| --- | ---: |
{sizes}

`recipe.json` says what this was made from and how to make it again.

```sh
edgegen run . --prompt "Hello"
```
"""
