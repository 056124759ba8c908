"""Who puts the start token: never nobody, never two."""

from __future__ import annotations

import json

import pytest
from family_templates import TEMPLATES

from edgegen.weights import TokenizerAssets
from edgegen_bundles.chat.jinja import render_as_client
from edgegen_bundles.chat.prompts import prompt_format
from edgegen_bundles.chat.templates import CONVERSATIONS, render_original
from edgegen_bundles.sentencepiece.vocabulary import Vocabulary, vocabulary

BOS, EOS = 1, 2


def names(bos_token: str, eos_token: str) -> Vocabulary:
    by_id = {BOS: bos_token, EOS: eos_token}
    return Vocabulary({name: token for token, name in by_id.items()}.get, by_id.get)


def assets(*, add_bos: bool, bos: int | None = BOS) -> TokenizerAssets:
    return TokenizerAssets(files={}, bos_token_id=bos, eos_token_ids=(EOS,), add_bos=add_bos)


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("family", [name for name, row in TEMPLATES.items() if row[1]])
def test_a_chat_begins_as_the_template_says(family: str, add_bos: bool) -> None:
    source, bos_token, eos_token = TEMPLATES[family]
    chosen = prompt_format(assets(add_bos=add_bos), names(bos_token, eos_token), source)
    assert chosen.template is not None
    first = bos_token if chosen.start_token == BOS else ""
    for messages, original in zip(
        CONVERSATIONS, render_original(source, bos_token=bos_token, eos_token=eos_token), strict=True
    ):
        text = render_as_client(chosen.template, messages).text
        assert (None if text is None else first + text) == original.text


@pytest.mark.parametrize(("family", "client"), [("llama3", True), ("gemma", True), ("llama2", False), ("phi3", False)])
def test_the_client_puts_the_start_token_where_chat_and_plain_text_begin_with_it(family: str, client: bool) -> None:
    source, bos_token, eos_token = TEMPLATES[family]
    chosen = prompt_format(assets(add_bos=True), names(bos_token, eos_token), source)
    assert chosen.start_token == (BOS if client else None)
    assert bool(chosen.warnings) == (not client)


def test_without_a_template_the_tokenizers_rule_holds() -> None:
    assert prompt_format(assets(add_bos=True), names("<s>", "</s>"), None).start_token == BOS
    assert prompt_format(assets(add_bos=False), names("<s>", "</s>"), None).start_token is None
    assert prompt_format(assets(add_bos=False, bos=None), names("<s>", "</s>"), None).start_token is None


def test_a_template_that_does_not_do_is_left_out_with_the_reason() -> None:
    chosen = prompt_format(assets(add_bos=True), names("<s>", "</s>"), "{{ messages[0]['content'].upper() }}")
    assert chosen.template is None
    assert chosen.start_token == BOS
    assert ".upper()" in chosen.warnings[0]


@pytest.mark.parametrize("model", [{"vocab": {"a": 0, "b": 1}}, {"vocab": [["a", 0.0], ["b", -1.0]]}])
def test_a_hugging_face_vocabulary_is_read(model: dict[str, object]) -> None:
    document = {"model": model, "added_tokens": [{"id": 7, "content": "<end>"}]}
    found = vocabulary(TokenizerAssets(files={"tokenizer.json": json.dumps(document).encode()}))
    assert (found.id_of("b"), found.id_of("<end>"), found.id_of("c")) == (1, 7, None)
    assert (found.name_of(0), found.name_of(7), found.name_of(8)) == ("a", "<end>", None)


def test_a_sentencepiece_vocabulary_is_read() -> None:
    import io

    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["to be or not to be"] * 9), model_writer=model, vocab_size=11, minloglevel=2
    )
    found = vocabulary(TokenizerAssets(files={"tokenizer.model": model.getvalue()}))
    assert (found.id_of("</s>"), found.id_of("<stranger>")) == (2, None)
    assert (found.name_of(1), found.name_of(1000)) == ("<s>", None)
