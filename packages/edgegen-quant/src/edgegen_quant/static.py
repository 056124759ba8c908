"""Static quantization: activations get scales too, from sample inputs, by the library ``ai-edge-quantizer``.

It reads a float32 ``.tflite`` file, runs it on the samples to see how large each activation gets, and writes a file
whose operators compute with integers throughout, as NPUs and microcontrollers want it. On the CPU, dynamic quantization
(``int8-channel``) takes no samples.

The library holds the whole model in memory, several times over, and cannot do language models with a cache: a file of
several signatures must have tensors of different names throughout for it, and once they are renamed it writes one that
LiteRT does not load (0.10.0). So it is for modules of one signature, such as encoders and vision models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgegen.errors import ErrorCode, UnsupportedError, UsageError
from edgegen.tflite.reader import read_model

ACTIVATIONS = {"a8w8": 8, "a16w8": 16, "static_wi8_ai8": 8, "static_wi8_ai16": 16}
"""Scheme, or what the library calls it -> bits of activations. Weights have 8, with a scale for each channel."""

Sample = Mapping[str, npt.NDArray[Any]]


def static_quantize(file: Path | str, output: Path | str, samples: Iterable[Sample], scheme: str = "a8w8") -> Path:
    """Write a statically quantized version of a float32 file; inputs and outputs stay float32.

    Args:
        file: as :meth:`edgegen.api.ConvertedModel.export` writes it with ``scheme="fp32"``.
        output: the file to write.
        samples: inputs by name, of the kind that the model will get; a few dozen do.
        scheme: a key of :data:`ACTIVATIONS`. XNNPACK has no kernels for activations of 16 bits, so that ``a16w8`` runs
            on LiteRT's own, slow ones.

    Raises:
        UsageError: the library is not installed, no such scheme, or no samples that fit.
        UnsupportedError: the file has several signatures, or has been quantized.
    """
    if scheme not in ACTIVATIONS:
        raise UsageError(
            f"there is no static scheme {scheme!r}",
            code=ErrorCode.UNKNOWN_NAME,
            hint=f"there are {', '.join(ACTIVATIONS)}",
        )
    file, output = Path(file), Path(output)
    signature = _only_signature(file)
    inputs = [dict(sample) for sample in samples]
    if not inputs:
        raise UsageError(
            "static quantization needs sample inputs",
            code=ErrorCode.INVALID_CALIBRATION_DATA,
            hint="give a few dozen of what the model will see",
        )
    try:
        from ai_edge_quantizer import qtyping, quantizer
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
    except ImportError as error:
        raise UsageError(
            "static quantization needs the library ai-edge-quantizer",
            code=ErrorCode.DEPENDENCY_MISSING,
            hint="pip install edgegen-quant[static]",
        ) from error
    work: Any = quantizer.Quantizer(str(file))
    work.add_static_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, ACTIVATIONS[scheme], 8)
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        work.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    try:
        found = work.calibrate({signature: inputs})
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"the samples do not fit {file}: {error}",
            code=ErrorCode.INVALID_CALIBRATION_DATA,
            hint="each maps input names to arrays",
        ) from error
    quantized = work.quantize(found, enable_progress_report=False).quantized_model
    partial = output.with_name(output.name + ".partial")
    try:
        partial.write_bytes(quantized)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return output


def _only_signature(file: Path) -> str:
    summary = read_model(file)
    if len(summary.signatures) != 1:
        raise UnsupportedError(
            f"{file} has {len(summary.signatures)} signatures; static quantization is for one",
            code=ErrorCode.STATIC_QUANTIZATION_UNSUPPORTED,
            hint="language models with a cache: use int8-channel, which quantizes activations as the model runs",
        )
    if set(summary.weights) - {"float32", "int32", "int64", "bool"}:
        raise UnsupportedError(
            f"the weights of {file} are {', '.join(summary.weights)}, not float32",
            code=ErrorCode.STATIC_QUANTIZATION_UNSUPPORTED,
            hint="convert with scheme='fp32'",
        )
    return summary.signatures[0].name
