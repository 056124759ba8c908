"""Sessions: a ``.tflite`` file on LiteRT's CompiledModel with XNNPACK; the only module that uses that API.

Tensors that are both an input and an output of a signature (a KV cache) are state: the same buffer is bound to both
sides, so that LiteRT's DYNAMIC_UPDATE_SLICE writes in place instead of copying the cache at every step.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, ResourceError, UsageError
from edgegen.litert.quiet import quiet_exit, quiet_stderr

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorInfo:
    """Shape and numpy dtype name of a signature's tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class SignatureInfo:
    """A signature's tensors by name."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]

    @property
    def state(self) -> tuple[str, ...]:
        """Names that are both input and output."""
        return tuple(name for name in self.inputs if name in self.outputs)


@dataclass(frozen=True)
class _Bound:
    """Buffers of a signature; ``per_run_inputs`` and ``per_run_outputs`` are neither state nor static."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    per_run_inputs: Mapping[str, Any]
    per_run_outputs: Mapping[str, Any]


StaticInputs = Mapping[str, Any]
"""Inputs that are written once and stay for many runs: LiteRT's tensor buffers by name; see
:meth:`Session.set_static_inputs`."""


class State:
    """State tensors, such as a KV cache, that live from one run to the next. Made by :meth:`Session.new_state`.

    Attributes:
        infos: shapes and dtypes of the state tensors.
        buffers: LiteRT's tensor buffers, by the same names.
        static_inputs: buffers of inputs that all runs with this state share.
        bindings: buffers by signature, as far as it has run; used by the session alone.
    """

    def __init__(
        self, buffers: Mapping[str, Any], infos: Mapping[str, TensorInfo], static_inputs: StaticInputs
    ) -> None:
        self.infos = infos
        self.buffers = buffers
        self.static_inputs = static_inputs
        self.bindings: dict[str, _Bound] = {}

    @property
    def nbytes(self) -> int:
        return sum(info.size * np.dtype(info.dtype).itemsize for info in self.infos.values())

    def read(self, name: str) -> Array:
        """A copy of one tensor."""
        return _contents(self.buffers[name], self.infos[name])

    def write(self, name: str, contents: Array) -> None:
        """Overwrite one tensor."""
        info = self.infos[name]
        self.buffers[name].write(np.ascontiguousarray(contents.reshape(info.shape), info.dtype))

    def copy_from(self, smaller: State) -> None:
        """Copy the contents of a state whose tensors are no longer than these along any axis."""
        for name in self.infos:
            contents, old = self.read(name), smaller.read(name)
            contents[tuple(map(slice, old.shape))] = old
            self.write(name, contents)

    def clear(self) -> None:
        """Fill everything with zeros; fresh buffers hold garbage."""
        for name, info in self.infos.items():
            self.write(name, np.zeros(info.shape, info.dtype))


@functools.cache
def _environment() -> Any:
    """One LiteRT environment for the process."""
    from ai_edge_litert.environment import Environment
    from ai_edge_litert.tensor_buffer import TensorBuffer

    quiet_exit()
    # Buffers have an environment of their own, made (and logged) when one is first written.
    TensorBuffer.create_from_host_memory(np.zeros(1, np.float32)).write(np.zeros(1, np.float32))
    return Environment.create()


IN_MEMORY = ":memory:"
"""Weight cache of this process alone."""


def check_weight_cache(path: Path) -> None:
    """Check that a file for packed weights can be read or made.

    LiteRT says nothing where it cannot write, and overwrites whatever the file holds.

    Raises:
        UsageError: it is a folder, its folder does not exist or cannot be written to, or it holds something else.
    """
    if path.is_dir():
        problem = "it is a folder"
    elif not path.parent.is_dir():
        problem = f"there is no folder {path.parent}"
    elif not path.exists() and not os.access(path.parent, os.W_OK):
        problem = f"{path.parent} cannot be written to"
    elif path.exists() and not _is_weight_cache(path):
        problem = "it exists and holds something else, which would be lost"
    else:
        return
    raise UsageError(
        f"packed weights cannot be kept in {path}: {problem}",
        code=ErrorCode.FILE_UNREADABLE,
        hint="name a file in a folder that you may write to",
    )


