"""The Python API: ``edgegen.signature(...).convert().export(path)``. Needs torch."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from edgegen.compile import build_program
from edgegen.errors import ErrorCode, ResourceError, UsageError
from edgegen.graph import Program
from edgegen.litert.dynamic_session import ResizingSession
from edgegen.litert.session import Session
from edgegen.quantization.assign import plan_parameters
from edgegen.quantization.fallback import fallback
from edgegen.quantization.recipe import Recipe, choose
from edgegen.tflite.writer import Parameter, write_model
from edgegen.tracing import Composites, Dynamic, Signature
from edgegen.weights.module import module_weights
from edgegen.weights.storage import Scheme
from edgegen.weights.tensors import LazyTensor

DEFAULT_SIGNATURE = "serving_default"


class Converter:
    """Collects signatures; see :func:`signature`."""

    def __init__(self, signatures: Sequence[Signature] = ()) -> None:
        self._signatures = tuple(signatures)

    def signature(
        self,
        name: str,
        module: nn.Module,
        example_args: tuple[Any, ...],
        example_kwargs: Mapping[str, Any] | None = None,
        *,
        dynamic: Dynamic | None = None,
    ) -> Converter:
        """Add an entry point; returns a new converter. See :func:`signature`."""
        return Converter(
            [*self._signatures, Signature(name, module, example_args, example_kwargs or {}, dynamic or {})]
        )

    def buckets(
        self,
        name: str,
        module: nn.Module,
        example_args: tuple[Any, ...],
        example_kwargs: Mapping[str, Any] | None = None,
        *,
        dynamic: Dynamic,
        sizes: Sequence[int],
    ) -> Converter:
        """Add an entry point for each of ``sizes``, ``<name>_<size>``, where a size cannot be left open.

        Args:
            name: common part of their names, before the size.
            module: as for :meth:`signature`, like the sample arguments.
            example_args: their lengths along the axes in ``dynamic`` are replaced.
            example_kwargs: likewise.
            dynamic: the axes, which all have the one size; see :func:`signature`.
            sizes: texts are filled up to the next of them by the caller.
        """
        one = Signature(name, module, example_args, example_kwargs or {}, dynamic)
        names = one.sizes
        resized = (one.resized(dict.fromkeys(names, size)) for size in sizes)
        added = (replace(each, name=f"{name}_{size}", dynamic={}) for each, size in zip(resized, sizes, strict=True))
        return Converter([*self._signatures, *added])

    def convert(
        self,
        *,
        scheme: str | Path | Recipe = "fp32",
        parameters: Mapping[str, LazyTensor] | None = None,
        composites: str | Composites = "none",
    ) -> ConvertedModel:
        """Trace and lower all signatures.

        Args:
            scheme: a quantization scheme's name, or a recipe; see :mod:`edgegen.quantization.recipe`.
            parameters: where weights come from, by parameter name; default: the module itself.
            composites: composites to keep: ``none``, ``all`` or names, as ``edgegen export --composites`` takes them.

        Raises:
            UsageError: unknown scheme, a recipe or arguments that do not fit.
            UnsupportedError: an operator has no lowering; all of them are listed.
        """
        if not self._signatures:
            raise UsageError("nothing to convert: add a signature first", code=ErrorCode.INVALID_ARGUMENT)
        if len({id(signature.module) for signature in self._signatures}) > 1:
            raise UsageError(
                "signatures must share one module, whose parameters are the file's",
                code=ErrorCode.INVALID_ARGUMENT,
                hint="make one module of them, and pick what a signature does by a keyword argument",
            )
        chosen = choose(scheme)
        kept = composites if isinstance(composites, Composites) else Composites.parse(composites)
        if parameters is not None and not (
            isinstance(parameters, Mapping) and all(isinstance(each, LazyTensor) for each in parameters.values())
        ):
            raise UsageError(
                "parameters are a mapping from names to lazy tensors",
                code=ErrorCode.INVALID_ARGUMENT,
                hint="leave them out to take the module's own; edgegen.weights.module.module_weights makes one",
            )
        if parameters is None:
            parameters = module_weights(self._signatures[0].checked().module)
        program = build_program(self._signatures, kept)
        planned = plan_parameters(program, parameters, chosen.scheme)
        fell_back = fallback(planned, chosen.scheme, chosen.name)
        if fell_back is not None:
            warnings.warn(fell_back, stacklevel=2)
        return ConvertedModel(
            program,
            planned,
            chosen.scheme,
            {s.name: s for s in self._signatures},
        )


class ConvertedModel:
    """A converted model: write it, or call it to compare with eager."""

    def __init__(
        self,
        program: Program,
        parameters: Mapping[str, Parameter],
        scheme: Scheme,
        signatures: Mapping[str, Signature],
    ) -> None:
        self.program = program
        self._parameters = parameters
        self._scheme = scheme
        self._signatures = signatures
        self._session: Session | None = None
        self._resizing_session: ResizingSession | None = None

    def export(self, path: Path | str) -> Path:
        """Write the ``.tflite`` file; it appears only when it is whole.

        Raises:
            UsageError: ``path`` cannot be a file.
            ResourceError: it cannot be written.
        """
        if not isinstance(path, (str, Path)):
            raise UsageError(
                f"a file is named by a string or a path, not {path!r}",
                code=ErrorCode.INVALID_ARGUMENT,
                hint='give the name of a file, "model.tflite"',
            )
        path = Path(path)
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(
                f"cannot write {path}: {'it is a folder' if path.is_dir() else f'there is no folder {path.parent}'}",
                code=ErrorCode.INVALID_ARGUMENT,
                hint="give the name of a file in a folder that exists, model.tflite",
            )
        try:
            write_model(self.program, self._parameters, self._scheme, path)
        except OSError as error:
            if error.filename not in (None, str(path), f"{path}.partial"):
                raise  # of a file that weights are read from
            raise ResourceError(
                f"cannot write {path}: {error.strerror or error}",
                code=ErrorCode.FILE_SYSTEM,
                hint="make room, or choose a folder that you may write to",
            ) from error
        return path

    def __call__(self, *args: Any, signature: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Run one signature on LiteRT, with the arguments that its module would take; NumPy arrays stand for tensors.

        Args:
            signature: which; may be left out where there is only one.

        Returns:
            Output name -> tensor.
        """
        if signature is None:
            if len(self._signatures) > 1:
                raise UsageError(
                    f"name one of the signatures: {', '.join(self._signatures)}", code=ErrorCode.UNKNOWN_SIGNATURE
                )
            (signature,) = self._signatures
        if signature not in self._signatures:
            raise UsageError(
                f"no signature {signature!r}; there are {', '.join(self._signatures)}", code=ErrorCode.UNKNOWN_SIGNATURE
            )
        args, kwargs = pytree.tree_map_only(np.ndarray, torch.from_numpy, (args, kwargs))
        declared = self._signatures[signature]
        called = Signature(signature, declared.module, args, {**declared.kwargs, **kwargs})
        arrays = [leaf for leaf in pytree.tree_leaves((args, called.kwargs)) if isinstance(leaf, torch.Tensor)]
        inputs = {name: array.numpy(force=True) for name, array in zip(called.input_names, arrays, strict=True)}
        outputs = (self._resizing() if declared.dynamic else self._loaded()).run(signature, inputs)
        return {name: torch.from_numpy(outputs[name]) for name in self.program.signatures[signature].outputs}

    def _loaded(self) -> Session:
        if self._session is None:
            with tempfile.TemporaryDirectory() as folder:
                # LiteRT maps the file, so it may be unlinked once it is open.
                self._session = Session(self.export(Path(folder) / "model.tflite"))
        return self._session

    def _resizing(self) -> ResizingSession:
        if self._resizing_session is None:
            with tempfile.TemporaryDirectory() as folder:
                self._resizing_session = ResizingSession(self.export(Path(folder) / "model.tflite"))
        return self._resizing_session


