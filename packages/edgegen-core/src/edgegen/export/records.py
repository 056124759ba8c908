"""The plan of an export (everything resolved, nothing written yet) and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegen.adapters.layout import LoraLayout
from edgegen.descriptors import ModelFamily, Variant
from edgegen.export.conversion_report import ConversionRow
from edgegen.export.options import ExportOptions
from edgegen.export.reference import Reference
from edgegen.export.results import OracleVerification, VerificationResult
from edgegen.genai.chat_templates import turn_end
from edgegen.graph import Program
from edgegen.module_calls import lora_projections, max_rollback
from edgegen.quantization.passes import PassContext, PassReport, PlannedPass
from edgegen.tflite.writer import Parameter
from edgegen.weights import Checkpoint, LazyTensor, TokenizerAssets
from edgegen.weights.storage import Scheme

if TYPE_CHECKING:
    from torch import nn

NO_TOKENIZER = "the checkpoint has no tokenizer that can be used"


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """A planned export.

    Attributes:
        options: of the export, with the task's defaults filled in.
        family: the model's.
        variant: the model's; made up for one that its family's table does not list.
        scheme_name: scheme or recipe, as ``--scheme`` takes it.
        scheme: quantization scheme of all parameters.
        checkpoint: opened, with ``options.lora`` merged.
        tokenizer: the checkpoint's tokenizer files, converted if need be; None where it has none.
        module: on the ``meta`` device; fulfils the protocol of the family's task.
        weights: parameter name -> the checkpoint's numbers.
        program: traced, lowered and rewritten.
        parameters: parameter name -> storage and scheme; in the order of the file.
        conversion: the conversion report, a row for each group of weights.
        lora: adapters that the file takes at run time; None for none.
        passes: over weights, in the order in which they run.
    """

    options: ExportOptions
    family: ModelFamily
    variant: Variant
    scheme_name: str
    scheme: Scheme
    checkpoint: Checkpoint
    tokenizer: TokenizerAssets | None
    module: nn.Module
    weights: Mapping[str, LazyTensor]
    program: Program
    parameters: Mapping[str, Parameter]
    conversion: tuple[ConversionRow, ...]
    lora: LoraLayout | None
    passes: tuple[PlannedPass, ...] = ()

    @property
    def chat_template(self) -> str | None:
        """Jinja source: the checkpoint's, or the variant's where that has none."""
        return None if self.tokenizer is None else self.tokenizer.chat_template or self.variant.chat_template

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer: the checkpoint's, and the one by which the chat template ends one.

        Those that the variant names (``stop_tokens``) are not among them.
        """
        if self.tokenizer is None:
            return ()
        ends = list(self.tokenizer.eos_token_ids)
        if self.chat_template is not None and self.tokenizer.special_ids:
            ids = self.tokenizer.special_ids
            end = turn_end(self.chat_template, self.tokenizer.special_tokens or {}, ids)
            ends += [] if end is None else [end]
        return tuple(dict.fromkeys(ends))

    @property
    def config(self) -> Any:
        """The module's hyper-parameters, see :class:`edgegen.modeling.ModelConfig`."""
        return self.module.config

    @property
    def max_rollback(self) -> int | None:
        """Most tokens that a runtime can roll the cache back by; None for all of them."""
        return max_rollback(self.module, self.options.cache_length)

    @property
    def reference(self) -> Reference:
        """The float model that the file is verified against."""
        return Reference(
            module=self.module,
            weights=self.weights,
            start_token_id=start_token_id(self.tokenizer),
            cache_length=self.options.cache_length,
            max_rollback=self.max_rollback,
            lora=self.lora,
        )

    @property
    def pass_context(self) -> PassContext:
        """The plan as a pass over weights sees it."""
        return PassContext(
            subject=self.variant.name,
            module=self.module,
            weights=self.weights,
            parameters=self.parameters,
            scheme=self.scheme,
            scheme_name=self.scheme_name,
            calibration=self.options.calibration,
            tokenizer=self.tokenizer,
            context_length=self.variant.context_length,
            start_token_id=start_token_id(self.tokenizer),
            adapted=self._adapted,
        )

    @property
    def _adapted(self) -> frozenset[str]:
        """Parameters that adapters read or add to at run time."""
        if self.lora is None:
            return frozenset()
        return frozenset(name for block in lora_projections(self.module) for name, _ in block.values())

    @property
    def weight_bytes(self) -> int:
        """Size of all weights in the file."""
        return sum(parameter.nbytes for parameter in self.parameters.values())

    @property
    def bytes_by_storage(self) -> dict[str, int]:
        """Storage -> bytes."""
        sizes: dict[str, int] = {}
        for parameter in self.parameters.values():
            sizes[str(parameter.storage)] = sizes.get(str(parameter.storage), 0) + parameter.nbytes
        return sizes


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """A finished export.

    Attributes:
        plan: the plan that was carried out.
        hashes: SHA-256 of each checkpoint file, and of the calibration text.
        passes: pass over weights -> its report.
        verification: figures against the float model; None with ``verify=False``.
        oracle: figures against another implementation; None where there is none.
    """

    plan: ExportPlan
    hashes: Mapping[Path, str]
    passes: Mapping[str, PassReport]
    verification: VerificationResult | None
    oracle: OracleVerification | None = None

    @property
    def output(self) -> Path:
        """The output folder."""
        return self.plan.options.output


def start_token_id(tokenizer: TokenizerAssets | None) -> int:
    """The token that a decoder's text begins with; 0 where there is no start token."""
    return (tokenizer.bos_token_id if tokenizer else None) or 0
