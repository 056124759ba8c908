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

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UnsupportedError, UsageError
from edgegen.weights.mismatch import WeightDiff
from edgegen.weights.row_operations import Indices, ShapeError, affine, cut, pick, reshaped, stack, transposed
from edgegen.weights.tensors import Checkpoint, LazyTensor


class Source:
    """The source of a parameter: a node of a small expression over checkpoint tensors."""

    def names(self, numbers: Mapping[str, str], present: Container[str]) -> tuple[str, ...]:
        """The checkpoint tensors this reads, with the placeholders filled in.

        Args:
            numbers: placeholder -> number.
            present: names of the checkpoint's tensors, to settle alternatives.
        """
        raise NotImplementedError

    def bind(self, tensors: Mapping[str, LazyTensor], numbers: Mapping[str, str]) -> LazyTensor:
        """The lazy tensor this describes.

        Raises:
            KeyError: a tensor is missing.
            ShapeError: the tensors' shapes do not allow the operation.
        """
        raise NotImplementedError


SourceLike = str | Source


# --- expressions --------------------------------------------------------------------------------------------


def concat(*sources: SourceLike) -> Source:
    """Stack along rows: ``[a, ...], [b, ...] -> [a + b, ...]``."""
    return _Concat(tuple(map(_source, sources)))


def slice_rows(source: SourceLike, start: int, stop: int) -> Source:
    """Rows ``start:stop``, one part of a fused tensor."""
    return _Changed(_source(source), lambda tensor: cut(tensor, start, stop))


def permute_rows(source: SourceLike, indices: Sequence[int] | Indices | Callable[[int], Indices]) -> Source:
    """Row ``r`` of the result is row ``indices[r]`` of the source.

    ``indices`` may be a function of the number of rows. It may pick fewer rows than there are, or one twice.
    """

    def permuted(tensor: LazyTensor) -> LazyTensor:
        order = indices(tensor.rows) if callable(indices) else indices
        return pick(tensor, np.asarray(order, np.int64))

    return _Changed(_source(source), permuted)


def transpose(source: SourceLike) -> Source:
    """``[a, b] -> [b, a]``. Reads the source once for every 64 MiB of it, if rows are asked for in order."""
    return _Changed(_source(source), transposed)


def reshape(source: SourceLike, shape: Sequence[int]) -> Source:
    """The same elements, row-major, in another shape."""
    return _Changed(_source(source), lambda tensor: reshaped(tensor, tuple(shape)))


def multiply(source: SourceLike, factor: float) -> Source:
    """Every element times ``factor``."""
    return _Changed(_source(source), lambda tensor: affine(tensor, factor, 0.0))


def add(source: SourceLike, amount: float) -> Source:
    """``amount`` added to every element: norms whose scale is stored around zero need ``add(name, 1)``."""
    return _Changed(_source(source), lambda tensor: affine(tensor, 1.0, amount))


def first_of(*sources: SourceLike) -> Source:
    """The first source whose tensors are all present.

    For a head that some checkpoints leave out because it repeats the embedding::

        "head.weight": first_of("lm_head.weight", "model.embed_tokens.weight")
    """
    return _FirstOf(tuple(map(_source, sources)))


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
                raise UsageError(
                    f"weight map: {left[0]} has a placeholder that {key} does not name",
                    code=ErrorCode.INVALID_WEIGHT_MAP,
                )

    def resolve(
        self, checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]], subject: str
    ) -> dict[str, LazyTensor]:
        """One source of exactly the expected shape for every parameter; nothing missing, nothing left over.

        Args:
            checkpoint: where the tensors are.
            expected: parameter name -> shape; a tied parameter appears once.
            subject: name of the variant, for messages.

        Returns:
            Parameter name -> lazy tensor, in the order of ``expected``.

        Raises:
            CheckpointError: code ``EG204``, with everything that does not match.
            UnsupportedError: a tensor that is needed has a storage type that cannot be read.
        """
        resolved, diff = self.compare(checkpoint, expected, subject)
        diff.raise_if_any()
        for tensor in resolved.values():
            _check_numbers(tensor)
            tensor.read_rows(0, 0)  # reads nothing, but a storage type without a decoder speaks up now
        return resolved

    def compare(
        self, checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]], subject: str
    ) -> tuple[dict[str, LazyTensor], WeightDiff]:
        """The matching sources and the mismatches; see :meth:`resolve`."""
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
        return resolved, diff

    def source_names(self, parameter: str, present: Container[str]) -> tuple[str, ...]:
        """The checkpoint tensors that a parameter is made of; none where the map has no rule for it."""
        source, numbers = self._find(parameter)
        return () if source is None else source.names(numbers, present)

    def row_origins(self, parameter: str, source_rows: Mapping[str, int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The origin of each row of a parameter, without any weights.

        Args:
            parameter: its name.
            source_rows: checkpoint tensor -> number of its rows, for those that the parameter is made of.

        Returns:
            For each row the number of its tensor in ``source_rows`` and the row in it, both int64 ``[rows]``.

        Raises:
            ShapeError: the rule does more than move rows.
        """
        source, numbers = self._find(parameter)
        assert source is not None
        markers = {name: _marker(name, number, rows) for number, (name, rows) in enumerate(source_rows.items())}
        bound = source.bind(markers, numbers)
        if len(bound.shape) != 2 or bound.shape[1] != 2:
            raise ShapeError(f"{parameter} is not made of whole rows")
        tensor, row = bound.read().astype(np.int64).T
        counts = np.array([*source_rows.values(), 0])
        if (bound.read() != np.stack([tensor, row], 1)).any() or (row < 0).any() or (row >= counts[tensor]).any():
            raise ShapeError(f"the rows of {parameter} are changed on their way")
        return tensor, row

    def _find(self, name: str) -> tuple[Source | None, dict[str, str]]:
        exact = self.rules.get(name)
        if exact is not None:
            return exact, {}
        for pattern, source in self._patterns:
            match = pattern.fullmatch(name)
            if match:
                return source, match.groupdict()
        return None, {}


def _marker(name: str, number: int, rows: int) -> LazyTensor:
    """A tensor whose rows say which they are: ``[number, row]``."""

    def read_rows(start: int, stop: int) -> npt.NDArray[Any]:
        return np.stack([np.full(stop - start, number), np.arange(start, stop)], 1).astype(np.float32)

    return LazyTensor(name, (rows, 2), "F32", 8 * rows, read_rows)


_WHOLE = re.compile(r"[IU]\d+|BOOL")
"""Storage types that hold no fractions."""


def _check_numbers(tensor: LazyTensor) -> None:
    """Whole numbers are the codes of some quantization, or floats whose type is damaged; as weights they are noise."""
    whole = [dtype for dtype in tensor.dtype.split("+") if _WHOLE.fullmatch(dtype)]
    if whole:
        raise UnsupportedError(
            f"{tensor.name} is stored as {whole[0]}, whole numbers, where weights belong",
            code=ErrorCode.UNSUPPORTED_STORAGE,
            hint="use the original weights rather than ones that were quantized for another runtime",
        )


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


# --- what each expression makes -----------------------------------------------------------------------------


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
        return stack([source.bind(tensors, numbers) for source in self.sources])


@dataclass(frozen=True)
class _Changed(Source):
    source: Source
    change: Callable[[LazyTensor], LazyTensor]

    def names(self, numbers: Mapping[str, str], present: Container[str]) -> tuple[str, ...]:
        return self.source.names(numbers, present)

    def bind(self, tensors: Mapping[str, LazyTensor], numbers: Mapping[str, str]) -> LazyTensor:
        return self.change(self.source.bind(tensors, numbers))


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
