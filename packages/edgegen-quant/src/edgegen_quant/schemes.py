"""Schemes that LiteRT's CPU kernels run fast, named by storage and granularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.storage import BITS, FLOAT32, Encoded, Gram, ParameterInfo, Rows, Scheme, Storage, Tolerance
from edgegen_quant.gptq import Columns, columns_of, compensated
from edgegen_quant.scale_search import pack, to_integers

Numbers = npt.NDArray[Any]

_FLOAT16_MAX = 65504.0

QUANTIZED_ROLES = ("linear", "embedding")
"""Matrices. Norm weights and biases stay float32: they are small, and kernels want them so."""

HEADS = ("lm_head.weight",)
"""How the names of matrices end that give the logits, where no embedding does."""

INT8 = Storage("int8", per_channel=True)
BLOCKS = {block: Storage("int4", block=block) for block in (128, 64, 32)}
"""XNNPACK takes blocks whose length is a multiple of 32; LiteRT's own kernel for others is a hundred times slower."""

_WIDTHS = {"int4": 2, "int2": 4}
"""What the columns of a matrix must be a multiple of where a byte holds several numbers."""


@dataclass(frozen=True)
class PlainFloat:
    """Weights as floating-point numbers of one width."""

    matrices: Storage
    tolerance: Tolerance

    def storage(self, parameter: ParameterInfo) -> Storage:
        return self.matrices if parameter.role in QUANTIZED_ROLES else FLOAT32

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        with np.errstate(over="ignore"):  # an overflow is an error below
            data = np.ascontiguousarray(rows, storage.dtype)
        if storage.dtype == "float16" and (np.isinf(data) & np.isfinite(rows)).any():
            raise CheckpointError(
                "a weight exceeds float16's range (65504)", code=ErrorCode.WEIGHTS_NOT_FINITE, hint="use --scheme fp32"
            )
        return Encoded(_finite(data))


@dataclass(frozen=True)
class Integers:
    """Matrices as integers with symmetric scales; everything else as float32.

    Activations stay float32 in the file; XNNPACK quantizes them to 8 bits, row by row, as it runs ("dynamic"
    quantization), unless the storage is widened.

    Attributes:
        storages: the first that a matrix's columns allow is taken. The last allows all.
        tolerance: for all of a model.
        search: whether to look for the best scales, see :mod:`edgegen_quant.scale_search` (8 bits gain 2 % of the squared
            error by that, and do without), and to make up for errors, see :mod:`edgegen_quant.gptq`.
        columns: what to make up for errors with, for one matrix; None for nothing.
    """

    storages: tuple[Storage, ...]
    tolerance: Tolerance
    search: bool = True
    columns: Sequence[Columns] | None = None

    def storage(self, parameter: ParameterInfo) -> Storage:
        if parameter.role in QUANTIZED_ROLES and len(parameter.shape) == 2:
            return next(storage for storage in self.storages if _fits(parameter.shape[1], storage))
        return FLOAT32

    def learns(self, storage: Storage) -> bool:
        return self.search and storage.dtype != "float32"

    def calibrated(self, storage: Storage, grams: Sequence[Gram]) -> Integers:
        return replace(self, columns=columns_of(grams, BITS[storage.dtype], storage.block))

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        if storage.dtype == "float32":
            return Encoded(_finite(np.ascontiguousarray(rows, np.float32)))
        bits = BITS[storage.dtype]
        if self.columns is not None:
            integers, scales = compensated(_finite(rows), bits, storage.block, self.columns)
        elif bits == 8:
            return _int8_rows(rows)
        else:
            integers, scales = to_integers(_finite(rows), bits, storage.block, search=self.search)
        if storage.block is None:
            return Encoded(pack(integers, bits), scales[:, 0])
        if (np.abs(rows) > _FLOAT16_MAX).any():
            raise CheckpointError(
                "a weight exceeds float16's range (65504)",
                code=ErrorCode.WEIGHTS_NOT_FINITE,
                hint="use --scheme int8-channel",
            )
        return Encoded(pack(integers, bits), scales.astype(np.float16))


