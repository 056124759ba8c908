"""A zoo of PyTorch's modules and of transformers' models, each converted and compared with eager: right, or refused.

``python tests/zoo/zoo.py [modules] [models] [--only NAME]``"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

import edgegen
from edgegen.errors import EdgegenError

TOLERANCE = 2e-4


def tensors(result: Any) -> list[torch.Tensor]:
    """Tensors of a result, whatever holds them."""
    leaves = pytree.tree_leaves(dict(result) if hasattr(result, "keys") else result)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


@torch.no_grad()
def compare(module: nn.Module, inputs: tuple[Any, ...]) -> str:
    """``right``, ``refused: why`` or ``WRONG: how`` for a module in evaluation mode."""
    expected = tensors(module(*(each.clone() for each in inputs)))
    try:
        got = list(edgegen.convert(module, inputs)(*(each.clone() for each in inputs)).values())
    except EdgegenError as error:
        return f"refused: {[error.message, *error.details][-1].strip()}"
    except Exception as error:  # whatever a runtime or a rule raises
        return f"WRONG: {type(error).__name__}: {error}"
    if [each.shape for each in got] != [each.shape for each in expected]:
        return f"WRONG: shapes {[list(each.shape) for each in got]} for {[list(each.shape) for each in expected]}"
    for one, other in zip(got, expected, strict=True):
        scale = max(1.0, float(other.double().nan_to_num(posinf=0, neginf=0).abs().max()))
        if one.dtype != other.dtype or not torch.allclose(
            one.double(), other.double(), rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True
        ):
            return f"WRONG: {one.flatten()[:4].tolist()} for {other.flatten()[:4].tolist()}"
    return "right"


def main() -> int:
    """Exit code 1 where something is wrong."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("kinds", nargs="*", default=["modules", "models"], choices=["modules", "models"])
    arguments.add_argument("--only", help="name of the one to try")
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    outcomes: Counter[str] = Counter()
    for kind in given.kinds:
        cases = __import__(kind).cases()
        for name, module, inputs in cases:
            if given.only in (None, name):
                outcome = compare(module, inputs)
                outcomes[outcome.partition(":")[0]] += 1
                if outcome != "right":
                    print(f"{name:<36} {outcome[:200]}", flush=True)
    print(f"{outcomes.total()} of {', '.join(given.kinds)}: {dict(outcomes)}")
    return 1 if outcomes["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
