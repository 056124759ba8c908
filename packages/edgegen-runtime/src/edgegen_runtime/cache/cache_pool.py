"""KV cache providers of a single model: a pool of its own caches, and one cache that the caller owns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegen_runtime.cache.kv_cache import KVCache
    from edgegen_runtime.protocols import CachedModel


class CachePool:
    """Reusable KV caches; keeping them saves clearing many megabytes for each generation.

    Args:
        model: makes the caches.
    """

    def __init__(self, model: CachedModel) -> None:
        self._model = model
        self._idle: list[KVCache] = []

    @property
    def cache_length(self) -> int:
        """Capacity of each cache, in tokens."""
        return self._model.exported.cache_length

    def acquire(self, token_ids: Sequence[int]) -> KVCache:
        """An empty cache. Nothing is reused: a result must not depend, even in its last bit, on earlier ones."""
        cache = self._idle.pop() if self._idle else self._model.new_cache()
        cache.rollback(0)
        return cache

    def release(self, cache: KVCache) -> None:
        """Keep the cache for the next generation."""
        self._idle.append(cache)


class BorrowedCache:
    """Provider of one cache that the caller owns and goes on using."""

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache

    @property
    def cache_length(self) -> int:
        """Capacity in tokens."""
        return self._cache.cache_length

    def acquire(self, token_ids: Sequence[int]) -> KVCache:
        """The caller's cache."""
        return self._cache

    def release(self, cache: KVCache) -> None:
        """Leave the cache to the caller."""
