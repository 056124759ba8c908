"""``tokenizer.json`` made of other files: vocabularies, merges, the rules of a class, added tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.files import DOWNLOAD_AGAIN, LARGEST_TOKENIZER, read_json_object, regular_file_size
from edgegen_huggingface.special_tokens import LARGEST_ID, AddedToken
from edgegen_huggingface.tokenizer_classes import ClassRules

BYTE_LEVEL_CLASSES = ("GPT2", "Qwen2")
"""Classes of tokenizers whose vocabulary is in ``vocab.json`` and ``merges.txt``."""

VOCAB_TXT_CLASS = "Bert"
"""Class of tokenizers whose vocabulary is in ``vocab.txt``."""


def byte_level_model(folder: Path) -> dict[str, Any]:
    """Vocabulary and merges of ``vocab.json`` and ``merges.txt``.

    Raises:
        CheckpointError: they are damaged.
    """
    vocab = read_json_object(folder / "vocab.json", LARGEST_TOKENIZER)
    if not all(type(token) is int and 0 <= token <= LARGEST_ID for token in vocab.values()):
        raise damaged("vocab.json does not map tokens to ids")
    pairs = []
    for line in _read_text(folder / "merges.txt").split("\n"):
        pair = line.rstrip("\r").split(" ")
        if line.startswith("#version") or pair == [""]:
            continue
        if len(pair) != 2:
            raise damaged(f"merges.txt has a line that is no pair: {line!r}")
        pairs.append((pair[0], pair[1]))
    return {"vocab": vocab, "merges": pairs}


def word_piece_model(folder: Path) -> dict[str, Any]:
    """Vocabulary of ``vocab.txt``: a token a line.

    Raises:
        CheckpointError: it is damaged.
    """
    lines = _read_text(folder / "vocab.txt").split("\n")
    if lines[-1] == "":
        del lines[-1]
    return {"vocab": {line.rstrip(): index for index, line in enumerate(lines)}}


def with_rules(document: Mapping[str, Any], rules: ClassRules) -> dict[str, Any]:
    """A ``tokenizer.json`` whose texts are cut by the rules of a class; vocabulary and merges stay."""
    model = document["model"]
    return {
        **document,
        "model": {**rules.model, **{key: model[key] for key in ("vocab", "merges") if key in model}},
        "normalizer": rules.normalizer,
        "pre_tokenizer": rules.pre_tokenizer,
        "decoder": rules.decoder,
    }


def same_parts(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True if two documents treat texts the same, as far as it does not depend on their vocabulary.

    Raises:
        CheckpointError: the library cannot read one of them.
    """
    return _canonical(one) == _canonical(other)


def _canonical(document: Mapping[str, Any]) -> str:
    """The parts as the library writes them, with all that files may leave out."""
    model = dict(document["model"])
    if isinstance(model.get("vocab"), dict):
        unknown = model.get("unk_token")
        model["vocab"] = {} if unknown is None else {unknown: 0}
        model |= {"merges": []} if "merges" in model else {}
    parts = ("normalizer", "pre_tokenizer", "decoder", "post_processor")
    bare: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "model": model,
        **{part: document.get(part) for part in parts},
    }
    # How offsets are trimmed has no part in ids, nor has a decoder's prefix space.
    return str(_parsed(json.dumps(bare)).to_str()).replace('"trim_offsets":false', '"trim_offsets":true')


def numbered(
    document: Mapping[str, Any], stated: Mapping[int, AddedToken], further: Iterable[AddedToken], limit: int | None
) -> dict[int, AddedToken]:
    """Added tokens with their ids, as the library numbers those without: in the vocabulary, or after all others.

    Args:
        document: ``tokenizer.json``.
        stated: id -> token.
        further: tokens without a stated id.
        limit: number of ids that the model knows; tokens that would be beyond it are left out, as no text may hold
            them.
    """
    vocab = _ids(document)
    added = dict(stated)
    for token in further:
        following = max([len(vocab), *(i + 1 for i in added)])
        token_id = vocab.get(token.content, following)
        if limit is None or token_id < limit:
            added[token_id] = token
    return added


def finished(document: Mapping[str, Any], added: Mapping[int, AddedToken], *, ours: bool) -> bytes:
    """A ``tokenizer.json`` with its added tokens, as a file that the library reads.

    Args:
        document: all else.
        added: id -> token.
        ours: the vocabulary is made here, and may be given tokens whose ids leave a gap after it.

    Raises:
        CheckpointError: the parts contradict each other.
    """
    vocab = document["model"]["vocab"]
    if ours and isinstance(vocab, dict):
        # The library numbers tokens in a row, so ids that are far apart have to be in the vocabulary.
        taken, size = set(vocab.values()), len(vocab)
        outside = sorted(i for i in added if i not in taken)
        if any(i not in taken for i in range(size)) or outside != list(range(size, size + len(outside))):
            more = {added[i].content: i for i in outside}
            document = {**document, "model": {**document["model"], "vocab": vocab | more}}
    entries = [added[i].as_json(i) for i in sorted(added)]
    whole = {"version": "1.0", "truncation": None, "padding": None, **document, "added_tokens": entries}
    content = json.dumps(whole)
    tokenizer = _parsed(content)
    for token_id, token in added.items():
        if tokenizer.token_to_id(token.content) != token_id:
            raise damaged(f"the added token {token.content!r} cannot have the id {token_id:,}")
    return content.encode("utf-8")


def _parsed(content: str) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exceptions
        raise damaged(str(error)) from error


def _ids(document: Mapping[str, Any]) -> Mapping[str, int]:
    vocab = document["model"]["vocab"]
    if isinstance(vocab, dict):
        return vocab
    return {row[0]: index for index, row in enumerate(vocab)}


def _read_text(path: Path) -> str:
    regular_file_size(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(f"{path.name} is not UTF-8: {error}") from error


def damaged(what: str) -> CheckpointError:
    """The error for tokenizer files that cannot be used."""
    return CheckpointError(
        f"the tokenizer's files are unusable: {what}", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
    )
