from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from edgegen.errors import UsageError
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.sampling import SamplingOptions
from edgegen_runtime.generation.speculative import DraftModel, PromptLookup
from edgegen_runtime.generation.structured_output import ResponseFormat

Load = Callable[..., LanguageModel]
PROMPT = [5, 6, 7, 8, 5, 6, 7]


class Oracle:
    """Guesses the right text, but for every ``wrong``-th token."""

    def __init__(self, text: Sequence[int], wrong: int = 0) -> None:
        self.text, self.wrong = list(text), wrong

    def check(self, model: LanguageModel) -> None:
        pass

    def propose(self, text: Sequence[int], count: int) -> list[int]:
        ahead = self.text[len(text) : len(text) + count]
        return [3 if self.wrong and (len(text) + i) % self.wrong == 0 else token for i, token in enumerate(ahead)]


def session_of(model: LanguageModel) -> Any:
    return model._session


def calls_of(model: LanguageModel) -> list[str]:
    return [name for name, _ in session_of(model).calls]


@pytest.mark.parametrize("wrong", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("noise", [0.0, 1e-2])
@pytest.mark.parametrize("caches", [(), (16, 32)])
def test_guesses_right_or_wrong_never_change_a_greedy_text(
    load_toy: Load, wrong: int, noise: float, caches: tuple[int, ...]
) -> None:
    """Noise: another kernel's rounding, in the logits and left behind in the cache, decides close calls otherwise."""
    model = load_toy(verify=(2, 4, 8), noise=noise, cache_buckets=caches, vocab_size=40)
    plain = list(model.generate(PROMPT, ignore_eos=True))
    guessed = model.generate(PROMPT, ignore_eos=True, drafter=Oracle([*PROMPT, *plain], wrong))
    assert list(guessed) == plain
    assert len(plain) == 64 - len(PROMPT) + 1
    assert model._verify_noise == pytest.approx(noise, rel=1e-3)


def test_without_the_second_reading_noise_would_change_the_text(
    load_toy: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_toy(verify=(8,), noise=1e-2, vocab_size=40)
    plain = list(model.generate(PROMPT, ignore_eos=True))
    model.__dict__["_verify_noise"] = 0.0
    assert list(model.generate(PROMPT, ignore_eos=True, drafter=Oracle([*PROMPT, *plain]))) != plain


def test_right_guesses_save_calls(load_toy: Load) -> None:
    model = load_toy(verify=(8,))
    plain = list(model.generate(PROMPT, ignore_eos=True, max_new_tokens=48))
    list(model.generate(PROMPT, ignore_eos=True, max_new_tokens=2, drafter=PromptLookup()))  # measures the noise
    session_of(model).calls.clear()
    guessed = model.generate(PROMPT, ignore_eos=True, max_new_tokens=48, drafter=Oracle([*PROMPT, *plain]))
    assert list(guessed) == plain
    assert calls_of(model).count("verify_8") <= 8
    timings = guessed.timings
    assert timings.accepted_tokens == timings.drafted_tokens >= 40
    assert timings.decode_tokens == 48


def test_wrong_guesses_are_tried_ever_less(load_toy: Load) -> None:
    model = load_toy(verify=(4,), cache_length=256)
    guessed = model.generate(PROMPT, ignore_eos=True, max_new_tokens=200, drafter=Oracle([3] * 300))
    list(guessed)
    assert calls_of(model).count("verify_4") < 30


def test_a_sampled_text_is_the_same_with_guesses(load_toy: Load) -> None:
    model = load_toy(verify=(4, 8))
    options = SamplingOptions(temperature=0.8, top_p=0.9, repetition_penalty=1.2, frequency_penalty=0.5, seed=4)
    plain = list(model.generate(PROMPT, options, ignore_eos=True))
    for wrong in (0, 2, 3):
        drafter = Oracle([*PROMPT, *plain], wrong)
        assert list(model.generate(PROMPT, options, ignore_eos=True, drafter=drafter)) == plain


def test_a_stop_token_among_the_guesses_ends_the_answer(load_toy: Load) -> None:
    model = load_toy(verify=(8,))
    free = list(model.generate(PROMPT, ignore_eos=True, max_new_tokens=12))
    guessed = model.generate(PROMPT, stop_ids=[free[6]], drafter=Oracle([*PROMPT, *free]))
    assert list(guessed) == free[: free.index(free[6])]
    assert guessed.finish_reason == "stop"


def test_the_context_after_guessing_serves_the_next_turn(load_toy: Load) -> None:
    model = load_toy(verify=(4,))
    plain = list(model.generate(PROMPT, ignore_eos=True, max_new_tokens=20))
    cache = model.new_cache()
    drafter = Oracle([*PROMPT, *plain], wrong=3)
    list(model.generate(PROMPT, ignore_eos=True, max_new_tokens=20, drafter=drafter, cache=cache))
    assert list(cache.tokens) == [*PROMPT, *plain[:-1]]
    follow_up = [*PROMPT, *plain, 9, 9]
    again = list(model.generate(follow_up, ignore_eos=True, cache=cache))
    assert again == list(model.generate(follow_up, ignore_eos=True))


def test_a_constraint_holds_with_guesses(load_toy: Load) -> None:
    pytest.importorskip("llguidance")
    model = load_toy(verify=(8,), cache_length=256)
    form = ResponseFormat.json_schema({"type": "array", "items": {"enum": ["ab", "cd"]}, "maxItems": 6, "minItems": 6})
    plain = model.generate(PROMPT, response_format=form)
    text = plain.run()
    drafter = Oracle([*PROMPT, *plain.token_ids], wrong=4)
    assert model.generate(PROMPT, response_format=form, drafter=drafter).run() == text


def test_prompt_lookup_finds_what_followed_last_time() -> None:
    lookup = PromptLookup(longest=3, shortest=2)
    assert lookup.propose([1, 2, 3, 4, 5, 9, 1, 2, 3], 2) == [4, 5]
    assert lookup.propose([7, 2, 3, 4, 8, 2, 3, 6, 0, 2, 3], 1) == [6]  # the latest
    assert lookup.propose([1, 2, 3], 4) == []
    assert lookup.propose([1], 4) == []
    assert lookup.propose([4, 5] * 5, 4) == [4, 5, 4, 5]  # a short cycle goes on


def test_prompt_lookup_pays_where_a_text_goes_in_circles(load_toy: Load) -> None:
    model = load_toy(verify=(8,), peaked=True)
    plain = list(model.generate(PROMPT, ignore_eos=True))
    guessed = model.generate(PROMPT, ignore_eos=True, drafter=PromptLookup())
    assert list(guessed) == plain
    assert guessed.timings.accepted_tokens > 20


def test_a_model_drafts_perfectly_for_itself_and_another_changes_nothing(load_toy: Load) -> None:
    model, other = load_toy(verify=(4,)), load_toy(peaked=True)
    plain = list(model.generate(PROMPT, ignore_eos=True))
    own = model.generate(PROMPT, ignore_eos=True, drafter=DraftModel(load_toy()))
    assert list(own) == plain
    assert own.timings.accepted_tokens == own.timings.drafted_tokens > 30
    assert list(model.generate(PROMPT, ignore_eos=True, drafter=DraftModel(other))) == plain


def test_a_draft_model_with_another_tokenizer_is_refused(load_toy: Load) -> None:
    model, other = load_toy(verify=(4,)), load_toy()
    other.tokenizer = None
    other._signatures = type(other._signatures)(other._signatures.groups, 399)
    with pytest.raises(UsageError, match="another tokenizer"):
        model.generate(PROMPT, drafter=DraftModel(other))


def test_a_file_without_verify_names_the_remedy(load_toy: Load) -> None:
    with pytest.raises(UsageError, match="verify") as caught:
        load_toy().generate(PROMPT, drafter=PromptLookup())
    assert "--verify-lengths 8" in (caught.value.hint or "")
