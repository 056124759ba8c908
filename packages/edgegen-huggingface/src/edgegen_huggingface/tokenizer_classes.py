"""Rules of tokenizer classes: what each of them puts around a vocabulary, whatever ``tokenizer.json`` says.

A class of ``transformers`` takes vocabulary and merges out of a ``tokenizer.json``, and cuts texts by rules of its own.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class ClassRules:
    """Parts of a ``tokenizer.json`` that a class settles.

    Attributes:
        model: settings of the model, without its vocabulary.
        normalizer: what is done to a text first.
        pre_tokenizer: how it is cut.
        decoder: how tokens become text.
        around: names of the tokens before and after a text; None where the file or ``add_bos_token`` says.
        end: how ``around`` writes the last of them, if not by its own text.
    """

    model: Json
    normalizer: Json | None = None
    pre_tokenizer: Json | None = None
    decoder: Json | None = None
    around: tuple[str | None, str] | None = None
    end: str | None = None


def class_rules(
    kind: str, settings: Mapping[str, Any], named: Mapping[str, str], charsmap: bytes | None
) -> ClassRules | None:
    """Rules of a class; None where it has none, and ``tokenizer.json`` counts.

    Args:
        kind: from :func:`edgegen_huggingface.special_tokens.tokenizer_class`.
        settings: ``tokenizer_config.json``.
        named: names of tokens and their texts.
        charsmap: SentencePiece's table of normalization.
    """
    make = _RULES.get(kind)
    return None if make is None else make(settings, named, charsmap)


def bpe(**settings: Any) -> dict[str, Any]:
    """Settings of a BPE model, without its vocabulary."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **settings,
    }


def metaspace(scheme: str, *, split: bool) -> dict[str, Any]:
    """A space before words, written as U+2581."""
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def replaced(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    """A replacement of ``{"String": ...}`` or ``{"Regex": ...}``."""
    return {"type": "Replace", "pattern": dict(pattern), "content": content}


def sequence(key: str, steps: list[Json]) -> dict[str, Any]:
    """Steps one after the other; ``key`` is what the list is called."""
    return {"type": "Sequence", key: steps}


def precompiled(charsmap: bytes) -> dict[str, Any]:
    """SentencePiece's normalization by a table."""
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}


def template(before: tuple[tuple[str, int], ...], after: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    """Post-processor that puts tokens (text and id) before and after each text."""

    def around(name: str, type_id: int) -> list[Json]:
        texts = [{"SpecialToken": {"id": text, "type_id": type_id}} for text, _ in before]
        ends = [{"SpecialToken": {"id": text, "type_id": type_id}} for text, _ in after]
        return [*texts, {"Sequence": {"id": name, "type_id": type_id}}, *ends]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [i], "tokens": [text]} for text, i in (*before, *after)},
    }


def _llama(settings: Mapping[str, Any], named: Mapping[str, str], charsmap: bytes | None) -> ClassRules:
    prefix = settings.get("add_prefix_space") is not False
    scheme = ("always" if settings.get("legacy", False) else "first") if prefix else "never"
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return ClassRules(
        model=bpe(fuse_unk=True, byte_fallback=True),
        pre_tokenizer=metaspace(scheme, split=False),
        decoder=sequence("decoders", [*_PIECES, *strip]),
    )


def _gemma(settings: Mapping[str, Any], named: Mapping[str, str], charsmap: bytes | None) -> ClassRules:
    space = {"String": " "}
    return ClassRules(
        model=bpe(unk_token=named.get("unk_token"), fuse_unk=True, byte_fallback=True),
        normalizer=replaced(space, "▁"),
        pre_tokenizer={"type": "Split", "pattern": space, "behavior": "MergedWithPrevious", "invert": False},
        decoder=sequence("decoders", list(_PIECES)),
    )


def _t5(settings: Mapping[str, Any], named: Mapping[str, str], charsmap: bytes | None) -> ClassRules:
    return ClassRules(
        model={"type": "Unigram", "unk_id": 2, "byte_fallback": False},
        normalizer=None if charsmap is None else precompiled(charsmap),
        pre_tokenizer=sequence("pretokenizers", [{"type": "WhitespaceSplit"}, metaspace("always", split=True)]),
        decoder=metaspace("always", split=True),
        around=(None, "eos_token"),
        end="</s>",
    )


def _bert(settings: Mapping[str, Any], named: Mapping[str, str], charsmap: bytes | None) -> ClassRules:
    return ClassRules(
        model={
            "type": "WordPiece",
            "unk_token": named.get("unk_token", "[UNK]"),
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": settings.get("tokenize_chinese_chars", True) is not False,
            "strip_accents": settings.get("strip_accents"),
            "lowercase": settings.get("do_lower_case", True) is not False,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        around=("cls_token", "sep_token"),
    )


def _gpt2(settings: Mapping[str, Any], named: Mapping[str, str], charsmap: bytes | None) -> ClassRules:
    return ClassRules(
        model=bpe(continuing_subword_prefix="", end_of_word_suffix=""),
        pre_tokenizer=_byte_level(settings, use_regex=True),
        decoder=_BYTES,
    )


def _qwen2(settings: Mapping[str, Any], named: Mapping[str, str], charsmap: bytes | None) -> ClassRules:
    split = {"type": "Split", "pattern": {"Regex": _QWEN2}, "behavior": "Isolated", "invert": False}
    return ClassRules(
        model=bpe(continuing_subword_prefix="", end_of_word_suffix=""),
        normalizer={"type": "NFC"},
        pre_tokenizer=sequence("pretokenizers", [split, _byte_level(settings, use_regex=False)]),
        decoder=_BYTES,
    )


def _byte_level(settings: Mapping[str, Any], *, use_regex: bool) -> dict[str, Any]:
    prefix_space = settings.get("add_prefix_space") is True
    return {"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": True, "use_regex": use_regex}


_PIECES = (replaced({"String": "▁"}, " "), {"type": "ByteFallback"}, {"type": "Fuse"})
_BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}

_RULES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, str], bytes | None], ClassRules]] = {
    "Llama": _llama,
    "Gemma": _gemma,
    "T5": _t5,
    "Bert": _bert,
    "GPT2": _gpt2,
    "Qwen2": _qwen2,
}
