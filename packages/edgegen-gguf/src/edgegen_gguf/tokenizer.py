"""A GGUF file's tokenizer as the files that everything else reads.

``tokenizer.ggml.model`` says which kind it is: ``gpt2`` is byte-level BPE and becomes a Hugging Face
``tokenizer.json``; ``llama`` is SentencePiece and becomes a ``tokenizer.model``. What the metadata leaves to
the program that reads it (how text is cut before merging, whether the start token is added) follows
llama.cpp's ``llama-vocab.cpp`` and the published tokenizers of the models in question.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf.constants import Keys, TokenType

from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError
from edgegen.weights import TokenizerAssets
from edgegen_gguf.header import Header

_log = logging.getLogger(__name__)

# --- how byte-level vocabularies cut text -------------------------------------------------------------------

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"

_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL

_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL
)


@dataclass(frozen=True, kw_only=True)
class PreTokenizer:
    """Pre-tokenizer of a byte-level BPE: how text is split into words before merging.

    Attributes:
        split: regular expression whose matches are the words; None for GPT-2's own.
        digits: every digit is a word of its own, cut out first.
        nfc: text is brought into Unicode's composed form first.
        whole_words: a word that is in the vocabulary is taken as it is, whatever the merges would make of it.
        add_bos: the start token is added unless the metadata says otherwise.
    """

    split: str | None = None
    digits: bool = False
    nfc: bool = False
    whole_words: bool = False
    add_bos: bool = False


_GPT2_LIKE = PreTokenizer()
_STARCODER_LIKE = PreTokenizer(digits=True)
_LLAMA3_LIKE = PreTokenizer(split=_LLAMA3, whole_words=True, add_bos=True)

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "default": _GPT2_LIKE,
    "gpt-2": _GPT2_LIKE,
    "phi-2": _GPT2_LIKE,
    "smollm": _STARCODER_LIKE,
    "starcoder": _STARCODER_LIKE,
    "refact": _STARCODER_LIKE,
    "llama-bpe": _LLAMA3_LIKE,
    "llama3": _LLAMA3_LIKE,
    "llama-v3": _LLAMA3_LIKE,
    "dbrx": PreTokenizer(split=_LLAMA3),
    "qwen2": PreTokenizer(split=_QWEN2, nfc=True),
    "gpt-4o": PreTokenizer(split=_GPT4O),
}
"""``tokenizer.ggml.pre`` -> rule."""

# --- from metadata to files ---------------------------------------------------------------------------------

_END_TOKENS = (Keys.Tokenizer.EOS_ID, Keys.Tokenizer.EOT_ID, Keys.Tokenizer.EOM_ID)
_NEVER_IN_TEXT = (TokenType.CONTROL, TokenType.UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class _Vocabulary:
    """The vocabulary, read and checked: ``types`` and ``scores`` are as long as ``tokens``."""

    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float]
    special: Mapping[str, int]

    def of_type(self, *types: TokenType) -> Iterable[str]:
        return (token for token, kind in zip(self.tokens, self.types, strict=True) if kind in types)


def read_tokenizer(header: Header) -> TokenizerAssets | None:
    """The tokenizer that a GGUF file carries; None where it has no vocabulary.

    Raises:
        CheckpointError: vocabulary, merges or token ids contradict each other.
        UnsupportedError: a kind of tokenizer, or a rule for cutting text, that this version does not know.
    """
    kind = header.metadata.get(Keys.Tokenizer.MODEL)
    if kind is None or kind in ("none", "no_vocab"):
        return None
    if kind == "gpt2":
        rule = _pre_tokenizer(header)
        add_bos = _add_bos(header, rule.add_bos)
        vocabulary = _vocabulary(header)
        files = {"tokenizer.json": _byte_level_json(header, vocabulary, rule, add_bos)}
    elif kind == "llama":
        add_bos = _add_bos(header, True)
        vocabulary = _vocabulary(header, defaults={Keys.Tokenizer.BOS_ID: 1, Keys.Tokenizer.EOS_ID: 2})
        files = {"tokenizer.model": _sentencepiece_model(header, vocabulary)}
    else:
        raise UnsupportedError(
            f"{header.path.name} has a tokenizer of kind {kind!r}, which cannot be rebuilt",
            code=ErrorCode.UNSUPPORTED_TOKENIZER,
            details=("known: gpt2 (byte-level BPE), llama (SentencePiece)",),
            hint="use a checkpoint of the same model that comes with a tokenizer.json or tokenizer.model",
        )
    bos = vocabulary.special.get(Keys.Tokenizer.BOS_ID)
    template = header.metadata.get(Keys.Tokenizer.CHAT_TEMPLATE)
    return TokenizerAssets(
        files=files,
        bos_token_id=bos,
        eos_token_ids=tuple(dict.fromkeys(vocabulary.special[key] for key in _END_TOKENS if key in vocabulary.special)),
        add_bos=add_bos and bos is not None,
        chat_template=template if isinstance(template, str) else None,
        special_tokens=_special_tokens(header, vocabulary),
        special_ids={
            token: index
            for index, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
            if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)
        },
    )


_TEMPLATE_NAMES = {
    Keys.Tokenizer.BOS_ID: "bos_token",
    Keys.Tokenizer.EOS_ID: "eos_token",
    Keys.Tokenizer.UNK_ID: "unk_token",
    Keys.Tokenizer.SEP_ID: "sep_token",
    Keys.Tokenizer.PAD_ID: "pad_token",
    Keys.Tokenizer.MASK_ID: "mask_token",
}


def _special_tokens(header: Header, vocabulary: _Vocabulary) -> dict[str, str]:
    """A chat template's names of tokens and their texts, as far as the file states them."""
    ids = {key: vocabulary.special.get(key, header.metadata.get(key)) for key in _TEMPLATE_NAMES}
    count = len(vocabulary.tokens)
    return {
        _TEMPLATE_NAMES[key]: vocabulary.tokens[index]
        for key, index in ids.items()
        if isinstance(index, int) and 0 <= index < count
    }


