# ruff: noqa: RUF001
"""Rendered chats and their ids are those of transformers in each target: folder, server, ``.litertlm``, ``.task``."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from chat_templates import CONVERSATIONS, ENDS, SPECIALS, TEMPLATES
from scripted_model import write_scripted_model
from tokenizer_folders import (
    TRAINING,
    bert_uncased,
    gemma_model,
    gemma_start,
    llama_chatml,
    llama_start,
    mistral_user_defined,
    settings,
    t5_of_class,
    unigram_with_added,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from edgegen.errors import UsageError
from edgegen_bundles.chat.jinja import render_as_client
from edgegen_bundles.litertlm.inspect import contents, llm_metadata, read
from edgegen_bundles.mediapipe.task_reader import read_task

NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
VOCAB = 400
OPTIONS = ("--scheme", "fp32", "--prefill-lengths", "16", "--cache-length", 256, "--no-verify")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint without a chat template, whose tokenizer has the special tokens of all templates."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_scripted_model(folder, {}, VOCAB, bos_token_id=None, eos_token_id=tokenizer.token_to_id("</s>"))
    return folder


@pytest.fixture(params=list(ENDS))
def template(request):
    return TEMPLATES[request.param]


@pytest.fixture
def oracle(model, template):
    """transformers' tokenizer of the checkpoint."""
    from transformers import AutoTokenizer

    settings(model, tokenizer_class="PreTrainedTokenizerFast", chat_template=template, **NAMES)
    return AutoTokenizer.from_pretrained(model)


def rendered(oracle, messages):
    """The prompt by transformers and its ids; None where the template refuses."""
    try:
        text = oracle.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = oracle.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    except Exception:
        return None
    return text, ids


@pytest.fixture
def exported(edgegen, model, oracle, tmp_path):
    def run(target):
        result = edgegen("export", "llama", "--checkpoint", model, "-o", tmp_path / target, *OPTIONS,
                         "--target", target)  # fmt: skip
        assert result.code == 0, result.err
        # This vocabulary has that fullwidth bar in parts of characters only, and SentencePiece has no such pieces.
        said = target == "task" and "｜" in oracle.chat_template
        assert ("warning: SentencePiece makes other tokens" in result.err) == ("warning" in result.err) == said
        return tmp_path / target

    return run


def test_folder_and_server_render_as_transformers(exported, oracle):
    import edgegen_runtime
    from edgegen_serve.openai.requests import chat_request
    from edgegen_serve.scheduling.engine import Engine

    loaded = edgegen_runtime.load(exported("tflite"), threads=1)
    engine = Engine(loaded)
    for messages in CONVERSATIONS:
        expected = rendered(oracle, messages)
        if expected is None:
            with pytest.raises(UsageError):
                loaded.render(messages)
            continue
        assert (loaded.render(messages), loaded.encode_chat(messages)) == expected, messages
        if len(messages[0]) == 2 and messages[-1]["role"] == "user":
            request = chat_request({"model": engine.name, "messages": messages}, engine.name)
            assert engine.begin(request).generation.prompt_ids == expected[1]


def parts(message):
    """A message as LiteRT-LM hands it to a template."""
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def plain(messages):
    return all(message.keys() == {"role", "content"} and message["content"] for message in messages)


def test_bundles_render_as_transformers(exported, oracle):
    [file] = exported("litertlm").glob("*.litertlm")
    metadata = llm_metadata(file)
    section = next(part for part in contents(file).parts if part.name == "HF_Tokenizer_Zlib")
    stored = zlib.decompress(read(file, section.offset, section.offset + section.nbytes)[8:])
    tokenizer = Tokenizer.from_str(stored.decode())
    [file] = exported("task").glob("*.task")
    task = read_task(file)
    assert task.metadata.jinja_prompt_template == metadata.jinja_prompt_template
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_proto=task.tokenizer)
    assert list(metadata.start_token.token_ids.ids) == []  # the template puts it
    seen = whole = 0
    for messages in filter(plain, CONVERSATIONS):
        expected = rendered(oracle, messages)
        client = render_as_client(metadata.jinja_prompt_template, [parts(message) for message in messages])
        assert client.text == (None if expected is None else expected[0]), messages
        if expected is not None:
            seen += 1
            assert tokenizer.encode(client.text, add_special_tokens=False).ids == expected[1]
            if all("\ufffd" not in oracle.decode([token]) for token in expected[1]):
                whole += 1
                assert pieces.encode(client.text) == expected[1]
            else:  # SentencePiece has no pieces for parts of characters
                assert pieces.decode(pieces.encode(client.text)) == client.text.replace("▁", " ")
    assert seen > 1
    assert whole or "｜" in metadata.jinja_prompt_template  # which is of parts of characters
    user = task.metadata.prompt_templates.user
    question = "What is the question?"
    expected = rendered(oracle, [{"role": "user", "content": question}])
    assert user.prefix + question + user.suffix == expected[0]
    assert json.loads(stored)["added_tokens"]


