"""Options of an export: what the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgegen.quantization.recipe import Recipe

MODEL_FILE = "model.tflite"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of an export; everything but the first three has a default.

    Attributes:
        variant: a variant's name, e.g. ``smollm2-135m-instruct``; or a family's, e.g. ``llama``, for a checkpoint
            that states its own configuration.
        checkpoint: file or folder, or a reference that a checkpoint format resolves: an installed package, a
            repository.
        output: folder to make.
        scheme: quantization scheme or recipe, see :mod:`edgegen.quantization.recipe`; None for the variant's own.
        encode_lengths: lengths of the ``encode_<N>`` signatures of encoders, in tokens; None for the task's default.
        prefill_lengths: lengths of the ``prefill_<N>`` signatures, in tokens.
        cache_length: context window: slots of the key/value cache, in tokens.
        cache_buckets: shorter caches that a text begins on, in tokens, see :mod:`edgegen.genai.signature_names`; those
            that are not shorter than ``cache_length`` are left out.
        verify_lengths: lengths of the ``verify_<N>`` signatures, which give the logits after each of N tokens, for
            speculative decoding and scoring.
        target: name of the export target.
        checkpoint_format: name of the checkpoint format; None to detect it.
        allow_keys: keys of the checkpoint's configuration that are not known and, as the user says, change nothing.
        composites: composites to keep, see :class:`edgegen.tracing.Composites`: ``none``, ``all`` or names.
        lora: folder of a LoRA adapter to merge into the weights; None for none.
        lora_rank: highest rank of adapters that the file takes at run time, see :mod:`edgegen.adapters.layout`; None
            for no such inputs.
        layers: building block -> implementation, where not the default.
        calibration: text file to calibrate on; None for the built-in text.
        weight_passes: pass over weights -> True to run it, False to leave it out; those not named decide by themselves,
            see :mod:`edgegen.quantization.passes`.
        verify_against: oracle to compare the result with, see :mod:`edgegen.export.oracle`; ``none`` for none; None for
            the first that knows the model.
        verify: True to run the result against the eager model.
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
    allow_keys: tuple[str, ...] = ()
    composites: str = "none"
    lora: Path | None = None
    lora_rank: int | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    calibration: Path | None = None
    weight_passes: Mapping[str, bool] = field(default_factory=dict)
    verify_against: str | None = None
    verify: bool = True

    @property
    def shorter_caches(self) -> tuple[int, ...]:
        """The cache buckets that are shorter than the cache."""
        return tuple(slots for slots in self.cache_buckets if slots < self.cache_length)
