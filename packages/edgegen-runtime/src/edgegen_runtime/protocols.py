"""Interfaces between the parts of the runtime: KV cache providers, models with a cache, drafters.

Prefix caches and speculative decoding work with any object of these shapes, so that neither imports the language model
and the language model may import both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edgegen_runtime.bundle import ExportedModel
    from edgegen_runtime.cache.kv_cache import KVCache
    from edgegen_runtime.text.tokenizer import Tokenizer


class CacheProvider(Protocol):
    """A source of KV caches: a generation acquires one when it begins and releases it when it ends."""

    @property
    def cache_length(self) -> int:
        """Capacity of each cache, in tokens."""
        ...

    def acquire(self, token_ids: Sequence[int]) -> KVCache:
        """A cache for exclusive use; the prefix that it shares with ``token_ids`` need not be computed again."""
        ...

    def release(self, cache: KVCache) -> None:
        """Return a cache that :meth:`acquire` gave out."""
        ...


class CachedModel(Protocol):
    """A model whose KV caches can be stored: its files, which the caches depend on, and a way to make new ones."""

    @property
    def exported(self) -> ExportedModel:
        """The exported folder."""
        ...

    @property
    def adapter(self) -> Path | None:
        """Folder of the LoRA adapter that the model runs with, if any."""
        ...

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a raw prompt."""
        ...

    def new_cache(self) -> KVCache:
        """An empty KV cache."""
        ...


class DecoderModel(Protocol):
    """A decoder that speculative decoding reads tokens with, as target or as draft model."""

    @property
    def exported(self) -> ExportedModel:
        """The exported folder."""
        ...

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer; None if the export has none."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of logits; token ids are below it."""
        ...

    def new_cache(self) -> KVCache:
        """An empty KV cache."""
        ...


class Drafter(Protocol):
    """A proposer of draft tokens for speculative decoding."""

    def check(self, model: DecoderModel) -> None:
        """Raise UsageError if it cannot draft for ``model``."""

    def propose(self, text: Sequence[int], count: int) -> list[int]:
        """Up to ``count`` tokens that may follow ``text`` (prompt and answer so far); empty if there is no guess."""
        ...