def _pre_tokenizer(header: Header) -> PreTokenizer:
    name = header.metadata.get(Keys.Tokenizer.PRE)
    if name is None:
        # Files older than April 2024 do not say. llama.cpp warns and goes on; so does this.
        _log.warning("%s does not say how its tokenizer cuts text; using GPT-2's rule", header.path.name)
        name = "default"
    if not isinstance(name, str) or name not in PRE_TOKENIZERS:
        raise UnsupportedError(
            f"{header.path.name} cuts text by the rule {name!r}, which edgegen-gguf does not know",
            code=ErrorCode.UNSUPPORTED_TOKENIZER,
            details=(f"known: {', '.join(sorted(PRE_TOKENIZERS))}",),
            hint="use a checkpoint of the same model that comes with a tokenizer.json",
        )
    return PRE_TOKENIZERS[name]


def _add_bos(header: Header, default: bool) -> bool:
    stated = header.metadata.get(Keys.Tokenizer.ADD_BOS)
    return stated if isinstance(stated, bool) else default


def _vocabulary(header: Header, defaults: Mapping[str, int] | None = None) -> _Vocabulary:
    tokens = header.strings(Keys.Tokenizer.LIST)
    if not tokens:
        raise _damaged(header, "it has no tokens")
    if len(set(tokens)) < len(tokens):
        raise _damaged(header, "two tokens have one text")
    return _Vocabulary(
        tokens=tokens,
        types=_per_token(header, Keys.Tokenizer.TOKEN_TYPE, len(tokens), TokenType.NORMAL),
        scores=_per_token(header, Keys.Tokenizer.SCORES, len(tokens), 0.0),
        special=_special_ids(header, len(tokens), defaults or {}),
    )


def _per_token(header: Header, key: str, count: int, default: Any) -> list[Any]:
    values = header.numbers(key)
    if values is None:
        return [default] * count
    if len(values) < count:
        raise _damaged(header, f"{key} has {len(values)} values for {count} tokens")
    return list(values[:count].tolist())


def _special_ids(header: Header, count: int, defaults: Mapping[str, int]) -> dict[str, int]:
    stated = {key: header.metadata.get(key, defaults.get(key)) for key in (Keys.Tokenizer.BOS_ID, *_END_TOKENS)}
    ids = {key: value for key, value in stated.items() if value is not None}
    for key, value in ids.items():
        if not isinstance(value, int) or not 0 <= value < count:
            raise _damaged(header, f"{key} is {value}, but there are {count} tokens")
    return ids


def _damaged(header: Header, what: str) -> CheckpointError:
    return CheckpointError(
        f"the tokenizer in {header.path.name} is unusable: {what}",
        code=ErrorCode.TOKENIZER_DAMAGED,
        hint="download the file again, or convert the model again with a current llama.cpp",
    )


# --- byte-level BPE -----------------------------------------------------------------------------------------


def _byte_level_json(header: Header, vocabulary: _Vocabulary, rule: PreTokenizer, add_bos: bool) -> bytes:
    """``tokenizer.json``, written out rather than built through the library: the format is public and stable,
    and a token may hold characters that the library's template strings give a meaning."""
    from tokenizers import Tokenizer

    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    content = json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added(ids[token], token, special=True) for token in vocabulary.of_type(*_NEVER_IN_TEXT)]
            + [_added(ids[token], token, special=False) for token in vocabulary.of_type(TokenType.USER_DEFINED)],
            "normalizer": {"type": "NFC"} if rule.nfc else None,
            "pre_tokenizer": _cutter(rule),
            "post_processor": _bos_template(vocabulary) if add_bos else None,
            "decoder": _byte_level(use_regex=True),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": rule.whole_words,
                "vocab": ids,
                "merges": _merges(header, ids),
            },
        },
        ensure_ascii=False,
    )
    try:
        Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exceptions
        raise _damaged(header, str(error)) from error
    return content.encode("utf-8")


