"""The files that Hugging Face repositories keep beside their weights: ``config.json`` and the tokenizer's.

Where several files state one value, precedence is as in ``transformers``.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.files import DOWNLOAD_AGAIN, LARGEST_TOKENIZER, read_json_list, read_json_object, regular_file_size
from edgegen.weights.tensors import TokenizerAssets
from edgegen_huggingface.special_tokens import ANY_CLASS, LARGEST_ID, AddedToken, SpecialTokens, ids_of, tokenizer_class
from edgegen_huggingface.tokenizer_json import (
    BYTE_LEVEL_CLASSES,
    SentencePieceModel,
    byte_level_json,
    damaged,
    with_added,
    word_piece_json,
)

_log = logging.getLogger(__name__)

CONFIG = "config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model")

VOCABULARY = "vocab.txt"
"""BERT's vocabulary, a token in each line."""
MODULES = "modules.json"
"""List of a sentence-transformers model's parts, each with a folder for its settings."""

_PROVENANCE = (
    "_*",
    "architectures",
    "auto_map",
    "finetuning_task",
    "is_llama_config",
    "license",
    "model_type",
    "name_or_path",
    "transformers*",
    "unsloth_*",
)
_TRAINING = (
    "*_dropout",
    "attention_dropout",
    "dropout*",
    "embd_pdrop",
    "gradient_checkpointing",
    "hidden_dropout*",
    "initializer_factor",
    "initializer_range",
    "neftune_noise_alpha",
    "resid_pdrop",
    "router_jitter_noise",
)
_RUNNING = (
    "attn_implementation",
    "base_model_*_plan",
    "chunk_size_feed_forward",
    "dtype",
    "keys_to_ignore_at_inference",
    "output_*",
    "pretraining_tp",
    "quantization_config",  # of tensors that are plain numbers; see edgegen_huggingface.quantized
    "return_dict*",
    "tf_legacy_loss",
    "torch_dtype",
    "torchscript",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
)
_OTHER_HEADS = ("classifier_dropout", "id2label", "label2id", "num_labels", "problem_type", "summary_*")
_GENERATION = (
    "*_token_id",
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "min_length",
    "min_new_tokens",
    "model_max_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "typical_p",
)
HARMLESS_KEYS = (*_PROVENANCE, *_TRAINING, *_RUNNING, *_OTHER_HEADS, *_GENERATION)
"""Patterns of keys of ``config.json`` that change nothing: provenance, training, other heads, generation, and how
transformers is to run the model."""

HARMLESS_VALUES: Mapping[str, Any] = {
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "rope_interleaved": False,
    "tie_encoder_decoder": False,
    "use_mrope": False,
    "use_qk_norm": False,
}
"""Keys that change nothing as long as they have this value."""

_POOLING = "1_Pooling/config.json"
SIDECARS = (
    CONFIG,
    *TOKENIZER_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    VOCABULARY,
    "merges.txt",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    MODULES,
    _POOLING,
)

_PLAIN = re.compile(r"[\w-]*", re.ASCII)

_START_WITH_BOS = ("Llama", "CodeLlama", "Gemma")
"""Tokenizer classes of models whose texts begin with the start token."""


def sidecars(folder: Path) -> tuple[Path, ...]:
    """Files of :data:`SIDECARS` that are in the folder."""
    return tuple(folder / name for name in SIDECARS if _is_there(folder / name))


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json``, or an empty dict where there is none.

    Raises:
        CheckpointError: the file is not a JSON object, or no file.
    """
    return _optional_json(folder / CONFIG)


def read_modules(folder: Path) -> list[tuple[str, dict[str, Any]]] | None:
    """The parts of a model of sentence-transformers in their order, as kind and settings; None where it is none.

    A kind is the last word of the class's name, ``Pooling``. The first part is the model that lies beside the file.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / MODULES
    if not _is_there(path):
        return None
    parts = read_json_list(path)
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    places = [part.get("path") if isinstance(part, dict) else None for part in parts]
    # A place is joined to the folder, so anything but a plain name could reach outside the checkpoint.
    if not all(isinstance(kind, str) for kind in kinds) or not all(
        isinstance(place, str) and _PLAIN.fullmatch(place) for place in places
    ):
        raise CheckpointError(
            f"{MODULES} does not list the parts of a model", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        )
    named = zip(map(str, kinds), map(str, places), strict=True)
    return [
        (kind.rpartition(".")[2], _optional_json(folder / place / CONFIG) if place else {}) for kind, place in named
    ]


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> TokenizerAssets | None:
    """Tokenizer files, special tokens and chat template of a folder; None where it holds no tokenizer.

    Raises:
        CheckpointError: one of the files is damaged.
    """
    settings = _TokenizerSettings(folder, config)
    if settings.tokenizer:
        _check_vocabulary(settings.tokenizer)
    files = settings.files()
    if not files:
        return None
    bos = settings.bos_token_id
    return TokenizerAssets(
        files=files,
        bos_token_id=bos,
        eos_token_ids=settings.eos_token_ids,
        add_bos=bos is not None and settings.adds_bos,
        chat_template=settings.chat_template,
        special_tokens=settings.special.named,
        special_ids=settings.special_ids,
    )


