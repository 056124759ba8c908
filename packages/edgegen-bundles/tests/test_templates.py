"""Adapted chat templates come to what the originals come to, for texts and for lists of parts."""

from __future__ import annotations

from typing import Any

import pytest
from family_templates import TEMPLATES

from edgegen_bundles.chat.jinja import render, render_as_client
from edgegen_bundles.chat.templates import CONVERSATIONS, UnsuitableError, adapt, check, render_original

FAMILIES = pytest.mark.parametrize("family", TEMPLATES)
QUESTION = [{"role": "user", "content": "Hello"}]


def in_parts(messages: Any) -> list[dict[str, Any]]:
    """Each content in two parts, the first as a plain text."""
    return [
        {**message, "content": [message["content"][:2], {"type": "text", "text": message["content"][2:]}]}
        for message in messages
    ]


@FAMILIES
def test_an_adapted_template_comes_to_the_same(family: str) -> None:
    source, bos_token, eos_token = TEMPLATES[family]
    tokens = {"bos_token": bos_token, "eos_token": eos_token}
    originals = render_original(source, **tokens)
    adapted = adapt(source, **tokens)
    check(adapted, originals)
    for messages, original in zip(CONVERSATIONS, originals, strict=True):
        assert render_as_client(adapted, messages).text == original.text
        assert render_as_client(adapted, in_parts(messages)).text == original.text


def test_a_template_that_joins_texts_fails_on_parts_as_it_is() -> None:
    source, *_ = TEMPLATES["smollm2"]
    assert render(source, in_parts(QUESTION)).text is None


def test_refusals_stay_refusals() -> None:
    source, bos_token, eos_token = TEMPLATES["gemma"]
    adapted = adapt(source, bos_token=bos_token, eos_token=eos_token)
    rendering = render_as_client(adapted, in_parts([{"role": "system", "content": "Be brief."}, *QUESTION]))
    assert rendering.text is None
    assert "System role" in rendering.refusal


def test_parts_that_are_no_text_are_left_to_the_template() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image"}]
    source = "{% for part in messages[0]['content'] %}[{{ part['type'] }}]{% endfor %}"
    adapted = adapt(source, bos_token="", eos_token="")
    assert render_as_client(adapted, [{"role": "user", "content": parts}]).text == "[text][image]"


def test_what_else_a_message_holds_stays() -> None:
    adapted = adapt("{{ messages[0]['name'] }} {{ messages[0].content is none }}", bos_token="", eos_token="")
    assert render_as_client(adapted, [{"role": "user", "name": "Ann", "content": None}]).text == "Ann True"


@pytest.mark.parametrize("source", ["\n x", "  {% if true %}y{% endif %}\n z\n\n", "{#- c -#}\n\nq\n"])
def test_white_space_at_both_ends_is_as_in_the_original(source: str) -> None:
    adapted = adapt(source, bos_token="", eos_token="")
    assert render_as_client(adapted, QUESTION).text == render(source, QUESTION).text


def test_tokens_may_hold_any_character() -> None:
    token = "<\uff5c\"begin'\\n\u2581of>"
    assert render_as_client(adapt("{{ bos_token }}", bos_token=token, eos_token=""), QUESTION).text == token


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in messages %}", "does not parse"),
        ("{{ raise_exception('no') }}", "refuses a question: no"),
        ("{{ messages[0]['content'].upper() }}", r"\.upper\(\)"),
        ("{% for m in messages %}{% break %}{% endfor %}", "leaves a loop early"),
        ("{{ messages[0]['content'].split('e')[1] }}", "part of a split text"),
        ("{{ edgegen is defined }}", "another text"),
    ],
)
def test_what_the_client_cannot_use_is_told(source: str, reason: str) -> None:
    with pytest.raises(UnsuitableError, match=reason):
        check(adapt(source, bos_token="", eos_token=""), render_original(source, bos_token="", eos_token=""))


def test_a_method_that_no_conversation_reaches_is_no_obstacle() -> None:
    source = "{{ messages[0].content }}{% if tools %}{{ tools[0].get('name') }}{% endif %}"
    check(adapt(source, bos_token="", eos_token=""), render_original(source, bos_token="", eos_token=""))
