"""The files that Hugging Face repositories keep beside their weights: ``config.json`` and the tokenizer's.

Which file wins where several state one thing follows what ``transformers`` does when it loads the same
folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from edgegen.checkpoints.files import read_json_object
from edgegen.checkpoints.tensors import TokenizerAssets

CONFIG = "config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
SIDECARS = (
    CONFIG,
    *TOKENIZER_FILES,
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
)

_ADDS_BOS_BY_DEFAULT = ("Llama", "CodeLlama", "Gemma")
"""Tokenizer classes that put the start token first when nothing says otherwise."""


def sidecars(folder: Path) -> tuple[Path, ...]:
    """Those of the known files that are in the folder."""
    return tuple(folder / name for name in SIDECARS if (folder / name).is_file())


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json``, or an empty dict where there is none.

    Raises:
        CheckpointError: the file is not a JSON object.
    """
    return _optional_json(folder / CONFIG)


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> TokenizerAssets | None:
    """What the folder says about text; None where it holds no tokenizer.

    Raises:
        CheckpointError: one of the files is damaged.
    """
    files = {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}
    if not files:
        return None
    facts = _Facts(folder, config)
    bos = facts.bos_token_id
    return TokenizerAssets(
        files=files,
        bos_token_id=bos,
        eos_token_ids=facts.eos_token_ids,
        add_bos=bos is not None and facts.adds_bos(bos),
        chat_template=facts.chat_template,
    )


class _Facts:
    """The answers, each looked up in the files that may hold it; ``tokenizer.json`` (tens of megabytes for
    large vocabularies) is parsed only when the small files leave something open."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        text_config = config.get("text_config")  # multimodal models nest the language model's settings
        self.config = {**(text_config if isinstance(text_config, dict) else {}), **config}
        self.settings = _optional_json(folder / "tokenizer_config.json")
        self.generation = _optional_json(folder / "generation_config.json")

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        return _optional_json(self.folder / "tokenizer.json")

    @property
    def bos_token_id(self) -> int | None:
        # A null in tokenizer_config.json means "none", whatever config.json repeats from a template (Qwen).
        if "bos_token" in self.settings:
            text = _token_text(self.settings["bos_token"])
            if text is None:
                return None
            token = self.token_id(text)
            if token is not None:
                return token
        for source in (self.generation, self.config):
            for token in _ids(source.get("bos_token_id")):
                return token
        return None

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        stated = self.generation.get("eos_token_id", self.config.get("eos_token_id"))
        ids = list(_ids(stated))
        text = _token_text(self.settings.get("eos_token"))
        own = self.token_id(text) if text is not None else None
        if own is not None:
            ids.append(own)
        return tuple(dict.fromkeys(ids))

    def adds_bos(self, bos: int) -> bool:
        stated = self.settings.get("add_bos_token")
        if isinstance(stated, bool):
            return stated
        if self.tokenizer:
            return _template_starts_with(self.tokenizer.get("post_processor"), bos)
        name = str(self.settings.get("tokenizer_class", ""))
        return name.removesuffix("Fast").removesuffix("Tokenizer") in _ADDS_BOS_BY_DEFAULT

    @property
    def chat_template(self) -> str | None:
        file = self.folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        template = self.settings.get("chat_template")
        if template is None:
            template = _optional_json(self.folder / "chat_template.json").get("chat_template")
        if isinstance(template, list):
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default") or next(iter(named.values()), None)
        return template if isinstance(template, str) else None

    def token_id(self, text: str) -> int | None:
        """The id of a token given by its text; the files spell it in three places."""
        decoder = self.settings.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            for key, entry in decoder.items():
                if isinstance(entry, dict) and entry.get("content") == text and key.isdecimal():
                    return int(key)
        for entry in self.tokenizer.get("added_tokens") or ():
            if entry.get("content") == text:
                return int(entry["id"])
        model = self.tokenizer.get("model")
        vocab = model.get("vocab") if isinstance(model, dict) else None
        found = vocab.get(text) if isinstance(vocab, dict) else None
        return found if isinstance(found, int) else None


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _ids(value: object) -> Iterator[int]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, int) and not isinstance(item, bool):
            yield item


def _token_text(value: object) -> str | None:
    """Tokens are written as a string or as ``{"content": ...}``."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _template_starts_with(processor: object, token: int) -> bool:
    """Whether a ``tokenizer.json`` post-processor puts this token before a single sequence."""
    if not isinstance(processor, dict):
        return False
    if processor.get("type") == "Sequence":
        return any(_template_starts_with(part, token) for part in processor.get("processors") or ())
    if processor.get("type") != "TemplateProcessing":
        return False
    first: Mapping[str, Any] = next(iter(processor.get("single") or ()), {})
    name = first.get("SpecialToken", {}).get("id")
    special = (processor.get("special_tokens") or {}).get(name) or {}
    return list(special.get("ids") or ())[:1] == [token]