def fill(folder, make, chat, **changes):
    """A checkpoint with the tokenizer of another folder, and a chat template."""
    from transformers import AutoTokenizer

    make(folder)
    file = folder / "tokenizer_config.json"
    stated = json.loads(file.read_text()) if file.is_file() else {}
    settings(folder, "llama", **{**stated, **({} if chat is None else {"chat_template": chat}), **changes})
    size = max(AutoTokenizer.from_pretrained(folder).get_vocab().values()) + 1
    write_scripted_model(folder, {}, size, bos_token_id=None, eos_token_id=1)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def bundle(edgegen, tmp_path):
    def run(target):
        return edgegen("export", "llama", "--checkpoint", tmp_path, "-o", tmp_path / target, *OPTIONS,
                       "--target", target)  # fmt: skip

    return run


def stored_tokenizer(folder):
    [file] = folder.glob("*.litertlm")
    part = next(part for part in contents(file).parts if part.name == "HF_Tokenizer_Zlib")
    data = zlib.decompress(read(file, part.offset, part.offset + part.nbytes)[8:])
    return llm_metadata(file), Tokenizer.from_str(data.decode())


def prompts(oracle, metadata, encode):
    """Ids of chats by transformers, and those that a client comes to."""
    start = list(metadata.start_token.token_ids.ids) if metadata.HasField("start_token") else []
    start = [token for token in start if token >= 0]
    for messages in filter(plain, CONVERSATIONS):
        expected = rendered(oracle, messages)
        client = render_as_client(metadata.jinja_prompt_template, [parts(message) for message in messages])
        if expected is not None:
            yield expected[1], [*start, *encode(client.text)]


@pytest.mark.parametrize(
    ("make", "chat", "changes", "lacks"),
    [
        (llama_chatml, "chatml", {}, "plain prompts will lack the space"),
        (llama_start, "llama-2", {}, "plain prompts will lack the start token"),
        (llama_start, "mistral", {"legacy": True}, ""),
        (gemma_start, "gemma", {}, ""),
        (gemma_model, "gemma", {}, ""),
        (mistral_user_defined, "mistral", {}, ""),
    ],
)
def test_chats_of_sentencepiece_models_come_to_the_same_ids(bundle, tmp_path, make, chat, changes, lacks):
    from sentencepiece import SentencePieceProcessor

    oracle = fill(tmp_path, make, TEMPLATES[chat], **changes)
    result = bundle("litertlm")
    assert result.code == 0, result.err
    metadata, tokenizer = stored_tokenizer(tmp_path / "litertlm")
    pairs = list(prompts(oracle, metadata, lambda text: tokenizer.encode(text, add_special_tokens=False).ids))
    assert len(pairs) > 1
    assert all(one == other for one, other in pairs)
    result = bundle("task")
    assert result.code == 0, result.err
    assert lacks in result.err
    [file] = (tmp_path / "task").glob("*.task")
    task = read_task(file)
    pieces = SentencePieceProcessor(model_proto=task.tokenizer)
    same = all(one == other for one, other in prompts(oracle, task.metadata, pieces.encode))
    assert same or "SentencePiece makes other tokens" in result.err


@pytest.mark.parametrize("make", [bert_uncased, t5_of_class, unigram_with_added])
def test_a_tokenizer_that_a_target_cannot_carry_is_said(bundle, tmp_path, make):
    fill(tmp_path, make, None)
    file = tmp_path / "tokenizer_config.json"
    stated = json.loads(file.read_text())
    kind = {bert_uncased: "BertTokenizer", t5_of_class: "T5Tokenizer"}.get(make, "PreTrainedTokenizer")
    file.write_text(json.dumps(stated | {"tokenizer_class": kind}))
    result = bundle("task")
    assert (result.code, "EG841" in result.err) == (3, True)
    for target, said in (("tflite", "`edgegen run`"), ("litertlm", "token by token")):
        result = bundle(target)
        assert result.code == 0, result.err
        assert (said in result.err) == (make is bert_uncased)


def test_litert_lm_itself_renders_as_transformers(edgegen, model, oracle, tmp_path):
    pytest.importorskip("litert_lm")
    result = edgegen("export", "llama", "--checkpoint", model, "-o", tmp_path / "out", *OPTIONS,
                     "--target", "litertlm")  # fmt: skip
    assert result.code == 0, result.err
    [file] = (tmp_path / "out").glob("*.litertlm")
    conversations = [list(chat) for chat in CONVERSATIONS if plain(chat) and chat[-1]["role"] == "user"]
    request = {"templates": {"stored": llm_metadata(file).jinja_prompt_template}, "conversations": conversations}
    program = [sys.executable, str(Path(__file__).parents[1] / "bench" / "bundles_render.py"), str(file)]
    done = subprocess.run(program, input=json.dumps(request), capture_output=True, text=True, check=True, timeout=120)
    texts = json.loads(done.stdout.splitlines()[-1])["stored"]
    assert texts == [(rendered(oracle, chat) or ("",))[0] for chat in conversations]
