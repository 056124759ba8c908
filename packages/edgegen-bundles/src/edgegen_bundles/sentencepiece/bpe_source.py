"""What there is to convert: a ``tokenizer.json`` with a BPE model, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError

SPACE = "\u2581"
"""What SentencePiece, and vocabularies that come from it, write for a space."""


@dataclass(frozen=True)
class Source:
    """A BPE tokenizer.

    Attributes:
        document: ``tokenizer.json``.
        tokenizer: the same, run by the ``tokenizers`` library.
    """

    document: Mapping[str, Any]
    tokenizer: Any

    @property
    def model(self) -> Mapping[str, Any]:
        model: Mapping[str, Any] = self.document["model"]
        return model

    @cached_property
    def names(self) -> Mapping[int, str]:
        """Id -> token as the vocabulary writes it, without added tokens."""
        return {index: token for token, index in self.model["vocab"].items()}

    @cached_property
    def added(self) -> Mapping[int, str]:
        """Id -> text of tokens that are found in a text before it is cut; the library's word, as it numbers anew those
        that the file gives an id out of order."""
        return {index: str(token.content) for index, token in self.tokenizer.get_added_tokens_decoder().items()}

    @cached_property
    def size(self) -> int:
        """One more than the highest id."""
        return max([*self.names, *self.added]) + 1

    @cached_property
    def merges(self) -> Sequence[tuple[str, str]]:
        """Best first. Older files write a pair as one text."""
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in self.model["merges"])
        return [(left, right) for left, right in pairs]

    @cached_property
    def ranks(self) -> Mapping[str, int]:
        """Token -> place of the first merge that makes it."""
        ranks: dict[str, int] = {}
        for rank, (left, right) in enumerate(self.merges):
            ranks.setdefault(left + right, rank)
        return ranks

    @property
    def takes_whole_words(self) -> bool:
        """A word of the vocabulary is taken as it is, whatever the merges would make of it."""
        return bool(self.model.get("ignore_merges"))

    @cached_property
    def by_merges(self) -> Any:
        """The bare tokenizer, without that rule either."""
        cutter = _without_prefix(self.document.get("pre_tokenizer"))
        model = {**self.model, "ignore_merges": False}
        return _tokenizer({**self.document, "pre_tokenizer": cutter, "model": model})

    @cached_property
    def bare(self) -> Any:
        """The tokenizer without the space that it may put before a text."""
        return _tokenizer({**self.document, "pre_tokenizer": _without_prefix(self.document.get("pre_tokenizer"))})

    def steps(self, part: str) -> list[Mapping[str, Any]]:
        """What ``normalizer``, ``pre_tokenizer`` or ``decoder`` consists of."""
        return list(_flat(self.document.get(part)))

    @cached_property
    def is_byte_level(self) -> bool:
        return any(step["type"] == "ByteLevel" for step in self.steps("pre_tokenizer"))

    def encode(self, text: str) -> list[int]:
        """Ids, without what the post-processor adds; special tokens in the text are found."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def borders(self, text: str) -> set[int]:
        """Where the pre-tokenizer cuts a text: the ends of its words, in characters."""
        cutter = self.bare.pre_tokenizer
        return {len(text)} if cutter is None else {end for _, (_, end) in cutter.pre_tokenize_str(text)}

    def normalized(self, text: str) -> str:
        """The text that the tokens stand for."""
        normalizer = self.tokenizer.normalizer
        text = text if normalizer is None else str(normalizer.normalize_str(text))
        return text if self.is_byte_level else text.replace(SPACE, " ")


def read(contents: bytes) -> Source:
    """Read ``tokenizer.json``.

    Raises:
        CheckpointError: it is damaged.
        UnsupportedError: SentencePiece's BPE cannot do what its model, its pre-tokenizer or its normalizer does.
    """
    try:
        document = json.loads(contents)
        tokenizer = _tokenizer(document)
        kind = document["model"]["type"]
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(
            f"tokenizer.json cannot be read: {error}",
            code=ErrorCode.TOKENIZER_JSON_UNREADABLE,
            hint="download it again",
        ) from error
    if kind != "BPE":
        raise _refusal(f"its model is {kind}, and only BPE is converted")
    source = Source(document, tokenizer)
    _check(source)
    return source


_NORMALIZERS = {"NFC", "Prepend", "Replace"}


def _check(source: Source) -> None:
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if source.model.get(key):
            raise _refusal(f"its model has {key}")
    unknown = sorted({step["type"] for step in source.steps("normalizer")} - _NORMALIZERS)
    if unknown:
        raise _refusal(f"its normalizer has {', '.join(unknown)}")
    if not source.is_byte_level and not any(SPACE in token for token in source.names.values()):
        raise _refusal(f"it is neither byte-level nor writes spaces as {SPACE}")
    if not source.model.get("byte_fallback") and not source.is_byte_level:
        raise _refusal("it cannot spell out characters that it does not know (no byte_fallback)")


def _refusal(reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"this tokenizer cannot become a SentencePiece model: {reason}",
        code=ErrorCode.TOKENIZER_NOT_CONVERTIBLE,
        hint="use a checkpoint with a tokenizer.model, or a target that takes tokenizer.json: --target litertlm",
    )


def _tokenizer(document: Mapping[str, Any]) -> Any:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _flat(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    inner = next(value for key, value in part.items() if key != "type")
    return [step for one in inner for step in _flat(one)]


def _without_prefix(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: False if key == "add_prefix_space" else _without_prefix(value) for key, value in part.items()}
    return [_without_prefix(one) for one in part] if isinstance(part, list) else part
