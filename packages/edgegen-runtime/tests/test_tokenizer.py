from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegen.errors import UnsupportedError, UsageError
from edgegen_runtime.bundle import TokenizerSpec
from edgegen_runtime.text.detokenizer import Detokenizer
from edgegen_runtime.text.tokenizer import decode, encode_prompt, open_tokenizer

TEXTS = [
    "",
    "Hello",
    "The quick brown fox. How are you?",
    "  two leading spaces",
    "trailing space ",
    " ",
    "naïve café λόγος",
    "你好、世界。😀👩‍👩‍👧🇫🇷 안녕",
    "tabs\tand\nlines\n\n  x",
    "\U0001f9ff unseen \u2603 \u0e01",
]

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def stream(tokenizer: object, ids: list[int], *, continuation: bool = False) -> list[str]:
    detokenizer = Detokenizer(tokenizer, continuation=continuation)  # type: ignore[arg-type]
    return [*(detokenizer.push(token_id) for token_id in ids), detokenizer.flush()]


def library_decode(path: Path, ids: list[int]) -> str:
    if path.suffix == ".json":
        import tokenizers

        return tokenizers.Tokenizer.from_file(str(path)).decode(ids, skip_special_tokens=True)
    import sentencepiece

    return str(sentencepiece.SentencePieceProcessor(model_file=str(path)).decode(ids))


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_agrees_with_the_library(tokenizer_file: Path, text: str) -> None:
    tokenizer = open_tokenizer(tokenizer_file)
    ids = tokenizer.encode(text, special=True)
    assert decode(tokenizer, ids) == library_decode(tokenizer_file, ids)


@shared
@given(text=st.text(max_size=40))
def test_decoding_of_any_encoded_text_agrees_with_the_library(tokenizer_file: Path, text: str) -> None:
    tokenizer = open_tokenizer(tokenizer_file)
    ids = tokenizer.encode(text, special=False)
    assert decode(tokenizer, ids) == library_decode(tokenizer_file, ids)


@shared
@given(data=st.data())
def test_streamed_pieces_are_the_decoded_text(tokenizer_file: Path, data: st.DataObject) -> None:
    """For any ids at all, also those that are not UTF-8 together."""
    tokenizer = open_tokenizer(tokenizer_file)
    # Byte tokens come first in these vocabularies; half of the ids are taken there.
    some_id = st.one_of(st.integers(0, 262), st.integers(0, tokenizer.vocab_size + 3))
    ids = data.draw(st.lists(some_id, max_size=30))
    for continuation in (False, True):
        pieces = stream(tokenizer, ids, continuation=continuation)
        assert "".join(pieces) == decode(tokenizer, ids, continuation=continuation)


@shared
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=40))
def test_no_piece_of_valid_text_holds_half_a_character(tokenizer_files: Mapping[str, Path], text: str) -> None:
    for name in ("byte-level", "llama-like", "sp-llama", "sp-gemma"):
        tokenizer = open_tokenizer(tokenizer_files[name])
        pieces = stream(tokenizer, tokenizer.encode(text, special=False))
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_comes_with_its_last_byte(tokenizer_files: Mapping[str, Path]) -> None:
    tokenizer = open_tokenizer(tokenizer_files["llama-like"])
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") or 0 for byte in "é☃😀".encode()]
    assert stream(tokenizer, ids) == ["", "é", "", "", "☃", "", "", "", "😀", ""]


def test_an_unfinished_character_is_flushed_as_replacement(tokenizer_files: Mapping[str, Path]) -> None:
    tokenizer = open_tokenizer(tokenizer_files["llama-like"])
    ids = [tokenizer.token_to_id("<0xF0>") or 0, tokenizer.token_to_id("<0x9F>") or 0]
    assert stream(tokenizer, ids) == ["", "", "\ufffd"]


