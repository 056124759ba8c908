"""Storage of parameters in the file: quantization as a property of storage.

A :class:`Scheme` (a plugin's) looks at each parameter and answers with a :class:`Storage`; the writer then streams the
parameter's rows through :meth:`Scheme.encode`. Nothing here rewrites a graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]

Hessian = npt.NDArray[np.float32]
"""Mean of ``x xᵀ`` over the inputs ``x`` of a linear layer, ``[k, k]``: half the Hessian of its squared error."""

BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4, "int2": 2}
"""Storage types that the writer knows, with their width in bits."""


@dataclass(frozen=True)
class Storage:
    """The storage of a parameter: type, granularity and block size.

    Attributes:
        dtype: a key of :data:`BITS`. Two int4 or four int2 numbers share a byte, the first in its lowest bits.
        per_channel: one float32 scale for each row (axis 0); symmetric, so the zero point is 0.
        block: number of neighbours of a row that share a float16 scale; None for none.
        offsets: dtype of a number that is added to all of a block, after scaling; None for none.
        weight_only: True if the runtime dequantizes the matrix to float32 when it loads the model, so that products are
            float32. Other integers are multiplied as such, with activations that the runtime quantizes. float16 always
            is dequantized.
    """

    dtype: str
    per_channel: bool = False
    block: int | None = None
    offsets: str | None = None
    weight_only: bool = False

    def parts(self, shape: tuple[int, ...]) -> dict[str, int]:
        """The arrays that the file keeps outside its head, with their bytes: ``data``, ``scales``, ``offsets``."""
        sizes = {"data": math.prod(shape) * BITS[self.dtype] // 8}
        if self.block is not None:
            blocks = math.prod(shape) // self.block
            sizes["scales"] = blocks * BITS["float16"] // 8
            if self.offsets is not None:
                sizes["offsets"] = blocks * BITS[self.offsets] // 8
        return sizes

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Size of the stored tensor in bytes; scales of channels, which the file's head keeps, not included."""
        return sum(self.parts(shape).values())

    def __str__(self) -> str:
        if self.block is not None:
            return f"{self.dtype}-block{self.block}" + ("+offsets" if self.offsets else "")
        scaled = f"{self.dtype}-channel" if self.per_channel else self.dtype
        return f"{scaled}+dequantized" if self.weight_only else scaled


FLOAT32 = Storage("float32")

MATRIX_ROLES = ("linear", "embedding")
"""Roles of parameters that quantization applies to. Norm weights and biases stay float32: they are small, and kernels
want them so."""


@dataclass(frozen=True)
class ParameterInfo:
    """A parameter as a scheme sees it.

    Attributes:
        name: path in the model, e.g. ``blocks.3.attention.qkv.weight``.
        shape: row-major.
        role: ``linear`` (rows are output channels), ``embedding`` (rows are looked up), or ``other``. A tied table
            that is both is ``embedding``.
        packed: the storage that holds the checkpoint's own quantized numbers exactly, if there is one.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    packed: Storage | None = None


@dataclass(frozen=True)
class Encoded:
    """Some rows of a parameter as they go into the file.

    Attributes:
        data: numbers of the storage's dtype, C-contiguous; int4 as uint8 ``[rows, columns / 2]``, int2 as uint8
            ``[rows, columns / 4]``.
        scales: float32 ``[rows]``, or float16 ``[rows, blocks]``; positive normal numbers, or XNNPACK refuses the
            matrix. None where the storage has none.
        offsets: ``[rows, blocks]`` of the storage's ``offsets``; None where it has none.
    """

    data: npt.NDArray[Any]
    scales: npt.NDArray[Any] | None = None
    offsets: npt.NDArray[Any] | None = None


@dataclass(frozen=True)
class Tolerance:
    """The largest error of an export against the float model that verification accepts.

    Attributes:
        logits: largest allowed root-mean-square error of the logits, relative to their own root mean square.
        top1: smallest allowed share of positions whose most likely token agrees.
    """

    logits: float
    top1: float


class Scheme(Protocol):
    """A quantization scheme: decides each parameter's storage and encodes its rows."""

    @property
    def tolerance(self) -> Tolerance:
        """The largest error against the float model that verification accepts."""
        ...

    def storage(self, parameter: ParameterInfo) -> Storage:
        """How ``parameter`` is to be stored."""
        ...

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        """Convert whole rows, ``[n, ...]`` of float32, to ``storage``; the result depends on no other row."""
        ...


@runtime_checkable
class SupportsCalibration(Protocol):
    """A scheme that rounds a matrix better where its inputs are known (GPTQ)."""

    def needs_calibration(self, storage: Storage) -> bool:
        """True if GPTQ-style rounding helps matrices stored this way (below 8 bits, or 8 bits a little)."""
        ...

    def calibrated(self, storage: Storage, hessians: Sequence[Hessian]) -> Scheme:
        """The scheme for one matrix ``[R, K]`` with ``storage``.

        Args:
            storage: the matrix's.
            hessians: one for each of consecutive groups of columns that are taken to be related: ``[k, k]`` each, with
                a sum of K, and each k but the last a multiple of 128.
        """
        ...


@runtime_checkable
class MixedScheme(Protocol):
    """A scheme that delegates each parameter to another one; its own methods answer for a parameter without a name."""

    def scheme_for(self, parameter: ParameterInfo) -> Scheme:
        """The scheme in charge of ``parameter``, itself not mixed."""
        ...


def scheme_for(scheme: Scheme, parameter: ParameterInfo) -> Scheme:
    """The scheme that is in charge of ``parameter`` where ``scheme`` is the file's."""
    return scheme.scheme_for(parameter) if isinstance(scheme, MixedScheme) else scheme
