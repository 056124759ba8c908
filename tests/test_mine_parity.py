"""Tokenizers out of checkpoint folders of many kinds: ids and texts are those of transformers."""

from __future__ import annotations

import io
import json
import logging
import os

import pytest
import sentencepiece
from tokenizer_corpus import WORDS, corpus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from edgegen_huggingface.repository_files import read_config, read_tokenizer
from edgegen_runtime.text.detokenizer import Detokenizer
from edgegen_runtime.text.tokenizer import decode, open_tokenizer

LINES = int(os.environ.get("EDGEGEN_TOKENIZER_LINES", "2000"))
CHATML = {"<|im_start|>": 0, "<|im_end|>": 1}
TRAINING = [" ".join(WORDS), *(" ".join(WORDS[i::7]) for i in range(7)), "def f(x):\n    return x ** 2"] * 3


def write(path, document):
    path.write_text(json.dumps(document), encoding="utf-8")


def sentencepiece_model(folder, name="tokenizer.model", **settings):
    model = io.BytesIO()
    options = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}
    options |= {"remove_extra_whitespaces": False, "vocab_size": 620, "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING), model_writer=model, **{**options, **settings}
    )
    (folder / name).write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).vocab_size()


def byte_level(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.model.save(str(folder))
    return tokenizer


def llama_chatml(folder):
    """A ChatML fine-tune: added tokens beyond the pieces, in a file of their own."""
    size = sentencepiece_model(folder)
    write(folder / "added_tokens.json", {text: size + i for text, i in CHATML.items()})
    write(folder / "special_tokens_map.json", {"eos_token": "<|im_end|>", "bos_token": "<s>", "unk_token": "<unk>"})
    write(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "legacy": False})
    write(folder / "config.json", {"model_type": "llama"})


def llama_decoder(folder):
    size = sentencepiece_model(folder)
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    pieces = ["<unk>", "<s>", "</s>"]
    decoder = {str(i): {"content": text, **flags} for i, text in enumerate(pieces)}
    decoder |= {str(size + i): {"content": text, **flags} for text, i in CHATML.items()}
    write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": decoder, "eos_token": "<|im_end|>"},
    )
    write(folder / "config.json", {"model_type": "llama"})


def mistral_legacy_false(folder):
    sentencepiece_model(folder)
    write(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "legacy": False})
    write(folder / "config.json", {"model_type": "mistral"})


def mistral_legacy(folder):
    llama_decoder(folder)
    write(folder / "config.json", {"model_type": "mistral"})


