"""What OpenAI's own Python client asks for and gets."""

from __future__ import annotations

import asyncio
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import openai
import pytest

from edgegen.cli import main

MODEL = "parrot-100k"
FOX = [{"role": "user", "content": "the fox"}]
GREEDY = {"model": MODEL, "messages": FOX, "temperature": 0}


def run(exported, *options):
    """What ``edgegen run`` says."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert not main(["run", str(exported), "--json", "--threads", "1", *options])
    return json.loads(out.getvalue())


def test_the_example_in_the_readme_runs(live, capsys):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (code,) = re.findall(r"^```py\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    live.say("Paris")
    exec(code.replace("http://127.0.0.1:8000", live.url).replace("smollm2-135m-instruct", MODEL), {})
    assert capsys.readouterr().out == "Paris\n"


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "edgegen"
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        client.models.retrieve("other")


@pytest.mark.parametrize("prompt", ["the fox", "jumps over the lazy dog, größer 😀"])
def test_a_greedy_chat_says_what_edgegen_run_says(client, exported, prompt):
    said = run(exported, "--prompt", prompt, "--system", "be brief", "--max-new-tokens", "24")
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": prompt}]
    reply = client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=24)
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content == said["text"]
    assert reply.choices[0].finish_reason == said["finish_reason"]
    assert reply.usage.prompt_tokens == len(said["prompt_token_ids"])
    assert reply.usage.completion_tokens == len(said["token_ids"])


@pytest.mark.parametrize("as_ids", [False, True])
def test_a_greedy_completion_says_what_edgegen_run_says(client, live, exported, as_ids):
    said = run(exported, "--prompt", "the quick", "--raw", "--max-new-tokens", "16")
    prompt = live.model.encode("the quick") if as_ids else "the quick"
    reply = client.completions.create(model=MODEL, prompt=prompt, temperature=0)
    assert (reply.object, reply.choices[0].text) == ("text_completion", said["text"])
    assert reply.usage.completion_tokens == 16  # OpenAI's default


def test_a_stream_is_the_whole_in_pieces(client):
    whole = client.chat.completions.create(**GREEDY, max_tokens=20)
    usage = {"include_usage": True}
    chunks = list(client.chat.completions.create(**GREEDY, max_tokens=20, stream=True, stream_options=usage))
    *pieces, last = chunks
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in pieces) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert last.choices == []
    assert last.usage.completion_tokens == whole.usage.completion_tokens == 20
    assert last.usage.total_tokens == whole.usage.total_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_completions_stream(client):
    options = {"model": MODEL, "prompt": "the quick", "temperature": 0, "max_tokens": 8}
    whole = client.completions.create(**options).choices[0].text
    assert "".join(chunk.choices[0].text for chunk in client.completions.create(**options, stream=True)) == whole


def test_the_stream_helper_of_the_client_works(client, live):
    live.say("lazy dog")
    with client.chat.completions.stream(model=MODEL, messages=FOX) as stream:
        assert stream.get_final_completion().choices[0].message.content == "lazy dog"


def test_pieces_come_as_they_are_made(client, live):
    live.say("quick brown fox jumps over")
    live.puppet.hold()
    stream = iter(client.chat.completions.create(**GREEDY, stream=True))
    assert next(stream).choices[0].delta.role == "assistant"  # before the model has said anything
    live.puppet.let(1)
    assert next(stream).choices[0].delta.content == "qu"
    live.puppet.let()
    assert [*stream][-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(("stop", "said"), [("dog", "the lazy "), (["zzz", "lazy"], "the "), (None, "the lazy dog")])
def test_stop_strings_end_the_answer(client, live, stop, said):
    live.say("the lazy dog")
    choice = client.chat.completions.create(**GREEDY, stop=stop).choices[0]
    assert (choice.message.content, choice.finish_reason) == (said, "stop")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_ends_the_answer(client, live, name):
    live.say("the lazy dog sleeps", end=False)
    reply = client.chat.completions.create(**GREEDY, **{name: 3})
    assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (3, "length")


def test_without_a_limit_the_answer_fills_the_cache(client, live):
    reply = client.chat.completions.create(**GREEDY, logit_bias={"1": -100})
    assert reply.usage.total_tokens == live.model.exported.cache_length + 1
    assert reply.choices[0].finish_reason == "length"


@pytest.mark.parametrize("seed", [7, -7])
def test_a_seed_repeats_an_answer(client, seed):
    def once(seed):
        options = {"model": MODEL, "messages": FOX, "temperature": 1.5, "max_tokens": 12, "seed": seed}
        return client.chat.completions.create(**options).choices[0].message.content

    assert once(seed) == once(seed) != once(seed + 1)


def test_a_small_top_p_leaves_the_likeliest(client):
    greedy = client.chat.completions.create(**GREEDY, max_tokens=8)
    narrow = client.chat.completions.create(**{**GREEDY, "temperature": 2}, top_p=1e-6, max_tokens=8)
    assert narrow.choices[0].message.content == greedy.choices[0].message.content


@pytest.mark.parametrize(
    ("penalties", "said"),
    [({}, "dddd"), ({"presence_penalty": 2}, "dfdd"), ({"frequency_penalty": 2}, "dfdf")],
)
def test_penalties_and_biases_change_the_answer(client, live, penalties, said):
    (fox,) = live.model.tokenizer.encode("f", special=False)
    live.say("dddd", end=False)  # each time "d" is at 50, and all else at -50
    reply = client.chat.completions.create(**GREEDY, max_tokens=4, logit_bias={str(fox): 99}, **penalties)
    assert reply.choices[0].message.content == said


def test_json_follows_the_schema(client):
    schema = {
        "type": "object", "properties": {"fox": {"enum": ["quick", "lazy"]}}, "required": ["fox"],
        "additionalProperties": False,
    }  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "animal", "strict": True, "schema": schema}}
    reply = client.chat.completions.create(**GREEDY, response_format=form)
    assert json.loads(reply.choices[0].message.content) in ({"fox": "quick"}, {"fox": "lazy"})
    assert reply.choices[0].finish_reason == "stop"


def test_a_json_object_is_held_to_be_one(client, live):
    live.say("no way", end=False)
    reply = client.chat.completions.create(**GREEDY, response_format={"type": "json_object"}, max_tokens=4)
    assert reply.choices[0].message.content.startswith("{")


def test_parts_of_text_are_one_text(client):
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "fox"}]
    apart = client.chat.completions.create(**{**GREEDY, "messages": [{"role": "user", "content": parts}]}, max_tokens=6)
    whole = client.chat.completions.create(**GREEDY, max_tokens=6)
    assert apart.choices[0].message.content == whole.choices[0].message.content


def test_the_next_turn_reads_only_what_is_new(client, live):
    first = {"role": "user", "content": "where is the brown fox today?"}
    live.say("the fox is quick")
    answer = client.chat.completions.create(model=MODEL, messages=[first])
    said = {"role": "assistant", "content": answer.choices[0].message.content}
    live.say("yes")
    again = client.chat.completions.create(model=MODEL, messages=[first, said, {"role": "user", "content": "sure?"}])
    known = answer.usage.prompt_tokens + answer.usage.completion_tokens - 1
    assert again.usage.prompt_tokens_details.cached_tokens >= known


@pytest.mark.parametrize(
    ("change", "error", "param"),
    [
        ({"model": "gpt-x"}, openai.NotFoundError, "model"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": [{"role": "user", "content": "refuse"}]}, openai.BadRequestError, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, openai.BadRequestError, "messages"),
        ({"n": 2}, openai.BadRequestError, "n"),
        ({"logprobs": True}, openai.BadRequestError, "logprobs"),
        ({"logit_bias": {"320": 1}}, openai.BadRequestError, "logit_bias"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}}},
         openai.BadRequestError, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "tools"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_the_clients_terms(client, change, error, param):
    with pytest.raises(error) as raised:
        client.chat.completions.create(**{**GREEDY, **change})
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
    assert "hint" not in raised.value.message


def test_a_prompt_beyond_the_cache_has_openais_code(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(model=MODEL, prompt=[5] * 300)
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "prompt")


def test_a_fault_in_a_stream_reaches_the_client(client, live):
    live.say("the lazy dog")
    live.puppet.hold()
    stream = client.chat.completions.create(**GREEDY, stream=True)
    live.puppet.fault = RuntimeError("secret insides")
    live.puppet.let()
    with pytest.raises(openai.APIError, match="the server failed") as raised:
        list(stream)
    assert "secret" not in str(raised.value)
    live.puppet.reset()
    live.say("lazy")
    assert client.chat.completions.create(**GREEDY).choices[0].message.content == "lazy"  # and it goes on


@pytest.mark.parametrize("stream", [False, True])
def test_asynchronous_clients_too(live, stream):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="none") as client:
            answer = await client.chat.completions.create(**GREEDY, stream=stream)
            if not stream:
                return answer.choices[0].message.content
            return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])

    live.say("quick")
    assert asyncio.run(ask()) == "quick"
