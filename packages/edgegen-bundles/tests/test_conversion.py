"""Tokenizers become SentencePiece models that split texts alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bpe_tokenizers import SPLITS, TRICKY, metaspace, trained
from sentencepiece import sentencepiece_model_pb2

from edgegen.errors import CheckpointError, UnsupportedError
from edgegen_bundles.sentencepiece import Conversion, compare, convert
from edgegen_bundles.sentencepiece.mismatch_reasons import Construct
from edgegen_bundles.sentencepiece.sample_text import sample_text


def ids_of_both(conversion: Conversion, text: str) -> tuple[list[int], list[int]]:
    return conversion.source.encode(text), conversion.processor.encode(text)


@pytest.fixture(scope="module", params=SPLITS)
def conversion(request) -> Conversion:
    return convert(trained(request.param))


def test_a_text_gets_the_ids_that_the_tokenizer_gives_it(conversion):
    result = compare(conversion, sample_text(), pairs=300)
    assert result.tokens > 10_000
    assert (result.tokens_differing, result.passages_decoded_differently, result.loosely) == (0, 0, 0)
    assert result.strictly <= 3


@pytest.mark.parametrize("line", TRICKY.splitlines(keepends=True), ids=repr)
def test_so_do_runs_of_spaces_numbers_quotes_and_contractions(conversion, line):
    theirs, ours = ids_of_both(conversion, line)
    assert conversion.processor.decode(ours) == line
    known = {"x'so", "'so'"}  # contractions where there is no word, see the construct
    if not any(word in line for word in known):
        assert ours == theirs


def test_runs_of_line_feeds_are_cut_by_what_follows(conversion):
    for text in ("a\n\nb", "a\n\n\nb", "a\n\n\n\n    b", "a\n\n", "a.\n\nb", "a\r\nb", "a\n\n<|user|>b", "a  \n b"):
        theirs, ours = ids_of_both(conversion, text)
        assert ours == theirs, text


def test_without_the_order_of_phases_it_would_not(monkeypatch):
    from edgegen_bundles.sentencepiece.merge_order import MergeOrder, MergePriority

    monkeypatch.setattr(MergeOrder, "priority", lambda self, text: MergePriority.WORD)
    monkeypatch.setattr("edgegen_bundles.sentencepiece.conversion.space_guards", lambda *_: ())
    result = compare(convert(trained("gpt2")), TRICKY + sample_text()[:5000], pairs=1)
    found = {one.construct for one in result.mismatches}
    assert {Construct.LINE_BREAKS, Construct.SPACES} <= found
    for one in result.mismatches:
        assert one.count > 0
        assert "".join(one.example.tokenizer) == "".join(one.example.sentencepiece)
        assert "".join(one.example.tokenizer) in one.example.text


def test_digits_in_groups_would_not_without_their_ranks(monkeypatch):
    from edgegen_bundles.sentencepiece.merge_order import MergeOrder

    monkeypatch.setattr(MergeOrder, "rank", lambda self, text, rank: rank)
    result = compare(convert(trained("llama3")), " ".join(map(str, range(1000, 9000, 7))), pairs=1)
    assert [one.construct for one in result.mismatches] == [Construct.DIGITS]


def test_special_tokens_are_found_and_ids_stay(conversion):
    text = "<|user|>Alice's<|end|>"
    theirs, ours = ids_of_both(conversion, text)
    assert ours == theirs
    names = conversion.source.added
    assert [names[index] for index in (ours[0], ours[-1])] == ["<|user|>", "<|end|>"]


def test_what_steers_is_never_the_result(conversion):
    assert conversion.guard_pieces > 0
    assert conversion.processor.vocab_size() > conversion.source.size
    ids = conversion.processor.encode(sample_text() + TRICKY)
    assert max(ids) < conversion.source.size


def test_unknown_characters_become_bytes_and_come_back(conversion):
    text = "世界 😀 ﷽\t\x01"
    ids = conversion.processor.encode(text)
    assert max(ids) < conversion.source.size
    assert conversion.processor.decode(ids) == text


def test_characters_in_parts_are_named_as_such():
    document = json.loads(trained("gpt2"))
    first, second = "ðŁ", "ĺĢ"  # the halves of an emoji, in the alphabet of bytes
    vocabulary = document["model"]["vocab"]
    for pair in (first, second):
        vocabulary[pair] = len(vocabulary)
        document["model"]["merges"].append(list(pair))
    result = compare(convert(json.dumps(document).encode()), "smile 😀 now", pairs=1)
    assert [(one.construct, one.count) for one in result.mismatches] == [(Construct.PARTS_OF_CHARACTERS, 2)]
    assert result.mismatches[0].example.tokenizer == ("\\xf0\\x9f",)
    assert result.mismatches[0].example.sentencepiece == ("\\xf0", "\\x9f")
    assert result.passages_decoded_differently == 0


def test_decomposed_letters_are_composed_where_the_tokenizer_does():
    conversion = convert(trained("qwen2"))
    composed, decomposed = "caf\u00e9 \u1ed7", "cafe\u0301 o\u0302\u0303"
    assert conversion.processor.encode(decomposed) == conversion.processor.encode(composed)
    assert ids_of_both(conversion, decomposed)[0] == ids_of_both(conversion, decomposed)[1]
    other = convert(trained("llama3"))
    assert other.processor.encode(decomposed) != other.processor.encode(composed)


def test_a_vocabulary_that_came_from_sentencepiece_goes_back():
    conversion = convert(metaspace())
    result = compare(conversion, sample_text() + "世界 <s>", pairs=200)
    assert (result.tokens_differing, result.passages_decoded_differently) == (0, 0)
    assert conversion.guard_pieces == 0


def test_the_same_tokenizer_gives_the_same_bytes():
    assert convert(trained("llama3")).model == convert(trained("llama3")).model


def test_ids_without_a_token_and_tokens_with_one_text_are_kept_apart():
    document = json.loads(trained("gpt2"))
    vocabulary = document["model"]["vocab"]
    size = len(vocabulary)
    del vocabulary["<|end|>"]  # leaves a gap
    document["added_tokens"] = [{**document["added_tokens"][1], "id": size, "content": " the", "special": False}]
    conversion = convert(json.dumps(document).encode())
    [added] = conversion.source.added
    assert conversion.processor.encode("in the") == conversion.source.encode("in the")
    assert added in conversion.processor.encode("in the")
    proto = sentencepiece_model_pb2.ModelProto.FromString(conversion.model)
    assert len({piece.piece for piece in proto.pieces}) == len(proto.pieces)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}, "WordLevel"),
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"pre_tokenizer": None}, "neither byte-level"),
    ],
)
def test_what_has_no_counterpart_is_refused(change, reason):
    document = {**json.loads(trained("gpt2")), **change}
    with pytest.raises(UnsupportedError, match=reason) as caught:
        convert(json.dumps(document).encode())
    assert caught.value.code == "EG841"


@pytest.mark.parametrize("contents", [b"", b"{}", b"[]", b'{"model": {}}', trained("gpt2")[:-40]])
def test_what_is_no_tokenizer_is_refused(contents):
    with pytest.raises(CheckpointError) as caught:
        convert(contents)
    assert caught.value.code == "EG840"


def test_the_sample_text_is_the_runtime_s() -> None:
    """Both packages measure on it, and neither depends on the other."""
    runtime = Path(__file__).parents[2] / "edgegen-runtime" / "src" / "edgegen_runtime" / "evaluation"
    assert sample_text() == (runtime / "sample_text.txt").read_text(encoding="utf-8")