def llama_plain(folder):
    sentencepiece_model(folder)
    write(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    write(folder / "config.json", {"model_type": "llama"})


def gpt2_merges(folder):
    byte_level(folder)
    write(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
    write(folder / "config.json", {"model_type": "gpt2"})


def qwen2_merges(folder):
    size = byte_level(folder).get_vocab_size()
    write(folder / "added_tokens.json", {"<|endoftext|>": size, "<|im_start|>": size + 1, "<|im_end|>": size + 2})
    further = ["<|im_start|>", "<|im_end|>"]
    settings = {"eos_token": "<|im_end|>", "additional_special_tokens": further, "tokenizer_class": "Qwen2Tokenizer"}
    write(folder / "tokenizer_config.json", settings)
    write(folder / "config.json", {"model_type": "qwen2"})


def json_and_added(folder):
    """A ``tokenizer.json`` that lacks tokens which ``tokenizer_config.json`` lists."""
    tokenizer = byte_level(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    decoder = {str(size + i): {"content": text, "special": True} for text, i in CHATML.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": decoder}
    write(folder / "tokenizer_config.json", settings | {"eos_token": "<|im_end|>"})


def t5_spiece(folder):
    """A T5 with its SentencePiece model alone: its sentinels are in no file."""
    settings = {"model_type": "unigram", "byte_fallback": False, "normalization_rule_name": "nmt_nfkc"}
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    size = sentencepiece_model(folder, "spiece.model", remove_extra_whitespaces=True, vocab_size=400, **settings, **ids)
    write(folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"})
    write(folder / "config.json", {"model_type": "t5", "vocab_size": size + 128})


def t5_fewer_sentinels(folder):
    t5_spiece(folder)
    sentinels = [f"<extra_id_{i}>" for i in range(7)]
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 7, "additional_special_tokens": sentinels}
    write(folder / "tokenizer_config.json", settings)


def unigram_added(folder):
    """A unigram model of no class, with added tokens beyond its pieces."""
    size = sentencepiece_model(folder, model_type="unigram", normalization_rule_name="nmt_nfkc")
    write(folder / "added_tokens.json", {text: size + i for text, i in CHATML.items()})
    write(folder / "special_tokens_map.json", {"eos_token": "<|im_end|>", "bos_token": "<s>", "unk_token": "<unk>"})
    write(folder / "config.json", {"model_type": "mistral"})


def mistral_added(folder):
    """As :func:`llama_chatml`, of no class of its own."""
    llama_chatml(folder)
    write(folder / "tokenizer_config.json", {})
    write(folder / "config.json", {"model_type": "mistral"})


FOLDERS = (
    mistral_added,
    t5_spiece,
    t5_fewer_sentinels,
    unigram_added,
    llama_chatml,
    llama_decoder,
    llama_plain,
    mistral_legacy,
    mistral_legacy_false,
    gpt2_merges,
    qwen2_merges,
    json_and_added,
)


@pytest.mark.parametrize("flag", [None, True, False])
@pytest.mark.parametrize("kind", ["Llama", "Gemma", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("file", ["model", "json with it", "json without it"])
def test_a_text_begins_with_the_start_token_where_it_does_in_transformers(file, kind, flag, tmp_path):
    from transformers import AutoTokenizer

    if kind == "Gemma":
        names = {"pad_piece": "<pad>", "eos_piece": "<eos>", "bos_piece": "<bos>"}
        sentencepiece_model(tmp_path, pad_id=0, eos_id=1, bos_id=2, unk_id=3, add_dummy_prefix=False, **names)
    else:
        sentencepiece_model(tmp_path)
    bos = "<bos>" if kind == "Gemma" else "<s>"
    settings = {"tokenizer_class": kind if kind.startswith("Pre") else f"{kind}Tokenizer", "bos_token": bos}
    write(tmp_path / "config.json", {"model_type": "gemma" if kind == "Gemma" else "llama"})
    if file != "model":
        made = {**settings, "tokenizer_class": f"{'Gemma' if kind == 'Gemma' else 'Llama'}Tokenizer"}
        write(tmp_path / "tokenizer_config.json", {**made, "add_bos_token": file == "json with it"})
        AutoTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
        (tmp_path / "tokenizer.model").unlink()
    write(tmp_path / "tokenizer_config.json", settings if flag is None else {**settings, "add_bos_token": flag})
    oracle = AutoTokenizer.from_pretrained(tmp_path)
    assets = read_tokenizer(tmp_path, read_config(tmp_path))
    begins = oracle("the").input_ids[:1] == [oracle.bos_token_id]
    assert assets.add_bos == begins
    assert assets.bos_token_id == oracle.bos_token_id


BERT_SETTINGS = {
    "as it comes": {},
    "cased": {"do_lower_case": False},
    "with accents": {"strip_accents": False},
    "cased, without accents": {"do_lower_case": False, "strip_accents": True},
    "Chinese in words": {"tokenize_chinese_chars": False},
}


@pytest.mark.parametrize("files", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("settings", BERT_SETTINGS)
def test_word_pieces_are_those_of_transformers(settings, files, tmp_path):
    from transformers import AutoTokenizer, BertTokenizer

    letters = sorted({letter for line in TRAINING for letter in line if not letter.isspace()})
    pieces = [
        *letters,
        *(f"##{letter}" for letter in letters),
        "the",
        "quick",
        "##ing",
        "ein",
        "straße",
        "Straße",
        "日本",
    ]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (tmp_path / "vocab.txt").write_text("\n".join([*special, *dict.fromkeys(pieces)]) + "\n", encoding="utf-8")
    write(tmp_path / "config.json", {"model_type": "bert"})
    write(tmp_path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **BERT_SETTINGS[settings]})
    if files == "tokenizer.json":
        BertTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
        (tmp_path / "vocab.txt").unlink()
    tokenizer, assets = opened(tmp_path, tmp_path, decodes=False)
    oracle = AutoTokenizer.from_pretrained(tmp_path)
    assert assets.special_tokens == oracle.special_tokens_map
    wrong = [line for line in corpus(LINES, ()) if tokenizer.encode_text(line) != oracle(line).input_ids]
    assert not wrong, (len(wrong), min(wrong, key=len))


def opened(folder, tmp_path, *, decodes=True):
    """The tokenizer as an export would hold it, opened by the runtime, and what the checkpoint says of it."""
    assets = read_tokenizer(folder, read_config(folder))
    name, content = next(iter(assets.files.items()))
    (tmp_path / "export").mkdir(exist_ok=True)
    (tmp_path / "export" / name).write_bytes(content)
    return open_tokenizer(tmp_path / "export" / name, decodes=decodes), assets


@pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__)
def test_ids_and_texts_are_those_of_transformers(make, tmp_path):
    from transformers import AutoTokenizer

    make(tmp_path)
    tokenizer, assets = opened(tmp_path, tmp_path)
    oracle = AutoTokenizer.from_pretrained(tmp_path)
    assert assets.special_tokens == oracle.special_tokens_map
    if oracle.eos_token_id is not None and tokenizer.id_to_token(oracle.eos_token_id):
        assert oracle.eos_token_id in assets.eos_token_ids
    special = tuple(
        text
        for text in (*CHATML, "<s>", "</s>", "<unk>", "<|endoftext|>", "<extra_id_0>")
        if text in oracle.get_vocab()
    )
    wrong = []
    for line in corpus(LINES, special):
        ids = tokenizer.encode(line, special=True)
        expected = oracle.encode(line, add_special_tokens=False)
        text = decode(tokenizer, ids)
        detokenizer = Detokenizer(tokenizer)
        streamed = "".join(map(detokenizer.push, ids)) + detokenizer.flush()
        if ids != expected or text != streamed or text != oracle.decode(expected, skip_special_tokens=True):
            wrong.append((line, ids, expected, text, oracle.decode(expected, skip_special_tokens=True)))
    assert not wrong, f"{len(wrong)} lines, such as {min(wrong, key=lambda row: len(row[0]))}"


def test_a_class_whose_rule_is_unknown_is_said(tmp_path, caplog):
    byte_level(tmp_path)
    write(tmp_path / "tokenizer_config.json", {"tokenizer_class": "StrangeTokenizer"})
    with caplog.at_level(logging.WARNING):
        assert read_tokenizer(tmp_path, {}) is None
    assert "StrangeTokenizer" in caplog.text


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
