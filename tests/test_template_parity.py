"""Chat templates: the rendered text is that of transformers, and the token that ends an answer is found."""

from __future__ import annotations

import pytest
from chat_templates import CONVERSATIONS, ENDS, SPECIALS, TEMPLATES

from edgegen.errors import UsageError
from edgegen.genai.chat_templates import turn_end
from edgegen_runtime.text.chat_template import ChatTemplate

NAMES = {
    "all": {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "unk", "pad", "sep", "cls", "mask")},
    "ends only": {"eos_token": "</s>"},
}


def oracle(source, messages, prompt, names):
    """What ``apply_chat_template`` renders; None where it refuses."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [])), **names)
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=source, tokenize=False, add_generation_prompt=prompt
        )
    except Exception:
        return None


@pytest.mark.parametrize("names", list(NAMES))
@pytest.mark.parametrize("name", list(TEMPLATES))
def test_text_equals_that_of_transformers(name, names):
    template = ChatTemplate(TEMPLATES[name], **NAMES[names])
    for messages in CONVERSATIONS:
        for prompt in (True, False):
            expected = oracle(TEMPLATES[name], messages, prompt, NAMES[names])
            try:
                rendered = template.render(messages, add_generation_prompt=prompt)
            except UsageError:
                rendered = None
            assert rendered == expected, messages


@pytest.mark.parametrize("name", list(ENDS))
def test_the_token_that_ends_an_answer_is_found_by_rendering(name):
    ids = {text: index for index, text in enumerate(SPECIALS)}
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    assert turn_end(TEMPLATES[name], tokens, ids) == ids[ENDS[name]]


def test_templates_without_such_a_token_name_none():
    ids = {text: index for index, text in enumerate(SPECIALS)}
    plain = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"
    assert turn_end(plain, {}, ids) is None
    assert turn_end(plain + "<|assistant|>", {}, ids) is None  # opens the next answer in any case
    assert turn_end(plain + "<|im_end|>", {}, {}) is None
    assert turn_end("{{ raise_exception('no') }}", {}, ids) is None
    assert turn_end("{% if %}", {}, ids) is None


def test_a_manifest_keeps_the_names_of_tokens_and_may_lack_them():
    from edgegen.genai.manifest import Manifest, TokenizerFacts

    facts = Manifest(
        task="text-generation", name="m", family="f", model="m.tflite", scheme="fp32", parameters=1, context_length=8,
        cache_length=8, tokenizer=TokenizerFacts(file="tokenizer.json", special_tokens={"eos_token": "</s>"}),
    )  # fmt: skip
    assert Manifest.from_json(facts.to_json()) == facts
    older = facts.to_json()
    del older["tokenizer"]["special_tokens"]
    assert Manifest.from_json(older).tokenizer == TokenizerFacts(file="tokenizer.json")
