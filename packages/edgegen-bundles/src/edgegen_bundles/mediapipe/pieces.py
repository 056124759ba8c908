"""SentencePiece model of a ``.task`` bundle: the checkpoint's own or a converted one, put to the test on chats.

SentencePiece puts its space before the whole text, special tokens included; tokenizers of ``transformers`` leave it out
where a text begins with a special token. What a chat comes to is seen by splitting some.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgegen_bundles.chat.prompts import PromptFormat
from edgegen_bundles.chat.templates import example_chats
from edgegen_bundles.sentencepiece import Conversion, compare, convert, sentence
from edgegen_bundles.sentencepiece.control_pieces import findable, without_dummy_prefix
from edgegen_bundles.sentencepiece.hf_encoder import hf_encoder
from edgegen_bundles.sentencepiece.model_proto import open_model
from edgegen_bundles.sentencepiece.sample_text import sample_text
from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, SENTENCEPIECE_FILE

Encoder = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Pieces:
    """The model and what it cannot do.

    Attributes:
        model: SentencePiece model, serialized.
        agreement: how it compares with ``tokenizer.json`` on a text, in words; empty where there is none.
        warnings: differences in chats, in words.
    """

    model: bytes
    agreement: str = ""
    warnings: tuple[str, ...] = ()


def pieces_of(files: Mapping[str, bytes], prompt: PromptFormat, start_text: str) -> Pieces:
    """The SentencePiece model for a tokenizer's files and a prompt format.

    Args:
        files: the tokenizer's files, by name.
        prompt: what the bundle states: start token and template.
        start_text: text of the start token that the client puts; empty for none.

    Raises:
        UnsupportedError: ``tokenizer.json`` cannot become a SentencePiece model, and there is no other.
    """
    chats = example_chats(prompt.template)
    own = files.get(SENTENCEPIECE_FILE)
    model = findable(own, chats) if own is not None else _converted(files[HF_FILE]).model
    if HF_FILE not in files:
        return Pieces(model)
    theirs = hf_encoder(files[HF_FILE])
    skipped = 1 if start_text else 0
    expected = {chat: theirs(start_text + chat)[skipped:] for chat in chats}
    agreement = _agreement(files, model)
    differing = _differing(model, expected)
    if not differing:
        return Pieces(model, agreement)
    bare = without_dummy_prefix(model)
    if not _differing(bare, expected):
        warning = "plain prompts will lack the space that the tokenizer puts before a text, so that chats are right"
        return Pieces(bare, agreement, (warning,))
    warning = f"SentencePiece makes other tokens than the tokenizer of {differing} of {len(chats)} chats tried"
    return Pieces(model, agreement, (f"{warning}; --target litertlm takes the tokenizer as it is",))


def _differing(model: bytes, expected: Mapping[str, Sequence[int]]) -> int:
    processor = open_model(model)
    return sum(list(processor.encode(chat)) != list(ids) for chat, ids in expected.items())


def _agreement(files: Mapping[str, bytes], model: bytes) -> str:
    if SENTENCEPIECE_FILE not in files:
        return f"{HF_FILE} as SentencePiece: {sentence(compare(_converted(files[HF_FILE]), sample_text()))}"
    theirs, ours = hf_encoder(files[HF_FILE]), open_model(model)
    lines = [line for line in sample_text().splitlines() if line]
    differing = sum(list(ours.encode(line)) != theirs(line) for line in lines)
    return f"{SENTENCEPIECE_FILE}: {differing} of {len(lines)} lines otherwise than by {HF_FILE}"


@functools.lru_cache(maxsize=1)
def _converted(contents: bytes) -> Conversion:
    return convert(contents)
