"""Names of a language model's signatures: what exporters write and runtimes look for.

``decode`` and ``prefill_<N>`` are the names that LiteRT-LM and MediaPipe know; they work on the whole cache. Attending
to a long cache that is nearly empty is wasted work, so a file may hold the same again for a shorter one, as
``cache_<S>_decode`` and ``cache_<S>_prefill_<N>``: a runtime that knows them begins there and moves to the next when
the text outgrows it. (LiteRT-LM takes any name that begins with ``prefill`` for one of its own, hence the prefix.)

``verify_<N>`` is a ``prefill_<N>`` that also gives the logits after each of its tokens, ``[1, N, V]``: what checks
guesses at several next tokens in one call, and scores a text. ``cache_<S>_verify_<N>`` is the same on a shorter cache.

``encode_<N>`` reads a text of up to N tokens at once, padded and with a mask. An encoder's gives ``embedding`` and
``token_vectors``; an encoder-decoder's gives ``encoder_states_*``, as long whatever N is, which the signatures
above then take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_NAME = re.compile(r"(?:cache_(?P<cache>\d+)_)?(?:decode|(?P<kind>prefill|verify)_(?P<length>\d+))")


def decode_name(cache: int | None = None) -> str:
    """Name of the signature that reads one token; ``cache`` slots, None for the whole cache."""
    return "decode" if cache is None else f"cache_{cache}_decode"


def prefill_name(length: int, cache: int | None = None) -> str:
    """Name of the signature that reads ``length`` tokens; ``cache`` slots, None for the whole cache."""
    return f"prefill_{length}" if cache is None else f"cache_{cache}_prefill_{length}"


def verify_name(length: int, cache: int | None = None) -> str:
    """Name of the signature that reads ``length`` tokens and gives the logits after each; ``cache`` likewise."""
    return f"verify_{length}" if cache is None else f"cache_{cache}_verify_{length}"


_ENCODE = re.compile(r"encode_(\d+)")


def encode_name(length: int) -> str:
    """Name of the signature that reads a text of up to ``length`` tokens at once."""
    return f"encode_{length}"


def encode_signatures(names: Iterable[str]) -> dict[int, str]:
    """Those among a file's signatures: length -> name, ascending."""
    found = {int(match[1]): match[0] for match in map(_ENCODE.fullmatch, names) if match}
    return dict(sorted(found.items()))


def is_encoder_state(name: str) -> bool:
    """True if a tensor is part of the encoder states that a decoder's cross-attention reads."""
    return name.startswith(("encoder_states_", "memory_"))  # the latter beside manifests of schema version 1


@dataclass(frozen=True)
class SignatureGroup:
    """The signatures that work on one length of cache.

    Attributes:
        cache: slots; None for the whole cache, whatever its length.
        decode: name of the signature that reads one token.
        prefill: length -> name, ascending.
        verify: likewise.
    """

    cache: int | None
    decode: str
    prefill: dict[int, str] = field(default_factory=dict)
    verify: dict[int, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.decode, *self.prefill.values(), *self.verify.values())


def signature_groups(names: Iterable[str]) -> list[SignatureGroup]:
    """The groups among a file's signatures that have a ``decode``, shortest cache first, the whole one last."""
    names = set(names)
    found: dict[int | None, dict[str, dict[int, str]]] = {}
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    for match in sorted(matches, key=lambda match: int(match["length"] or 0)):
        cache = None if match["cache"] is None else int(match["cache"])
        kinds = found.setdefault(cache, {"prefill": {}, "verify": {}})
        if match["kind"]:
            kinds[match["kind"]][int(match["length"])] = match[0]
    return [
        SignatureGroup(cache, decode_name(cache), **found[cache])
        for cache in sorted(found, key=lambda cache: (cache is None, cache))
        if decode_name(cache) in names
    ]
