"""How a text begins in LiteRT-LM: who puts the start token, and the chat template that goes with it.

The client puts its start token before whatever it is given first, a rendered template too. So it may know of one only
if a plain text and a chat both begin with it, and then the template must not put it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgegen.weights import TokenizerAssets
from edgegen_bundles.chat.jinja import Rendering
from edgegen_bundles.chat.templates import UnsuitableError, adapt, check, render_original
from edgegen_bundles.sentencepiece.vocabulary import Vocabulary


@dataclass(frozen=True)
class Prompts:
    """What the bundle says of it.

    Attributes:
        start_token: id that the client puts first, if any.
        template: in the client's form, if there is one.
        warnings: what will be missing.
    """

    start_token: int | None
    template: str | None
    warnings: tuple[str, ...] = ()


def prompts(tokenizer: TokenizerAssets, names: Vocabulary, template: str | None) -> Prompts:
    """Decide, by rendering the template.

    Args:
        template: Jinja source as published.
    """
    start = tokenizer.bos_token_id if tokenizer.add_bos else None
    if template is None:
        return Prompts(start, None)
    bos_token, eos_token = (
        (None if token is None else names.name_of(token)) or ""
        for token in (tokenizer.bos_token_id, next(iter(tokenizer.eos_token_ids), None))
    )
    try:
        originals = render_original(template, bos_token=bos_token, eos_token=eos_token)
        if start is not None and bos_token:
            rests = _without(bos_token, originals)
            silent = adapt(template, bos_token="", eos_token=eos_token)
            if rests is not None and _suits(silent, rests):
                return Prompts(start, silent)
        adapted = adapt(template, bos_token=bos_token, eos_token=eos_token)
        check(adapted, originals)
    except UnsuitableError as reason:
        return Prompts(start, None, (f"the chat template is left out, as LiteRT-LM cannot use it: {reason}",))
    if start is None:
        return Prompts(None, adapted)
    return Prompts(None, adapted, (f"plain prompts will lack the start token {bos_token}, so that chats are right",))


def _without(bos_token: str, renderings: Sequence[Rendering]) -> list[Rendering] | None:
    """The renderings without the start token that each begins with; None where one does not."""
    texts = [rendering.text for rendering in renderings if rendering.text is not None]
    if not all(text.startswith(bos_token) for text in texts):
        return None
    return [replace(row, text=row.text and row.text.removeprefix(bos_token)) for row in renderings]


def _suits(adapted: str, originals: Sequence[Rendering]) -> bool:
    try:
        check(adapted, originals)
    except UnsuitableError:
        return False
    return True
