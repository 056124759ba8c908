"""The tokenizer of a ``tokenizer.json`` as a function."""

from __future__ import annotations

import functools
from collections.abc import Callable


@functools.lru_cache(maxsize=1)
def hf_encoder(contents: bytes) -> Callable[[str], list[int]]:
    """Text to ids, without what the post-processor adds; special tokens in the text are found."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(contents.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)
