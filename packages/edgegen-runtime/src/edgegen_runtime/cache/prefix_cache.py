"""Prefix cache: KV caches of texts that further prompts begin with, in memory and on disk.

Reading a prompt is the larger part of a short answer. A long beginning that many prompts share (a system message,
examples, a document, the conversation so far) is read once, and its rows of the cache serve every prompt that begins
with the same tokens.

A file of such rows is safetensors: the tensors of the cache cut to the rows that are filled, ``tokens`` (int32), and
as metadata what they belong to.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgegen.adapters.peft import weights_file
from edgegen.errors import ErrorCode, ResourceError, UsageError
from edgegen_runtime.cache.kv_cache import KVCache, common_prefix

if TYPE_CHECKING:
    from edgegen_runtime.protocols import CachedModel

FORMAT = "edgegen-prefix"
VERSION = "1"

_TOKENS = "tokens"
_SAMPLES, _SAMPLE = 256, 1 << 16
_WORTH_A_COPY = 32
"""Shared tokens from which on copying a cache is cheaper than reading them again, about."""


class PrefixCache:
    """KV caches of the last few texts; gives each new prompt the one with the longest common prefix.

    Pass it as ``cache=`` to ``generate`` or ``chat``. A prompt that goes on from a text takes its cache over; one
    that only begins alike gets a copy while there is room, so that the other text stays. An answer may differ in the
    last bits of its logits from one that is read from scratch, as a prompt is read in other chunks.

    Args:
        model: the model that the caches belong to.
        entries: number of texts to keep; each takes the memory of one KV cache.
    """

    def __init__(self, model: CachedModel, *, entries: int = 4) -> None:
        if entries < 1:
            raise UsageError(
                f"a prefix cache of {entries} texts keeps nothing",
                code=ErrorCode.INVALID_GENERATION_OPTION,
                hint="keep 1 or more",
            )
        self._model = model
        self._entries = entries
        self._idle: list[KVCache] = []  # least recently used first

    @property
    def cache_length(self) -> int:
        """Capacity of each cache, in tokens."""
        return self._model.exported.cache_length

    @property
    def texts(self) -> list[Sequence[int]]:
        """Token ids of the texts kept, least recently used first."""
        return [tuple(cache.tokens) for cache in self._idle]

    def acquire(self, token_ids: Sequence[int]) -> KVCache:
        """The cache with the longest prefix in common with ``token_ids``, for exclusive use until :meth:`release`."""
        best = max(self._idle, key=lambda cache: common_prefix(cache.tokens, token_ids), default=None)
        shared = 0 if best is None else common_prefix(best.tokens, token_ids)
        if best is not None and shared == len(best.tokens):
            self._idle.remove(best)
            return best
        worth_a_copy = shared >= _WORTH_A_COPY or 0 < shared == len(token_ids)
        if best is not None and worth_a_copy and self._entries > 1:
            cache = best.fork()
            cache.rollback(shared)
            return cache
        if best is not None and len(self._idle) >= self._entries:
            # The oldest goes; but where that is the one to share, it is used as it is.
            return self._idle.pop(self._idle.index(best) if worth_a_copy else 0)
        return self._model.new_cache()

    def release(self, cache: KVCache) -> None:
        """Keep the text of ``cache``; the least recently used one goes if there are too many."""
        self._idle.append(cache)
        del self._idle[: -self._entries]

    def add(self, prompt: str | Sequence[int]) -> None:
        """Prefill a text that prompts will begin with, unless it is cached already."""
        token_ids = self._model.encode(prompt) if isinstance(prompt, str) else list(prompt)
        cache = self.acquire(token_ids)
        known = cache.rollback(common_prefix(cache.tokens, token_ids))
        cache.prefill(token_ids[known:])
        self.release(cache)

    def save(self, path: Path | str) -> None:
        """Write the most recently used text to a file; see :func:`save`.

        Raises:
            UsageError: nothing is kept.
        """
        if not self._idle:
            raise UsageError(
                "the prefix cache is empty", code=ErrorCode.PREFIX_CACHE_EMPTY, hint="add a text or generate one first"
            )
        save(self._model, self._idle[-1], path)

    def load(self, path: Path | str) -> None:
        """Keep the text in a file too; see :func:`load`."""
        self.release(load(self._model, path))


def save(model: CachedModel, cache: KVCache, path: Path | str) -> None:
    """Write the tokens of ``cache`` and their rows of the KV cache to a file, whole or not at all.

    Raises:
        ResourceError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    rows = {name: np.ascontiguousarray(array) for name, array in cache.rows().items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "model": model.exported.name,
        "scheme": model.exported.scheme,
        "identity": identity(model),
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({**rows, _TOKENS: np.array(cache.tokens, np.int32)}, beside, metadata)
        os.replace(beside, path)
    except Exception as error:  # the library raises its own kind of error for what the disk says
        raise ResourceError(
            f"cannot write {path}: {error}", code=ErrorCode.FILE_SYSTEM, hint="choose another file"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def load(model: CachedModel, path: Path | str) -> KVCache:
    """The KV cache that :func:`save` wrote.

    Raises:
        UsageError: no such file, damaged, or written for another model.
    """
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise UsageError(
            f"no such file: {path}", code=ErrorCode.PREFIX_CACHE_UNREADABLE, hint="PrefixCache.save writes one"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except Exception as error:  # SafetensorError, or OSError
        raise UsageError(
            f"cannot read {path}: {error}", code=ErrorCode.PREFIX_CACHE_UNREADABLE, hint="delete it"
        ) from error
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION) or _TOKENS not in rows:
        raise UsageError(
            f"{path} holds no prefix that this version wrote", code=ErrorCode.PREFIX_CACHE_UNREADABLE, hint="delete it"
        )
    if metadata.get("identity") != identity(model):
        raise UsageError(
            f"{path} was written for another model file or adapter than {model.exported.model}",
            code=ErrorCode.PREFIX_CACHE_MISMATCH,
            details=(
                f"written for  {metadata.get('model')} {metadata.get('scheme')}",
                f"loaded       {model.exported.name} {model.exported.scheme}",
            ),
            hint="delete it, or name another file",
        )
    token_ids = [int(token_id) for token_id in rows.pop(_TOKENS).reshape(-1)]
    cache = model.new_cache()
    try:
        if len(token_ids) > cache.cache_length:
            raise ValueError(f"{len(token_ids)} tokens in a cache of {cache.cache_length}")
        cache.restore(token_ids, rows)
    except ValueError as error:
        raise UsageError(
            f"{path} does not fit the model's cache: {error}", code=ErrorCode.PREFIX_CACHE_MISMATCH, hint="delete it"
        ) from error
    return cache


def identity(model: CachedModel) -> str:
    """Identity of a model for its KV caches: hashes of the model file and of its adapter's, if it has one."""
    files = [model.exported.model] if model.adapter is None else [model.exported.model, weights_file(model.adapter)]
    return "+".join(map(_file_identity, files))


def _file_identity(path: Path) -> str:
    """Hash of a file's size and of up to 16 MiB sampled from beginning to end.

    Enough to tell models apart, as training changes weights everywhere, and quick for files of any size.
    """
    status = path.stat()
    return _hash(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _hash(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    step = max(_SAMPLE, size // _SAMPLES)
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
