"""The full run over core's rules: PyTorch's database of operators and core's own cases, in LiteRT against eager.

``nox -s ops`` compares what it finds with ``docs/reference/ops.md``; ``--write`` writes that file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from edgegen.testing.ops.comparing import Outcome, compare, hurry
from edgegen.testing.ops.core_cases import CASES
from edgegen.testing.ops.expectations import OUT_OF_SCOPE, UNORDERED, expected
from edgegen.testing.ops.opinfo_samples import OPERATORS, dtypes_of, samples
from edgegen.testing.ops.processes import forked
from edgegen.testing.ops.table import check

LIMITS = {"float32": 3, "float16": 1, "int32": 2, "int64": 1, "bool": 1}
"""Samples of each operator, by dtype: the more kernels LiteRT has for it, the more can differ."""

Results = dict[tuple[str, str], list[Outcome]]
"""``(case or OpInfo, dtype)`` -> what became of its samples."""


def in_scope() -> list[str]:
    """OpInfos that have a counterpart among tensors of real numbers and fixed shapes."""
    return [name for name in OPERATORS if not any(fnmatchcase(name, each) for each in OUT_OF_SCOPE)]


def run_operator(name: str) -> Results:
    """All dtypes of one OpInfo."""
    info = OPERATORS[name]
    wrap: Callable[..., Any] = UNORDERED.get(name, lambda operator: operator)
    function = wrap(info.op)
    results: Results = {}
    for dtype in dtypes_of(info):
        outcomes = [compare(function, args, kwargs) for args, kwargs in samples(info, dtype, LIMITS[dtype])]
        results[name, dtype] = [outcome for outcome in outcomes if outcome.status != "empty"]
    return results


def run_written(name: str) -> Results:
    """One of the cases written here."""
    case = next(case for case in CASES if case.name == name)
    torch.manual_seed(0)
    return {(name, "as written"): [compare(case.function, case.inputs())]}


def run(operators: Sequence[str]) -> Results:
    """The results of ``operators`` and, given all of them, of the written cases."""
    torch.set_num_threads(1)
    hurry()
    compare(lambda a: torch.addcmul(a, a, a), (torch.ones(2),))  # imports what tracing needs, once for all children
    results: Results = {}
    written = [case.name for case in CASES] if len(operators) > 1 and set(in_scope()) <= set(operators) else []
    tasks = [*((name, run_operator) for name in operators), *((name, run_written) for name in written)]
    work = {name if function is run_operator else f"written: {name}": (function, name) for name, function in tasks}
    for task, result in forked(list(work), lambda key: work[key][0](work[key][1])):
        if isinstance(result, Exception):
            result = {(work[task][1], "any"): [Outcome("failed", str(result))]}
        results.update(result)
    return results


def problems(results: Results) -> list[str]:
    """Differences from the expectations: failures, and successes that were not expected."""
    found = []
    for (name, dtype), outcomes in sorted(results.items()):
        bad = [outcome for outcome in outcomes if outcome.status != "passed"]
        reason = expected(name, dtype)
        if bad and reason is None:
            found.append(f"{name} on {dtype}: {bad[0].status}: {bad[0].reason[:400]}")
        elif outcomes and not bad and reason is not None:
            found.append(f"{name} on {dtype} passes, though it was expected not to: {reason}")
    return found


def main() -> int:
    """Run what the arguments ask for; returns 1 where something differs from the expectations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/reference/ops.md")
    parser.add_argument("--only", help="names of OpInfos, separated by commas; no table")
    parser.add_argument("--dump", type=Path, help="write every outcome to this file, as JSON lines")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.monotonic()
    results = run(arguments.only.split(",") if arguments.only else in_scope())
    count = sum(map(len, results.values()))
    passed = sum(outcome.status == "passed" for outcomes in results.values() for outcome in outcomes)
    if arguments.dump:
        with arguments.dump.open("w") as file:
            for (name, dtype), outcomes in results.items():
                for outcome in outcomes:
                    print(json.dumps([name, dtype, outcome.status, outcome.reason]), file=file)
    failures = problems(results)
    print(*failures, sep="\n")
    print(f"{passed} of {count} cases agree with eager PyTorch, in {time.monotonic() - started:.0f} s")
    if not arguments.only:
        failures += check(results, write=arguments.write)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
