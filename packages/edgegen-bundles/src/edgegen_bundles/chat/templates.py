"""Chat templates adapted to LiteRT-LM.

LiteRT-LM renders templates with minijinja, and differs from what they were written for in three ways:

- the content of a message is a list of parts, ``[{"type": "text", "text": "Hello"}]``, and most templates add it to
  texts as if it were one;
- ``bos_token``, ``eos_token`` and other names of tokens are empty;
- a newline at the very end of a template is kept, and ``{% generation %}`` is not always known.

So a template gets a few lines before it, written in Jinja itself, that put things as it expects them. It is not edited,
hence it need not be understood: whether all is well is seen by rendering.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from edgegen_bundles.chat.jinja import Message, Rendering, render, render_as_client

PRELUDE = """\
{%- set edgegen = namespace(messages=[], text="", joins=false) -%}
{%- for message in messages -%}
{%- set content = message["content"] -%}
{%- set edgegen.text = "" -%}
{%- set edgegen.joins = content is defined and content is iterable and content is not string -%}
{%- if edgegen.joins -%}
{%- for part in content -%}
{%- if part is string -%}
{%- set edgegen.text = edgegen.text + part -%}
{%- elif part["type"] == "text" -%}
{%- set edgegen.text = edgegen.text + part["text"] -%}
{%- else -%}
{%- set edgegen.joins = false -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- set edgegen.messages = edgegen.messages + [dict(message, content=edgegen.text) if edgegen.joins else message] -%}
{%- endfor -%}
{%- set messages = edgegen.messages %}
"""
"""Texts in place of parts, where all of a message's parts are texts; a picture stays for the template to deal with.

The last line ends without a dash, so that of what follows only the newline after it is dropped (``trim_blocks``).
"""

CLIENT_METHODS = frozenset(("startswith", "endswith", "replace", "split", "join", "lstrip", "rstrip", "strip", "items"))
"""Python methods that LiteRT-LM 0.18 rewrites to filters; it fails on others when it comes to them."""

BEYOND_CLIENT: Mapping[str, str] = {
    r"\{%[-+]?\s*(?:break|continue)\b": "it leaves a loop early",
    r"\.split\([^()]*\)\s*\[(?!\s*(?:0|-1)\s*\])": "it takes another part of a split text than the first or last",
}
"""Pattern -> description: syntax that LiteRT-LM 0.18 does not read, wherever it stands."""

CONVERSATIONS: tuple[Sequence[Message], ...] = (
    ({"role": "user", "content": " Two  words\n"},),
    (
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Two?\nThree?"},
    ),
    ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}),
)
"""Conversations that a template is tried on."""

_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


class UnsuitableError(Exception):
    """A chat template that LiteRT-LM cannot use; the message says why."""


def adapt(source: str, **special_tokens: str) -> str:
    """A chat template adapted to LiteRT-LM; see :func:`check`.

    Args:
        source: Jinja source as published.
        special_tokens: the template's names of tokens (``bos_token``) and their texts.
    """
    named = {"bos_token": "", "eos_token": "", **special_tokens}
    settings = "".join(
        f"{{%- set {name} = {_literal(text)} -%}}\n" for name, text in named.items() if name.isidentifier()
    )
    return settings + PRELUDE + _plain(source).removesuffix("\n")  # as Jinja does


def check(adapted: str, originals: Sequence[Rendering]) -> None:
    """Compare renderings with those of the original on :data:`CONVERSATIONS`, given as texts and as parts.

    Raises:
        UnsuitableError: they differ, or LiteRT-LM lacks something that the template uses.
    """
    for pattern, meaning in BEYOND_CLIENT.items():
        if re.search(pattern, adapted):
            raise UnsuitableError(meaning)
    for conversation, original in zip(CONVERSATIONS, originals, strict=True):
        for messages in (conversation, [_in_parts(message) for message in conversation]):
            got = render_as_client(adapted, messages)
            if got.text != original.text:
                raise UnsuitableError(got.refusal or "it comes to another text than the original")
        unknown = sorted(original.methods - CLIENT_METHODS)
        if unknown:
            raise UnsuitableError(
                f"it calls {', '.join(f'.{name}()' for name in unknown)}, which LiteRT-LM does not know"
            )


def render_original(source: str, **special_tokens: str) -> list[Rendering]:
    """Renderings of :data:`CONVERSATIONS` by the template's own conventions.

    Raises:
        UnsuitableError: it is no template, or refuses a single question.
    """
    try:
        renderings = [render(_plain(source), messages, tools=None, **special_tokens) for messages in CONVERSATIONS]
    except jinja2.TemplateSyntaxError as error:
        raise UnsuitableError(f"it does not parse: line {error.lineno}: {error.message}") from error
    if renderings[0].text is None:
        raise UnsuitableError(f"it refuses a question: {renderings[0].refusal}")
    return renderings


def example_chats(adapted: str | None) -> list[str]:
    """Example prompts of a template, for a look at the special tokens in them; none without a template."""
    if adapted is None:
        return []
    renderings = (render_as_client(adapted, messages) for messages in CONVERSATIONS)
    return [rendering.text for rendering in renderings if rendering.text is not None]


def affixes(adapted: str | None) -> tuple[str, str] | None:
    """Prefix and suffix of a question; None without a template, or where it is not as simple."""
    question = "What is the question?"
    text = render_as_client(adapted, [{"role": "user", "content": question}]).text if adapted else None
    if text is None or text.count(question) != 1:
        return None
    before, _, after = text.partition(question)
    return before, after


def _plain(source: str) -> str:
    """Template without ``generation`` tags, which mark what to train on; a condition that holds has the same effect."""
    return _GENERATION.sub(lambda tag: tag[1] + ("endif" if tag[2] else "if true") + tag[3], source)


def _in_parts(message: Message) -> Mapping[str, Any]:
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
