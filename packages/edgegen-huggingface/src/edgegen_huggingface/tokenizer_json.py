"""``tokenizer.json`` built of older files: SentencePiece models, ``vocab.json`` with ``merges.txt``, added tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.files import DOWNLOAD_AGAIN
from edgegen_huggingface.special_tokens import AddedToken

_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_BPE = 2

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_LEVEL_CLASSES = ("GPT2", "Qwen2")
"""Classes of tokenizers whose rule for cutting text is known, so that ``vocab.json`` and ``merges.txt`` are enough."""


class SentencePieceModel:
    """A SentencePiece model's pieces and settings.

    Args:
        content: the file.
        name: its name, for messages.

    Raises:
        CheckpointError: it is no such file.
    """

    def __init__(self, content: bytes, name: str) -> None:
        from sentencepiece import sentencepiece_model_pb2

        model_pb2: Any = sentencepiece_model_pb2  # protobuf makes its classes when it is imported
        self._proto = model_pb2.ModelProto()
        try:
            self._proto.ParseFromString(content)
        except Exception as error:  # protobuf's own, which has no types
            raise damaged(f"{name} is not a SentencePiece model") from error
        self.pieces: list[str] = [piece.piece for piece in self._proto.pieces]
        self.types: list[int] = [piece.type for piece in self._proto.pieces]

    @property
    def is_bpe(self) -> bool:
        """True if its pieces are made by merging."""
        return int(self._proto.trainer_spec.model_type) == _BPE

    @property
    def has_dummy_prefix(self) -> bool:
        """True if it puts a space before a text."""
        return bool(self._proto.normalizer_spec.add_dummy_prefix)

    @property
    def special_tokens(self) -> dict[str, str]:
        """Its start, end and unknown piece, by the names that chat templates have for them."""
        spec = self._proto.trainer_spec
        stated = (
            ("bos_token", spec.bos_id, spec.bos_piece),
            ("eos_token", spec.eos_id, spec.eos_piece),
            ("unk_token", spec.unk_id, spec.unk_piece),
        )
        return {name: piece for name, index, piece in stated if index >= 0}

    def added(self) -> dict[int, AddedToken]:
        """Its control and user-defined pieces."""
        return {
            index: AddedToken(piece, special=kind == _CONTROL, normalized=False)
            for index, (piece, kind) in enumerate(zip(self.pieces, self.types, strict=True))
            if kind in (_CONTROL, _USER_DEFINED)
        }

    def finds(self, token_id: int, token: AddedToken) -> bool:
        """True if the model by itself finds an added token in a text, under that id."""
        return token_id < len(self.pieces) and self.added().get(token_id) == AddedToken(
            token.content, special=token.special, normalized=False
        )

    def tokenizer_json(self, added: Mapping[int, AddedToken], *, legacy: bool) -> bytes:
        """``tokenizer.json`` of a BPE or unigram model that splits texts into the same ids.

        Args:
            added: id -> token, beside the model's own.
            legacy: the space goes before each part of a text between added tokens, and not only before the first.

        Raises:
            CheckpointError: the pieces contradict each other.
        """
        spec, trainer = self._proto.normalizer_spec, self._proto.trainer_spec
        names = list(self.pieces)
        for token_id, token in added.items():
            if token_id < len(names) and token.content not in names:
                names[token_id] = token.content  # a placeholder that was given a meaning
        tokens = {i: token for i, token in self.added().items() if names[i] == self.pieces[i]} | dict(added)
        normalizers: list[dict[str, Any]] = []
        if spec.precompiled_charsmap:
            charsmap = base64.b64encode(spec.precompiled_charsmap).decode()
            normalizers.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
        if spec.remove_extra_whitespaces:
            normalizers += [_replace({"Regex": r"\A +| +\z"}, ""), _replace({"Regex": " {2,}"}, " ")]
        if spec.escape_whitespaces:
            normalizers.append(_replace({"String": " "}, "▁"))
        if self.has_dummy_prefix and legacy:
            # Metaspace leaves out the space where the text begins with one, SentencePiece does not.
            normalizers.append(_replace({"Regex": r"\A▁"}, "▁▁"))
        metaspace = {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "always" if legacy else "first",
            "split": False,
        }
        decoders = [_replace({"String": "▁"}, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
        if self.has_dummy_prefix:
            decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if trainer.byte_fallback else names[trainer.unk_id],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": bool(trainer.byte_fallback),
            "ignore_merges": False,
            "vocab": {name: index for index, name in enumerate(names)},
            "merges": self._merges(),
        }
        return _document(
            model if self.is_bpe else self._unigram(names),
            tokens,
            normalizer={"type": "Sequence", "normalizers": normalizers} if normalizers else None,
            pre_tokenizer=metaspace if self.has_dummy_prefix else None,
            decoder={"type": "Sequence", "decoders": decoders},
        )

    def t5_json(self, added: Mapping[int, AddedToken]) -> bytes:
        """``tokenizer.json`` of a unigram model as T5's class uses it: words are split at any white space, and a text
        ends with the end token.

        Args:
            added: id -> token, beside the model's own; those that follow the pieces are its ``<extra_id_*>``.

        Raises:
            CheckpointError: the pieces contradict each other.
        """
        charsmap = self._proto.normalizer_spec.precompiled_charsmap
        normalizer = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
        metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        eos = int(self._proto.trainer_spec.eos_id)
        end = {"id": "</s>", "ids": [eos], "tokens": [self.pieces[eos]]}
        template = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
        return _document(
            self._unigram([*self.pieces, *(added[i].content for i in sorted(added) if i >= len(self.pieces))]),
            self.added() | dict(added),
            normalizer=normalizer if charsmap else None,
            pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
            post_processor={
                "type": "TemplateProcessing",
                "single": template,
                "pair": [*template, {"Sequence": {"id": "B", "type_id": 0}}, template[1]],
                "special_tokens": {"</s>": end},
            },
            decoder=metaspace,
        )

    def _unigram(self, names: Sequence[str]) -> dict[str, Any]:
        """The model; names beyond its pieces are as likely as can be, since they are cut out beforehand."""
        scores = [float(piece.score) for piece in self._proto.pieces]
        scores += [0.0] * (len(names) - len(scores))
        return {
            "type": "Unigram",
            "unk_id": int(self._proto.trainer_spec.unk_id),
            "byte_fallback": bool(self._proto.trainer_spec.byte_fallback),
            "vocab": [list(pair) for pair in zip(names, scores, strict=True)],
        }

    def _merges(self) -> list[tuple[str, str]]:
        """Pairs of pieces, best first: by the score of what they make."""
        normal = {p.piece: (-p.score, i) for i, p in enumerate(self._proto.pieces) if p.type == _NORMAL}
        ranked = [
            (*rank, piece[:cut], piece[cut:])
            for piece, rank in normal.items()
            for cut in range(1, len(piece))
            if piece[:cut] in normal and piece[cut:] in normal
        ]
        return [(left, right) for *_, left, right in sorted(ranked)]


def byte_level_json(
    vocab: Mapping[str, Any], merges: str, added: Mapping[int, AddedToken], kind: str, *, prefix_space: bool
) -> bytes:
    """``tokenizer.json`` of ``vocab.json`` and ``merges.txt``.

    Args:
        vocab: token -> id.
        merges: contents of ``merges.txt``.
        added: id -> token.
        kind: one of :data:`BYTE_LEVEL_CLASSES`.
        prefix_space: a text gets a space before it.

    Raises:
        CheckpointError: vocabulary and merges contradict each other.
    """
    pairs = []
    for line in merges.split("\n"):
        pair = line.rstrip("\r").split(" ")
        if line.startswith("#version") or pair == [""]:
            continue
        if len(pair) != 2:
            raise damaged(f"merges.txt has a line that is no pair: {line!r}")
        pairs.append((pair[0], pair[1]))
    byte_level = {"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": True, "use_regex": True}
    pre_tokenizer: dict[str, Any] = byte_level
    if kind == "Qwen2":
        split = {"type": "Split", "pattern": {"Regex": _QWEN2}, "behavior": "Isolated", "invert": False}
        pre_tokenizer = {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": dict(vocab),
        "merges": pairs,
    }
    return _document(
        model,
        added,
        normalizer={"type": "NFC"} if kind == "Qwen2" else None,
        pre_tokenizer=pre_tokenizer,
        decoder={**byte_level, "add_prefix_space": True},
    )


def word_piece_json(
    vocab: Mapping[str, int],
    added: Mapping[int, AddedToken],
    named: Mapping[str, str],
    *,
    lowercase: bool,
    strip_accents: bool | None,
    chinese: bool,
) -> bytes:
    """``tokenizer.json`` of BERT's ``vocab.txt``.

    Args:
        vocab: token -> id.
        added: id -> token.
        named: ``cls_token``, ``sep_token`` and ``unk_token`` among others.
        lowercase: letters are made small.
        strip_accents: accents are left out; None for as ``lowercase`` says.
        chinese: each Chinese character is a word.

    Raises:
        CheckpointError: the vocabulary lacks one of those tokens.
    """
    ids = {token.content: i for i, token in added.items()} | dict(vocab)
    lacking = [named[name] for name in ("cls_token", "sep_token", "unk_token") if named[name] not in ids]
    if lacking:
        raise damaged(f"vocab.txt has no {', '.join(lacking)}")
    cls, sep = ({"SpecialToken": {"id": named[name], "type_id": 0}} for name in ("cls_token", "sep_token"))
    first, second = ({"Sequence": {"id": name, "type_id": place}} for place, name in enumerate("AB"))
    model = {
        "type": "WordPiece",
        "unk_token": named["unk_token"],
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": dict(vocab),
    }
    return _document(
        model,
        added,
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": chinese,
            "strip_accents": strip_accents,
            "lowercase": lowercase,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor={
            "type": "TemplateProcessing",
            "single": [cls, first, sep],
            "pair": [cls, first, sep, second, {"SpecialToken": {"id": named["sep_token"], "type_id": 1}}],
            "special_tokens": {
                text: {"id": text, "ids": [ids[text]], "tokens": [text]}
                for text in (named["cls_token"], named["sep_token"])
            },
        },
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )


def with_added(document: Mapping[str, Any], added: Mapping[int, AddedToken]) -> bytes | None:
    """A ``tokenizer.json`` with added tokens that other files state; None where it has them all.

    Raises:
        CheckpointError: they contradict it.
    """
    there = {entry["id"] for entry in document.get("added_tokens") or ()}
    missing = {token_id: token for token_id, token in added.items() if token_id not in there}
    if not missing:
        return None
    entries = [*(document.get("added_tokens") or ()), *(token.as_json(i) for i, token in missing.items())]
    entries.sort(key=lambda entry: int(entry["id"]))
    return _checked({**document, "added_tokens": entries}, missing)


def damaged(what: str) -> CheckpointError:
    """The error for tokenizer files that cannot be used."""
    return CheckpointError(
        f"the tokenizer's files are unusable: {what}", code=ErrorCode.TOKENIZER_DAMAGED, hint=DOWNLOAD_AGAIN
    )


def _document(model: dict[str, Any], added: Mapping[int, AddedToken], **parts: Any) -> bytes:
    vocab = model["vocab"]
    taken = set(vocab.values()) if isinstance(vocab, dict) else set(range(len(vocab)))
    # The library numbers tokens in a row, so ids that are far apart have to be in the vocabulary.
    size = len(vocab)
    if isinstance(vocab, list):
        following = sorted(i for i in added if i >= size)
        if following != list(range(size, size + len(following))):
            raise damaged("added tokens do not follow the pieces of the model in a row")
    elif any(i not in taken for i in range(size)) or sorted(i for i in added if i not in taken) != list(
        range(size, size + sum(i not in taken for i in added))
    ):
        vocab |= {token.content: i for i, token in added.items() if i not in taken}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added[i].as_json(i) for i in sorted(added)],
        "post_processor": None,
        "model": model,
        **parts,
    }
    return _checked(document, added)


def _checked(document: Mapping[str, Any], added: Mapping[int, AddedToken]) -> bytes:
    """The document as a file, if the library reads it and gives the tokens their ids."""
    from tokenizers import Tokenizer

    content = json.dumps(document)
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exceptions
        raise damaged(str(error)) from error
    for token_id, token in added.items():
        if tokenizer.token_to_id(token.content) != token_id:
            raise damaged(f"the added token {token.content!r} cannot have the id {token_id:,}")
    return content.encode("utf-8")


def _replace(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": dict(pattern), "content": content}
