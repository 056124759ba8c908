"""The tokenizer of a repository: its files, special tokens and chat template, each looked up where it may be stated.

Where several files state one value, precedence is as in ``transformers``, and so are the rules of its classes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.files import DOWNLOAD_AGAIN, LARGEST_TOKENIZER, read_json_object, regular_file_size
from edgegen.weights.tensors import TokenizerAssets
from edgegen_huggingface.sentencepiece_model import SentencePieceModel, is_sentencepiece
from edgegen_huggingface.small_files import is_there, optional_json
from edgegen_huggingface.special_tokens import (
    ANY_CLASS,
    LARGEST_ID,
    AddedToken,
    SpecialTokens,
    extra_ids,
    ids_of,
    stated_tokens,
    tokenizer_class,
)
from edgegen_huggingface.tokenizer_classes import ClassRules, class_rules, template
from edgegen_huggingface.tokenizer_json import (
    BYTE_LEVEL_CLASSES,
    VOCAB_TXT_CLASS,
    byte_level_model,
    damaged,
    finished,
    numbered,
    same_parts,
    with_rules,
    word_piece_model,
)

_log = logging.getLogger(__name__)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model")
VOCABULARY_FILES = ("vocab.json", "merges.txt", "vocab.txt")
"""Vocabularies of older tokenizers."""


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> TokenizerAssets | None:
    """Tokenizer files, special tokens and chat template of a folder; None where it holds no tokenizer.

    Raises:
        CheckpointError: one of the files is damaged.
    """
    return _Repository(folder, config).assets()


class _Repository:
    """The files of one folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        text_config = config.get("text_config")  # multimodal models nest the language model's settings
        self.config = {**(text_config if isinstance(text_config, dict) else {}), **config}
        self.settings = optional_json(folder / "tokenizer_config.json")
        self.generation = optional_json(folder / "generation_config.json")
        path = folder / TOKENIZER_FILES[0]
        self.tokenizer = read_json_object(path, LARGEST_TOKENIZER) if is_there(path) else {}
        if self.tokenizer:
            _check_vocabulary(self.tokenizer)
        models = [folder / name for name in TOKENIZER_FILES[1:] if is_there(folder / name)]
        pieces = None if self.tokenizer or not models else models[0]
        self.sentencepiece = None if pieces is None else SentencePieceModel(_contents(pieces), pieces.name)
        self.kind = tokenizer_class(self.settings, self.config)
        if self.kind == "Llama" and _has_byte_level(self.tokenizer):
            self.kind = ANY_CLASS
        self.in_file = stated_tokens(self.tokenizer.get("added_tokens")) if self.tokenizer else None
        of_pieces = None if self.sentencepiece is None else self.sentencepiece.added().values()
        self.special = SpecialTokens(
            self.settings,
            optional_json(folder / "special_tokens_map.json"),
            optional_json(folder / "added_tokens.json"),
            self.kind,
            in_file=self.in_file,
            pieces=None if of_pieces is None else list(of_pieces),
            defaults=self._defaults(),
            spaced=self.sentencepiece is not None and self.sentencepiece.has_dummy_prefix,
        )

    def assets(self) -> TokenizerAssets | None:
        """Tokenizer assets of the folder; None where there is no tokenizer."""
        files = self._files()
        if not files:
            return None
        bos = self._bos_token_id()
        post_processor = self.document.get("post_processor") if self.document else None
        return TokenizerAssets(
            files=files,
            bos_token_id=bos,
            eos_token_ids=self._eos_token_ids(),
            add_bos=bos is not None and _template_starts_with(post_processor, bos),
            chat_template=self._chat_template(),
            special_tokens=self.special.named,
            special_ids=self._special_ids(),
        )

    # --- the document -----------------------------------------------------------------------------------------

    def _files(self) -> dict[str, bytes]:
        if self.document is None:
            # A SentencePiece model that nothing states to be transformers' stays what it is.
            return self._sentencepiece_files()
        if self.tokenizer and not self._changed:
            return {TOKENIZER_FILES[0]: (self.folder / TOKENIZER_FILES[0]).read_bytes(), **self._sentencepiece_files()}
        content = finished(self.document, self.added, ours=not self.tokenizer)
        return {TOKENIZER_FILES[0]: content, **(self._sentencepiece_files() if self._pieces_suffice() else {})}

    def _sentencepiece_files(self) -> dict[str, bytes]:
        there = [name for name in TOKENIZER_FILES[1:] if is_there(self.folder / name)]
        files = {name: _contents(self.folder / name) for name in there}
        # Some repositories call a file so that is no SentencePiece model.
        return {name: content for name, content in files.items() if is_sentencepiece(content)}

    @cached_property
    def rules(self) -> ClassRules | None:
        """Rules of the tokenizer's class; None where the file's own count."""
        charsmap = self.sentencepiece.charsmap if self.sentencepiece else _charsmap(self.tokenizer.get("normalizer"))
        rules = class_rules(self.kind, self.settings, self.special.named, charsmap)
        found = self._model_type
        if rules is not None and found is not None and found != rules.model["type"]:
            _log.warning(
                "the vocabulary in %s is of %s, which a %sTokenizer has not; its own rules count",
                self.folder,
                found,
                self.kind,
            )
            return None
        return rules

    @property
    def _model_type(self) -> str | None:
        if self.sentencepiece is not None:
            return self.sentencepiece.type
        kind = self.tokenizer["model"].get("type") if self.tokenizer else None
        return kind if isinstance(kind, str) else None

    @cached_property
    def document(self) -> dict[str, Any] | None:
        """``tokenizer.json`` as it counts, without added tokens; None where there is nothing to make it of."""
        if self.base is None:
            return None
        made, rules = dict(self.base), self.rules
        if rules is not None and rules.around is not None:
            names = [name for name in rules.around if name is not None]
            made["post_processor"] = self._around(tuple(names[:-1]), (names[-1],), rules.end)
        elif not self.tokenizer:
            # A tokenizer.json says itself what it puts around a text, whatever the settings do.
            start = ("bos_token",) if self.settings.get("add_bos_token") is True else ()
            end = ("eos_token",) if self.settings.get("add_eos_token") is True else ()
            made["post_processor"] = self._around(start, end, None)
        return made

    @cached_property
    def base(self) -> dict[str, Any] | None:
        """``tokenizer.json`` without added tokens, and without what is put around a text where the class says it."""
        if self.tokenizer:
            return dict(self.tokenizer) if self.rules is None else with_rules(self.tokenizer, self.rules)
        if self.sentencepiece is not None:
            if self.sentencepiece.type is None or not (self.settings or self.config):
                return None
            legacy = self.settings.get("legacy", True) is not False
            more = extra_ids(self.settings)[::-1] if self.kind == "T5" else ()
            return self.sentencepiece.document(self.special.added, self.rules, legacy=legacy, more=more)
        model = self._vocabulary()
        if model is None or self.rules is None:
            return None
        return with_rules({"model": model}, self.rules)

    def _vocabulary(self) -> dict[str, Any] | None:
        """Vocabulary of an older tokenizer, where its class is known and says how text is cut."""
        there = {name for name in VOCABULARY_FILES if is_there(self.folder / name)}
        if self.kind == VOCAB_TXT_CLASS and "vocab.txt" in there:
            return word_piece_model(self.folder)
        if self.kind in BYTE_LEVEL_CLASSES and {"vocab.json", "merges.txt"} <= there:
            return byte_level_model(self.folder)
        if there:
            _log.warning(
                "%s has %s, but how %s cuts text is not known",
                self.folder,
                " and ".join(sorted(there)),
                "a tokenizer without a stated class" if self.kind == ANY_CLASS else f"a {self.kind}Tokenizer",
            )
        return None

    def _around(self, before: tuple[str, ...], after: tuple[str, ...], end: str | None) -> dict[str, Any] | None:
        """Post-processor that puts the tokens of these names around a text; None for none."""
        starts, ends = (
            tuple((text, token) for text, token in map(self._named, names) if text is not None and token is not None)
            for names in (before, after)
        )
        if end is not None:
            ends = tuple((end, token) for _, token in ends)
        return template(starts, ends) if starts or ends else None

    def _named(self, name: str) -> tuple[str | None, int | None]:
        text = self.special.named.get(name)
        return text, None if text is None else self.token_id(text)

    def _defaults(self) -> Mapping[str, str]:
        if self.sentencepiece is None or self.kind != ANY_CLASS or not (self.settings or self.config):
            return {}
        return self.sentencepiece.special_tokens

    # --- added tokens -----------------------------------------------------------------------------------------

    @cached_property
    def added(self) -> dict[int, AddedToken]:
        """All tokens that are found in a text before it is cut."""
        if self.base is None:
            return self.special.added
        stated = self.special.added
        if self.in_file is not None and self.rules is None:
            stated = self.in_file | stated
        size = self.config.get("vocab_size")
        found = numbered(self.base, stated, self.special.further, size if isinstance(size, int) else None)
        there = {token.content: i for i, token in (self.in_file or {}).items()}
        for token_id, token in found.items():
            if there.get(token.content, token_id) != token_id:
                raise damaged(
                    f"tokenizer_config.json leaves out added tokens of tokenizer.json, so that {token.content!r} would "
                    f"get the id {token_id:,} in place of {there[token.content]:,}"
                )
        return found

    @property
    def _changed(self) -> bool:
        """True if ``tokenizer.json`` does not say by itself what counts."""
        assert self.document is not None
        if self.rules is None or same_parts(self.document, self.tokenizer):
            return self.added != self.in_file
        _log.warning(
            "%s: text is cut by the rules of %sTokenizer, as transformers does, and not by those in tokenizer.json",
            self.folder,
            self.kind,
        )
        return True

    def _pieces_suffice(self) -> bool:
        """True if the SentencePiece model by itself finds all added tokens, and cuts texts by the same rules."""
        model = self.sentencepiece
        if model is None or (self.rules is not None and model.type != "BPE"):
            return False
        unknown = model.special_tokens.get("unk_token")
        known = [model.finds(i, t) for i, t in self.added.items() if t.content != unknown or model.pieces[i] != unknown]
        legacy = self.settings.get("legacy", self.kind != "Llama") is not False
        return all(known) and (legacy or not model.has_dummy_prefix)

    def token_id(self, text: str) -> int | None:
        """Id of a token given by its text."""
        own = next((token_id for token_id, token in self.added.items() if token.content == text), None)
        if own is not None:
            return own
        if self.sentencepiece is not None:
            return self.sentencepiece.pieces.index(text) if text in self.sentencepiece.pieces else None
        vocab = self.base["model"]["vocab"] if self.base is not None else {}
        if isinstance(vocab, dict):
            found = vocab.get(text)
            return found if isinstance(found, int) else None
        return next((index for index, row in enumerate(vocab) if row[0] == text), None)

    def _special_ids(self) -> dict[str, int]:
        """Texts of added, control and user-defined tokens and their ids."""
        ids = {token.content: i for i, token in (self.sentencepiece.added() if self.sentencepiece else {}).items()}
        ids |= {token.content: i for i, token in self.added.items()}
        named = {text: self.token_id(text) for text in self.special.named.values()}
        return ids | {text: token for text, token in named.items() if token is not None}

    # --- what the model's files say ---------------------------------------------------------------------------

    def _bos_token_id(self) -> int | None:
        # A null in tokenizer_config.json means "none", whatever config.json repeats from a template (Qwen).
        text, token = self._named("bos_token")
        if "bos_token" in self.special.stated and text is None:
            return None
        if token is not None:
            return self._within(token)
        for source in (self.generation, self.config):
            for token in ids_of(source.get("bos_token_id")):
                return self._within(token)
        return None

    def _within(self, token: int) -> int:
        """``token`` if it is in the vocabulary; the runtime does not check it again."""
        size = self.config.get("vocab_size")
        if isinstance(size, int) and token >= size:
            raise CheckpointError(
                f"the start token is {token:,}, but the model knows {size:,}",
                code=ErrorCode.TOKENIZER_DAMAGED,
                hint="the tokenizer is damaged, or another model's; download it again",
            )
        return token

    def _eos_token_ids(self) -> tuple[int, ...]:
        ids = list(ids_of(self.generation.get("eos_token_id", self.config.get("eos_token_id"))))
        _, own = self._named("eos_token")
        return tuple(dict.fromkeys([*ids, own] if own is not None else ids))

    def _chat_template(self) -> str | None:
        file = self.folder / "chat_template.jinja"
        if is_there(file):
            regular_file_size(file)
            try:
                return file.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise CheckpointError(
                    f"{file.name} is not UTF-8: {error}", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
                ) from error
        stated = self.settings.get("chat_template")
        if stated is None:
            stated = optional_json(self.folder / "chat_template.json").get("chat_template")
        if isinstance(stated, list):
            named = {entry.get("name"): entry.get("template") for entry in stated if isinstance(entry, dict)}
            stated = named.get("default") or next(iter(named.values()), None)
        return stated if isinstance(stated, str) else None


