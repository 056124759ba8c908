from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgegen.errors import UsageError
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.sampling import Sampler, SamplingOptions
from edgegen_runtime.generation.structured_output import GrammarConstraint, GrammarVocabulary, ResponseFormat
from edgegen_runtime.text.tokenizer import decode, open_tokenizer

pytest.importorskip("llguidance")
Load = Callable[..., LanguageModel]
SCHEMAS = 1000


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A schema whose values are short, so that whatever a model says comes to an end."""
    simple = (_enum, _string, _integer, _number, _constant, _choice)
    return rng.choice(simple if depth > 1 else (*simple, _array, _object, _object))(rng, depth)


def _enum(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"enum": rng.sample(["red", "grün", "日本", 'a "b"', 7, -1.5, True, None, "line\nbreak"], rng.randint(1, 4))}


def _string(rng: random.Random, depth: int) -> dict[str, Any]:
    if rng.random() < 0.4:
        return {"type": "string", "pattern": rng.choice(["^[a-c]{1,4}$", "^[0-9]{2}-[0-9]{2}$", "^(yes|no)$"])}
    low = rng.randint(0, 3)
    return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 5)}


def _integer(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randint(-500, 500)
    return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 300)}


def _number(rng: random.Random, depth: int) -> dict[str, Any]:
    # Fractions may have any number of digits, so numbers with a point come from a list.
    return {"enum": [round(rng.uniform(-9, 9), 2) for _ in range(3)]} if rng.random() < 0.5 else {"type": "boolean"}


def _constant(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"const": rng.choice([1, "x", None, [1, 2], {"k": "v"}])}


def _choice(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, _integer(rng, depth), _string(rng, depth)]}


def _array(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randint(0, 2)
    items = random_schema(rng, depth + 1)
    return {"type": "array", "items": items, "minItems": low, "maxItems": low + rng.randint(0, 3)}


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(["name", "age", "größe", "tags", "a b", "x"], rng.randint(0, 4))
    return {
        "type": "object",
        "properties": {name: random_schema(rng, depth + 1) for name in names},
        "required": rng.sample(names, rng.randint(0, len(names))),
        "additionalProperties": False,
    }


def test_answers_to_random_schemas_validate(load_toy: Load) -> None:
    """The model says anything with equal probability, or near it: what is valid is the constraint's doing."""
    jsonschema = pytest.importorskip("jsonschema")
    model = load_toy(cache_length=2048)
    rng = random.Random(0)
    for number in range(SCHEMAS):
        schema = random_schema(rng)
        options = SamplingOptions(temperature=rng.choice([0.0, 1.0, 5.0]), seed=number)
        generation = model.generate([number % 400], options, response_format=ResponseFormat.json_schema(schema))
        text = generation.run()
        assert generation.finish_reason == "stop", (schema, text)
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))


@pytest.mark.parametrize("pattern", ["[a-f]{3}-[0-9]{2,4}", "(yes|no), (maybe|never)!", "[äöü]{2} 日本{1,3}"])
def test_every_tokenizer_follows_a_regular_expression(tokenizer_file: Path, pattern: str) -> None:
    import numpy as np

    tokenizer = open_tokenizer(tokenizer_file)
    size = tokenizer.vocab_size + 30  # models pad their vocabularies
    stop = tokenizer.token_to_id("</s>") or 0
    vocabulary = GrammarVocabulary(tokenizer, size, {stop})
    letters = b"".join(map(tokenizer.token_bytes, range(tokenizer.vocab_size)))
    if tokenizer_file.parent.name == "metaspace" and not set(b"0") <= set(letters):
        pattern = pattern.replace("-[0-9]{2,4}", "y")
    if tokenizer_file.parent.name == "metaspace" and "ä" in pattern:
        # Nor has it bytes to fall back on for what is not among its pieces.
        with pytest.raises(UsageError, match="no token that spells"):
            GrammarConstraint(ResponseFormat.regex(pattern), vocabulary).process(np.zeros(size, np.float32))
        return
    for seed in range(10):
        constraint = GrammarConstraint(ResponseFormat.regex(pattern), vocabulary)
        sampler = Sampler(SamplingOptions(temperature=1.0, seed=seed))
        ids: list[int] = []
        while not constraint.complete:
            token_id = sampler.sample(constraint.process(np.zeros(size, np.float32)))
            constraint.accept(token_id)
            if token_id == stop:
                break
            ids.append(token_id)
        assert re.fullmatch(pattern, decode(tokenizer, ids, continuation=True))


def test_a_grammar_is_followed(load_toy: Load) -> None:
    grammar = 'start: sum\nsum: NUMBER (("+" | "-") NUMBER){0,3}\nNUMBER: /[1-9][0-9]{0,2}/\n'
    model = load_toy(cache_length=256)
    for seed in range(20):
        options = SamplingOptions(temperature=1.0, seed=seed)
        text = model.generate([seed], options, response_format=ResponseFormat.lark(grammar)).run()
        assert re.fullmatch(r"[1-9]\d{0,2}([+-][1-9]\d{0,2}){0,3}", text)


def test_without_stop_tokens_a_complete_answer_ends_too(load_toy: Load) -> None:
    generation = load_toy().generate([3], response_format=ResponseFormat.regex("abc"), ignore_eos=True)
    assert generation.run() == "abc"
    assert generation.finish_reason == "stop"


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResponseFormat.json_schema("{"),
        lambda: ResponseFormat.json_schema({"type": "nonsense"}),
        lambda: ResponseFormat.regex("(a"),
        lambda: ResponseFormat.lark("start: missing"),
    ],
)
def test_forms_that_are_not_valid_are_usage_errors(load_toy: Load, make: Callable[[], ResponseFormat]) -> None:
    model = load_toy()
    with pytest.raises(UsageError) as caught:
        model.generate([3], response_format=make())
    assert caught.value.code == "EG770"


def test_a_missing_library_names_the_extra(load_toy: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError) as caught:
        load_toy().generate([3], response_format=ResponseFormat.regex("a"))
    assert "edgegen-runtime[constrained]" in (caught.value.hint or "")


def test_the_library_is_imported_only_when_used(load_toy: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert len(list(load_toy().generate([3], max_new_tokens=3, ignore_eos=True))) == 3


def test_a_schema_may_be_text_or_data() -> None:
    schema: Mapping[str, Any] = {"type": "string"}
    assert ResponseFormat.json_schema(schema) == ResponseFormat.json_schema(json.dumps(schema))
