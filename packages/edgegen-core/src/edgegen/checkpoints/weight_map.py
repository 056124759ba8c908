"""The map from a checkpoint's tensor names to a model's parameters.

A map is a table. Keys are parameter names, values say where the parameter comes from; ``{i}`` (any name in
braces) stands for a number and means the same number on both sides::

    WeightMap({
        "embedding.weight": "model.embed_tokens.weight",
        "blocks.{i}.attention.qkv.weight": concat(
            "model.layers.{i}.self_attn.q_proj.weight",
            "model.layers.{i}.self_attn.k_proj.weight",
            "model.layers.{i}.self_attn.v_proj.weight",
        ),
    }, ignore=("*.rotary_emb.inv_freq",))

Everything is lazy: a resolved parameter reads only the rows of the checkpoint that a slice of it needs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgegen.checkpoints.diff import WeightDiff
from edgegen.checkpoints.files import check_rows
from edgegen.checkpoints.tensors import Checkpoint, LazyTensor, RowReader
from edgegen.errors import UsageError

Float32 = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_GAP = 8
"""Rows apart that are still read in one go when rows are gathered: a seek costs more than reading these."""

_BLOCK_BYTES = 4 * 2**20
"""How much of a source is in memory at a time when all of it must be walked."""


class Source:
    """Where a parameter comes from: a node of a small expression over checkpoint tensors."""

    def names(self, numbers: Mapping[str, str], present: Container[str]) -> tuple[str, ...]:
        """The checkpoint tensors this reads, with the placeholders filled in.

        Args:
            numbers: placeholder -> number.
            present: what the checkpoint has, to settle alternatives.
        """
        raise NotImplementedError

    def bind(self, tensors: Mapping[str, LazyTensor], numbers: Mapping[str, str]) -> LazyTensor:
        """The lazy tensor this describes.

        Raises:
            KeyError: a tensor is missing.
            ShapeError: the tensors' shapes do not allow the operation.
        """
        raise NotImplementedError


class ShapeError(ValueError):
    """The checkpoint's tensors have shapes that an expression of the map cannot combine."""


SourceLike = str | Source


# --- expressions --------------------------------------------------------------------------------------------


def concat(*sources: SourceLike) -> Source:
    """Stack along rows: ``[a, ...], [b, ...] -> [a + b, ...]``."""
    return _Concat(tuple(map(_source, sources)))


def rows(source: SourceLike, start: int, stop: int) -> Source:
    """Rows ``start:stop``, one part of a fused tensor."""
    return _Rows(_source(source), start, stop)


def permute_rows(source: SourceLike, indices: Sequence[int] | Indices | Callable[[int], Indices]) -> Source:
    """Row ``r`` of the result is row ``indices[r]`` of the source.

    ``indices`` may be a function of the number of rows. It may pick fewer rows than there are, or one twice.
    """
    return _PermuteRows(_source(source), indices)


def transpose(source: SourceLike) -> Source:
    """``[a, b] -> [b, a]``. Each slice of the result walks the whole source, so reads should be large."""
    return _Transpose(_source(source))


def reshape(source: SourceLike, shape: Sequence[int]) -> Source:
    """The same elements, row-major, in another shape."""
    return _Reshape(_source(source), tuple(shape))


def scaled(source: SourceLike, factor: float) -> Source:
    """Every element times ``factor``."""
    return _Affine(_source(source), factor, 0.0)


def offset(source: SourceLike, amount: float) -> Source:
    """``amount`` added to every element: norms whose scale is stored around zero need ``offset(name, 1)``."""
    return _Affine(_source(source), 1.0, amount)


def first_of(*sources: SourceLike) -> Source:
    """The first source whose tensors are all present.

    For a head that some checkpoints leave out because it repeats the embedding::

        "head.weight": first_of("lm_head.weight", "model.embed_tokens.weight")
    """
    return _FirstOf(tuple(map(_source, sources)))


