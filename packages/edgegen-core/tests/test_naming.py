from __future__ import annotations

from edgegen.genai.signature_names import SignatureGroup, decode_name, prefill_name, signature_groups, verify_name


def test_names_on_the_whole_cache_are_those_of_litert_lm():
    assert (decode_name(), prefill_name(64)) == ("decode", "prefill_64")


def test_names_on_a_shorter_cache_do_not_begin_with_prefill():
    assert (decode_name(256), prefill_name(64, 256)) == ("cache_256_decode", "cache_256_prefill_64")


def test_groups_are_found_by_name_shortest_cache_first():
    names = ["decode", "prefill_64", "prefill_8", "cache_256_decode", "cache_1024_decode", "cache_256_prefill_8"]
    assert signature_groups([*names, "encode", "prefill_image_4", "verify_image_4"]) == [
        SignatureGroup(256, "cache_256_decode", {8: "cache_256_prefill_8"}),
        SignatureGroup(1024, "cache_1024_decode", {}),
        SignatureGroup(None, "decode", {8: "prefill_8", 64: "prefill_64"}),
    ]


def test_verify_signatures_belong_to_the_group_of_their_cache():
    names = ["decode", "prefill_8", verify_name(16), verify_name(4), "cache_64_decode", verify_name(4, 64)]
    assert signature_groups(names) == [
        SignatureGroup(64, "cache_64_decode", {}, {4: "cache_64_verify_4"}),
        SignatureGroup(None, "decode", {8: "prefill_8"}, {4: "verify_4", 16: "verify_16"}),
    ]
    assert signature_groups(names)[1].names == ("decode", "prefill_8", "verify_4", "verify_16")


def test_a_group_without_decode_is_none():
    assert signature_groups(["prefill_8", "cache_64_prefill_8"]) == []
