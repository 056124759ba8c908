"""Special and added tokens of a Hugging Face repository: which files state them, with precedence as in transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.files import DOWNLOAD_AGAIN

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Names that every tokenizer may have a token for."""

LARGEST_ID = 2**31 - 1

ANY_CLASS = "TokenizersBackend"
"""The class of a tokenizer that is all in its files."""

_ENDOFTEXT = "<|endoftext|>"
_LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "Llama": _LLAMA,
    "Gemma": {
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
    "GPT2": dict.fromkeys(("bos_token", "eos_token", "unk_token"), _ENDOFTEXT),
    "Qwen2": dict.fromkeys(("eos_token", "unk_token", "pad_token"), _ENDOFTEXT),
    "T5": {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
    "Bert": {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
}
"""Class -> special tokens that it has where no file states others."""

_CLASS_OF_MODEL: Mapping[str, str] = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "Gemma"),
    **dict.fromkeys(("gpt2", "phi", "starcoder2"), "GPT2"),
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), "Qwen2"),
    **dict.fromkeys(("mistral", "mixtral", "phi3", "granite", "stablelm"), ANY_CLASS),
    "bert": "Bert",
    "t5": "T5",
}
"""``model_type`` -> class that goes with it."""

_OVERRULED = ("qwen2", "phi3")
"""Models whose class counts whatever their files name."""

_NO_RULES = ("PreTrained", "PythonBackend")
"""Classes that are :data:`ANY_CLASS` by another name."""

_EXTRA_IDS = 100
"""Number of T5's ``<extra_id_0>``, ... where no file states it."""

_MOST_EXTRA_IDS = 100_000


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text before anything else looks at it."""

    content: str
    special: bool = False
    normalized: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False

    def as_json(self, token_id: int) -> dict[str, Any]:
        """The token as ``tokenizer.json`` has it."""
        return {
            "id": token_id,
            "content": self.content,
            "single_word": self.single_word,
            "lstrip": self.lstrip,
            "rstrip": self.rstrip,
            "normalized": self.normalized,
            "special": self.special,
        }


def tokenizer_class(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Class of the tokenizer without ``Tokenizer`` and ``Fast``, or :data:`ANY_CLASS`."""
    named = settings.get("tokenizer_class") or config.get("tokenizer_class")
    named = named.removesuffix("Fast").removesuffix("Tokenizer") if isinstance(named, str) else None
    named = ANY_CLASS if named in _NO_RULES else named
    model_type = config.get("model_type")
    own = _CLASS_OF_MODEL.get(model_type) if isinstance(model_type, str) else None
    if named is None:
        return own or ANY_CLASS
    if own is None or own == named:
        return named
    return own if own == ANY_CLASS or model_type in _OVERRULED else named