def interleaved_to_half_rotary(heads: int, head_dim: int) -> Indices:
    """Row order that turns llama.cpp's query and key weights back into the published ones.

    Rotary embedding turns pairs of channels. Published Llama weights pair channel ``j`` with ``j + D/2`` of a
    head (two halves); llama.cpp's kernel pairs ``2j`` with ``2j + 1``, so its converter reorders the rows of
    each head: viewed as ``[heads, 2, D/2]``, the row ``(h, half, j)`` moves to where ``[heads, D/2, 2]`` has
    ``(h, j, half)``. To undo it, the published row ``h*D + half*D/2 + j`` is the stored row ``h*D + 2*j +
    half``: number the stored rows, view them as ``[heads, D/2, 2]`` and swap the last two axes.

    Source: ``LlamaModel.permute`` in llama.cpp's ``convert_hf_to_gguf.py``.

    Args:
        heads: heads of this weight (key/value heads for the key).
        head_dim: rows of a head, even.

    Returns:
        ``heads * head_dim`` indices for :func:`permute_rows`.
    """
    if head_dim % 2:
        raise ValueError(f"rotary heads have an even number of channels, not {head_dim}")
    return np.arange(heads * head_dim).reshape(heads, head_dim // 2, 2).swapaxes(1, 2).reshape(-1)


# --- the map ------------------------------------------------------------------------------------------------


class WeightMap:
    """Rules from parameter names to sources.

    Args:
        rules: parameter name, with placeholders, -> checkpoint name or expression with the same placeholders.
            A name without placeholders wins over a pattern; among patterns the first wins.
        ignore: checkpoint tensors that the model does not use; ``fnmatch`` patterns. A duplicate of a tied
            weight belongs here.

    Raises:
        UsageError: a source has a placeholder that its key lacks.
    """

    def __init__(self, rules: Mapping[str, SourceLike], ignore: Sequence[str] = ()) -> None:
        self.rules = {key: _source(value) for key, value in rules.items()}
        self.ignore = tuple(ignore)
        self._patterns = [(_pattern(key), source) for key, source in self.rules.items() if "{" in key]
        for key, source in self.rules.items():
            known = dict.fromkeys(_PLACEHOLDER.findall(key), "0")
            left = [name for name in source.names(known, ()) if _PLACEHOLDER.search(name)]
            if left:
                raise UsageError(f"weight map: {left[0]} has a placeholder that {key} does not name", code="EG203")

    def resolve(
        self, checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]], subject: str
    ) -> dict[str, LazyTensor]:
        """One source of exactly the expected shape for every parameter; nothing missing, nothing left over.

        Args:
            checkpoint: where the tensors are.
            expected: parameter name -> shape; a tied parameter appears once.
            subject: what is being loaded, for the message: a variant's name.

        Returns:
            Parameter name -> lazy tensor, in the order of ``expected``.

        Raises:
            CheckpointError: code ``EG204``, with everything that does not match.
            UnsupportedError: a tensor that is needed has a storage type that cannot be read.
        """
        resolved: dict[str, LazyTensor] = {}
        used: set[str] = set()
        diff = WeightDiff(subject=subject, checkpoint=checkpoint)
        for name, shape in expected.items():
            source, numbers = self._find(name)
            if source is None:
                diff.unmapped(name)
                continue
            wanted = source.names(numbers, checkpoint.tensors)
            absent = [tensor for tensor in wanted if tensor not in checkpoint.tensors]
            used.update(wanted)
            if absent:
                diff.missing(name, absent)
                continue
            try:
                tensor = source.bind(checkpoint.tensors, numbers)
            except ShapeError as error:
                diff.misshapen(name, wanted, str(error), shape)
                continue
            if tensor.shape != tuple(shape):
                diff.misshapen(name, wanted, str(list(tensor.shape)), shape)
                continue
            resolved[name] = tensor
        for name in checkpoint.tensors:
            if name not in used and not any(fnmatchcase(name, pattern) for pattern in self.ignore):
                diff.unexpected(name)
        diff.raise_if_any()
        for tensor in resolved.values():
            tensor.read_rows(0, 0)  # reads nothing, but a storage type without a decoder speaks up now
        return resolved

    def _find(self, name: str) -> tuple[Source | None, dict[str, str]]:
        exact = self.rules.get(name)
        if exact is not None:
            return exact, {}
        for pattern, source in self._patterns:
            match = pattern.fullmatch(name)
            if match:
                return source, match.groupdict()
        return None, {}


