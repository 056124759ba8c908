"""Opening PyTorch state dicts as a checkpoint: one file, a folder with one, or shards with an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights import Checkpoint, LazyTensor
from edgegen.weights.files import DOWNLOAD_AGAIN, summarize
from edgegen_huggingface import repository_files
from edgegen_huggingface.quantized import check_unquantized
from edgegen_huggingface.sharded import locate, open_tensors
from edgegen_huggingface.tensor_names import canonical_names
from edgegen_pytorch.containers import read_container
from edgegen_pytorch.identify import FILE_NAMES, HUGGINGFACE, identify
from edgegen_pytorch.pickles import DamagedError, TensorRef
from edgegen_pytorch.views import lazy_tensor

FORMAT, NAMING = "pytorch", HUGGINGFACE

_USUAL_KEYS = ("model_state_dict", "state_dict", "model", "module")
"""Keys of the weights in a trainer's checkpoint, beside the optimizer's state and the like."""

_LONGEST_NAME = 1024


def detect(path: Path) -> bool:
    """True for a PyTorch checkpoint, other than one with Gemma's own names. Never raises."""
    return identify(path) == NAMING


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file, a folder or an index of shards; reads pickles only.

    Raises:
        CheckpointError: a file is damaged or wants code to be run, a shard is missing.
        UnsupportedError: tensors that are not plain numbers.
        UsageError: the folder holds several files and no index.
    """
    return open_as(path, FORMAT, NAMING)


def open_as(path: Path, format: str, naming: str) -> Checkpoint:
    """The same under another name; see :func:`open_checkpoint`."""
    weights, index = locate(path, FILE_NAMES)
    folder = weights[0].parent
    config = repository_files.read_config(folder)
    tensors = open_tensors(weights, index, _open_file)
    check_unquantized(tensors, config)
    return Checkpoint(
        path=path,
        format=format,
        naming=naming,
        tensors=canonical_names(tensors, weights[0]) if naming == NAMING else tensors,
        config=config,
        harmless_keys=repository_files.HARMLESS_KEYS,
        harmless_values=repository_files.HARMLESS_VALUES,
        files=(*((index,) if index else ()), *weights, *repository_files.sidecars(folder)),
        tokenizer=lambda: repository_files.read_tokenizer(folder, config),
        pipeline_modules=lambda: repository_files.read_modules(folder),
    )


def _open_file(path: Path) -> Iterator[tuple[str, LazyTensor]]:
    container = read_container(path)
    try:
        for name, ref in _state_dict(path, container.content).items():
            if len(name) > _LONGEST_NAME:
                raise DamagedError(f"a tensor has a name of {len(name):,} characters")
            yield name, lazy_tensor(container, name, ref)
    except DamagedError as error:
        raise CheckpointError(
            f"{path.name} is not a valid PyTorch file: {error}", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        ) from error


def _state_dict(path: Path, content: Any) -> Mapping[str, TensorRef]:
    """The dict of tensors: under one of the usual keys, the object itself, or the only one within it."""
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path.name} holds no state dict, which is a dict of tensors",
            code=ErrorCode.NOT_A_STATE_DICT,
            hint="save model.state_dict()",
        )
    # One dict may be there under many keys, and is looked through once.
    found = {id(value): _tensors(value) for value in {id(value): value for value in content.values()}.values()}
    inside = {key: found[id(value)] for key, value in content.items() if found[id(value)]}
    for key in _USUAL_KEYS:
        if key in inside:
            return inside[key]
    own = _tensors(content)
    if own:
        return own
    if len(inside) > 1:
        raise CheckpointError(
            f"{path.name} holds {len(inside)} dicts of tensors",
            code=ErrorCode.NOT_A_STATE_DICT,
            details=summarize(inside),
            hint=f"save the one that is the model alone, or under the key {_USUAL_KEYS[0]!r}",
        )
    if not inside:
        raise CheckpointError(
            f"{path.name} holds no tensors", code=ErrorCode.NOT_A_STATE_DICT, hint="save model.state_dict()"
        )
    return next(iter(inside.values()))


def _tensors(value: Any) -> dict[str, TensorRef]:
    """Entries of a dict that are tensors."""
    entries = value.items() if isinstance(value, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, TensorRef)}
