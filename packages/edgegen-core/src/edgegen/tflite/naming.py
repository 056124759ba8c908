"""Names of a language model's signatures: what exporters write and runtimes look for.

``decode`` and ``prefill_<N>`` are the names that LiteRT-LM and MediaPipe know; they work on the whole cache. Attending
to a long cache that is nearly empty is wasted work, so a file may hold the same again for a shorter one, as
``cache_<S>_decode`` and ``cache_<S>_prefill_<N>``: a runtime that knows them begins there and moves to the next when
the text outgrows it. (LiteRT-LM takes any name that begins with ``prefill`` for one of its own, hence the prefix.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_NAME = re.compile(r"(?:cache_(?P<cache>\d+)_)?(?:decode|prefill_(?P<length>\d+))")


def decode_name(cache: int | None = None) -> str:
    """Name of the signature that reads one token; ``cache`` slots, None for the whole cache."""
    return "decode" if cache is None else f"cache_{cache}_decode"


def prefill_name(length: int, cache: int | None = None) -> str:
    """Name of the signature that reads ``length`` tokens; ``cache`` slots, None for the whole cache."""
    return f"prefill_{length}" if cache is None else f"cache_{cache}_prefill_{length}"


@dataclass(frozen=True)
class SignatureGroup:
    """The signatures that work on one length of cache.

    Attributes:
        cache: slots; None for the whole cache, whatever its length.
        decode: name of the signature that reads one token.
        prefill: length -> name, ascending.
    """

    cache: int | None
    decode: str
    prefill: dict[int, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.decode, *self.prefill.values())


def signature_groups(names: Iterable[str]) -> list[SignatureGroup]:
    """The groups among a file's signatures that have a ``decode``, shortest cache first, the whole one last."""
    names = set(names)
    lengths: dict[int | None, list[int]] = {}
    for match in filter(None, map(_NAME.fullmatch, names)):
        cache = None if match["cache"] is None else int(match["cache"])
        lengths.setdefault(cache, []).extend([] if match["length"] is None else [int(match["length"])])
    return [
        SignatureGroup(cache, decode_name(cache), {n: prefill_name(n, cache) for n in sorted(lengths[cache])})
        for cache in sorted(lengths, key=lambda cache: (cache is None, cache))
        if decode_name(cache) in names
    ]
