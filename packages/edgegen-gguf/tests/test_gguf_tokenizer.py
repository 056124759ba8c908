"""Tokenizers from GGUF metadata: ids agree with the published tokenizers, contradictions are refused."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from gguf_files import Kind, smollm2, write
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

from edgegen.errors import CheckpointError, EdgegenError, UnsupportedError
from edgegen.weights import TokenizerAssets
from edgegen_gguf.reader import open_checkpoint
from edgegen_gguf.tokenizer import PRE_TOKENIZERS

TENSORS = {"w": (np.ones((1, 1), np.float32), Kind.F32)}
ALPHABET = sorted(ByteLevel.alphabet())


def assets(folder: Path, **metadata: Any) -> TokenizerAssets:
    keys = {f"tokenizer__ggml__{key}": value for key, value in metadata.items()}
    found = open_checkpoint(write(folder / "m.gguf", TENSORS, **keys)).tokenizer()
    assert found is not None
    return found


# --- byte-level BPE -----------------------------------------------------------------------------------------


def byte_level(**changes: Any) -> dict[str, Any]:
    merges = ["h e", "l l", "he ll", "Ġ w", "1 2", "Ġ Ġ"]
    made = [merge.replace(" ", "") for merge in merges]
    tokens = ["<s>", "</s>", *ALPHABET, *made, "hello", "<|im|>", "\u2581user\u2581"]
    types = [3, 3, *[1] * (len(ALPHABET) + len(made) + 1), 3, 4]
    base = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": tokens,
        "token_type": types,
        "merges": merges,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def load(found: TokenizerAssets) -> Tokenizer:
    return Tokenizer.from_str(found.files["tokenizer.json"].decode())


def test_byte_level_vocabulary_becomes_a_tokenizer_json(tmp_path: Path) -> None:
    found = assets(tmp_path, **byte_level())
    tokenizer = load(found)
    assert tokenizer.encode("hell w12<|im|>\u2581user\u2581</s>").tokens == [
        "hell", "Ġw", "1", "2", "<|im|>", "\u2581user\u2581", "</s>",
    ]  # fmt: skip
    assert (found.bos_token_id, found.eos_token_ids, found.add_bos) == (0, (1,), False)


def test_decoding_gives_the_text_back(tmp_path: Path) -> None:
    tokenizer = load(assets(tmp_path, **byte_level()))
    for text in ("hello wörld  \n\t 日本 🙂", "<|im|>x\u2581user\u2581"):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_digits_stay_together_where_the_rule_lets_them(tmp_path: Path) -> None:
    assert load(assets(tmp_path, **byte_level(pre="gpt-2"))).encode("12").tokens == ["12"]


def test_whole_words_skip_the_merges_for_llama3(tmp_path: Path) -> None:
    assert load(assets(tmp_path, **byte_level(pre="gpt-2"))).encode("hello").tokens == ["hell", "o"]
    assert load(assets(tmp_path, **byte_level(pre="llama-bpe", add_bos_token=False))).encode("hello").tokens == [
        "hello"
    ]


def test_the_start_token_rule_is_in_the_file_and_beside_it(tmp_path: Path) -> None:
    found = assets(tmp_path, **byte_level(add_bos_token=True))
    assert found.add_bos
    tokenizer = load(found)
    assert tokenizer.encode("he").tokens == ["<s>", "he"]
    assert tokenizer.encode("he", add_special_tokens=False).tokens == ["he"]
    assert assets(tmp_path, **byte_level(pre="llama-bpe")).add_bos


def test_all_end_tokens_are_collected(tmp_path: Path) -> None:
    found = assets(tmp_path, **byte_level(eot_token_id=5, eom_token_id=1))
    assert found.eos_token_ids == (1, 5)


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_known_rule_makes_a_file_that_loads(tmp_path: Path, pre: str) -> None:
    tokenizer = load(assets(tmp_path, **byte_level(pre=pre)))
    text = "I'll pay $1,234 for Ångström's\n\n naïve  IDEA"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


@pytest.mark.parametrize(
    ("pre", "text", "words"),
    [
        ("smollm", "a 12  3", ["a", "Ġ", "1", "2", "ĠĠ", "3"]),
        ("gpt-2", "a 12  3", ["a", "Ġ12", "Ġ", "Ġ3"]),
        ("llama-bpe", "a 12345'LL", ["a", "Ġ", "123", "45", "'LL"]),
        ("qwen2", "a 12\n\n b", ["a", "Ġ", "1", "2", "ĊĊ", "Ġb"]),
        ("gpt-4o", "camelCase I'm", ["camel", "Case", "ĠI'm"]),
    ],
)
def test_text_is_cut_as_the_rule_says(tmp_path: Path, pre: str, text: str, words: list[str]) -> None:
    cutter = load(assets(tmp_path, **byte_level(pre=pre))).pre_tokenizer
    assert [word for word, _ in cutter.pre_tokenize_str(text)] == words


def test_an_unknown_rule_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="'new-rule'") as caught:
        assets(tmp_path, **byte_level(pre="new-rule"))
    assert "smollm" in caught.value.details[0]


def test_a_missing_rule_is_gpt2s_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assets(tmp_path, **byte_level(pre=None))
    assert "does not say how" in caplog.text


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"merges": None}, "no merges"),
        ({"merges": ["h zz"]}, "not made of tokens"),
        ({"merges": ["he"]}, "not made of tokens"),
        ({"merges": ["a b"]}, "not made of tokens"),
        ({"tokens": None}, "no tokens"),
        ({"tokens": ["a", "a"]}, "one text"),
        ({"token_type": [1, 1]}, "2 values"),
        ({"eos_token_id": 10**6}, "1000000"),
    ],
)
def test_contradictions_are_checkpoint_errors(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(CheckpointError, match=what) as caught:
        assets(tmp_path, **byte_level(**changes))
    assert caught.value.hint


def test_bit_flips_never_escape(tmp_path: Path) -> None:
    keys = {f"tokenizer__ggml__{key}": value for key, value in byte_level().items()}
    file = write(tmp_path / "m.gguf", TENSORS, **keys)
    content = file.read_bytes()
    source = random.Random(2)
    for _ in range(400):
        damaged = bytearray(content)
        damaged[source.randrange(len(content))] ^= 1 << source.randrange(8)
        file.write_bytes(damaged)
        with contextlib.suppress(EdgegenError):
            open_checkpoint(file).tokenizer()


# --- SentencePiece ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> sentencepiece.SentencePieceProcessor:
    folder = tmp_path_factory.mktemp("sp")
    text = ["the quick brown fox jumps over the lazy dog", "hello world, hello 123", "naïve café"] * 50
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_prefix=str(folder / "sp"),
        model_type="bpe",
        vocab_size=340,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["<turn>", "\u2581\u2581"],
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))


def spm(model: sentencepiece.SentencePieceProcessor, **changes: Any) -> dict[str, Any]:
    count = model.get_piece_size()

    def kind(i: int) -> int:
        if model.is_unknown(i):
            return 2
        if model.is_control(i):
            return 3
        if model.is_byte(i):
            return 6
        return 4 if model.id_to_piece(i) in ("<turn>", "\u2581\u2581") else 1

    pieces = [model.id_to_piece(i) for i in range(count)]
    base = {
        "model": "llama",
        # llama.cpp's converter writes user-defined pieces with real spaces
        "tokens": [piece.replace("\u2581", " ") if kind(i) == 4 else piece for i, piece in enumerate(pieces)],
        "scores": [model.get_score(i) for i in range(count)],
        "token_type": [kind(i) for i in range(count)],
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


TEXTS = [
    "hello world",
    "  two  spaces   three ",
    "the naïve café <turn> fox",
    "unseen ŷ 日本 🙂",
    "tab\tnew\nline",
    "",
    "123 321",
]


def test_sentencepiece_vocabulary_becomes_a_model_with_the_same_ids(tmp_path: Path, trained: Any) -> None:
    found = assets(tmp_path, **spm(trained))
    rebuilt = sentencepiece.SentencePieceProcessor(model_proto=found.files["tokenizer.model"])
    for text in TEXTS:
        ids = rebuilt.encode(text)
        assert ids == trained.encode(text), text
        assert rebuilt.decode(ids) == trained.decode(ids)
    assert (rebuilt.bos_id(), rebuilt.eos_id(), rebuilt.unk_id()) == (1, 2, 0)
    assert (found.bos_token_id, found.eos_token_ids, found.add_bos) == (1, (2,), True)


def test_the_space_prefix_follows_the_metadata(tmp_path: Path, trained: Any) -> None:
    found = assets(tmp_path, **spm(trained, add_space_prefix=False))
    rebuilt = sentencepiece.SentencePieceProcessor(model_proto=found.files["tokenizer.model"])
    assert rebuilt.encode("hello", out_type=str)[0][0] != "\u2581"


def test_the_unknown_token_may_be_a_control_token_that_the_metadata_names(tmp_path: Path, trained: Any) -> None:
    """So are Gemma's files."""
    types = [3 if kind == 2 else kind for kind in spm(trained)["token_type"]]
    found = assets(tmp_path, **spm(trained, token_type=types, unknown_token_id=0))
    rebuilt = sentencepiece.SentencePieceProcessor(model_proto=found.files["tokenizer.model"])
    assert (rebuilt.unk_id(), rebuilt.is_unknown(0)) == (0, True)
    assert all(rebuilt.encode(text) == trained.encode(text) for text in TEXTS)
    for wrong in (None, len(types)):
        with pytest.raises(CheckpointError, match="unknown one"):
            assets(tmp_path, **spm(trained, token_type=types, unknown_token_id=wrong))


