"""The pickles of ``torch.save``, read without running them.

A pickle is a program: its ``REDUCE`` calls whatever function the file names. This machine has no way to call
anything. A name becomes an inert :class:`Name`, a call of one becomes the description of a tensor where a table
below says how, and nothing that matters otherwise; a name that is not in the tables stops the reading. The names and
instructions are those that ``torch.load(weights_only=True)`` lets through. It does call what they name, though: a
``bytearray`` of a terabyte is on its list.

Source of the instructions: CPython's ``Lib/pickletools.py``, protocol 2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError
from edgegen_pytorch.dtypes import DTYPES, STORAGES, UNTYPED

# Limits that real files stay far below: 10,000 tensors take half a megabyte and 300,000 instructions. Beyond them
# lies damage, and an instruction of one byte makes an object of a hundred. Each instruction takes a time that does not
# grow with what is there already, so that their number bounds the whole.
MOST_BYTES = 64 * 2**20
_MOST_STEPS = 1_000_000
_MOST_DIMENSIONS = 32
_MOST_ARGUMENTS = 16

Values = list[Any]


class DamagedError(ValueError):
    """The bytes make no sense; turned into a CheckpointError that names the file."""


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A function or class that the pickle speaks of, ``torch._utils._rebuild_tensor_v2``."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class StorageRef:
    """A block of numbers, kept beside the pickle.

    Attributes:
        key: which.
        dtype: name of the element type, or ``UNTYPED``.
        width: bytes an element.
        count: elements.
    """

    key: str
    dtype: str
    width: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class TensorRef:
    """A view of a storage, as the pickle states it; not yet checked against anything.

    Attributes:
        storage: what it looks at.
        dtype: name of the element type.
        width: bytes an element.
        offset: of the first element in the storage, in elements.
        shape: any tuple of integers.
        strides: of as many, in elements.
    """

    storage: StorageRef
    dtype: str
    width: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Ignored:
    """Stand-in for the result of a harmless call, which is no weight."""


IGNORED = _Ignored()


class Machine:
    """Runs one pickle.

    Args:
        file: at the pickle's first byte; left after its last.
        file_name: for messages.
        limit: how many bytes may be read.
    """

    def __init__(self, file: BinaryIO, file_name: str, limit: int = MOST_BYTES) -> None:
        self.storages: dict[str, StorageRef] = {}
        self._file, self._file_name, self._left = file, file_name, limit
        self._stack: Values = []
        self._outer: list[Values] = []  # the stacks below each open mark
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Content of the pickle: plain values, dicts with strings for keys, and the records above.

        Raises:
            CheckpointError: it wants code to be run.
            DamagedError: it is not a pickle that ``torch.save`` writes.
        """
        try:
            read = self._file.read
            for _ in range(_MOST_STEPS):
                code = read(1)
                if code == b".":
                    return self._stack.pop()
                step = _STEPS.get(code)
                if step is None:
                    if not code:
                        raise DamagedError("its pickle is truncated")
                    raise DamagedError(f"its pickle has the instruction {code!r}, which torch.save does not write")
                step(self)
        except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
            # An instruction that finds nothing on the stack, or a value of another kind.
            if isinstance(error, DamagedError):
                raise
            raise DamagedError(f"its pickle fails: {error}") from error
        raise DamagedError(f"its pickle has more than {_MOST_STEPS:,} instructions")

    # --- bytes ----------------------------------------------------------------------------------------------

    def _take(self, nbytes: int) -> bytes:
        if nbytes > self._left:
            raise DamagedError("its pickle is larger than any real one")
        self._left -= nbytes
        data = self._file.read(nbytes)
        if len(data) < nbytes:
            raise DamagedError("its pickle is truncated")
        return data

    def _line(self) -> str:
        line = self._file.readline(_LONGEST_NAME)
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise DamagedError("its pickle names something of no end")
        return line[:-1].decode("utf-8")

    def _number(self, layout: str) -> Any:
        (number,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return number

    # --- instructions ---------------------------------------------------------------------------------------

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _protocol(self) -> None:
        number = self._number("B")
        if number != _PROTOCOL:
            raise CheckpointError(
                f"{self._file_name} is written in pickle protocol {number}; torch.save writes {_PROTOCOL}",
                code=ErrorCode.UNSUPPORTED_ARCHIVE,
                hint="save it again without pickle_protocol, or as safetensors",
            )

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _since_mark(self) -> Values:
        values, self._stack = self._stack, self._outer.pop()
        return values

    def _tuple(self, count: int) -> None:
        if count > len(self._stack):
            raise DamagedError("its pickle makes a tuple of too few values")
        values = tuple(self._stack[-count:])
        self._stack[-count:] = [values]

    def _append(self, values: Values) -> None:
        target = self._stack[-1]
        if target is not IGNORED:
            _expect(target, list).extend(values)

    def _set(self, values: Values) -> None:
        target = self._stack[-1]
        if target is not IGNORED:
            _expect(target, dict)
            # Tensors have names. Other keys (numbers of an optimizer's parameters) are left out: hashing a tuple that
            # holds itself twice, fifty deep, would take forever.
            target.update((k, v) for k, v in zip(values[::2], values[1::2], strict=True) if type(k) is str)

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _name(self) -> None:
        module, name = self._line(), self._line()
        path = f"{_RENAMED.get(module, module)}.{name}"
        if path not in ALLOWED:
            raise CheckpointError(
                f"{self._file_name} wants to run code: its pickle names {path[:200]!r}",
                code=ErrorCode.UNSAFE_PICKLE,
                hint="edgegen never runs code from a checkpoint; get a safetensors version of it, or load it where you "
                "trust it and save model.state_dict() alone",
            )
        self._push(Name(path))

    def _call(self) -> None:
        args, function = _expect(self._stack.pop(), tuple), _expect(self._stack.pop(), Name)
        self._push(_call(function, args))

    def _build(self) -> None:
        self._stack.pop()  # attributes of the object below: of a dict, of a parameter, never numbers

    def _storage(self) -> None:
        kind, storage_type, key, _, count, *rest = _expect(self._stack.pop(), tuple)
        if kind != "storage":
            raise DamagedError("its pickle refers to something other than numbers")
        if rest not in ([], [None]):  # legacy files have a sixth part, for views of storages
            raise DamagedError("its tensors are views of storages, as torch wrote them before 0.4; save it again")
        dtype, width = _STORAGE_TYPES[_expect(storage_type, Name).path]
        storage = StorageRef(_expect(key, str), dtype, width, _whole(count))
        self._push(self.storages.setdefault(storage.key, storage))
        if self._stack[-1].dtype != dtype or self._stack[-1].count != count:
            raise DamagedError(f"its pickle states storage {key[:80]!r} in two ways")


_PROTOCOL = 2
_LONGEST_NAME = 1024

_STEPS: Mapping[bytes, Callable[[Machine], None]] = {
    b"\x80": Machine._protocol,
    b"(": Machine._mark,
    b"N": lambda m: m._push(None),
    b"\x88": lambda m: m._push(True),
    b"\x89": lambda m: m._push(False),
    b"K": lambda m: m._push(m._number("<B")),
    b"M": lambda m: m._push(m._number("<H")),
    b"J": lambda m: m._push(m._number("<i")),
    b"\x8a": lambda m: m._push(int.from_bytes(m._take(m._number("B")), "little", signed=True)),
    b"G": lambda m: m._push(m._number(">d")),
    b"X": lambda m: m._push(m._take(m._number("<I")).decode("utf-8")),
    b"U": lambda m: m._push(m._take(m._number("B")).decode("utf-8")),
    b")": lambda m: m._push(()),
    b"]": lambda m: m._push([]),
    b"}": lambda m: m._push({}),
    b"t": lambda m: m._push(tuple(m._since_mark())),
    b"\x85": lambda m: m._tuple(1),
    b"\x86": lambda m: m._tuple(2),
    b"\x87": lambda m: m._tuple(3),
    b"a": lambda m: m._append([m._stack.pop()]),
    b"e": lambda m: m._append(m._since_mark()),
    b"s": lambda m: m._set([m._stack.pop(), m._stack.pop()][::-1]),
    b"u": lambda m: m._set(m._since_mark()),
    b"q": lambda m: m._remember(m._number("<B")),
    b"r": lambda m: m._remember(m._number("<I")),
    b"h": lambda m: m._push(m._memo[m._number("<B")]),
    b"j": lambda m: m._push(m._memo[m._number("<I")]),
    b"c": Machine._name,
    b"R": Machine._call,
    b"\x81": Machine._call,  # a new object differs from a call in nothing that matters here
    b"b": Machine._build,
    b"Q": Machine._storage,
}
"""Instruction -> what it does."""


# --- what a call stands for -----------------------------------------------------------------------------------


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorRef:
    """``_rebuild_tensor`` and ``_v2``; what follows is about gradients."""
    storage = _expect(storage, StorageRef)
    return TensorRef(storage, storage.dtype, storage.width, _whole(offset), _sizes(shape), _sizes(strides))


def _tensor_of_dtype(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, dtype: Any, *rest: Any
) -> TensorRef:
    """``_rebuild_tensor_v3``: types younger than typed storages."""
    name, width = _TENSOR_TYPES[_expect(dtype, Name).path]
    return TensorRef(_expect(storage, StorageRef), name, width, _whole(offset), _sizes(shape), _sizes(strides))


def _wrapped(function: Any, _type: Any, args: Any, _state: Any) -> Any:
    """``_rebuild_from_type_v2``: a tensor with attributes of its own."""
    if _expect(function, Name).path == _WRAPPER:
        raise DamagedError("its pickle wraps a tensor twice")
    return _call(function, _expect(args, tuple))


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _ordered_dict(*items: Any) -> dict[str, Any]:
    if items:  # each call would copy a list that may be long and shared: minutes out of a small file
        raise DamagedError("its pickle was written by Python 2; load it and save it again")
    return {}


def _without_numbers(*rest: Any) -> Any:
    raise UnsupportedError(
        "the checkpoint holds tensors that are sparse, nested or on a device of their own, not plain numbers",
        code=ErrorCode.UNSUPPORTED_STORAGE,
        hint="convert them with tensor.to_dense() or tensor.cpu() and save the state dict again",
    )


_WRAPPER = "torch._tensor._rebuild_from_type_v2"

_CALLS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": lambda sizes=(): _expect(sizes, tuple, list),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    _WRAPPER: _wrapped,
    "torch._utils._rebuild_sparse_tensor": _without_numbers,
    "torch._utils._rebuild_nested_tensor": _without_numbers,
    "torch._utils._rebuild_meta_tensor_no_storage": _without_numbers,
    "torch._utils._rebuild_wrapper_subclass": _without_numbers,
    "torch._utils._rebuild_device_tensor_from_numpy": _without_numbers,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _without_numbers,
}
"""Function -> what its call describes."""

