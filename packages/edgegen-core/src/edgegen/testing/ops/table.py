"""``docs/reference/ops.md``: what the full run found for each operator of PyTorch's core set."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from edgegen.testing.ops.comparing import Outcome
from edgegen.testing.ops.opinfo_samples import DTYPES

PAGE = Path("docs", "reference", "ops.md")
"""Below the current folder, which is the repository's root."""

EXCLUDED = {
    "gradients": "*_backward",
    "random numbers; draw them outside and pass them in": "rand randn randperm native_dropout",
    "complex numbers, for which LiteRT has no kernels": "_fft_c2r _fft_r2c",
    "a shape or Python number that depends on contents": "nonzero _local_scalar_dense",
    "sizes, which are fixed when the module is traced": "sym_*",
    "training: updates running statistics": "_native_batch_norm_legit.default",
    "writes into its argument, which tracing turns into `atan2`": "atan2.out",
    "uninitialized memory": "empty empty_strided",
}
"""Reason -> operators of the core set that are not for converted models to run."""

FOLDED = {"arange.start_step", "full.default", "scalar_tensor.default"}
"""Take no tensor: PyTorch evaluates them during conversion, for every dtype."""

DECOMPOSED = {
    "adaptive_avg_pool1d.default": "nn.functional.adaptive_avg_pool1d",
    "avg_pool1d.default": "nn.functional.avg_pool1d",
    "col2im.default": "nn.functional.fold",
    "grid_sampler_2d.default": "grid_sampler_2d",
}
"""Operators that PyTorch says in terms of others -> the OpInfo whose samples show that it works."""

INTRODUCTION = """\
# Operators

<!-- Written by `nox -s ops -- --write`. -->

{summary} Others are decomposed by PyTorch
as far as it goes; what remains is reported before anything is written, with module path, source line and, where there
is one, the form to use instead (EG301).

`yes`: agrees with eager PyTorch in LiteRT, on samples of PyTorch's own operator database; `parts`: so do the operators
that PyTorch makes of it; `-`: PyTorch does not define it, or converts first. The dtype is that of the first tensor.

- `relu`, `clamp` with numbers, `hardtanh` and pooling pass NaN on as the kernel at hand does; everything else treats
  NaN and infinities as PyTorch does.
- float16 is calculated in float32 and rounded after each operator, as PyTorch does on CPU.
- int64 stays int64. Positions become int32, since no tensor that LiteRT can hold has more elements; nothing else does.
- Tensors without elements may occur inside a module, but not as its inputs or outputs. Tensors have no strides.
- Where several updates of `scatter` or `index_put` meet, the last one stays. Of equal elements, `sort` and `topk` list
  the first first.
"""

Results = Mapping[tuple[str, str], Sequence[Outcome]]
Cells = dict[str, dict[str, set[str]]]
"""Operator -> dtype -> ``yes``, and reasons of refusals."""


def core() -> list[str]:
    """Names of the operators of PyTorch's core set, without ``aten.``."""
    found = []
    for name in dir(torch.ops.aten):
        packet: Any = getattr(torch.ops.aten, name)
        for overload in packet.overloads() if hasattr(packet, "overloads") else ():
            if torch.Tag.core in getattr(packet, overload).tags:
                found.append(f"{name}.{overload}")
    return sorted(found)


def excluded(operator: str) -> str | None:
    """Why ``operator`` is not for converted models to run."""
    names = (operator, operator.partition(".")[0])
    for reason, patterns in EXCLUDED.items():
        if any(fnmatchcase(name, pattern) for name in names for pattern in patterns.split()):
            return reason
    return None


def cells(results: Results) -> Cells:
    """Outcomes of each rule, by the dtype of its first tensor."""
    found: Cells = defaultdict(lambda: defaultdict(set))
    for outcomes in results.values():
        for outcome in outcomes:
            for operator, dtype in outcome.uses:
                found[operator.removeprefix("aten.")][dtype].add("yes")
            for (operator, dtype), reason in outcome.refused.items():
                found[operator.removeprefix("aten.")][dtype].add(reason)
    return found


def page(results: Results) -> tuple[str, str]:
    """The page, and its first sentence, which counts."""
    found = cells(results)
    notes: dict[str, int] = {}

    def cell(operator: str, dtype: str) -> str:
        seen = found[operator][dtype]
        parts = results.get((DECOMPOSED.get(operator, ""), dtype), ())
        if parts and all(outcome.status == "passed" for outcome in parts):
            return "parts"
        status = "yes" if "yes" in seen or operator in FOLDED else "no" if seen else "-"
        marks = (f"[^{notes.setdefault(reason, len(notes) + 1)}]" for reason in sorted(seen - {"yes"}))
        return status + "".join(marks)

    applicable = [operator for operator in core() if not excluded(operator)]
    rows = {operator: [cell(operator, dtype) for dtype in DTYPES] for operator in applicable}
    # float32 where there is such a thing; an operator of whole numbers is judged by the first dtype that it has.
    verdicts = [next((each for each in row if each != "-"), "no") for row in rows.values()]
    passing = sum(verdict.startswith(("yes", "parts")) for verdict in verdicts)
    summary = f"{passing} of {len(rows)} operators of PyTorch's core set are lowered ({passing / len(rows):.1%})."
    beyond = sorted(op for op, row in found.items() if op not in core() and any("yes" in seen for seen in row.values()))
    out = {
        reason: ", ".join(f"`{operator}`" for operator in core() if excluded(operator) == reason) for reason in EXCLUDED
    }
    lines = [
        INTRODUCTION.format(summary=summary),
        _table(["operator", *DTYPES], [[f"`{op.removesuffix('.default')}`", *row] for op, row in rows.items()]),
        "".join(f"[^{number}]: {reason}\n" for reason, number in notes.items()),
        "## Beyond the core set\n\nHave rules of their own, because that is shorter or faster:\n",
        textwrap.fill(", ".join(f"`{operator}`" for operator in beyond) + ".", 118, break_on_hyphens=False) + "\n",
        "## Left out\n",
        _table(["operators of the core set", "reason"], [[names, reason] for reason, names in out.items()]),
    ]
    return "\n".join(lines), summary


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def check(results: Results, write: bool) -> list[str]:
    """Print the count; write the page, or say that it differs from what was found."""
    text, summary = page(results)
    print(summary)
    if write:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print(f"{PAGE} is not what this run found; nox -s ops -- --write writes it")
        return ["the table differs"]
    return []
