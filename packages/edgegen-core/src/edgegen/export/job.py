"""What an export is asked to do, and what is known of it as it goes on."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from edgegen.adapters.layout import LoraLayout
from edgegen.descriptors import ModelFamily, Variant
from edgegen.export.weight_report import Transfer
from edgegen.graph import Program
from edgegen.progress import Reporter as Reporter  # noqa: PLC0414
from edgegen.progress import Stage as Stage  # noqa: PLC0414
from edgegen.quantization.channel_scaling import Equalization, ScalingGroup
from edgegen.quantization.recipe import Recipe
from edgegen.tflite.writer import Parameter
from edgegen.weights import Checkpoint, LazyTensor, TokenizerAssets
from edgegen.weights.storage import Scheme

if TYPE_CHECKING:
    from edgegen.export.preflight import Forecast
    from edgegen.export.tasks import Kind
    from edgegen.export.verify import Verified
    from edgegen_quant.ptq.activations import Text
    from edgegen_quant.ptq.gptq_pass import Calibration

MODEL_FILE = "model.tflite"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the user asked for.

    Attributes:
        variant: a variant's name, e.g. ``smollm2-135m-instruct``; or a family's, e.g. ``llama``, for a checkpoint
            that states its own configuration.
        checkpoint: file or folder, or the name of what is no file: an installed package, a repository.
        output: folder to make.
        scheme: quantization scheme or recipe, see :mod:`edgegen.quantization.recipe`; None for the variant's own.
        encode_lengths: one ``encode_<N>`` signature each, in tokens, of a model that reads a text at once; None for
            its kind's own.
        prefill_lengths: one ``prefill_<N>`` signature each, in tokens.
        cache_length: slots of the key/value cache, in tokens.
        cache_buckets: shorter caches to begin a text on, see :mod:`edgegen.genai.signature_names`; those that are not
            shorter are left out.
        verify_lengths: one ``verify_<N>`` signature each, in tokens, for speculative decoding and for scoring.
        target: what to make.
        checkpoint_format: None to detect it.
        composites: which composites to keep, see :class:`edgegen.tracing.Composites`.
        lora: folder of an adapter to merge into the weights; None for none.
        lora_rank: highest rank of adapters to be given at run time, see :mod:`edgegen.adapters.layout`; None for no such inputs.
        layers: building block -> implementation, where not the default.
        calibration: a text to read instead of the built-in one, see ``calibrate`` and ``equalize``.
        calibrate: whether matrices are rounded with regard to what they are multiplied with, see
            :mod:`edgegen_quant.ptq.gptq_pass`; None where there is a text of the user's, or it takes little time.
        equalize: whether channels are scaled so that quantization costs less, see
            :mod:`edgegen_quant.ptq.smoothquant_pass`; None where activations are quantized, and weights to 8 bits
            or in blocks.
        verify: whether to run the result against the eager model.
    """

    variant: str
    checkpoint: Path
    output: Path
    scheme: str | Path | Recipe | None = None
    encode_lengths: tuple[int, ...] | None = None
    prefill_lengths: tuple[int, ...] = (8, 64, 128)
    cache_length: int = 1280
    cache_buckets: tuple[int, ...] = (256,)
    verify_lengths: tuple[int, ...] = ()
    target: str = "tflite"
    checkpoint_format: str | None = None
    composites: str = "none"
    lora: Path | None = None
    lora_rank: int | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    calibration: Path | None = None
    calibrate: bool | None = None
    equalize: bool | None = None
    verify: bool = True


@dataclass(kw_only=True)
class Job:
    """A planned export: everything is resolved, nothing is written yet.

    Attributes:
        kind: how models of the family's kind are exported.
        model: on the ``meta`` device.
        sources: parameter name -> where its rows come from.
        transfers: what becomes of each kind of weight.
        equalizing: channels to scale.
        equalization: what was scaled; known once :func:`run` has come to writing. None for nothing.
        text: what to learn how to round from; None for nothing.
        calibration: what was learnt from; known once weights are written.
        lora: how adapters fit; None where the file takes none.
        forecast: what it will take; known once :func:`edgegen.export.plan` is done.
        hashes: SHA-256 of each checkpoint file, and of the calibration text; known once :func:`run` has come to
            packaging.
        verification: likewise; None with ``verify=False``.
    """

    options: ExportOptions
    family: ModelFamily
    kind: Kind
    variant: Variant
    scheme_name: str
    scheme: Scheme
    checkpoint: Checkpoint
    model: nn.Module
    sources: Mapping[str, LazyTensor]
    program: Program
    parameters: Mapping[str, Parameter]
    transfers: Sequence[Transfer] = ()
    equalizing: Sequence[ScalingGroup] = ()
    equalization: Equalization | None = None
    text: Text | None = None
    calibration: Calibration | None = None
    lora: LoraLayout | None = None
    forecast: Forecast | None = None
    hashes: Mapping[Path, str] = field(default_factory=dict)
    verification: Verified | None = None

    @functools.cached_property
    def tokenizer(self) -> TokenizerAssets | None:
        """The checkpoint's tokenizer files, converted if need be."""
        return self.checkpoint.tokenizer()

    @property
    def chat_template(self) -> str | None:
        """Jinja source: the checkpoint's, or the variant's where that has none."""
        return None if self.tokenizer is None else self.tokenizer.chat_template or self.variant.chat_template

    @property
    def max_rollback(self) -> int | None:
        """How many of the tokens read last a runtime may forget again; None for all of them."""
        model: Any = self.model
        # A family's own model need not know of it.
        return model.max_rollback(self.options.cache_length) if hasattr(model, "max_rollback") else None

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
