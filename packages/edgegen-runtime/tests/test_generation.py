from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from edgegen.errors import UsageError
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.sampling import SamplingOptions

Load = Callable[..., LanguageModel]
NEVER: tuple[int, ...] = ()


def prompt_of(count: int, seed: int = 0) -> list[int]:
    return [random.Random(seed * 1000 + i).randrange(400) for i in range(count)]


def session_of(model: LanguageModel) -> Any:
    return model._session


@pytest.mark.parametrize("count", [1, 2, 3, 17, 40, 59, 62, 63, 64])
@pytest.mark.parametrize("lengths", [(4, 16), (5,), (3, 7, 64)])
def test_chunks_change_nothing(load_toy: Load, count: int, lengths: tuple[int, ...]) -> None:
    """Whichever signatures read the prompt, the answer is that of reading it token by token."""
    by_one = load_toy(lengths=())
    by_chunks = load_toy(lengths=lengths)
    wanted = list(by_one.generate(prompt_of(count), stop_ids=NEVER, max_new_tokens=20))
    assert list(by_chunks.generate(prompt_of(count), stop_ids=NEVER, max_new_tokens=20)) == wanted
    assert {name for name, _ in session_of(by_one).calls} == {"decode"}
    if 3 < count < 60:
        assert len(session_of(by_chunks).calls) < len(session_of(by_one).calls)


@pytest.mark.parametrize("count", [1, 5, 7, 8, 9, 20, 31, 32, 33, 60])
def test_beginning_on_a_shorter_cache_changes_nothing(load_toy: Load, count: int) -> None:
    prompt = list(range(3, 3 + count))
    expected = list(load_toy().generate(prompt, max_new_tokens=30, ignore_eos=True))
    shorter = load_toy(cache_buckets=(8, 32))
    assert list(shorter.generate(prompt, max_new_tokens=30, ignore_eos=True)) == expected
    used = {name.removesuffix("decode") for name, _ in session_of(shorter).calls if name.endswith("decode")}
    assert ("cache_8_" in used) == (count <= 8)
    assert ("cache_32_" in used) == (count <= 32)


def test_a_new_text_begins_on_the_shortest_cache_again(load_toy: Load) -> None:
    model = load_toy(cache_buckets=(8,))
    list(model.generate([3] * 20, max_new_tokens=4, ignore_eos=True))
    session_of(model).calls.clear()
    list(model.generate([4, 5], max_new_tokens=2, ignore_eos=True))
    assert {name for name, _ in session_of(model).calls} == {"cache_8_decode"}


def test_only_the_last_token_of_the_prompt_goes_through_decode(load_toy: Load) -> None:
    model = load_toy()
    list(model.generate(prompt_of(17), stop_ids=NEVER, max_new_tokens=2))
    assert session_of(model).calls == [("prefill_16", 0), ("decode", 16), ("decode", 17)]


def test_an_answer_ends_at_a_stop_token_which_is_not_part_of_it(load_toy: Load) -> None:
    model = load_toy()
    free = list(model.generate(prompt_of(5), stop_ids=NEVER, max_new_tokens=10))
    stop = free[6]
    generation = model.generate(prompt_of(5), stop_ids=[stop], max_new_tokens=10)
    assert list(generation) == free[: free.index(stop)] == generation.token_ids
    assert generation.finish_reason == "stop"
    generation = model.generate(prompt_of(5), stop_ids=[stop], max_new_tokens=10, ignore_eos=True)
    assert list(generation) == free
    assert generation.finish_reason == "length"


def test_stop_tokens_come_from_the_manifest(load_toy: Load) -> None:
    model = load_toy(vocab_size=3)  # token 2 is soon met
    generation = model.generate([0])
    list(generation)
    assert generation.finish_reason == "stop"
    assert 2 not in generation.token_ids


def test_stop_tokens_may_be_given_by_name(export: Any, toy_session: Any) -> None:
    folder = export(stop_token_ids=[7], stop_tokens=["<|im_end|>", "no such token"])
    assert LanguageModel.load(folder).stop_ids == {2, 7}


@pytest.mark.parametrize("count", [1, 10, 63, 64])
def test_an_answer_ends_where_the_cache_ends(load_toy: Load, count: int) -> None:
    generation = load_toy().generate(prompt_of(count), stop_ids=NEVER)
    tokens = list(generation)
    assert len(tokens) == 64 - count + 1  # the last one needs no row
    assert generation.finish_reason == "length"
    with pytest.raises(StopIteration):
        next(generation)


def test_a_prompt_longer_than_the_cache_names_both_lengths_and_a_remedy(load_toy: Load) -> None:
    with pytest.raises(UsageError, match="65 tokens, but the cache holds 64") as caught:
        load_toy().generate(prompt_of(65))
    assert caught.value.exit_code == 2
    assert "--cache-length 512" in (caught.value.hint or "")


