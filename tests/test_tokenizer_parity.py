"""Tokenizers out of checkpoint folders of many kinds: ids and texts are those of transformers."""

from __future__ import annotations

import logging
import os

import pytest
from tokenizer_corpus import corpus
from tokenizer_folders import (
    CHATML,
    FLAGS,
    FOLDERS,
    bert_json_of_other_case,
    byte_level,
    byte_level_json,
    gpt2_json_of_other_rules,
    llama_plain,
    saved,
    settings,
    t5_of_class,
    unigram,
    write,
)

from edgegen.errors import CheckpointError
from edgegen_huggingface.repository_files import read_config, read_tokenizer
from edgegen_runtime.text.detokenizer import Detokenizer
from edgegen_runtime.text.tokenizer import decode, open_tokenizer

LINES = int(os.environ.get("EDGEGEN_TOKENIZER_LINES", "2000"))
SPECIAL = (
    *(*CHATML, "<s>", "</s>", "<unk>", "<pad>", "<bos>", "<|endoftext|>", "<extra_id_0>", "<extra_id_99>"),
    *("[MASK]", "[CLS]", "[UNK]", "[PAD]", "[INST]", "<start_of_turn>", "<tool>", "<mask>", "<image>"),
)


def opened(folder):
    """The tokenizer as an export would hold it, opened by the runtime, and what the checkpoint says of it."""
    assets = read_tokenizer(folder, read_config(folder))
    name, content = next(iter(assets.files.items()))
    (folder / "export").mkdir(exist_ok=True)
    (folder / "export" / name).write_bytes(content)
    # The runtime loads no decoder for encoders: they write nothing.
    return open_tokenizer(folder / "export" / name, decodes=b'"WordPiece"' not in content), assets


@pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__)
def test_ids_and_texts_are_those_of_transformers(make, tmp_path):
    from transformers import AutoTokenizer

    make(tmp_path)
    tokenizer, assets = opened(tmp_path)
    oracle = AutoTokenizer.from_pretrained(tmp_path)
    assert assets.special_tokens == oracle.special_tokens_map
    if oracle.eos_token_id is not None and tokenizer.id_to_token(oracle.eos_token_id):
        assert oracle.eos_token_id in assets.eos_token_ids
    begins = oracle.bos_token_id is not None and oracle.encode("Hello")[:1] == [oracle.bos_token_id]
    assert assets.add_bos == begins
    writes = oracle.backend_tokenizer.model.__class__.__name__ != "WordPiece"
    wrong = []
    for line in corpus(LINES, tuple(text for text in SPECIAL if text in oracle.get_vocab())):
        ids, whole = tokenizer.encode(line, special=True), tokenizer.encode_text(line)
        expected = oracle.encode(line, add_special_tokens=False)
        text = streamed = shown = ""
        if writes:
            detokenizer = Detokenizer(tokenizer)
            text, shown = decode(tokenizer, ids), oracle.decode(expected, skip_special_tokens=True)
            streamed = "".join(map(detokenizer.push, ids)) + detokenizer.flush()
        if (ids, whole, text, streamed) != (expected, oracle.encode(line), shown, shown):
            wrong.append((line, ids, expected, text, shown))
    assert not wrong, f"{len(wrong)} lines, such as {min(wrong, key=lambda row: len(row[0]))}"


def test_a_class_whose_rule_is_unknown_is_said(tmp_path, caplog):
    byte_level(tmp_path)
    write(tmp_path / "tokenizer_config.json", {"tokenizer_class": "StrangeTokenizer"})
    with caplog.at_level(logging.WARNING):
        assert read_tokenizer(tmp_path, {}) is None
    assert "StrangeTokenizer" in caplog.text


@pytest.mark.parametrize("make", [gpt2_json_of_other_rules, bert_json_of_other_case], ids=lambda make: make.__name__)
def test_rules_of_a_class_that_differ_from_the_file_are_said(make, tmp_path, caplog):
    make(tmp_path)
    with caplog.at_level(logging.WARNING):
        opened(tmp_path)
        (tmp_path / "same").mkdir()
    assert "and not by those in tokenizer.json" in caplog.text
    caplog.clear()
    saved(tmp_path / "same", llama_plain)
    opened(tmp_path / "same")
    assert not caplog.text