def _is_weight_cache(path: Path) -> bool:
    """True for an empty file, and for XNNPACK's, whole or cut off: a small version first, in 8 bytes; 0 meanwhile."""
    if not path.is_file():
        return False  # a pipe or a device
    with path.open("rb") as file:
        version = file.read(8)
        return not version or (len(version) == 8 and int.from_bytes(version, "little") < 1 << 8)


class Session:
    """A loaded model.

    Args:
        path: the ``.tflite`` file.
        threads: for XNNPACK; default: all cores.
        weight_cache: a file that keeps XNNPACK's packed weights between runs, or ``":memory:"`` to pack them once
            and share them between signatures in this process only. Default: ``":memory:"``.

    Raises:
        UsageError: there is no such file, LiteRT does not accept it, or the weight cache cannot be a file.
    """

    def __init__(self, path: Path | str, *, threads: int | None = None, weight_cache: Path | str | None = None) -> None:
        from ai_edge_litert import compiled_model as litert

        path = Path(path)
        if not path.is_file():
            raise UsageError(f"no such model file: {path}", code=ErrorCode.FILE_UNREADABLE)
        if weight_cache and str(weight_cache) != IN_MEMORY:
            check_weight_cache(Path(weight_cache))
        cpu = litert.CpuOptions(
            num_threads=threads or os.cpu_count() or 1,
            xnnpack_weight_cache_path=str(weight_cache or IN_MEMORY),
        )
        options = litert.Options(litert.HardwareAccelerator.CPU, cpu)
        try:
            with quiet_stderr() as log:
                self._model = litert.CompiledModel.from_file(str(path), None, _environment(), options)
        except Exception as error:
            raise UsageError(
                f"LiteRT cannot load {path}: {error}",
                code=ErrorCode.MODEL_FILE_DAMAGED,
                details=log,
                hint="the file may be truncated or not a .tflite model; edgegen inspect shows what it holds",
            ) from error
        self.signatures: Mapping[str, SignatureInfo] = MappingProxyType(self._read_signatures())
        self._stateless: dict[str, _Bound] = {}

    def _read_signatures(self) -> dict[str, SignatureInfo]:
        def infos(details: Mapping[str, Any], names: list[str]) -> dict[str, TensorInfo]:
            return {
                name: TensorInfo(tuple(details[name]["shape"]), np.dtype(details[name]["dtype"]).name) for name in names
            }

        return {
            key: SignatureInfo(
                infos(self._model.get_input_tensor_details(key), names["inputs"]),
                infos(self._model.get_output_tensor_details(key), names["outputs"]),
            )
            for key, names in self._model.get_signature_list().items()
        }

    def set_static_inputs(self, signature: str, inputs: Mapping[str, Array]) -> StaticInputs:
        """Write some of a signature's inputs once, for all runs with a state made with the result.

        Raises:
            UsageError: unknown signature, or an unknown or mis-shaped input.
        """
        info = self._signature(signature)
        wrong = [name for name, array in inputs.items() if name not in info.inputs or not _fits(array, info, name)]
        if wrong:
            raise _misfit(signature, info, {name: inputs[name] for name in wrong}, dict.fromkeys(info.inputs))
        static = {name: self._model.create_input_buffer_by_name(signature, name) for name in inputs}
        self.update_static_inputs(signature, static, inputs)
        return static

    def update_static_inputs(self, signature: str, static: StaticInputs, inputs: Mapping[str, Array]) -> None:
        """Overwrite static inputs with contents of the same shapes."""
        info = self._signature(signature)
        for name, array in inputs.items():
            static[name].write(np.ascontiguousarray(array, info.inputs[name].dtype))

    def new_state(
        self, signatures: Collection[str] | None = None, static_inputs: StaticInputs = MappingProxyType({})
    ) -> State:
        """Zeroed buffers for the state of ``signatures`` (default: all); tensors of one name share a buffer.

        Runs with the state also take ``static_inputs``, see :meth:`set_static_inputs`.

        Raises:
            UsageError: two of them give one name different shapes.
        """
        infos: dict[str, TensorInfo] = {}
        buffers: dict[str, Any] = {}
        for key in self.signatures if signatures is None else signatures:
            info = self._signature(key)
            for name in info.state:
                if infos.setdefault(name, info.inputs[name]) != info.inputs[name]:
                    raise UsageError(
                        f"state tensor {name} differs in shape between signatures",
                        code=ErrorCode.STATE_SHAPE_MISMATCH,
                        hint="make one state for each group of signatures that agree",
                    )
                if name not in buffers:
                    buffers[name] = self._model.create_input_buffer_by_name(key, name)
        state = State(buffers, infos, static_inputs)
        state.clear()
        return state

    def run(self, signature: str, inputs: Mapping[str, Array], state: State | None = None) -> dict[str, Array]:
        """Run one signature.

        Args:
            signature: its name.
            inputs: name -> array; without state and static inputs when ``state`` is given.
            state: read and updated in place.

        Returns:
            Copies of the outputs that are not in ``state``.

        Raises:
            UsageError: unknown signature, or a missing, unknown or mis-shaped input.
        """
        info = self._signature(signature)
        bindings = self._stateless if state is None else state.bindings
        if signature not in bindings:
            in_place = {} if state is None else {**state.static_inputs, **state.buffers}
            bindings[signature] = self._bind(signature, info, in_place)
        bound = bindings[signature]
        expected = bound.per_run_inputs
        if inputs.keys() != expected.keys() or not all(_fits(array, info, name) for name, array in inputs.items()):
            raise _misfit(signature, info, inputs, expected)
        for name, array in inputs.items():
            expected[name].write(_plain(np.ascontiguousarray(array, info.inputs[name].dtype)))
        try:
            self._model.run_by_name(signature, bound.inputs, bound.outputs)
        except Exception as error:
            raise ResourceError(
                f"LiteRT failed while running {signature}: {error}", code=ErrorCode.RUN_FAILED
            ) from error
        return {name: _contents(buffer, info.outputs[name]) for name, buffer in bound.per_run_outputs.items()}

    def _bind(self, signature: str, info: SignatureInfo, in_place: Mapping[str, Any]) -> _Bound:
        create_input, create_output = self._model.create_input_buffer_by_name, self._model.create_output_buffer_by_name
        inputs = {name: in_place.get(name) or create_input(signature, name) for name in info.inputs}
        outputs = {name: in_place.get(name) or create_output(signature, name) for name in info.outputs}
        return _Bound(
            inputs,
            outputs,
            per_run_inputs={name: buffer for name, buffer in inputs.items() if name not in in_place},
            per_run_outputs={name: buffer for name, buffer in outputs.items() if name not in in_place},
        )

    def _signature(self, name: str) -> SignatureInfo:
        if name not in self.signatures:
            raise UsageError(
                f"no signature {name!r}; the file has {', '.join(self.signatures)}", code=ErrorCode.UNKNOWN_SIGNATURE
            )
        return self.signatures[name]


