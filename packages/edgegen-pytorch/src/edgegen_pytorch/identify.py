"""Identification of PyTorch checkpoints: by file names, magic bytes and the names of tensors."""

from __future__ import annotations

from pathlib import Path

from edgegen.errors import EdgegenError
from edgegen.weights.files import SlicedFile
from edgegen_huggingface import safetensors
from edgegen_huggingface.sharded import FileNames, locate
from edgegen_pytorch.containers import LEGACY_MAGIC, ZIP_MAGIC, Archive
from edgegen_pytorch.pickles import MOST_BYTES, DamagedError

FILE_NAMES = FileNames(
    single="pytorch_model.bin",
    suffixes=(".bin", ".pt", ".pth", ".ckpt"),
    # What trainers leave beside the weights.
    others=("training_args.bin", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*"),
)

HUGGINGFACE, GEMMA = "huggingface", "gemma-pytorch"

_GEMMA_NAMES = (b"embedder.weight", b"self_attn.qkv_proj")
"""Together only in Gemma's own naming; fused queries, keys and values alone are Phi's too."""

_LEGACY_HEAD = 4 * 2**20
"""Bytes of a legacy file that are searched: its names come first and end far before this."""


def identify(path: Path) -> str | None:
    """Naming convention of a PyTorch checkpoint's tensors, or None if the path is none. Never raises."""
    try:
        if not _is_checkpoint(path):
            return None
    except OSError:
        return None
    return GEMMA if _has_gemma_names(path) else HUGGINGFACE


def _is_checkpoint(path: Path) -> bool:
    if path.is_dir():
        if safetensors.detect(path):  # the same weights, most likely, in the format that needs no care
            return False
        return (path / FILE_NAMES.index).is_file() or any(map(_is_weights, FILE_NAMES.in_folder(path)))
    return path.is_file() and (FILE_NAMES.is_index(path) or _is_weights(path))


def _is_weights(file: Path) -> bool:
    if not file.is_file():  # opening a pipe would wait for someone to write into it
        return False
    with file.open("rb") as opened:
        head = opened.read(len(LEGACY_MAGIC))
    # What is called like a checkpoint is ours even if damaged: a message about the damage helps more than "no such
    # format". An archive of another name must hold the pickle.
    if head == LEGACY_MAGIC or file.name == FILE_NAMES.single:
        return True
    return head.startswith(ZIP_MAGIC) and (file.suffix in FILE_NAMES.suffixes or _has_pickle(file))


def _has_pickle(file: Path) -> bool:
    try:
        Archive(SlicedFile(file))
    except (DamagedError, EdgegenError):
        return False
    return True


def _has_gemma_names(path: Path) -> bool:
    """True if the file has Gemma's own tensor names; searched in its bytes, so that damage raises nothing here."""
    try:
        weights, index = locate(path, FILE_NAMES)
        names = _bytes_with_names(index or weights[0])
    except (DamagedError, EdgegenError, OSError):
        return False
    return all(name in names for name in _GEMMA_NAMES)


def _bytes_with_names(path: Path) -> bytes:
    file = SlicedFile(path)
    if file.read(0, min(len(ZIP_MAGIC), file.size)).tobytes() == ZIP_MAGIC:
        return Archive(file).read_pickle()
    return file.read(0, min(file.size, MOST_BYTES if FILE_NAMES.is_index(path) else _LEGACY_HEAD)).tobytes()