_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _pattern(key: str) -> re.Pattern[str]:
    literal_or_name = _PLACEHOLDER.split(key)
    parts, seen = [], set[str]()
    for position, part in enumerate(literal_or_name):
        if position % 2 == 0:
            parts.append(re.escape(part))
        elif part in seen:
            parts.append(f"(?P={part})")
        else:
            seen.add(part)
            parts.append(rf"(?P<{part}>\d+)")
    return re.compile("".join(parts))


def _source(value: SourceLike) -> Source:
    return _Named(value) if isinstance(value, str) else value


# --- how each expression reads ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Named(Source):
    name: str

    def names(self, numbers: Mapping[str, str], present: Container[str]) -> tuple[str, ...]:
        return (_PLACEHOLDER.sub(lambda match: numbers.get(match[1], match[0]), self.name),)

    def bind(self, tensors: Mapping[str, LazyTensor], numbers: Mapping[str, str]) -> LazyTensor:
        return tensors[self.names(numbers, tensors)[0]]


@dataclass(frozen=True)
class _Concat(Source):
    sources: tuple[Source, ...]

    def names(self, numbers: Mapping[str, str], present: Container[str]) -> tuple[str, ...]:
        return tuple(name for source in self.sources for name in source.names(numbers, present))

    def bind(self, tensors: Mapping[str, LazyTensor], numbers: Mapping[str, str]) -> LazyTensor:
        parts = [source.bind(tensors, numbers) for source in self.sources]
        inner = parts[0].shape[1:]
        if any(not part.shape or part.shape[1:] != inner for part in parts):
            raise ShapeError("not stackable: " + ", ".join(str(list(part.shape)) for part in parts))
        ends = np.cumsum([part.rows for part in parts]).tolist()
        name = f"concat({', '.join(part.name for part in parts)})"

        def read_rows(start: int, stop: int) -> Float32:
            check_rows(name, start, stop, ends[-1])
            out = np.empty((stop - start, *inner), np.float32)
            for part, end in zip(parts, ends, strict=True):
                begin = end - part.rows
                low = min(max(start, begin), end)
                high = max(min(stop, end), low)
                if low < high:
                    out[low - start : high - start] = part.read_rows(low - begin, high - begin)
                else:
                    part.read_rows(0, 0)  # tells whether this part can be read at all
            return out

        return LazyTensor(
            name=name,
            shape=(ends[-1], *inner),
            dtype="+".join(dict.fromkeys(part.dtype for part in parts)),
            nbytes=sum(part.nbytes for part in parts),
            read_rows=read_rows,
        )


@dataclass(frozen=True)
class _Unary(Source):
    source: Source

    def names(self, numbers: Mapping[str, str], present: Container[str]) -> tuple[str, ...]:
        return self.source.names(numbers, present)

    def bind(self, tensors: Mapping[str, LazyTensor], numbers: Mapping[str, str]) -> LazyTensor:
        return self.apply(self.source.bind(tensors, numbers))

    def apply(self, tensor: LazyTensor) -> LazyTensor:
        raise NotImplementedError


@dataclass(frozen=True)
class _Rows(_Unary):
    start: int
    stop: int

    def apply(self, tensor: LazyTensor) -> LazyTensor:
        if not tensor.shape or not 0 <= self.start <= self.stop <= tensor.rows:
            raise ShapeError(f"{list(tensor.shape)} has no rows {self.start}:{self.stop}")
        count = self.stop - self.start

        def read_rows(start: int, stop: int) -> Float32:
            check_rows(name, start, stop, count)
            return tensor.read_rows(self.start + start, self.start + stop)

        name = f"rows({tensor.name}, {self.start}:{self.stop})"
        return _derived(tensor, name, (count, *tensor.shape[1:]), read_rows, count / max(tensor.rows, 1))


@dataclass(frozen=True)
class _PermuteRows(_Unary):
    indices: Sequence[int] | Indices | Callable[[int], Indices]

    def apply(self, tensor: LazyTensor) -> LazyTensor:
        given = self.indices(tensor.rows) if callable(self.indices) else self.indices
        indices = np.asarray(given, np.int64)
        if not tensor.shape or (indices.size and not 0 <= indices.min() <= indices.max() < tensor.rows):
            raise ShapeError(f"{list(tensor.shape)} cannot be permuted by {indices.size} indices")

        def read_rows(start: int, stop: int) -> Float32:
            check_rows(name, start, stop, indices.size)
            return _gather(tensor, indices[start:stop])

        name = f"permute_rows({tensor.name})"
        return _derived(tensor, name, (indices.size, *tensor.shape[1:]), read_rows, indices.size / max(tensor.rows, 1))


