"""Conventions of chat templates: what a Jinja template sees and may do, and the token by which it ends an answer.

The conventions are those of Hugging Face ``transformers`` (https://huggingface.co/docs/transformers/chat_templating).
Templates are strangers' code, so they run in Jinja's sandbox and see plain data only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils

FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""Exceptions of a template: its own refusals, and the mistakes that any program makes."""

_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Keys of a message under which its reasoning is passed; templates read the first, some the second."""

_QUESTION, _ANSWER = "Which flower is it?", "Marigold, I suppose"


class _Dict:
    """``dict`` of templates: makes one, and does no more."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class _Namespace(jinja2.utils.Namespace):
    """``namespace`` of templates: without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that a template may name something `self`
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            _check_name(name)
        jinja2.utils.Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace takes no names that begin with an underscore: {name!r}")


class GenerationBlock(jinja2.ext.Extension):
    """``{% generation %}…{% endgeneration %}``: marks what to train on; here it is just its body."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """The nodes of the body, which has a scope of its own, as a call has."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return [jinja2.nodes.Scope(body, lineno=line)]


def environment() -> jinja2.Environment:
    """Jinja's sandbox with the names and filters that templates expect."""
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, GenerationBlock]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    made.globals["dict"] = _Dict()
    made.globals["namespace"] = _Namespace
    return made


def template_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as a template sees them: plain data, no keys without a value, reasoning under each of its names."""
    seen = []
    for message in messages:
        plain = {key: value for key, value in plain_data(message).items() if value is not None}
        reasoning = next((plain[key] for key in _REASONING if key in plain), None)
        if reasoning is not None:
            plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
        seen.append(plain)
    return seen


def plain_data(value: Any) -> Any:
    """``value`` in JSON types only: methods of richer objects would be callable from inside the sandbox."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return getattr(kind, "__str__" if kind is str else f"__{kind.__name__}__")(value)
    if isinstance(value, Mapping):
        return {plain_data(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    return f"<{type(value).__name__}>"


def turn_end(source: str, special_tokens: Mapping[str, str], special_ids: Mapping[str, int]) -> int | None:
    """The special token by which a template ends an answer; None where there is none, or it cannot be told.

    It is found by rendering an answer and looking at what comes after it.

    Args:
        source: Jinja source.
        special_tokens: the template's names of tokens (``eos_token``) and their texts.
        special_ids: texts of all special tokens of the tokenizer and their ids.
    """
    try:
        template = environment().from_string(source)
    except FAULTS:
        return None
    for in_parts in (False, True):
        question, answer = _turn("user", _QUESTION, in_parts), _turn("assistant", _ANSWER, in_parts)
        try:
            opened = _render(template, [question], special_tokens, prompt=True)
            answered = _render(template, [question, answer], special_tokens, prompt=False)
        except FAULTS:
            continue
        _, found, rest = answered.rpartition(_ANSWER)
        rest = rest.strip()
        # Some templates open the next answer at the end in any case.
        if found and not (rest and opened.rstrip().endswith(rest)):
            following = [token for token in special_ids if token and rest.startswith(token)]
            return special_ids[max(following, key=len)] if following else None
    return None


def _turn(role: str, text: str, in_parts: bool) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}] if in_parts else text}


def _render(
    template: jinja2.Template, messages: Sequence[Mapping[str, Any]], tokens: Mapping[str, str], *, prompt: bool
) -> str:
    return template.render(messages=messages, tools=None, documents=None, add_generation_prompt=prompt, **tokens)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML characters, which no model was trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