def test_a_vocabulary_of_another_kind_than_the_class_is_said(tmp_path, caplog):
    unigram(tmp_path, "tokenizer.model")
    settings(tmp_path, "llama", tokenizer_class="LlamaTokenizer")
    with caplog.at_level(logging.WARNING):
        opened(tmp_path)
    assert "Unigram, which a LlamaTokenizer has not" in caplog.text


def test_tokens_that_would_change_their_ids_are_refused(tmp_path):
    size = byte_level_json(tmp_path)
    last = {str(size + 2): {"content": "<|im_end|>", **FLAGS}}
    for decoder in ({}, last):
        names = {"added_tokens_decoder": decoder, "eos_token": "<|im_end|>"}
        settings(tmp_path, "qwen2", tokenizer_class="Qwen2Tokenizer", **names)
        with pytest.raises(CheckpointError, match=r"<\|im_end\|>|<\|endoftext\|>"):
            opened(tmp_path)


def test_tokens_beyond_the_model_are_not_found_in_texts(tmp_path):
    size = byte_level_json(tmp_path)
    settings(tmp_path, tokenizer_class="PreTrainedTokenizerFast", pad_token="[PAD]", eos_token="<|im_end|>")
    write(tmp_path / "config.json", {"model_type": "llama", "vocab_size": size + 3})
    tokenizer, _ = opened(tmp_path)
    assert max(tokenizer.encode("[PAD]<|im_end|>", special=True)) == size + 2
    write(tmp_path / "config.json", {"model_type": "llama", "vocab_size": size + 4})
    tokenizer, _ = opened(tmp_path)
    assert tokenizer.encode("[PAD]<|im_end|>", special=True) == [size + 3, size + 2]


def test_a_number_of_extra_ids_that_makes_no_sense_is_damage(tmp_path):
    for count in (-1, "many", 10**9, True):
        unigram(tmp_path)
        settings(tmp_path, "t5", tokenizer_class="T5Tokenizer", extra_ids=count)
        with pytest.raises(CheckpointError, match="extra_ids"):
            opened(tmp_path)


def test_a_sentencepiece_model_goes_along_where_it_finds_all_tokens(tmp_path):
    for make, there in ((llama_plain, False), (t5_of_class, False)):
        folder = tmp_path / make.__name__
        folder.mkdir()
        make(folder)
        assert any(name.endswith(".model") for name in opened(folder)[1].files) == there
    folder = tmp_path / "legacy"
    folder.mkdir()
    llama_plain(folder, legacy=True)
    assert list(opened(folder)[1].files) == ["tokenizer.json", "tokenizer.model"]


def test_a_vocabulary_of_tiktoken_is_named_and_goes_along_with_nothing(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    write(tmp_path / "config.json", {"model_type": "llama"})
    with pytest.raises(CheckpointError, match="tiktoken"):
        opened(tmp_path)
    byte_level_json(tmp_path)
    assert list(opened(tmp_path)[1].files) == ["tokenizer.json"]


def test_added_words_keep_their_letters(tmp_path):
    tokenizer = byte_level(tmp_path)
    tokenizer.add_tokens(["café", "Straße", "日本"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = open_tokenizer(tmp_path / "tokenizer.json")
    for word in ("café", "Straße", "日本"):
        ids = ours.encode(word, special=True)
        assert (len(ids), decode(ours, ids)) == (1, word)


def test_smollm2_splits_texts_as_transformers(tmp_path):
    from transformers import PreTrainedTokenizerFast
    from weights import smollm2

    from edgegen.weights import open_checkpoint

    assets = open_checkpoint(smollm2()).tokenizer()
    (tmp_path / "tokenizer.json").write_bytes(assets.files["tokenizer.json"])
    ours = open_tokenizer(tmp_path / "tokenizer.json")
    oracle = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for line in corpus(LINES, tuple(CHATML)):
        ids = ours.encode(line, special=True)
        assert ids == oracle.encode(line, add_special_tokens=False)
        assert decode(ours, ids) == oracle.decode(ids, skip_special_tokens=True)
