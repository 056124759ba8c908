"""Rendering of chat templates by the conventions that they were written for, and as LiteRT-LM would.

Those are of Hugging Face ``transformers`` (https://huggingface.co/docs/transformers/chat_templating). Templates are
strangers' code: they run in Jinja's sandbox and see plain data only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox

Message = Mapping[str, Any]

# Exceptions of a template: its own refusals, and the mistakes that any program makes.
_FAULTS = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Rendering:
    """Result of rendering a chat template.

    Attributes:
        text: the prompt; None if the template refused the conversation.
        methods: names of the Python methods that it called on texts, lists and mappings.
        refusal: the error, if there is no text.
    """

    text: str | None
    methods: frozenset[str]
    refusal: str = ""


def render(source: str, messages: Sequence[Message], **variables: object) -> Rendering:
    """Render with the opening of the assistant's turn at the end.

    Raises:
        jinja2.TemplateSyntaxError: ``source`` is no template.
    """
    return _render(_Environment(), source, messages, variables)


def render_as_client(source: str, messages: Sequence[Message]) -> Rendering:
    """Render as LiteRT-LM 0.18 would: it keeps a newline at the very end, and takes what is not there for ``none``."""
    return _render(_Environment(keep_trailing_newline=True), source, messages, {"tools": None})


def _render(
    environment: _Environment, source: str, messages: Sequence[Message], variables: Mapping[str, object]
) -> Rendering:
    template = environment.from_string(source)
    try:
        text = template.render(messages=list(messages), add_generation_prompt=True, **variables)
    except _FAULTS as error:
        return Rendering(None, frozenset(environment.methods), str(error))
    return Rendering(text, frozenset(environment.methods))


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Jinja's sandbox that records the methods called."""

    def __init__(self, *, keep_trailing_newline: bool = False) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=keep_trailing_newline,
            extensions=[jinja2.ext.loopcontrols],
        )
        self.methods: set[str] = set()
        self.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda pattern: pattern  # the same at any time

    def call(self, context: Any, target: Any, /, *args: Any, **kwargs: Any) -> Any:
        if isinstance(getattr(target, "__self__", None), (str, list, dict)):
            self.methods.add(target.__name__)
        return super().call(context, target, *args, **kwargs)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
