from __future__ import annotations

from collections.abc import Callable

import pytest

from edgegen.errors import UsageError
from edgegen_runtime.conversation import Conversation
from edgegen_runtime.generation.context_shift import shift_context
from edgegen_runtime.generation.language_model import LanguageModel

Load = Callable[..., LanguageModel]


def test_sliding_keeps_the_beginning_and_the_end() -> None:
    text = list(range(100))
    assert shift_context(text, 4, 64) == [0, 1, 2, 3, *range(70, 100)]
    assert shift_context(text[:20], 4, 64) == text[:20]
    assert shift_context(text, 0, 64) == list(range(68, 100))
    assert len(shift_context(text, 1000, 64)) < 64


def test_an_answer_goes_on_beyond_the_cache_as_one_that_begins_after_the_cut(load_toy: Load) -> None:
    model = load_toy()
    prompt = list(range(3, 33))
    generation = model.generate(prompt, ignore_eos=True, context_shift=True, max_new_tokens=120)
    tokens = list(generation)
    assert len(tokens) == 120
    assert generation.timings.dropped_tokens > 60
    assert tokens[:35] == list(model.generate(prompt, ignore_eos=True))[:35]
    window = shift_context([*prompt, *tokens[:35]], 4, 64)
    rest = list(model.generate(window, ignore_eos=True))
    assert tokens[35 : 35 + len(rest)] == rest


@pytest.mark.parametrize("count", [65, 200])
def test_a_prompt_longer_than_the_cache_loses_its_middle(load_toy: Load, count: int) -> None:
    model = load_toy()
    prompt = [index % 300 + 3 for index in range(count)]
    generation = model.generate(prompt, ignore_eos=True, context_shift=True, n_keep=10, max_new_tokens=5)
    assert list(generation) == list(model.generate(shift_context(prompt, 10, 64), ignore_eos=True, max_new_tokens=5))
    assert generation.timings.dropped_tokens == count - 37


def test_a_chat_forgets_its_oldest_turns_but_not_the_system_message(load_toy: Load) -> None:
    chat = Conversation(load_toy(cache_length=128), system="Rule.", context_shift=True)
    for index in range(8):
        assert "".join(chat.ask(f"Question {index}", max_new_tokens=8, ignore_eos=True))
    roles = [message["role"] for message in chat.messages]
    assert roles == ["system", *["user", "assistant"] * ((len(roles) - 1) // 2)]
    assert 3 <= len(roles) < 17
    assert chat.messages[-2]["content"] == "Question 7"


def test_by_default_a_chat_that_does_not_fit_is_refused(load_toy: Load) -> None:
    chat = Conversation(load_toy())
    with pytest.raises(UsageError, match="cache holds 64"):
        chat.ask("word " * 100)
    assert chat.messages == []