def test_a_model_that_sentencepiece_refuses_is_a_checkpoint_error(tmp_path: Path, trained: Any) -> None:
    types = spm(trained)["token_type"]
    for damaged in ([1 if kind == 2 else kind for kind in types], [2] * len(types), [9] * len(types)):
        with pytest.raises(CheckpointError, match="unusable"):
            assets(tmp_path, **spm(trained, token_type=damaged))


def test_other_kinds_of_tokenizer_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="'bert'"):
        assets(tmp_path, model="bert", tokens=["a"])


def test_a_file_without_vocabulary_has_no_tokenizer(tmp_path: Path) -> None:
    assert open_checkpoint(write(tmp_path / "m.gguf", TENSORS)).tokenizer() is None


# --- the real thing -----------------------------------------------------------------------------------------

REAL_TEXTS = [
    "The capital of France is",
    "I'll don't we've YOU'RE it's 'tis",
    "Hello world 12345 and 3.14159, 007! $1,234.56 ①②Ⅷ½²",
    "  leading  spaces\n\n\ttabs\r\nCRLF   \n",
    "naïve café e\u0301 日本語テスト 한국어 العربية 🙂👩\u200d👩\u200d👧 a\u00a0b\u2003c",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>",
    "x = [1,2, 3];\n    return x**2  # ok",
    "",
    "   ",
]