class _TokenizerSettings:
    """Special tokens and chat template, each looked up in the files that may state it."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        text_config = config.get("text_config")  # multimodal models nest the language model's settings
        self.config = {**(text_config if isinstance(text_config, dict) else {}), **config}
        self.settings = _optional_json(folder / "tokenizer_config.json")
        self.generation = _optional_json(folder / "generation_config.json")
        self.kind = tokenizer_class(self.settings, self.config)
        self.special = SpecialTokens(
            self.settings,
            _optional_json(folder / "special_tokens_map.json"),
            _optional_json(folder / "added_tokens.json"),
            self.kind,
        )
        if self.sentencepiece is not None and self.kind == ANY_CLASS and (self.settings or self.config):
            self.special.set_defaults(self.sentencepiece.special_tokens)
            self.special.find_as_written()

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        path = self.folder / "tokenizer.json"
        return read_json_object(path, LARGEST_TOKENIZER) if _is_there(path) else {}

    @cached_property
    def sentencepiece(self) -> SentencePieceModel | None:
        """The SentencePiece model that is there without a ``tokenizer.json``."""
        paths = [self.folder / name for name in TOKENIZER_FILES[1:] if _is_there(self.folder / name)]
        return None if self.tokenizer or not paths else SentencePieceModel(paths[0].read_bytes(), paths[0].name)

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files; a ``tokenizer.json`` is made where those that are there do not say all."""
        files = {name: (self.folder / name).read_bytes() for name in TOKENIZER_FILES if _is_there(self.folder / name)}
        if self.tokenizer:
            whole = with_added(self.tokenizer, self.special.added) if self.special.added else None
            return files if whole is None else {TOKENIZER_FILES[0]: whole}
        if not files:
            return self._word_piece() or self._byte_level()
        if self.sentencepiece is None:
            return files
        if self.kind == "T5" and not self.sentencepiece.is_bpe:
            return {TOKENIZER_FILES[0]: self.sentencepiece.t5_json(self._with_sentinels())}
        legacy = self.settings.get("legacy", self.kind != "Llama") is not False
        known = all(self.sentencepiece.finds(i, token) for i, token in self._beside_pieces().items())
        if known and (legacy or not self.sentencepiece.has_dummy_prefix):
            return files
        named = {
            self.sentencepiece.pieces.index(text): AddedToken(text, special=True, normalized=False)
            for text in self.special.named.values()
            if text in self.sentencepiece.pieces
        }
        made = self.sentencepiece.tokenizer_json(named | self.special.added, legacy=legacy)
        return {TOKENIZER_FILES[0]: made, **(files if known else {})}

    def _with_sentinels(self) -> dict[int, AddedToken]:
        """Special tokens of a T5: its own, and ``<extra_id_N>`` after its pieces, the highest first."""
        pieces, count = self.sentencepiece.pieces if self.sentencepiece else [], self.settings.get("extra_ids", 100)
        count = count if isinstance(count, int) else 100
        sentinels = {len(pieces) + i: f"<extra_id_{count - 1 - i}>" for i in range(count)}
        sentinels |= {pieces.index(text): text for text in self.special.named.values() if text in pieces}
        own = {i: AddedToken(text, special=True, normalized=False) for i, text in sentinels.items()}
        return own | self.special.added

    def _beside_pieces(self) -> dict[int, AddedToken]:
        """Added tokens that are not simply the unknown piece."""
        pieces = self.sentencepiece.pieces if self.sentencepiece else []
        unknown = self.special.named.get("unk_token", "<unk>")
        return {
            i: token
            for i, token in self.special.added.items()
            if token.content != unknown or pieces[i : i + 1] != [unknown]
        }

    def _word_piece(self) -> dict[str, bytes]:
        """``tokenizer.json`` of ``vocab.txt``; nothing without it."""
        if self.kind != "Bert" or not _is_there(self.folder / VOCABULARY):
            return {}
        settings = self.settings
        accents, chinese = settings.get("strip_accents"), settings.get("tokenize_chinese_chars", True)
        content = word_piece_json(
            self._vocab,
            {i: token for i, token in self.added.items() if i >= 0},
            self.special.named,
            lowercase=settings.get("do_lower_case", True) is not False,
            strip_accents=accents if isinstance(accents, bool) else None,
            chinese=chinese is not False,
        )
        return {TOKENIZER_FILES[0]: content}

    def _byte_level(self) -> dict[str, bytes]:
        """``tokenizer.json`` of ``vocab.json`` and ``merges.txt``; nothing without them."""
        vocab, merges = self.folder / "vocab.json", self.folder / "merges.txt"
        if not (_is_there(vocab) and _is_there(merges)):
            return {}
        if self.kind not in BYTE_LEVEL_CLASSES:
            _log.warning(
                "%s has vocab.json and merges.txt, but how %s cuts text is not known",
                self.folder,
                "a tokenizer without a stated class" if self.kind == ANY_CLASS else f"a {self.kind}Tokenizer",
            )
            return {}
        ids = read_json_object(vocab, LARGEST_TOKENIZER)
        if not all(type(token) is int and 0 <= token <= LARGEST_ID for token in ids.values()):
            raise damaged("vocab.json does not map tokens to ids")
        regular_file_size(merges)
        try:
            lines = merges.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise damaged(f"merges.txt is not UTF-8: {error}") from error
        prefix_space = self.settings.get("add_prefix_space") is True
        return {TOKENIZER_FILES[0]: byte_level_json(ids, lines, self.added, self.kind, prefix_space=prefix_space)}

    @cached_property
    def added(self) -> dict[int, AddedToken]:
        """Added tokens; with ``vocab.json``, special tokens that no file lists are added after all others."""
        added = dict(self.special.added)
        if self.tokenizer or self.sentencepiece is not None:
            return added
        there = {token.content for token in added.values()}
        size = self.config.get("vocab_size")
        for text in dict.fromkeys([*self.special.named.values(), *self.special.further]):
            ids = [token for token in self._vocab.values() if isinstance(token, int)]
            token_id = self._vocab.get(text, max([*ids, *added], default=-1) + 1)
            if text not in there and not (isinstance(size, int) and token_id >= size):
                added[token_id] = AddedToken(text, special=True, normalized=False)
        return added

    @property
    def special_ids(self) -> dict[str, int]:
        """Texts of added, control and user-defined tokens and their ids."""
        ids = {entry["content"]: entry["id"] for entry in self.tokenizer.get("added_tokens") or ()}
        if self.sentencepiece is not None:
            ids |= {token.content: i for i, token in self.sentencepiece.added().items()}
        ids |= {token.content: i for i, token in self.added.items()}
        named = {text: self.token_id(text) for text in self.special.named.values()}
        return ids | {text: token for text, token in named.items() if token is not None}

    @property
    def bos_token_id(self) -> int | None:
        added = self._added_start
        if added is not None:
            return self._within(added)
        # A null in tokenizer_config.json means "none", whatever config.json repeats from a template (Qwen).
        text = self.special.named.get("bos_token")
        if "bos_token" in self.special.stated and text is None:
            return None
        if text is not None:
            token = self.token_id(text)
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

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        stated = self.generation.get("eos_token_id", self.config.get("eos_token_id"))
        ids = list(ids_of(stated))
        text = self.special.named.get("eos_token")
        own = self.token_id(text) if text is not None else None
        if own is not None:
            ids.append(own)
        return tuple(dict.fromkeys(ids))

    @cached_property
    def _added_start(self) -> int | None:
        """Token that ``tokenizer.json`` puts before a text, whatever else says ``add_bos_token``."""
        return _template_start(self.tokenizer.get("post_processor"))

    @property
    def adds_bos(self) -> bool:
        """True if a text begins with the start token."""
        if self.tokenizer:
            return self._added_start is not None
        stated = self.settings.get("add_bos_token")
        if isinstance(stated, bool):
            return stated
        # A SentencePiece model alone, as the models' own publishers have it; transformers asks for a statement.
        return not self.settings and self.kind in _START_WITH_BOS

    @property
    def chat_template(self) -> str | None:
        file = self.folder / "chat_template.jinja"
        if _is_there(file):
            regular_file_size(file)
            try:
                return file.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise CheckpointError(
                    f"{file.name} is not UTF-8: {error}", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
                ) from error
        template = self.settings.get("chat_template")
        if template is None:
            template = _optional_json(self.folder / "chat_template.json").get("chat_template")
        if isinstance(template, list):
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default") or next(iter(named.values()), None)
        return template if isinstance(template, str) else None

    def token_id(self, text: str) -> int | None:
        """Id of a token given by its text; the files have it in several places."""
        own = next((token_id for token_id, token in self.added.items() if token.content == text), None)
        if own is not None:
            return own
        if self.sentencepiece is not None:
            return self.sentencepiece.pieces.index(text) if text in self.sentencepiece.pieces else None
        for entry in self.tokenizer.get("added_tokens") or ():
            if entry["content"] == text:
                return int(entry["id"])
        vocab = self.tokenizer["model"].get("vocab") if self.tokenizer else self._vocab
        found = vocab.get(text) if isinstance(vocab, dict) else None
        return found if isinstance(found, int) else None

    @cached_property
    def _vocab(self) -> dict[str, Any]:
        path = self.folder / "vocab.json"
        if self.kind != "Bert" or not _is_there(self.folder / VOCABULARY):
            return read_json_object(path, LARGEST_TOKENIZER) if _is_there(path) else {}
        path = self.folder / VOCABULARY
        if regular_file_size(path) > LARGEST_TOKENIZER:
            raise damaged(f"{VOCABULARY} is larger than any vocabulary")
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise damaged(f"{VOCABULARY} is not UTF-8: {error}") from error
        return {line: i for i, line in enumerate(lines[:-1] if not lines[-1] else lines)}


