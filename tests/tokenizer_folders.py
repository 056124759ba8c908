"""Checkpoint folders with tokenizers of many kinds, each as a function that fills a folder."""

from __future__ import annotations

import functools
import io
import json

import sentencepiece
from tokenizer_corpus import WORDS
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CHATML = {"<|im_start|>": 0, "<|im_end|>": 1}
TRAINING = [" ".join(WORDS), *(" ".join(WORDS[i::7]) for i in range(7)), "def f(x):\n    return x ** 2"] * 3
EXTRA_IDS = [f"<extra_id_{i}>" for i in range(100)]
FLAGS = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}


def write(path, document):
    path.write_text(json.dumps(document), encoding="utf-8")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def settings(folder, model_type=None, **stated):
    """``tokenizer_config.json`` and ``config.json``."""
    write(folder / "tokenizer_config.json", stated)
    if model_type is not None:
        write(folder / "config.json", {"model_type": model_type})


@functools.lru_cache
def _trained(options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TRAINING), model_writer=model, **dict(options))
    return model.getvalue()


def sentencepiece_model(folder, name="tokenizer.model", **changes):
    """Write a model; returns its number of pieces."""
    options = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}
    options |= {"remove_extra_whitespaces": False, "vocab_size": 620, "hard_vocab_limit": False, "minloglevel": 2}
    content = _trained(tuple({**options, **changes}.items()))
    (folder / name).write_bytes(content)
    return sentencepiece.SentencePieceProcessor(model_proto=content).vocab_size()


def unigram(folder, name="spiece.model", **changes):
    options = {"model_type": "unigram", "byte_fallback": False, "normalization_rule_name": "nmt_nfkc"}
    options |= {"remove_extra_whitespaces": True, "vocab_size": 300, "pad_id": 0, "eos_id": 1, "unk_id": 2}
    return sentencepiece_model(folder, name, **{**options, "bos_id": -1, **changes})