@pytest.mark.parametrize(("prompt", "complaint"), [([], "empty"), ([400], "vocabulary"), ([-1], "vocabulary")])
def test_bad_prompts_are_refused(load_toy: Load, prompt: list[int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        load_toy().generate(prompt)


def test_no_tokens_asked_for_is_refused(load_toy: Load) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        load_toy().generate([1], max_new_tokens=0)


def test_generations_under_way_at_the_same_time_do_not_disturb_each_other(load_toy: Load) -> None:
    model = load_toy()
    prompts = [prompt_of(5, seed=seed) for seed in range(3)]
    alone = [list(model.generate(prompt, stop_ids=NEVER, max_new_tokens=8)) for prompt in prompts]
    together = [model.generate(prompt, stop_ids=NEVER, max_new_tokens=8) for prompt in prompts]
    assert [list(tokens) for tokens in zip(*together, strict=True)] == [
        list(tokens) for tokens in zip(*alone, strict=True)
    ]


def test_an_abandoned_generation_does_not_disturb_the_next(load_toy: Load) -> None:
    model = load_toy()
    wanted = list(model.generate(prompt_of(9), stop_ids=NEVER, max_new_tokens=8))
    abandoned = model.generate(prompt_of(20, seed=4), stop_ids=NEVER)
    next(abandoned)
    assert list(model.generate(prompt_of(9), stop_ids=NEVER, max_new_tokens=8)) == wanted


def test_a_context_is_not_read_again(load_toy: Load) -> None:
    model = load_toy()
    cache = model.new_cache()
    first = model.generate(prompt_of(10), stop_ids=NEVER, max_new_tokens=5, cache=cache)
    answer = list(first)
    follow_up = [*prompt_of(10), *answer, 7, 8, 9]
    session_of(model).calls.clear()
    second = model.generate(follow_up, stop_ids=NEVER, max_new_tokens=5, cache=cache)
    tokens = list(second)
    # The last token of the answer was said, but never read.
    assert second.timings.reused_tokens == 14
    assert second.timings.prefill_tokens == 3
    assert session_of(model).calls[0] == ("prefill_4", 14)
    assert tokens == list(model.generate(follow_up, stop_ids=NEVER, max_new_tokens=5))


def test_a_context_whose_text_differs_is_read_again_from_there(load_toy: Load) -> None:
    model = load_toy()
    cache = model.new_cache()
    list(model.generate(prompt_of(30), stop_ids=NEVER, max_new_tokens=5, cache=cache))
    changed = [*prompt_of(12), 1, 2, 3]
    generation = model.generate(changed, stop_ids=NEVER, max_new_tokens=5, cache=cache)
    assert list(generation) == list(model.generate(changed, stop_ids=NEVER, max_new_tokens=5))
    assert generation.timings.reused_tokens == 12


def test_an_interrupted_chunk_leaves_a_context_usable(load_toy: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_toy(lengths=(16,))
    cache = model.new_cache()
    prompt = prompt_of(62)
    session, run = session_of(model), session_of(model).run

    def interrupted(signature: str, inputs: Any, state: Any) -> Any:
        state.rows[inputs["input_pos"]] = 99  # rows half written
        raise KeyboardInterrupt

    cache.prefill(prompt[:60])
    monkeypatch.setattr(session, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(model.generate(prompt_of(62), cache=cache))
    monkeypatch.setattr(session, "run", run)
    wanted = list(model.generate(prompt, stop_ids=NEVER))
    assert list(model.generate(prompt, stop_ids=NEVER, cache=cache)) == wanted


def test_text_is_streamed_in_pieces_of_the_whole(load_toy: Load) -> None:
    from edgegen_runtime.text.tokenizer import decode

    model = load_toy()
    generation = model.generate("How are you", stop_ids=NEVER, max_new_tokens=40)
    pieces = list(generation.text())
    assert model.tokenizer is not None
    assert "".join(pieces) == decode(model.tokenizer, generation.token_ids, continuation=True)
    assert all(pieces)


def test_chat_goes_through_the_template(load_toy: Load) -> None:
    model = load_toy()
    ids = model.encode_chat([{"role": "user", "content": "Hi"}])
    assert ids[0] == model.tokenizer.token_to_id("<|im_start|>")  # type: ignore[union-attr]
    assert model.chat([{"role": "user", "content": "Hi"}]).prompt_ids == ids


def test_sampling_repeats_with_its_seed(load_toy: Load) -> None:
    model = load_toy()

    def tokens(seed: int) -> list[int]:
        options = SamplingOptions(temperature=1.0, seed=seed)
        return list(model.generate(prompt_of(3), options, stop_ids=NEVER, max_new_tokens=20))

    assert tokens(1) == tokens(1) != tokens(2)


def test_timings_add_up(load_toy: Load) -> None:
    generation = load_toy().generate(prompt_of(20), stop_ids=NEVER, max_new_tokens=6)
    list(generation)
    timings = generation.timings.as_dict()
    assert timings["prefill_tokens"] == 19
    assert timings["decode_tokens"] == 6
    assert 0 < timings["prefill_seconds"] < timings["first_token_seconds"]
    assert timings["decode_tokens_per_second"] == pytest.approx(6 / timings["decode_seconds"])


def test_a_manifest_of_another_cache_length_is_noticed(load_toy: Load, export: Any) -> None:
    from edgegen_runtime.bundle import ExportedModel

    model = load_toy()
    with pytest.raises(UsageError, match="its cache has 1280 slots"):
        LanguageModel(session_of(model), ExportedModel.open(export(cache_length=1280)))


def test_a_file_without_decode_is_no_language_model(load_toy: Load) -> None:
    model = load_toy()
    del session_of(model).signatures["decode"]
    with pytest.raises(UsageError, match="no signature decode"):
        LanguageModel(session_of(model), model.exported)