@pytest.mark.parametrize(
    ("name", "leading"),
    [("byte-level", 0), ("llama-like", 1), ("metaspace", 1), ("sp-llama", 1), ("sp-gemma", 0)],
)
def test_the_space_that_the_tokenizer_puts_in_front_goes_away(
    tokenizer_files: Mapping[str, Path], name: str, leading: int
) -> None:
    tokenizer = open_tokenizer(tokenizer_files[name])
    assert tokenizer.leading_spaces == leading
    ids = tokenizer.encode("The dog", special=False)
    assert decode(tokenizer, ids) == "The dog"
    assert decode(tokenizer, ids, continuation=True) == " " * leading + "The dog"


def test_special_tokens_are_found_in_text_only_when_asked_for(tokenizer_files: Mapping[str, Path]) -> None:
    for name, special in (("byte-level", "<|im_start|>"), ("llama-like", "</s>"), ("sp-llama", "</s>")):
        tokenizer = open_tokenizer(tokenizer_files[name])
        special_id = tokenizer.token_to_id(special)
        assert special_id in tokenizer.encode(f"a{special}b", special=True)
        spelled = tokenizer.encode(f"a{special}b", special=False)
        assert special_id not in spelled
        assert decode(tokenizer, spelled) == f"a{special}b"
        # The order of the calls makes no difference.
        assert special_id in tokenizer.encode(f"a{special}b", special=True)


def test_special_tokens_have_no_text(tokenizer_files: Mapping[str, Path]) -> None:
    for name, special in (("byte-level", "<|im_end|>"), ("llama-like", "</s>"), ("sp-llama", "</s>")):
        tokenizer = open_tokenizer(tokenizer_files[name])
        ids = tokenizer.encode(f"dog{special}", special=True)
        assert decode(tokenizer, ids) == "dog"
        assert tokenizer.id_to_token(ids[-1]) == special


def test_user_defined_symbols_of_sentencepiece_are_tokens(tokenizer_files: Mapping[str, Path]) -> None:
    tokenizer = open_tokenizer(tokenizer_files["sp-gemma"])
    ids = tokenizer.encode("<start_of_turn>dog<pad_a>", special=True)
    assert ids[0] == tokenizer.token_to_id("<start_of_turn>")
    assert ids[-1] == tokenizer.token_to_id("<pad_a>")
    assert tokenizer.token_to_id("no such piece") is None


def test_bos_is_added_exactly_once(tokenizer_files: Mapping[str, Path]) -> None:
    path = tokenizer_files["byte-level"]  # its post-processor would add one, too
    tokenizer = open_tokenizer(path)
    plain = tokenizer.encode("The dog", special=True)
    without = TokenizerSpec(file=path, bos_token_id=0, add_bos=False)
    wanted = TokenizerSpec(file=path, bos_token_id=0, add_bos=True)
    assert encode_prompt(tokenizer, "The dog", without) == plain
    assert encode_prompt(tokenizer, "The dog", wanted) == [0, *plain]
    assert encode_prompt(tokenizer, "<|endoftext|>The dog", wanted) == [0, *plain]
    assert encode_prompt(tokenizer, "", wanted) == [0]


def test_truncation_and_padding_of_the_file_are_ignored(tokenizer_files: Mapping[str, Path]) -> None:
    tokenizer = open_tokenizer(tokenizer_files["byte-level"])
    text = "How are you today? " * 8
    assert decode(tokenizer, tokenizer.encode(text, special=True)) == text


def test_a_decoder_that_is_not_bytewise_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match="WordPiece"):
        open_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_a_damaged_file_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00nonsense")
    with pytest.raises(UsageError, match="cannot read"):
        open_tokenizer(tmp_path / name)


def test_the_unknown_token_of_a_sentencepiece_model_is_found_in_a_text(tokenizer_files: Mapping[str, Path]) -> None:
    tokenizer = open_tokenizer(tokenizer_files["sp-default"])
    unknown = tokenizer.token_to_id("<unk>")
    assert tokenizer.encode("<unk>", special=True) == [unknown]
    assert tokenizer.encode("<unk>", special=False) != [unknown]


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"vocab\.txt"):
        open_tokenizer(tmp_path / "vocab.txt")
