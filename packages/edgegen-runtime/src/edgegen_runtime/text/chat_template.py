"""Chat templates: a conversation to the text that the model was trained to see.

Templates are Jinja programs that come with a model's weights, written for the conventions of Hugging Face
``transformers`` (https://huggingface.co/docs/transformers/chat_templating), which are kept here. They are
strangers' code, so they run in Jinja's sandbox and see plain data only.
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

from edgegen.errors import ErrorCode, UsageError

Message = Mapping[str, Any]
"""``{"role": "user", "content": "…"}``, and whatever else the template knows."""


# What a template can run into: its own refusals, and the mistakes that any program makes.
_TEMPLATE_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


class ChatTemplate:
    """A compiled template.

    Args:
        source: Jinja source.
        bos_token: what the template calls ``bos_token``.
        eos_token: what the template calls ``eos_token``.

    Raises:
        UsageError: the source is not valid Jinja.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(
                f"the chat template does not parse: line {error.lineno}: {error.message}",
                code=ErrorCode.INVALID_CHAT_TEMPLATE,
                hint="mend chat_template.jinja in the export folder, or use --raw",
            ) from error

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: object) -> str:
        """The text to encode; special tokens are spelled in it.

        Args:
            messages: the conversation so far.
            add_generation_prompt: end with the opening of the assistant's turn.
            variables: further names for the template, e.g. ``tools``.

        Raises:
            UsageError: the template refuses the conversation (many do for a system message, or for roles that
                do not alternate), or fails.
        """
        names = {**self._tokens, "tools": None, "documents": None, **variables}
        try:
            return self._template.render(
                messages=[_plain(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                **{name: _plain(value) for name, value in names.items()},
            )
        except (
            jinja2.TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            roles = ", ".join(str(message.get("role")) for message in messages)
            raise UsageError(
                f"the chat template refuses the conversation: {error}",
                code=ErrorCode.CHAT_TEMPLATE_REFUSED,
                details=(f"roles  {roles or 'none'}",),
                hint="leave out --system or change the order of the roles; --raw does without a template",
            ) from error


def _environment() -> jinja2.Environment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationBlock]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


class _GenerationBlock(jinja2.ext.Extension):
    """``{% generation %}…{% endgeneration %}``: marks what to train on; here it is just its body."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


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


def _plain(value: Any) -> Any:
    """``value`` in JSON types only: methods of richer objects would be callable from inside the sandbox."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)