@dataclass(frozen=True)
class TablesApart:
    """One scheme for embeddings and heads, another for everything else."""

    tables: Scheme
    others: Scheme
    tolerance: Tolerance

    def scheme_for(self, parameter: ParameterInfo) -> Scheme:
        is_table = parameter.role == "embedding" or parameter.name.endswith(HEADS)
        return self.tables if is_table else self.others

    def storage(self, parameter: ParameterInfo) -> Storage:
        return self.scheme_for(parameter).storage(parameter)

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        return self.others.encode(rows, storage)


@dataclass(frozen=True)
class Keep:
    """The checkpoint's own quantized numbers where LiteRT has a storage that holds them exactly.

    Quality that was trained into a quantized checkpoint survives only so: any rounding on top of it loses some.
    """

    otherwise: Integers
    tolerance: Tolerance

    def storage(self, parameter: ParameterInfo) -> Storage:
        if parameter.role in QUANTIZED_ROLES and parameter.packed is not None:
            return parameter.packed
        return self.otherwise.storage(parameter)

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        return self.otherwise.encode(rows, storage)  # what is kept does not come this way


def _fits(columns: int, storage: Storage) -> bool:
    return columns % (storage.block or _WIDTHS.get(storage.dtype, 1)) == 0


def _finite(numbers: Numbers) -> Numbers:
    if not np.isfinite(numbers).all():
        raise CheckpointError(
            "weights contain NaN or infinity", code=ErrorCode.WEIGHTS_NOT_FINITE, hint="the checkpoint is damaged"
        )
    return numbers


def _int8_rows(rows: Rows) -> Encoded:
    """Round each row to ``scale * [-127, 127]``; -128 is not used, so the range is symmetric."""
    largest = _finite(np.maximum(rows.max(axis=1), -rows.min(axis=1)))
    # A scale must be a normal float above 0, or XNNPACK refuses the whole matrix: matters for rows of zeros.
    scales = np.maximum(largest / np.float32(127), np.finfo(np.float32).tiny)
    quotients = rows * (np.float32(1) / scales)[:, None]
    return Encoded(np.rint(quotients, out=quotients).astype(np.int8, order="C"), scales)


FP32 = PlainFloat(FLOAT32, Tolerance(logits=1e-3, top1=1.0))
FP16 = PlainFloat(Storage("float16"), Tolerance(logits=1e-2, top1=0.95))
# Below 8 bits: a little more than SmolLM2-135M-Instruct strays without a text, the smallest model at hand. It gets
# int2-channel refused: an error as large as the logits themselves is no rounding any more.
INT8_CHANNEL = Integers((INT8,), Tolerance(logits=0.15, top1=0.75))
INT8_WEIGHT_ONLY = Integers((replace(INT8, widened=True),), Tolerance(logits=0.1, top1=0.8))
INT4_CHANNEL = Integers((Storage("int4", per_channel=True), INT8), Tolerance(logits=0.9, top1=0.1))
INT4_BLOCK32 = Integers((BLOCKS[32], INT8), Tolerance(logits=0.6, top1=0.25))
INT4_BLOCK64 = Integers((BLOCKS[64], BLOCKS[32], INT8), Tolerance(logits=0.75, top1=0.15))
INT4_BLOCK128 = Integers((BLOCKS[128], BLOCKS[64], BLOCKS[32], INT8), Tolerance(logits=0.85, top1=0.1))
INT2_CHANNEL = Integers((Storage("int2", per_channel=True), INT8), Tolerance(logits=0.99, top1=0.01))
INT4_BLOCK32_INT8_EMBED = TablesApart(INT8_CHANNEL, INT4_BLOCK32, Tolerance(logits=0.55, top1=0.25))
INT4_BLOCK64_INT8_EMBED = TablesApart(INT8_CHANNEL, INT4_BLOCK64, Tolerance(logits=0.7, top1=0.15))
INT4_BLOCK128_INT8_EMBED = TablesApart(INT8_CHANNEL, INT4_BLOCK128, Tolerance(logits=0.8, top1=0.1))
INT4_CHANNEL_INT8_EMBED = TablesApart(INT8_CHANNEL, INT4_CHANNEL, Tolerance(logits=0.9, top1=0.1))
# The file holds 4-bit blocks exactly, but XNNPACK's kernels round their scales to bfloat16, by 0.4 % at most.
KEEP = Keep(INT8_CHANNEL, Tolerance(logits=0.2, top1=0.75))