@dataclass(frozen=True)
class _Transpose(_Unary):
    def apply(self, tensor: LazyTensor) -> LazyTensor:
        if len(tensor.shape) != 2:
            raise ShapeError(f"{list(tensor.shape)} cannot be transposed")
        source_rows, source_columns = tensor.shape
        block = max(1, _BLOCK_BYTES // (4 * max(source_columns, 1)))

        def read_rows(start: int, stop: int) -> Float32:
            check_rows(name, start, stop, source_columns)
            out = np.empty((stop - start, source_rows), np.float32)
            if start == stop:
                tensor.read_rows(0, 0)  # nothing to read, but whether it can be read at all
                return out
            for low in range(0, source_rows, block):
                high = min(low + block, source_rows)
                out[:, low:high] = tensor.read_rows(low, high)[:, start:stop].T
            return out

        name = f"transpose({tensor.name})"
        return _derived(tensor, name, (source_columns, source_rows), read_rows)


@dataclass(frozen=True)
class _Reshape(_Unary):
    shape: tuple[int, ...]

    def apply(self, tensor: LazyTensor) -> LazyTensor:
        if math.prod(self.shape) != math.prod(tensor.shape):
            raise ShapeError(f"{list(tensor.shape)} cannot be reshaped to {list(self.shape)}")
        count = self.shape[0] if self.shape else 1
        inner = self.shape[1:]
        row, source_row = math.prod(inner), math.prod(tensor.shape[1:])

        def read_rows(start: int, stop: int) -> Float32:
            check_rows(name, start, stop, count)
            if not source_row:
                return np.empty((stop - start, *inner), np.float32)
            low, high = start * row, stop * row  # in elements
            first = low // source_row
            flat = tensor.read_rows(first, -(-high // source_row)).reshape(-1)
            return flat[low - first * source_row : high - first * source_row].reshape(stop - start, *inner)

        name = f"reshape({tensor.name})"
        return _derived(tensor, name, self.shape, read_rows)


@dataclass(frozen=True)
class _Affine(_Unary):
    factor: float
    amount: float

    def apply(self, tensor: LazyTensor) -> LazyTensor:
        def read_rows(start: int, stop: int) -> Float32:
            values = tensor.read_rows(start, stop) * np.float32(self.factor) + np.float32(self.amount)
            return values.astype(np.float32, copy=False)

        return _derived(tensor, f"affine({tensor.name})", tensor.shape, read_rows)


@dataclass(frozen=True)
class _FirstOf(Source):
    sources: tuple[Source, ...]

    def names(self, numbers: Mapping[str, str], present: Container[str]) -> tuple[str, ...]:
        return self._choose(numbers, present).names(numbers, present)

    def bind(self, tensors: Mapping[str, LazyTensor], numbers: Mapping[str, str]) -> LazyTensor:
        return self._choose(numbers, tensors).bind(tensors, numbers)

    def _choose(self, numbers: Mapping[str, str], present: Container[str]) -> Source:
        for source in self.sources:
            if all(name in present for name in source.names(numbers, present)):
                return source
        return self.sources[0]


def _derived(
    tensor: LazyTensor, name: str, shape: tuple[int, ...], read_rows: RowReader, share: float = 1.0
) -> LazyTensor:
    return replace(tensor, name=name, shape=shape, nbytes=round(tensor.nbytes * share), read_rows=read_rows)


def _gather(tensor: LazyTensor, picks: Indices) -> Float32:
    """Rows in any order, read as few runs of neighbours."""
    if not picks.size:
        return tensor.read_rows(0, 0)
    out = np.empty((picks.size, *tensor.shape[1:]), np.float32)
    order = np.argsort(picks, kind="stable")
    for run in _runs(picks[order]):
        places = order[run]
        low = int(picks[places[0]])
        high = int(picks[places[-1]]) + 1
        out[places] = tensor.read_rows(low, high)[picks[places] - low]
    return out


def _runs(ascending: Indices) -> Iterator[slice]:
    breaks = np.flatnonzero(np.diff(ascending) > _GAP) + 1
    edges = [0, *breaks.tolist(), len(ascending)]
    for low, high in pairwise(edges):
        yield slice(low, high)
