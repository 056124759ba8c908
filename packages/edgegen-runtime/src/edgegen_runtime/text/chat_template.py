"""Chat template: renders a conversation as the prompt text that the model was trained on.

What a template sees and may do is in :mod:`edgegen.genai.chat_templates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from edgegen.errors import ErrorCode, UsageError
from edgegen.genai.chat_templates import FAULTS, environment, plain_data, template_messages

Message = Mapping[str, Any]
"""``{"role": "user", "content": "…"}``, and whatever else the template knows."""


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: Jinja source.
        special_tokens: the template's names of tokens (``bos_token``) and their texts.

    Raises:
        UsageError: the source is not valid Jinja.
    """

    def __init__(self, source: str, **special_tokens: str) -> None:
        self._tokens = special_tokens
        try:
            self._template = environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(
                f"the chat template does not parse: line {error.lineno}: {error.message}",
                code=ErrorCode.INVALID_CHAT_TEMPLATE,
                hint="mend chat_template.jinja in the export folder, or use --raw",
            ) from error

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: object) -> str:
        """Prompt text of a conversation; special tokens are spelled in it.

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
                messages=template_messages(messages),
                add_generation_prompt=add_generation_prompt,
                **{name: plain_data(value) for name, value in names.items()},
            )
        except FAULTS as error:
            roles = ", ".join(str(message.get("role")) for message in messages)
            raise UsageError(
                f"the chat template refuses the conversation: {error}",
                code=ErrorCode.CHAT_TEMPLATE_REFUSED,
                details=(f"roles  {roles or 'none'}",),
                hint="leave out --system or change the order of the roles; --raw does without a template",
            ) from error