def _check_vocabulary(tokenizer: Mapping[str, Any]) -> None:
    """Check the parts of ``tokenizer.json`` that are read here, and without which nothing can read it.

    Raises:
        CheckpointError: one is missing or of another kind.
    """
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens") or []
    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = list(vocab.values()) if isinstance(vocab, dict) else []  # Unigram has a list of tokens and scores instead
    sound = isinstance(vocab, (dict, list)) and isinstance(added, list)
    if sound and isinstance(vocab, list):
        sound = all(isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) for row in vocab)
    for entry in added if sound else ():
        sound = sound and isinstance(entry, dict) and isinstance(entry.get("content"), str) and "id" in entry
        ids += [entry["id"]] if sound else []
    if not sound or not all(type(token) is int and 0 <= token <= LARGEST_ID for token in ids):
        raise CheckpointError(
            "tokenizer.json has no usable vocabulary", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
        )


def _contents(path: Path) -> bytes:
    regular_file_size(path)
    return path.read_bytes()


def _has_byte_level(tokenizer: Mapping[str, Any]) -> bool:
    """True if texts are cut into bytes."""
    return any('"ByteLevel"' in json.dumps(tokenizer.get(part)) for part in ("pre_tokenizer", "decoder"))


def _charsmap(normalizer: object) -> bytes | None:
    """SentencePiece's table of normalization in a ``tokenizer.json``."""
    import base64

    if not isinstance(normalizer, dict):
        return None
    steps = normalizer.get("normalizers") if normalizer.get("type") == "Sequence" else [normalizer]
    for step in steps if isinstance(steps, list) else ():
        table = step.get("precompiled_charsmap") if isinstance(step, dict) else None
        if isinstance(table, str):
            return base64.b64decode(table)
    return None


def _template_starts_with(processor: object, token: int) -> bool:
    """True if a ``tokenizer.json`` post-processor prepends this token to a single sequence."""
    if not isinstance(processor, dict):
        return False
    if processor.get("type") == "Sequence":
        parts = processor.get("processors")
        return any(_template_starts_with(part, token) for part in parts) if isinstance(parts, list) else False
    if processor.get("type") != "TemplateProcessing":
        return False
    try:
        first: Mapping[str, Any] = next(iter(processor.get("single") or ()), {})
        name = first.get("SpecialToken", {}).get("id")
        special = (processor.get("special_tokens") or {}).get(name) or {}
        return list(special.get("ids") or ())[:1] == [token]
    except (AttributeError, TypeError) as error:
        raise CheckpointError(
            "tokenizer.json has no usable post_processor", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
        ) from error