def signature(
    name: str,
    module: nn.Module,
    example_args: tuple[Any, ...],
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic: Dynamic | None = None,
) -> Converter:
    """Begin a conversion with one entry point of the file to be.

    Args:
        name: name of the signature, e.g. ``decode``.
        module: with real weights, or on the ``meta`` device.
        example_args: arguments whose shapes and dtypes the signature takes.
        example_kwargs: further ones; what is no tensor is fixed.
        dynamic: dynamic dimensions: input -> axis -> a name for the size, ``{"tokens": {1: "length"}}``. The
            file then runs in LiteRT's Interpreter; its CompiledModel keeps to the sample's size. Converting fails where
            an operator cannot do without a fixed size; see :meth:`Converter.buckets`.

    Example::

        edge = (
            edgegen.signature("prefill", model, (prefill_tokens, prefill_positions))
            .signature("decode", model, (decode_token, decode_position))
            .convert(scheme="int8-channel")
        )
        edge.export("model.tflite")
        edge(token, position, signature="decode")
    """
    return Converter().signature(name, module, example_args, example_kwargs, dynamic=dynamic)


def convert(
    module: nn.Module,
    example_args: tuple[Any, ...],
    *,
    scheme: str | Path | Recipe = "fp32",
    dynamic: Dynamic | None = None,
    composites: str | Composites = "none",
) -> ConvertedModel:
    """Convert a module with one signature, ``serving_default``; see :func:`signature` and :meth:`Converter.convert`."""
    converter = signature(DEFAULT_SIGNATURE, module, example_args, dynamic=dynamic)
    return converter.convert(scheme=scheme, composites=composites)