class SpecialTokens:
    """Special and added tokens, as the files around a vocabulary state them.

    Attributes:
        named: the names that a chat template has for tokens (``eos_token``) -> their texts.
        stated: the names that a file states, those included that it states to be none.
        added: id -> added token, where a file states the id.
        further: tokens to be found in texts whose ids no file states, in the order in which they are numbered.

    Args:
        settings: ``tokenizer_config.json``.
        special_map: ``special_tokens_map.json``.
        added: ``added_tokens.json``.
        kind: from :func:`tokenizer_class`.
        in_file: added tokens of ``tokenizer.json``; None where there is none.
        pieces: control and user-defined pieces of a SentencePiece model; None where there is none.
        defaults: names and texts of tokens that the vocabulary itself states.
        spaced: a SentencePiece model puts a space before a text, so added tokens are to be found before it does.

    Raises:
        CheckpointError: an id makes no sense.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        special_map: Mapping[str, Any],
        added: Mapping[str, Any],
        kind: str,
        *,
        in_file: Mapping[int, AddedToken] | None = None,
        pieces: Sequence[AddedToken] | None = None,
        defaults: Mapping[str, str] | None = None,
        spaced: bool = False,
    ) -> None:
        decoder = settings.get("added_tokens_decoder")
        # Only the files of old repositories; they count before tokenizer_config.json.
        old = {} if isinstance(decoder, dict) else special_map
        merged = {**settings, **old}
        self.stated = frozenset(name for name in NAMES if name in merged)
        names = {name: token for name in NAMES if (token := _token(merged.get(name))) is not None}
        implied = {**(defaults or {}), **_DEFAULTS.get(kind, {})}
        names = {**{n: _special(text) for n, text in implied.items() if n not in self.stated}, **names}
        names = {name: names[name] for name in NAMES if name in names}  # the order in which they are numbered
        names |= _own_names(settings) | _own_names(old)
        self.named = {name: token.content for name, token in names.items()}
        extra = _extra(settings, old, kind, pieces)
        if isinstance(decoder, dict):
            self.added = dict(_of_decoder(decoder))
        else:
            # additional_special_tokens of special_tokens_map.json do not count here, nor do they in transformers.
            specials = {token.content for token in [*names.values(), *_listed(settings)]}
            self.added = {
                token_id: AddedToken(text, special=text in specials, normalized=text not in specials)
                for text, value in added.items()
                for token_id in ids_of(value)
            } | dict(in_file or {})
        # Once special, a token stays so whatever is said later.
        known = {*self.named.values(), *(token.content for token in (in_file or {}).values() if token.special)}
        self.added = {i: replace(t, special=t.special or t.content in known) for i, t in self.added.items()}
        if kind == ANY_CLASS and spaced:
            self.added = {i: replace(token, normalized=False) for i, token in self.added.items()}
        there = {token.content for token in self.added.values()}
        if kind not in _DEFAULTS and in_file is not None:
            there |= {token.content for token in in_file.values()}
        further: dict[str, AddedToken] = {}
        for token in [*(replace(token, special=True) for token in names.values()), *extra]:
            if token.content not in there:
                earlier = further.get(token.content)
                further[token.content] = replace(token, special=token.special or bool(earlier and earlier.special))
        self.further = tuple(further.values())


def _extra(
    settings: Mapping[str, Any], old: Mapping[str, Any], kind: str, pieces: Sequence[AddedToken] | None
) -> list[AddedToken]:
    """Tokens that have no name and no stated id."""
    listed = _listed(settings)
    old_listed = old.get("extra_special_tokens")
    if isinstance(old_listed, list):
        return listed + _tokens(old_listed)
    first = settings.get("extra_special_tokens")
    if not isinstance(first, dict) and not {"extra_special_tokens", "additional_special_tokens"}.isdisjoint(settings):
        return listed
    if pieces is not None:
        found = [piece for piece in pieces if kind != ANY_CLASS or piece.special]
    else:
        found = _tokens(old.get("additional_special_tokens"))
    if kind == "T5" and not any("<extra_id_" in token.content for token in found):
        found += map(_special, extra_ids(settings))
    return found


def extra_ids(settings: Mapping[str, Any]) -> list[str]:
    """T5's ``<extra_id_0>`` and so on, that follow the pieces of its model, the last first.

    Raises:
        CheckpointError: their number makes no sense.
    """
    count = settings.get("extra_ids", _EXTRA_IDS)
    if type(count) is not int or not 0 <= count <= _MOST_EXTRA_IDS:
        raise CheckpointError(
            f"tokenizer_config.json has {count!r} for extra_ids",
            code=ErrorCode.TOKENIZER_DAMAGED,
            hint=DOWNLOAD_AGAIN,
        )
    return [f"<extra_id_{index}>" for index in range(count)]


def _listed(settings: Mapping[str, Any]) -> list[AddedToken]:
    return _tokens(settings.get("extra_special_tokens") or settings.get("additional_special_tokens"))


def _own_names(source: Mapping[str, Any]) -> dict[str, AddedToken]:
    """Tokens by names that only this model has for them (``image_token``)."""
    stated = {key: value for key, value in source.items() if key.endswith("_token") and key not in NAMES}
    extra = source.get("extra_special_tokens")
    stated |= extra if isinstance(extra, dict) else {}
    return {key: token for key, value in stated.items() if (token := _token(value)) is not None}


def _special(text: str) -> AddedToken:
    return AddedToken(text, special=True, normalized=False)


def _tokens(values: object) -> list[AddedToken]:
    return [t for value in values if (t := _token(value)) is not None] if isinstance(values, list) else []


def _token(value: object) -> AddedToken | None:
    """A token stated as its text, or as an object with flags."""
    if isinstance(value, str):
        return _special(value)
    text = token_text(value)
    if text is None or not isinstance(value, dict):
        return None
    # Old files leave out "special", and mean it.
    return _with_flags(text, {"special": True, **value})


def _with_flags(text: str, flags: Mapping[str, Any]) -> AddedToken:
    special = flags.get("special") is True
    return AddedToken(
        text,
        special=special,
        normalized=flags.get("normalized", not special) is True,
        lstrip=flags.get("lstrip") is True,
        rstrip=flags.get("rstrip") is True,
        single_word=flags.get("single_word") is True,
    )


def stated_tokens(entries: object) -> dict[int, AddedToken]:
    """``added_tokens`` of a ``tokenizer.json``, by id."""
    found = entries if isinstance(entries, list) else []
    return {int(entry["id"]): _with_flags(entry["content"], entry) for entry in found}


def token_text(value: object) -> str | None:
    """Text of a token, written as a string or as ``{"content": ...}``."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def ids_of(value: object) -> Iterator[int]:
    """The ids in a value that may be one, a list or null.

    Raises:
        CheckpointError: an id is beyond any vocabulary.
    """
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, int) and not isinstance(item, bool):
            if abs(item) > LARGEST_ID:
                raise beyond_any_vocabulary()
            yield item


def beyond_any_vocabulary() -> CheckpointError:
    """The error for an id that no vocabulary has."""
    return CheckpointError(
        "a token id has more digits than any vocabulary", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
    )


def _of_decoder(decoder: Mapping[str, Any]) -> Iterator[tuple[int, AddedToken]]:
    for key, entry in decoder.items():
        text = token_text(entry)
        if text is None or not key.isdecimal():
            continue
        if len(key) > len(str(LARGEST_ID)):  # Python itself refuses to read thousands of digits
            raise beyond_any_vocabulary()
        yield int(key), _with_flags(text, entry if isinstance(entry, dict) else {})
