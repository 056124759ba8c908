"""Prompt format of a bundle: start token and chat template, so that LiteRT-LM puts one start token and not two.

The client puts its start token before whatever it is given first, a rendered template too. So it may know of one only
if a plain text and a chat both begin with it, and then the template must not put it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgegen.weights import TokenizerAssets
from edgegen_bundles.chat.jinja import Rendering
from edgegen_bundles.chat.templates import UnsuitableError, adapt, check, render_original
from edgegen_bundles.sentencepiece.hf_encoder import hf_encoder
from edgegen_bundles.sentencepiece.vocabulary import HF_FILE, Vocabulary


@dataclass(frozen=True)
class PromptFormat:
    """Start token and chat template of a bundle.

    Attributes:
        start_token: id of the token that the client puts first; None for none.
        template: chat template adapted to the client; None for none.
        warnings: what is left out, in words.
    """

    start_token: int | None
    template: str | None
    warnings: tuple[str, ...] = ()


def prompt_format(tokenizer: TokenizerAssets, names: Vocabulary, template: str | None) -> PromptFormat:
    """The prompt format of a model, decided by rendering its template.

    Args:
        tokenizer: tokenizer of the checkpoint.
        names: its vocabulary.
        template: Jinja source as published; None for none.
    """
    start = tokenizer.bos_token_id if tokenizer.add_bos else None
    if template is None:
        return PromptFormat(start, None)
    tokens = _special_tokens(tokenizer, names)
    bos_token = tokens.get("bos_token", "")
    try:
        originals = render_original(template, **tokens)
        if start is not None and bos_token:
            rests = _without(bos_token, originals)
            silent = adapt(template, **{**tokens, "bos_token": ""})
            if rests is not None and _suits(silent, rests) and _begins(tokenizer, start, bos_token, rests):
                return PromptFormat(start, silent)
        adapted = adapt(template, **tokens)
        check(adapted, originals)
    except UnsuitableError as reason:
        return PromptFormat(start, None, (f"the chat template is left out, as LiteRT-LM cannot use it: {reason}",))
    if start is None:
        return PromptFormat(None, adapted)
    return PromptFormat(
        None, adapted, (f"plain prompts will lack the start token {bos_token}, so that chats are right",)
    )


def _special_tokens(tokenizer: TokenizerAssets, names: Vocabulary) -> Mapping[str, str]:
    """The template's names of tokens and their texts; start and end token where the checkpoint does not say."""
    if tokenizer.special_tokens is not None:
        return tokenizer.special_tokens
    bos, eos = (
        (None if token is None else names.name_of(token)) or ""
        for token in (tokenizer.bos_token_id, next(iter(tokenizer.eos_token_ids), None))
    )
    return {"bos_token": bos, "eos_token": eos}


def _without(bos_token: str, renderings: Sequence[Rendering]) -> list[Rendering] | None:
    """The renderings without the start token that each begins with; None where one does not."""
    texts = [rendering.text for rendering in renderings if rendering.text is not None]
    if not all(text.startswith(bos_token) for text in texts):
        return None
    return [replace(row, text=row.text and row.text.removeprefix(bos_token)) for row in renderings]


def _begins(tokenizer: TokenizerAssets, start: int, bos_token: str, rests: Sequence[Rendering]) -> bool:
    """True if a chat is split alike after a start token in the text and after one that the client puts.

    Some tokenizers put a space before a text, and none after a start token in it.
    """
    if HF_FILE not in tokenizer.files:
        return True
    encode = hf_encoder(tokenizer.files[HF_FILE])
    texts = [rest.text for rest in rests if rest.text is not None]
    return all(encode(bos_token + text) == [start, *encode(text)] for text in texts)


def _suits(adapted: str, originals: Sequence[Rendering]) -> bool:
    try:
        check(adapted, originals)
    except UnsuitableError:
        return False
    return True