def byte_level(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.model.save(str(folder))
    return tokenizer


def byte_level_json(folder, *, digits=False):
    """A ``tokenizer.json`` alone, with three added tokens, the last of them not special; returns its vocabulary's size.

    The first two are special.
    """
    tokenizer = byte_level(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    if digits:
        cutter = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), cutter])
    size = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>"])
    tokenizer.add_tokens([AddedToken("<|im_end|>", normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return size


@functools.lru_cache
def word_pieces(lower):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TRAINING, trainer)
    return sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)


def saved(folder, make, **changes):
    """The tokenizer of another folder as transformers saves it: a ``tokenizer.json`` with its settings."""
    from transformers import AutoTokenizer

    make(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name in ("vocab.txt", "tokenizer.model", "spiece.model", "added_tokens.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    write(folder / "tokenizer_config.json", read(folder / "tokenizer_config.json") | changes)


# --- SentencePiece: Llama, Gemma, Mistral ---------------------------------------------------------------------


def llama_chatml(folder):
    """A ChatML fine-tune: added tokens beyond the pieces, in a file of their own."""
    size = sentencepiece_model(folder)
    write(folder / "added_tokens.json", {text: size + i for text, i in CHATML.items()})
    write(folder / "special_tokens_map.json", {"eos_token": "<|im_end|>", "bos_token": "<s>", "unk_token": "<unk>"})
    settings(folder, "llama", tokenizer_class="LlamaTokenizer", legacy=False)


def llama_decoder(folder):
    size = sentencepiece_model(folder)
    decoder = {str(i): {"content": text, **FLAGS} for i, text in enumerate(["<unk>", "<s>", "</s>"])}
    decoder |= {str(size + i): {"content": text, **FLAGS} for text, i in CHATML.items()}
    settings(
        folder, "llama", tokenizer_class="LlamaTokenizer", added_tokens_decoder=decoder, eos_token="<|im_end|>",
    )  # fmt: skip


def llama_plain(folder, **stated):
    sentencepiece_model(folder)
    settings(folder, "llama", tokenizer_class="LlamaTokenizer", **stated)


def llama_old(folder):
    llama_plain(folder, legacy=True)


def llama_no_prefix(folder):
    llama_plain(folder, add_prefix_space=False)


def llama_start(folder):
    llama_plain(folder, add_bos_token=True, add_eos_token=False)


def llama_start_and_end(folder):
    llama_plain(folder, add_bos_token=True, add_eos_token=True)


def llama_no_start(folder):
    llama_plain(folder, add_bos_token=False)


def llama_json(folder):
    saved(folder, llama_chatml)


def llama_json_start(folder):
    """``tokenizer.json`` says what it puts around a text, and ``tokenizer_config.json`` is not asked."""
    saved(folder, llama_plain, add_bos_token=True)


def llama_json_starts(folder):
    saved(folder, llama_start, add_bos_token=False)


def llama_json_legacy(folder):
    saved(folder, llama_chatml, legacy=True)


def llama_json_old_rules(folder):
    """Rules in ``tokenizer.json`` that the class leaves aside."""
    saved(folder, llama_chatml, legacy=False)
    document = read(folder / "tokenizer.json")
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    document["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replaced]}
    document["pre_tokenizer"] = None
    write(folder / "tokenizer.json", document)


def llama_json_of_no_class(folder):
    llama_json_old_rules(folder)
    stated = read(folder / "tokenizer_config.json")
    write(folder / "tokenizer_config.json", stated | {"tokenizer_class": "PreTrainedTokenizerFast"})


def llama_byte_level(folder):
    byte_level_json(folder)
    settings(folder, "llama", tokenizer_class="LlamaTokenizerFast", eos_token="<|im_end|>")


def gemma_model(folder, **stated):
    own = ["<mask>", "<start_of_turn>", "\n\n"]
    ids = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}
    texts = {"pad_piece": "<pad>", "eos_piece": "<eos>", "bos_piece": "<bos>"}
    sentencepiece_model(folder, add_dummy_prefix=False, user_defined_symbols=tuple(own), **ids, **texts)
    settings(folder, "gemma", tokenizer_class="GemmaTokenizer", **stated)


def gemma_start(folder):
    gemma_model(folder, add_bos_token=True)


def gemma_no_start(folder):
    gemma_model(folder, add_bos_token=False)


def gemma_json(folder):
    saved(folder, gemma_model)


def gemma_json_starts(folder):
    saved(folder, gemma_start, add_bos_token=False)


def mistral_legacy_false(folder):
    sentencepiece_model(folder)
    settings(folder, "mistral", tokenizer_class="LlamaTokenizer", legacy=False)


def mistral_legacy(folder):
    llama_decoder(folder)
    write(folder / "config.json", {"model_type": "mistral"})


def mistral_user_defined(folder):
    sentencepiece_model(folder, user_defined_symbols=("[INST]", "[/INST]"), remove_extra_whitespaces=True)
    settings(folder, "mistral", tokenizer_class="LlamaTokenizer", add_bos_token=True)


# --- Unigram --------------------------------------------------------------------------------------------------


def t5_alone(folder):
    unigram(folder)
    write(folder / "config.json", {"model_type": "t5"})


def t5_of_class(folder):
    unigram(folder)
    settings(folder, "t5", tokenizer_class="T5Tokenizer", extra_ids=100)


def t5_few_extra_ids(folder):
    unigram(folder)
    settings(folder, "t5", tokenizer_class="T5Tokenizer", extra_ids=10)


def t5_no_extra_ids(folder):
    unigram(folder)
    settings(folder, "t5", tokenizer_class="T5Tokenizer", extra_ids=0)


def t5_listed(folder):
    unigram(folder)
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    write(folder / "special_tokens_map.json", {**names, "additional_special_tokens": EXTRA_IDS})
    settings(folder, "t5", tokenizer_class="T5Tokenizer", extra_ids=100, additional_special_tokens=EXTRA_IDS)


def t5_decoder(folder):
    size = unigram(folder)
    decoder = {str(i): {"content": text, **FLAGS} for i, text in enumerate(["<pad>", "</s>", "<unk>"])}
    wide = FLAGS | {"lstrip": True, "rstrip": True}
    decoder |= {str(size + 99 - i): {"content": text, **wide} for i, text in enumerate(EXTRA_IDS)}
    settings(folder, "t5", tokenizer_class="T5Tokenizer", extra_ids=100, added_tokens_decoder=decoder)


def t5_json(folder):
    saved(folder, t5_of_class)


def t5_json_alone(folder):
    saved(folder, t5_of_class)
    (folder / "tokenizer_config.json").unlink()


def unigram_of_no_class(folder):
    unigram(folder, "tokenizer.model", bos_id=1, eos_id=2, unk_id=0, pad_id=-1)
    write(folder / "config.json", {"model_type": "mistral"})


def unigram_with_added(folder):
    unigram_of_no_class(folder)
    size = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).vocab_size()
    write(folder / "added_tokens.json", {text: size + i for text, i in CHATML.items()})
    write(folder / "special_tokens_map.json", {"eos_token": "<|im_end|>"})


# --- WordPiece ------------------------------------------------------------------------------------------------


def bert(folder, *, lower=True, **stated):
    (folder / "vocab.txt").write_text("\n".join(word_pieces(lower)) + "\n", encoding="utf-8")
    write(folder / "config.json", {"model_type": "bert"})
    if stated:
        write(folder / "tokenizer_config.json", stated)


def bert_alone(folder):
    bert(folder)


def bert_uncased(folder):
    bert(folder, tokenizer_class="BertTokenizer", do_lower_case=True)


def bert_cased(folder):
    bert(folder, lower=False, tokenizer_class="BertTokenizer", do_lower_case=False)


def bert_with_accents(folder):
    bert(folder, tokenizer_class="BertTokenizer", do_lower_case=True, strip_accents=False)


def bert_without_chinese(folder):
    bert(folder, lower=False, do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False)


def bert_with_added(folder):
    bert_uncased(folder)
    size = len(word_pieces(True))
    write(folder / "added_tokens.json", {"<|im_start|>": size, "Größe": size + 1})


def bert_json(folder):
    saved(folder, bert_uncased)


def bert_json_of_other_case(folder):
    """``do_lower_case`` counts, and not the normalizer in ``tokenizer.json``."""
    saved(folder, bert_uncased, do_lower_case=False)


def bert_json_alone(folder):
    saved(folder, bert_cased)
    (folder / "tokenizer_config.json").unlink()


def bert_json_of_no_class(folder):
    saved(folder, bert_cased, tokenizer_class="PreTrainedTokenizerFast")
    (folder / "config.json").unlink()


# --- byte-level -----------------------------------------------------------------------------------------------


def gpt2_merges(folder):
    byte_level(folder)
    settings(folder, "gpt2", tokenizer_class="GPT2Tokenizer")


def qwen2_merges(folder):
    size = byte_level(folder).get_vocab_size()
    write(folder / "added_tokens.json", {"<|endoftext|>": size, "<|im_start|>": size + 1, "<|im_end|>": size + 2})
    further = ["<|im_start|>", "<|im_end|>"]
    settings(
        folder, "qwen2", eos_token="<|im_end|>", additional_special_tokens=further, tokenizer_class="Qwen2Tokenizer",
    )  # fmt: skip


def gpt2_json_of_other_rules(folder):
    """A rule for digits in ``tokenizer.json`` that the class does not have."""
    byte_level_json(folder, digits=True)
    settings(folder, "llama", tokenizer_class="GPT2Tokenizer", eos_token="<|im_end|>", bos_token="<|im_start|>")


def json_and_added(folder):
    """A ``tokenizer.json`` that lacks tokens which ``tokenizer_config.json`` lists."""
    tokenizer = byte_level(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    decoder = {str(size + i): {"content": text, "special": True} for text, i in CHATML.items()}
    settings(
        folder, tokenizer_class="PreTrainedTokenizerFast", added_tokens_decoder=decoder, eos_token="<|im_end|>",
    )  # fmt: skip


# --- flags of added tokens that files state otherwise ----------------------------------------------------------


def flags_of_decoder(folder):
    size = byte_level_json(folder)
    wide = {"content": "<|endoftext|>", **FLAGS, "lstrip": True, "rstrip": True}
    decoder = {str(size): wide, str(size + 1): {"content": "<|im_start|>", "special": False}}
    settings(folder, tokenizer_class="PreTrainedTokenizerFast", added_tokens_decoder=decoder)


def flags_single_word(folder):
    size = byte_level_json(folder)
    decoder = {str(size + 2): {"content": "<|im_end|>", "special": True, "single_word": True}}
    settings(
        folder, tokenizer_class="PreTrainedTokenizerFast", added_tokens_decoder=decoder, eos_token="<|im_end|>",
    )  # fmt: skip


def flags_of_a_new_name(folder):
    byte_level_json(folder)
    names = {"eos_token": "<|im_end|>", "pad_token": "[PAD]", "image_token": "<image>"}
    settings(folder, tokenizer_class="PreTrainedTokenizerFast", added_tokens_decoder={}, **names)


def flags_of_an_object(folder):
    byte_level_json(folder)
    end = {"__type": "AddedToken", "content": "<|im_end|>", **FLAGS, "lstrip": True}
    pad = {"__type": "AddedToken", "content": "[PAD]", **FLAGS, "rstrip": True}
    settings(folder, tokenizer_class="PreTrainedTokenizerFast", eos_token=end, pad_token=pad)


def flags_of_the_map(folder):
    byte_level_json(folder)
    end = {"content": "<|im_end|>", "lstrip": True, "rstrip": True, "normalized": False, "single_word": False}
    write(folder / "special_tokens_map.json", {"eos_token": end, "additional_special_tokens": ["<tool>"]})
    settings(folder, tokenizer_class="PreTrainedTokenizerFast")


FOLDERS = (
    *(llama_chatml, llama_decoder, llama_plain, llama_old, llama_no_prefix, llama_start, llama_start_and_end),
    *(llama_no_start, llama_json, llama_json_start, llama_json_starts, llama_json_legacy, llama_json_old_rules),
    *(llama_json_of_no_class, llama_byte_level, gemma_model, gemma_start, gemma_no_start, gemma_json),
    *(gemma_json_starts, mistral_legacy, mistral_legacy_false, mistral_user_defined),
    *(t5_alone, t5_of_class, t5_few_extra_ids, t5_no_extra_ids, t5_listed, t5_decoder, t5_json, t5_json_alone),
    *(unigram_of_no_class, unigram_with_added),
    *(bert_alone, bert_uncased, bert_cased, bert_with_accents, bert_without_chinese, bert_with_added, bert_json),
    *(bert_json_of_other_case, bert_json_alone, bert_json_of_no_class),
    *(gpt2_merges, qwen2_merges, gpt2_json_of_other_rules, json_and_added),
    *(flags_of_decoder, flags_single_word, flags_of_a_new_name, flags_of_an_object, flags_of_the_map),
)
