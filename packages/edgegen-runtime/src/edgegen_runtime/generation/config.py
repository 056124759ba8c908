"""Generation config: everything about one generation besides its prompt and its sampling options."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from edgegen_runtime.cache.kv_cache import KVCache
    from edgegen_runtime.generation.structured_output import ResponseFormat
    from edgegen_runtime.protocols import CacheProvider, Drafter


class GenerationConfig(TypedDict, total=False):
    """Keyword arguments of :meth:`LanguageModel.generate` and :meth:`LanguageModel.chat`.

    Attributes:
        stop_ids: stop tokens, which end the answer; default: :attr:`LanguageModel.stop_ids`.
        max_new_tokens: length limit of the answer, in tokens; default: what the KV cache holds.
        ignore_eos: treat stop tokens like any other and go on.
        stop: stop strings, which end the answer and are not part of it.
        response_format: grammar that the answer has to follow.
        drafter: proposer of draft tokens for speculative decoding; the answer is the same. Default: none.
        context_shift: drop the oldest tokens when the text outgrows the KV cache, see
            :mod:`edgegen_runtime.generation.context_shift`; default: raise or end.
        n_keep: number of first tokens that a context shift never drops.
        cache: KV cache to use, or a provider of caches; the prefix that it shares with the prompt is not computed
            again. Default: one of the model's own, from scratch.
    """

    stop_ids: Collection[int] | None
    max_new_tokens: int | None
    ignore_eos: bool
    stop: Sequence[str]
    response_format: ResponseFormat | None
    drafter: Drafter | None
    context_shift: bool
    n_keep: int
    cache: KVCache | CacheProvider | None
