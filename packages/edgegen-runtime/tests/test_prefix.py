from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegen.errors import UsageError
from edgegen_runtime.cache.prefix_cache import PrefixCache
from edgegen_runtime.conversation import Conversation
from edgegen_runtime.generation.language_model import LanguageModel

Load = Callable[..., LanguageModel]
SHARED = [(7 * index) % 390 + 3 for index in range(40)]


def run(model: LanguageModel, prompt: list[int], cache: PrefixCache | None = None) -> Any:
    generation = model.generate(prompt, ignore_eos=True, max_new_tokens=5, cache=cache)
    list(generation)
    return generation


def test_prompts_that_begin_alike_are_read_from_where_they_differ(load_toy: Load) -> None:
    model = load_toy()
    cache = PrefixCache(model)
    cache.add(SHARED)
    for tail in ([1, 2, 3], [4, 5, 6], [1, 2, 9]):
        generation = run(model, [*SHARED, *tail], cache)
        assert generation.token_ids == run(model, [*SHARED, *tail]).token_ids
        assert generation.timings.reused_tokens >= len(SHARED)
        assert generation.timings.prefill_tokens == len(SHARED) + 2 - generation.timings.reused_tokens
    # A copy was made for each that left the shared text, so the first of them still stands whole.
    again = run(model, [*SHARED, 1, 2, 3], cache)
    assert again.timings.prefill_tokens == 0


def test_the_text_used_longest_ago_goes_first(load_toy: Load) -> None:
    model = load_toy()
    cache = PrefixCache(model, entries=2)
    for first in (10, 20, 30):
        run(model, [first] * 10, cache)
    assert [text[0] for text in cache.texts] == [20, 30]
    assert run(model, [20] * 10, cache).timings.prefill_tokens == 0
    assert run(model, [10] * 10, cache).timings.prefill_tokens == 9


def test_generations_under_way_do_not_share_a_cache(load_toy: Load) -> None:
    model = load_toy()
    cache = PrefixCache(model)
    cache.add(SHARED)
    prompts = [[*SHARED, tail, 5] for tail in range(3)]
    together = [model.generate(p, ignore_eos=True, max_new_tokens=6, cache=cache) for p in prompts]
    rows = [list(tokens) for tokens in zip(*together, strict=True)]
    alone = [list(model.generate(p, ignore_eos=True, max_new_tokens=6)) for p in prompts]
    assert rows == [list(tokens) for tokens in zip(*alone, strict=True)]


@pytest.mark.parametrize("caches", [(), (16, 48)])
def test_a_saved_prefix_is_not_read_again_in_another_process(
    load_toy: Load, tmp_path: Path, caches: tuple[int, ...]
) -> None:
    first = load_toy(cache_buckets=caches)
    cache = PrefixCache(first)
    cache.add(SHARED)
    cache.save(tmp_path / "shared.kv")
    assert [path.name for path in tmp_path.glob("*.kv*")] == ["shared.kv"]
    second = load_toy(cache_buckets=caches)  # the same file, so the same model
    cache = PrefixCache(second)
    cache.load(tmp_path / "shared.kv")
    generation = run(second, [*SHARED, 1, 2], cache)
    assert generation.timings.prefill_tokens == 1
    assert generation.token_ids == run(second, [*SHARED, 1, 2]).token_ids


def test_a_prefix_of_another_model_is_refused(load_toy: Load, tmp_path: Path) -> None:
    model, other = load_toy(), load_toy()
    other.exported.model.write_bytes(b"another")
    cache = PrefixCache(model)
    cache.add(SHARED)
    cache.save(tmp_path / "x")
    with pytest.raises(UsageError, match="another model file") as caught:
        PrefixCache(other).load(tmp_path / "x")
    assert caught.value.code == "EG753"
    with pytest.raises(UsageError, match="does not fit"):
        PrefixCache(load_toy(cache_length=32)).load(tmp_path / "x")


def test_damaged_files_are_refused_and_a_failed_save_leaves_the_old_file(
    load_toy: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_toy()
    cache = PrefixCache(model)
    with pytest.raises(UsageError, match="empty"):
        cache.save(tmp_path / "x")
    cache.add(SHARED)
    cache.save(tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    for contents in (b"", b"junk" * 50, whole[:100], whole[:-1]):
        (tmp_path / "y").write_bytes(contents)
        with pytest.raises(UsageError) as caught:
            PrefixCache(model).load(tmp_path / "y")
        assert caught.value.code == "EG752"
    with pytest.raises(UsageError, match="no such file"):
        PrefixCache(model).load(tmp_path / "none")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(Exception, match="disk full"):
        cache.save(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["x", "y"]


def test_a_chat_reads_each_token_once(load_toy: Load) -> None:
    """The tokens of an answer are kept as they were said, though its text would be encoded otherwise."""
    model = load_toy(cache_length=512)
    chat = Conversation(model, system="Be brief.")
    read = 0
    for question in ("Hello there", "And now?", "Why is that so?", "Good."):
        answer = chat.ask(question, max_new_tokens=12, ignore_eos=True)
        assert "".join(answer) == chat.messages[-1]["content"]
        timings = answer.generation.timings
        assert timings.reused_tokens == read
        assert timings.prefill_tokens == len(answer.generation.prompt_ids) - 1 - read
        read = len(answer.generation.prompt_ids) + 11
    naive = model.encode_chat(chat.messages[:-1])
    assert naive != answer.generation.prompt_ids  # or the test would show nothing
    assert model.decode(naive) == model.decode(answer.generation.prompt_ids)


def test_an_answer_that_was_broken_off_is_part_of_the_chat(load_toy: Load) -> None:
    chat = Conversation(load_toy(cache_length=256))
    answer = chat.ask("Hello", ignore_eos=True)
    pieces = [next(iter(answer))]
    answer.close()
    assert chat.messages[-1]["content"].startswith(pieces[0])
    follow_up = chat.ask("More", ignore_eos=True, max_new_tokens=3)
    assert "".join(follow_up)
    assert follow_up.generation.timings.reused_tokens >= len(answer.generation.prompt_ids)
