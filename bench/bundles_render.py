"""Let LiteRT-LM render conversations with chat templates; ``bundles.py`` calls it.

Reads ``{"templates": {name: template}, "conversations": [[message, ...], ...]}`` from stdin and prints the texts as
JSON, by template; the empty text for what a template refuses. Runs in an environment that has litert-lm, and need not
have edgegen.
"""

from __future__ import annotations

import json
import sys

import litert_lm


def main() -> None:
    request = json.load(sys.stdin)
    with litert_lm.Engine(sys.argv[1], litert_lm.Backend.CPU(), cache_dir=":nocache") as engine:
        texts = {
            name: [rendered(engine, template, conversation) for conversation in request["conversations"]]
            for name, template in request["templates"].items()
        }
    print(json.dumps(texts))


def rendered(engine: litert_lm.Engine, template: str, messages: list[dict[str, str]]) -> str:
    *earlier, last = messages
    with engine.create_conversation(messages=earlier, chat_template=template) as conversation:
        text: str = conversation.render_message_to_string(last)
    return text


if __name__ == "__main__":
    main()