def random_texts(count: int) -> list[str]:
    source = random.Random(0)
    pieces = [*"abc XYZ \n\t 019 éß中🙂'.,!?-_/<|>", "<|im_end|>", "  ", "'ll"]
    return ["".join(source.choices(pieces, k=source.randint(0, 60))) for _ in range(count)]


@pytest.mark.real_weights
def test_smollm2_ids_agree_with_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    file = smollm2()
    found = open_checkpoint(file).tokenizer()
    assert found is not None
    ours = load(found)
    theirs = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    theirs = theirs.backend_tokenizer
    # transformers' conversion does not know the rule "smollm": every digit is a word, in SmolLM2's published
    # tokenizer.json and in llama.cpp. So its tokenizer is compared as it is without digits, and with the rule
    # added.
    for text in REAL_TEXTS + random_texts(2000):
        if not any(character.isnumeric() for character in text):
            assert ours.encode(text).ids == theirs.encode(text, add_special_tokens=False).ids, text
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    theirs.decoder = decoders.ByteLevel()
    for text in REAL_TEXTS + random_texts(2000):
        ids = ours.encode(text).ids
        assert ids == theirs.encode(text, add_special_tokens=False).ids, text
        assert ours.decode(ids, skip_special_tokens=False) == text


@pytest.mark.real_weights
def test_smollm2_tokens_and_template_are_found() -> None:
    found = open_checkpoint(smollm2()).tokenizer()
    assert found is not None
    assert (found.bos_token_id, found.eos_token_ids, found.add_bos) == (1, (2,), False)
    assert found.chat_template is not None
    assert "<|im_start|>" in found.chat_template
    content = json.loads(found.files["tokenizer.json"])
    assert len(content["model"]["vocab"]) == 49152
    assert len(content["added_tokens"]) == 17