_STORAGE_TYPES: Mapping[str, tuple[str, int]] = {
    **{f"{module}.{name}": kind for module in ("torch", "torch.cuda") for name, kind in STORAGES.items()},
    "torch.storage.UntypedStorage": (UNTYPED, 1),
}
_TENSOR_TYPES = {f"torch.{name}": kind for name, kind in DTYPES.items()}

ALLOWED = frozenset(
    {
        *_CALLS,
        *_STORAGE_TYPES,
        *_TENSOR_TYPES,
        # Made into nothing: settings, counters and other company of weights.
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.set",
        "collections.Counter",
        "torch.Tensor",
        "torch.device",
        "torch.serialization._get_layout",
        *(
            f"torch.per_{kind}"
            for kind in (
                "tensor_affine",
                "tensor_symmetric",
                "channel_affine",
                "channel_symmetric",
                "channel_affine_float_qparams",
            )
        ),
    }
)
"""Every name that a pickle may speak of."""

_RENAMED = {"__builtin__": "builtins"}
"""Protocol 2 spells modules as Python 2 did."""


def _call(function: Name, args: tuple[Any, ...]) -> Any:
    if len(args) > _MOST_ARGUMENTS:
        raise DamagedError(f"its pickle passes {len(args):,} arguments to {function.path}")
    call = _CALLS.get(function.path)
    return call(*args) if call else IGNORED


def _expect(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise DamagedError(f"its pickle has a {type(value).__name__} where a {kinds[0].__name__} belongs")
    return value


def _whole(value: Any) -> int:
    number: int = _expect(value, int)
    return number


def _sizes(values: Any) -> tuple[int, ...]:
    if len(_expect(values, tuple, list)) > _MOST_DIMENSIONS:
        raise DamagedError(f"it has a tensor of {len(values):,} dimensions")
    return tuple(map(_whole, values))