def _check_vocabulary(tokenizer: Mapping[str, Any]) -> None:
    """Check the parts of ``tokenizer.json`` that are read here, and without which nothing can read it.

    Raises:
        CheckpointError: one is missing or of another kind.
    """
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens") or []
    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = list(vocab.values()) if isinstance(vocab, dict) else []  # Unigram has a list of tokens and scores instead
    sound = isinstance(vocab, (dict, list)) and isinstance(added, list)
    for entry in added if sound else ():
        sound = sound and isinstance(entry, dict) and isinstance(entry.get("content"), str) and "id" in entry
        ids += [entry["id"]] if sound else []
    if not sound or not all(type(token) is int and 0 <= token <= LARGEST_ID for token in ids):
        raise CheckpointError(
            "tokenizer.json has no usable vocabulary", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
        )


def _is_there(path: Path) -> bool:
    """True if anything has the name: a pipe or a broken link is damage rather than absence."""
    return os.path.lexists(path)


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json_object(path) if _is_there(path) else {}


def _template_start(processor: object) -> int | None:
    """Token that a ``tokenizer.json`` post-processor puts before a single sequence; None for none."""
    if not isinstance(processor, dict):
        return None
    if processor.get("type") == "Sequence":
        parts = processor.get("processors")
        starts = map(_template_start, parts) if isinstance(parts, list) else ()
        return next((token for token in starts if token is not None), None)
    if processor.get("type") != "TemplateProcessing":
        return None
    try:
        first: Mapping[str, Any] = next(iter(processor.get("single") or ()), {})
        name = first.get("SpecialToken", {}).get("id")
        special = (processor.get("special_tokens") or {}).get(name) or {}
        return next(ids_of(list(special.get("ids") or ())), None)
    except (AttributeError, TypeError) as error:
        raise CheckpointError(
            "tokenizer.json has no usable post_processor", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
        ) from error
