"""Passes over weights: what is done to them between reading a checkpoint and encoding it for the file.

A plugin offers a pass through the hook ``edgegen_weight_passes``; channel scaling (SmoothQuant) and GPTQ are passes of
edgegen-quant. An export asks each pass three things, in the order of their ``order``:

1. :meth:`WeightPass.prepare`, before the module is traced: may add parameters to it.
2. :meth:`WeightPass.plan`, once every parameter's storage is known: whether it runs, and what that costs.
3. the :class:`PlannedPass`'s ``transform`` (other weights instead of the given ones), then, with the file open, its
   ``encode`` (writes single matrices in its own way).

Weights stay lazy: a transform wraps tensors whose rows are read later, and none is ever held whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgegen.weights.storage import Scheme
from edgegen.weights.tensors import LazyTensor, TokenizerAssets

if TYPE_CHECKING:
    from torch import nn

    from edgegen.tflite.writer import Parameter

Weights = Mapping[str, LazyTensor]
"""Parameter name -> its contents."""

Encode = Callable[[str, Scheme], None]
"""``(parameter name, scheme)``: encode a parameter now, by this scheme, and write it; each may be written once."""


@dataclass(frozen=True, kw_only=True)
class PassContext:
    """A planned export, as a pass sees it; nothing is written yet.

    Attributes:
        subject: the variant's name, for messages.
        module: on the ``meta`` device; fulfils a protocol of :mod:`edgegen.modeling`.
        weights: the checkpoint's, by parameter.
        parameters: parameter name -> storage and scheme that were chosen for it.
        scheme: the file's.
        scheme_name: its name.
        enabled: True or False where the user says so (``--weight-pass``, ``--no-weight-pass``); None: up to the pass.
        calibration: a text file to read instead of a built-in text; None for none.
        tokenizer: the checkpoint's; None where it has none.
        context_length: longest sequence that the model was trained for, in tokens.
        start_token_id: token that a text begins with.
        adapted: parameters that adapters read or add to at run time, which must stay as they were trained.
    """

    subject: str
    module: nn.Module
    weights: Weights
    parameters: Mapping[str, Parameter]
    scheme: Scheme
    scheme_name: str
    enabled: bool | None = None
    calibration: Path | None = None
    tokenizer: TokenizerAssets | None = None
    context_length: int
    start_token_id: int = 0
    adapted: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class PassReport:
    """The outcome of a pass.

    Attributes:
        summary: one line for people, e.g. ``183 weights scaled, by 255 tokens (built-in)``.
        details: for ``export.json``; JSON values only.
    """

    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.summary


@dataclass(frozen=True, kw_only=True)
class PassCost:
    """An estimate of what a pass takes.

    Attributes:
        seconds: on one core.
        memory: bytes, beyond what an export takes anyway.
    """

    seconds: float = 0.0
    memory: int = 0


@dataclass(frozen=True, kw_only=True)
class PlannedPass:
    """A pass that an export will run.

    Attributes:
        name: the pass's, as its descriptor has it.
        cost: an estimate.
        uses_calibration: True if it reads the user's calibration text where there is one.
        changes: names of the parameters whose numbers ``transform`` will change.
        transform: ``(weights) -> (other weights, report)``; None where the pass changes none.
        encode: ``(weights, encode) -> report``, called with the file open; None where the pass writes none itself.
    """

    name: str
    cost: PassCost
    uses_calibration: bool = False
    changes: frozenset[str] = frozenset()
    transform: Callable[[Weights], tuple[Weights, PassReport]] | None = None
    encode: Callable[[Weights, Encode], PassReport] | None = None


class WeightPass(Protocol):
    """A pass over weights; see the module's description."""

    def prepare(self, module: nn.Module, weights: Weights, scheme: Scheme, enabled: bool | None) -> Weights:
        """Add to ``module`` the parameters that the pass needs, before it is traced.

        Returns:
            Contents of the added parameters, by name; empty where there is none.
        """
        ...

    def plan(self, context: PassContext) -> PlannedPass | None:
        """Decide whether the pass runs; None if it does not.

        Raises:
            UsageError: it was asked for (``context.enabled``) and cannot do anything for this export.
        """
        ...
