"""SentencePiece models: their pieces and settings, and the ``tokenizer.json`` that cuts texts into the same ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgegen.errors import CheckpointError
from edgegen_huggingface.special_tokens import AddedToken
from edgegen_huggingface.tokenizer_classes import ClassRules, bpe, metaspace, precompiled, replaced, sequence
from edgegen_huggingface.tokenizer_json import damaged

_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_UNIGRAM, _BPE = 1, 2


_TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")


def is_sentencepiece(content: bytes) -> bool:
    """True if a file is a SentencePiece model."""
    try:
        SentencePieceModel(content, "")
    except CheckpointError:
        return False
    return True


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
            sound = bool(self._proto.pieces)
        except Exception:  # protobuf's own, which has no types
            sound = False
        if not sound:
            what = "a vocabulary of tiktoken" if _TIKTOKEN.match(content) else "not a SentencePiece model"
            raise damaged(f"{name} is {what}; a tokenizer.json beside it would do")
        self.pieces: list[str] = [piece.piece for piece in self._proto.pieces]
        self.types: list[int] = [piece.type for piece in self._proto.pieces]
        self.type = {_UNIGRAM: "Unigram", _BPE: "BPE"}.get(int(self._proto.trainer_spec.model_type))

    @property
    def has_dummy_prefix(self) -> bool:
        """True if it puts a space before a text."""
        return bool(self._proto.normalizer_spec.add_dummy_prefix)

    @property
    def charsmap(self) -> bytes | None:
        """Table of normalization."""
        return bytes(self._proto.normalizer_spec.precompiled_charsmap) or None

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

    def document(
        self, added: Mapping[int, AddedToken], rules: ClassRules | None, *, legacy: bool, more: Sequence[str] = ()
    ) -> dict[str, Any]:
        """``tokenizer.json`` without its added tokens.

        Args:
            added: id -> token, beside the model's own.
            rules: those of a class; None to follow the model's own settings.
            legacy: the space goes before each part of a text between added tokens, and not only before the first.
            more: tokens of a Unigram model after its pieces.
        """
        names = list(self.pieces)
        for token_id, token in added.items():
            if token_id < len(names) and token.content not in names:
                names[token_id] = token.content  # a placeholder that was given a meaning
        if rules is None:
            return self._by_settings(names, legacy=legacy)
        parts = {"normalizer": rules.normalizer, "pre_tokenizer": rules.pre_tokenizer, "decoder": rules.decoder}
        model = {**rules.model, **self._vocabulary(names, rules.model["type"], by_score=False)}
        if isinstance(model["vocab"], list):
            model["vocab"] += [[name, 0.0] for name in more]
        return {"model": model, **parts}

    def _by_settings(self, names: list[str], *, legacy: bool) -> dict[str, Any]:
        spec, trainer = self._proto.normalizer_spec, self._proto.trainer_spec
        prefix, own = bool(spec.add_dummy_prefix), self._user_defined(names)
        normalizers: list[Mapping[str, Any]] = [precompiled(self.charsmap)] if self.charsmap else []
        if spec.remove_extra_whitespaces:
            normalizers += [replaced({"Regex": r"\A +| +\z"}, ""), replaced({"Regex": " {2,}"}, " ")]
        if spec.escape_whitespaces:
            normalizers.append(replaced({"String": " "}, "▁"))
        if prefix and legacy:
            # Metaspace leaves out the space where the text begins with one, SentencePiece does not.
            normalizers.append(replaced({"Regex": r"\A▁"}, "▁▁"))
        cutters: list[Mapping[str, Any]] = [metaspace("always" if legacy else "first", split=False)] if prefix else []
        if own:
            pattern = "|".join(map(re.escape, sorted(own, key=len, reverse=True)))
            cutters.append({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False})
        fallback = bool(trainer.byte_fallback)
        decoders: list[Mapping[str, Any]] = [replaced({"String": "▁"}, " ")]
        decoders += [{"type": "ByteFallback"}] if fallback else []
        decoders += [{"type": "Fuse"}] if fallback or prefix else []
        decoders += [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
        kind = self.type or "BPE"
        unknown = names[trainer.unk_id] if 0 <= trainer.unk_id < len(names) else None
        settings = (
            {"type": kind, "unk_id": trainer.unk_id, "byte_fallback": fallback}
            if kind == "Unigram"
            else bpe(unk_token=unknown, fuse_unk=True, byte_fallback=fallback, ignore_merges=bool(own))
        )
        return {
            "model": {**settings, **self._vocabulary(names, kind, by_score=True)},
            "normalizer": sequence("normalizers", normalizers) if normalizers else None,
            "pre_tokenizer": sequence("pretokenizers", cutters) if cutters else None,
            "decoder": sequence("decoders", decoders),
        }

    def _user_defined(self, names: list[str]) -> list[str]:
        return [name for name, kind in zip(names, self.types, strict=True) if kind == _USER_DEFINED]

    def _vocabulary(self, names: list[str], kind: str, *, by_score: bool) -> dict[str, Any]:
        if kind == "Unigram":
            pairs = zip(names, self._proto.pieces, strict=True)
            return {"vocab": [[name, piece.score] for name, piece in pairs]}
        ids = {name: index for index, name in enumerate(names)}
        return {"vocab": ids, "merges": self._merges(names) if by_score else _merges_by_id(ids)}

    def _merges(self, names: list[str]) -> list[tuple[str, str]]:
        """Pairs of pieces, best first: by the score of what they make."""
        pairs = zip(names, self._proto.pieces, strict=True)
        normal = {name: (-p.score, i) for i, (name, p) in enumerate(pairs) if p.type == _NORMAL}
        ranked = [
            (*rank, piece[:cut], piece[cut:])
            for piece, rank in normal.items()
            for cut in range(1, len(piece))
            if piece[:cut] in normal and piece[cut:] in normal
        ]
        return [(left, right) for *_, left, right in sorted(ranked)]


def _merges_by_id(ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of pieces, best first: by the id of what they make."""
    ranked = [
        (index, cut, len(piece) - cut, ids[piece[:cut]], piece[:cut], piece[cut:])
        for piece, index in ids.items()
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    return [(left, right) for *_, left, right in sorted(ranked)]
