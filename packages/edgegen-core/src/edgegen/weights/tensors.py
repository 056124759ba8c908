"""Lazy tensors, and the checkpoint that every format opens into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.weights.storage import Encoded, Storage

RowReader = Callable[[int, int], npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Packed:
    """A tensor's own quantized numbers, where a LiteRT file can hold them exactly.

    Attributes:
        storage: their storage in the file.
        rows: the checkpoint's bytes, a tensor of uint8 ``[rows, bytes of a row]``.
        unpack: such rows -> what goes into the file.
    """

    storage: Storage
    rows: LazyTensor
    unpack: Callable[[npt.NDArray[np.uint8]], Encoded]


@dataclass(frozen=True, eq=False)
class LazyTensor:
    """A tensor on disk whose rows are read when asked for.

    Attributes:
        name: as the checkpoint spells it.
        shape: row-major, as PyTorch would show it; ``()`` for a scalar.
        dtype: the storage type as the format names it (``BF16``, ``F32``, ``Q4_1``), for people to read.
        nbytes: size on disk.
        read_rows: ``(start, stop) -> float32 array`` of shape ``(stop - start, *shape[1:])``; a scalar counts as one
            row and comes back with shape ``(1,)``.
        packed: the same rows as the checkpoint keeps them, where a LiteRT file can keep them too.
        computed: True if the numbers were worked out from the checkpoint's, rather than moved.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    read_rows: RowReader = field(repr=False)
    packed: Packed | None = None
    computed: bool = False

    @property
    def rows(self) -> int:
        """Number of rows: the first dimension, or 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    def read(self) -> npt.NDArray[np.float32]:
        """The whole tensor as float32, in its own shape."""
        return self.read_rows(0, self.rows).reshape(self.shape)


@dataclass(frozen=True, kw_only=True)
class TokenizerAssets:
    """The tokenizer of a checkpoint: its files, special tokens and chat template.

    Attributes:
        files: file name -> contents; ``tokenizer.json`` and/or ``tokenizer.model``.
        bos_token_id: token that starts a sequence, if the model has one.
        eos_token_ids: tokens that end one.
        add_bos: True if the tokenizer's own rule is to put the start token first.
        chat_template: Jinja source, or None.
        special_tokens: the names that a chat template has for tokens (``eos_token``) -> their texts; None where the
            checkpoint does not say, and only ``bos_token_id`` and the first of ``eos_token_ids`` are known.
        special_ids: texts of the tokens that stand for no text of their own (``<|im_end|>``) -> ids.
    """

    files: Mapping[str, bytes]
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    add_bos: bool = False
    chat_template: str | None = None
    special_tokens: Mapping[str, str] | None = None
    special_ids: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """An opened checkpoint: open files and lazy tensors, no weights.

    Attributes:
        path: file, folder or reference that the user named.
        format: name of the format that opened it.
        naming: naming convention of its tensors; selects the weight map.
        tensors: name -> lazy tensor.
        config: the architecture's hyper-parameters as the checkpoint states them.
        harmless_keys: patterns of keys of ``config`` that do not change what a model computes.
        harmless_values: keys that change nothing as long as they have this value.
        allowed_keys: further keys that the user vouches for, by name.
        license: the weights' licence, as the checkpoint states it.
        files: every file that was opened, for hashing into ``export.json``.
        tokenizer: returns the tokenizer's files, or None where the checkpoint has none.
        pipeline_modules: returns the steps that sentence-transformers lists in ``modules.json``, in order, each as the
            last word of its class's name (``Pooling``) and its settings; None where the checkpoint lists none. Raises
            CheckpointError where the list is damaged.
    """

    path: Path
    format: str
    naming: str
    tensors: Mapping[str, LazyTensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    harmless_keys: tuple[str, ...] = ()
    harmless_values: Mapping[str, Any] = field(default_factory=dict)
    allowed_keys: tuple[str, ...] = ()
    license: str = "unknown"
    files: tuple[Path, ...] = ()
    tokenizer: Callable[[], TokenizerAssets | None] = lambda: None
    pipeline_modules: Callable[[], list[tuple[str, dict[str, Any]]] | None] = lambda: None