def _added(index: int, token: str, *, special: bool) -> dict[str, Any]:
    """A token that is found in the text before anything else looks at it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": token, **flags, "special": special}


def _cutter(rule: PreTokenizer) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    if rule.digits:
        steps.append({"type": "Digits", "individual_digits": True})
    if rule.split:
        steps.append({"type": "Split", "pattern": {"Regex": rule.split}, "behavior": "Isolated", "invert": False})
    return {"type": "Sequence", "pretokenizers": [*steps, _byte_level(use_regex=rule.split is None)]}


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    """Bytes as printable characters; ``use_regex`` cuts by GPT-2's rule on the way."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _bos_template(vocabulary: _Vocabulary) -> dict[str, Any] | None:
    bos = vocabulary.special.get(Keys.Tokenizer.BOS_ID)
    if bos is None:
        return None
    token = vocabulary.tokens[bos]

    def sequence(name: str, type_id: int) -> list[dict[str, Any]]:
        return [
            {"SpecialToken": {"id": token, "type_id": type_id}},
            {"Sequence": {"id": name, "type_id": type_id}},
        ]

    return {
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": [*sequence("A", 0), *sequence("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [bos], "tokens": [token]}},
    }


def _merges(header: Header, ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of tokens, best first; each pair and what it makes are in the vocabulary."""
    lines = header.strings(Keys.Tokenizer.MERGES)
    if lines is None:
        raise _damaged(header, "it has no merges")
    merges = []
    for line in lines:
        at = line.find(" ", 1)  # a token may itself begin with a space
        left, right = line[:at], line[at + 1 :]
        if at < 0 or left not in ids or right not in ids or left + right not in ids:
            raise _damaged(header, f"the merge {line!r} is not made of tokens")
        merges.append((left, right))
    return merges


# --- SentencePiece ------------------------------------------------------------------------------------------


def _sentencepiece_model(header: Header, vocabulary: _Vocabulary) -> bytes:
    """``tokenizer.model``: the vocabulary as a SentencePiece model that changes nothing in the text.

    llama.cpp numbers token types as SentencePiece does. It merges by score, which is SentencePiece's BPE.
    """
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2  # protobuf makes its classes when it is imported, unseen by type checkers
    unfit = set(vocabulary.types) - set(TokenType)
    if unfit:
        raise _damaged(header, f"tokens of unknown type {min(unfit)}")
    unknown = _unknown_id(header, vocabulary)
    types = list(vocabulary.types)
    types[unknown] = TokenType.UNKNOWN
    model = proto.ModelProto()
    for token, kind, score in zip(vocabulary.tokens, types, vocabulary.scores, strict=True):
        # Converters write user-defined pieces as plain text; SentencePiece knows spaces as U+2581 only.
        piece = token.replace(" ", "\u2581") if kind == TokenType.USER_DEFINED else token
        model.pieces.add(piece=piece, score=score, type=kind)
    metadata = header.metadata
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = metadata.get(Keys.Tokenizer.ADD_PREFIX, True) is not False
    normalizer.remove_extra_whitespaces = metadata.get(Keys.Tokenizer.REMOVE_EXTRA_WS, False) is True
    normalizer.escape_whitespaces = True
    trainer = model.trainer_spec
    trainer.model_type = proto.TrainerSpec.BPE
    trainer.vocab_size = len(vocabulary.tokens)
    trainer.byte_fallback = TokenType.BYTE in vocabulary.types
    trainer.unk_piece, trainer.unk_id = vocabulary.tokens[unknown], unknown
    for name, key in (("bos", Keys.Tokenizer.BOS_ID), ("eos", Keys.Tokenizer.EOS_ID)):
        index = vocabulary.special.get(key, -1)
        setattr(trainer, f"{name}_id", index)
        if index >= 0:
            setattr(trainer, f"{name}_piece", vocabulary.tokens[index])
    content: bytes = model.SerializeToString(deterministic=True)
    try:
        sentencepiece.SentencePieceProcessor(model_proto=content)
    except (RuntimeError, ValueError, OSError) as error:
        raise _damaged(header, str(error)) from error
    return content


def _unknown_id(header: Header, vocabulary: _Vocabulary) -> int:
    """The unknown token: the one of that type or, where converters wrote it as a control token, the id stated."""
    of_type = next(iter(vocabulary.of_type(TokenType.UNKNOWN)), None)
    if of_type is not None:
        return vocabulary.tokens.index(of_type)
    stated = header.metadata.get(Keys.Tokenizer.UNK_ID)
    if not isinstance(stated, int) or not 0 <= stated < len(vocabulary.tokens):
        raise _damaged(header, "no token is marked as the unknown one")
    return stated
