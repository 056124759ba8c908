"""Special and added tokens of a Hugging Face repository: which files state them, with precedence as in transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    "Bert": {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "T5": {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
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
    model_type = config.get("model_type")
    own = _CLASS_OF_MODEL.get(model_type) if isinstance(model_type, str) else None
    if named is None:
        return own or ANY_CLASS
    if own is None or own == named:
        return named
    return own if own == ANY_CLASS or model_type in _OVERRULED else named


class SpecialTokens:
    """Special and added tokens, as the files beside ``tokenizer.json`` state them.

    Attributes:
        named: the names that a chat template has for tokens (``eos_token``) -> their texts.
        stated: the names that a file states, those included that it states to be none.
        added: id -> added token.
        flagged: True if ``tokenizer_config.json`` has them with all flags.

    Args:
        settings: ``tokenizer_config.json``.
        special_map: ``special_tokens_map.json``.
        added: ``added_tokens.json``.
        kind: from :func:`tokenizer_class`.

    Raises:
        CheckpointError: an id makes no sense.
    """

    def __init__(
        self, settings: Mapping[str, Any], special_map: Mapping[str, Any], added: Mapping[str, Any], kind: str
    ) -> None:
        decoder = settings.get("added_tokens_decoder")
        merged = dict(settings)
        further = _texts(settings.get("extra_special_tokens") or settings.get("additional_special_tokens"))
        own_names = {key: value for key, value in settings.items() if key.endswith("_token") and isinstance(value, str)}
        extra = settings.get("extra_special_tokens")
        own_names |= {k: v for k, v in extra.items() if isinstance(v, str)} if isinstance(extra, dict) else {}
        if not isinstance(decoder, dict):
            # Only the files of old repositories; they count before tokenizer_config.json.
            merged |= special_map
            further += _texts(special_map.get("additional_special_tokens"))
        self.stated = frozenset(name for name in NAMES if name in merged)
        self.named = {name: text for name in NAMES if (text := token_text(merged.get(name))) is not None}
        self.named = {
            **{name: text for name, text in _DEFAULTS.get(kind, {}).items() if name not in self.stated},
            **self.named,
            **{name: text for name, text in own_names.items() if name not in NAMES},
        }
        self.further = tuple(further)
        specials = {*self.named.values(), *further}
        self.flagged = isinstance(decoder, dict)
        if isinstance(decoder, dict):
            self.added = dict(_of_decoder(decoder, specials))
        else:
            self.added = {
                token_id: AddedToken(text, special=text in specials, normalized=text not in specials)
                for text, value in added.items()
                for token_id in ids_of(value)
            }

    def find_as_written(self) -> None:
        """Find added tokens before a text is normalized, but for those that ``tokenizer_config.json`` has flags of."""
        if not self.flagged:
            self.added = {token_id: replace(token, normalized=False) for token_id, token in self.added.items()}

    def set_defaults(self, tokens: Mapping[str, str]) -> None:
        """Name tokens where no file does."""
        self.named = {**{name: text for name, text in tokens.items() if name not in self.stated}, **self.named}


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


def _of_decoder(decoder: Mapping[str, Any], specials: set[str]) -> Iterator[tuple[int, AddedToken]]:
    for key, entry in decoder.items():
        text = token_text(entry)
        if text is None or not key.isdecimal():
            continue
        if len(key) > len(str(LARGEST_ID)):  # Python itself refuses to read thousands of digits
            raise beyond_any_vocabulary()
        flags = entry if isinstance(entry, dict) else {}
        yield (
            int(key),
            AddedToken(
                text,
                special=flags.get("special") is True or text in specials,
                normalized=flags.get("normalized", True) is True,
                lstrip=flags.get("lstrip") is True,
                rstrip=flags.get("rstrip") is True,
                single_word=flags.get("single_word") is True,
            ),
        )


def _texts(value: object) -> list[str]:
    return [text for item in value if (text := token_text(item)) is not None] if isinstance(value, list) else []