def _fits(array: Array, info: SignatureInfo, name: str) -> bool:
    return np.shape(array) == info.inputs[name].shape


def _contents(buffer: Any, info: TensorInfo) -> Array:
    dtype = np.dtype(info.dtype)
    if dtype == np.int64:
        halves: Array = buffer.read(info.size * 2, np.int32)
        return halves.view(np.int64).reshape(info.shape)
    contents: Array = buffer.read(info.size, dtype.type)
    return contents.reshape(info.shape)


def _plain(array: Array) -> Array:
    """LiteRT's Python buffers know no int64, but take its bytes."""
    return array.reshape(-1).view(np.int32) if array.dtype == np.int64 else array


def _misfit(
    signature: str, info: SignatureInfo, inputs: Mapping[str, Array], expected: Mapping[str, Any]
) -> UsageError:
    def state_or_nothing(name: str) -> str:
        return "is state" if name in info.inputs else "unknown "

    problems = [
        *(f"missing  {name}" for name in expected if name not in inputs),
        *(f"{state_or_nothing(name)} {name}" for name in inputs if name not in expected),
        *(
            f"shape    {name}: got {np.shape(array)}, expected {info.inputs[name].shape}"
            for name, array in inputs.items()
            if name in expected and not _fits(array, info, name)
        ),
    ]
    return UsageError(f"inputs do not fit signature {signature}", code=ErrorCode.INPUT_MISMATCH, details=problems)
