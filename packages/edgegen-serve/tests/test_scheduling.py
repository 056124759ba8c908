"""Who is answered when, and what happens to those who wait too long, or go."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from live_server import until

from edgegen_serve.http.endpoint import _stream
from edgegen_serve.openai.responses import ResponseBuilder
from edgegen_serve.scheduling.scheduler import GenerationFinished, Job, TextDelta, Usage

MODEL = "parrot-100k"


@pytest.fixture
def background():
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def test_requests_wait_their_turn_and_the_surplus_is_refused(live, ask, background):
    live.puppet.hold()
    first = background(live.post, ask("one", max_tokens=2))
    live.wait_for_load(1, 0)
    second = background(live.post, ask("two", max_tokens=2))
    third = background(live.post, ask("three", max_tokens=2))
    live.wait_for_load(1, 2)
    refused = live.post(ask("four", max_tokens=2))
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert int(refused.headers["Retry-After"]) > 0
    with pytest.raises(openai.InternalServerError, match="2 requests wait already"):
        live.client().chat.completions.create(**ask())
    assert live.get("/health").json() == {"status": "ok", "running": 1, "waiting": 2}
    live.puppet.let()
    assert [waiting.result().status_code for waiting in (first, second, third)] == [200] * 3


def test_a_server_without_a_queue_answers_one_at_a_time(serve, ask, background):
    live = serve(queue=0)
    live.puppet.hold()
    first = background(live.post, ask(max_tokens=1))
    live.wait_for_load(1, 0)
    assert live.post(ask()).status_code == 503
    live.puppet.let()
    assert first.result().status_code == 200
    assert live.post(ask(max_tokens=1)).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_time_runs_out_while_waiting_and_while_answered(serve, ask, background, stream):
    live = serve(timeout=0.3)
    live.puppet.hold()
    first = background(live.post, ask(stream=stream))
    live.wait_for_load(1, 0)
    second = background(live.post, ask(stream=stream))
    waited = second.result()
    assert (waited.status_code, waited.json()["error"]["code"]) == (504, "timeout")
    live.wait_until_stopped()
    live.puppet.let(1)  # the call of the model that is under way ends, and no other begins
    live.wait_for_load(0, 0)
    answered = first.result()
    if stream:  # its status was sent before; the end says what became of it
        assert answered.status_code == 200
        assert answered.text.endswith("\n\n")
        last = answered.text.split("data: ")[-1]
        assert '"code":"timeout"' in last
        assert "[DONE]" not in answered.text
    else:
        assert (answered.status_code, answered.json()["error"]["code"]) == (504, "timeout")
    assert live.puppet.calls == 1


def test_who_goes_while_waiting_leaves_the_queue(live, ask):
    live.puppet.hold()
    with httpx.stream("POST", f"{live.url}/v1/chat/completions", json=ask(stream=True, max_tokens=2)) as running:
        live.wait_for_load(1, 0)
        with pytest.raises(httpx.ReadTimeout):
            live.post(ask(), timeout=0.2)
        live.wait_for_load(1, 0)
        live.puppet.let()
        assert running.read().endswith(b"data: [DONE]\n\n")


def test_who_goes_during_a_stream_ends_the_answer(live, ask):
    live.puppet.hold()
    body = ask(stream=True, logit_bias={"1": -100})  # it would go on until the cache is full
    with httpx.stream("POST", f"{live.url}/v1/chat/completions", json=body) as reply:
        live.puppet.let(3)
        next(reply.iter_raw())
        calls = live.puppet.calls
    live.wait_until_stopped()
    live.puppet.let()
    live.wait_for_load(0, 0)
    assert live.puppet.calls - calls <= 4
    live.say("fox")
    assert live.post(ask()).json()["choices"][0]["message"]["content"] == "fox"


def test_who_goes_before_the_answer_ends_it_even_while_the_prompt_is_read(live, ask):
    calls = live.puppet.calls
    live.puppet.hold()
    with pytest.raises(httpx.ReadTimeout):
        live.post(ask("x" * 200), timeout=0.2)
    live.wait_until_stopped()
    live.puppet.let()
    live.wait_for_load(0, 0)
    assert live.puppet.calls - calls == 1  # 200 letters take several calls of 32


def test_a_stream_leaves_the_event_loop_its_turn():
    """Or it would write piece after piece to a client that has gone, and let all others wait."""

    async def main():
        job, turns, sent = Job(request=None), 0, []

        async def others():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def send(message):
            sent.append(message)

        for _ in range(100):
            job.tell(TextDelta("x"))
        job.tell(GenerationFinished("stop", Usage(1, 0, 100)))
        await asyncio.sleep(0)
        other = asyncio.create_task(others())
        await _stream(job, ResponseBuilder("m", chat=True), send)
        other.cancel()
        return turns, len(sent)

    turns, sent = asyncio.run(main())
    assert sent > 100
    assert turns >= 100


def test_after_a_broken_off_answer_the_cache_is_still_right(live, ask):
    whole = live.post(ask("the lazy dog", max_tokens=16)).json()["choices"][0]["message"]["content"]
    live.post(ask("something else altogether", max_tokens=4))
    body = ask("the lazy dog", max_tokens=16, stream=True)
    with httpx.stream("POST", f"{live.url}/v1/chat/completions", json=body) as reply:
        next(reply.iter_raw())
    live.wait_for_load(0, 0)
    assert live.post(ask("the lazy dog", max_tokens=16)).json()["choices"][0]["message"]["content"] == whole


def test_a_fault_of_the_model_is_ours_and_the_next_request_is_answered(live, ask):
    live.puppet.fault = RuntimeError("secret insides")
    failed = live.post(ask())
    assert (failed.status_code, failed.json()["error"]["type"]) == (500, "server_error")
    assert "secret" not in failed.text
    live.puppet.reset()
    assert live.post(ask(max_tokens=1)).status_code == 200


def test_at_the_end_the_running_answer_is_finished_and_all_else_refused(serve, ask, background):
    live = serve()
    live.say("the lazy dog")
    live.puppet.hold()
    running = background(live.post, ask())
    live.wait_for_load(1, 0)
    waiting = background(live.post, ask())
    live.wait_for_load(1, 1)
    live.server.should_exit = True
    refused = waiting.result()
    assert (refused.status_code, refused.json()["error"]["message"]) == (503, "the server is shutting down")
    until(lambda: refuses_connections(live))
    assert live.thread.is_alive()
    live.puppet.let()
    answer = running.result()
    assert answer.json()["choices"][0]["message"]["content"] == "the lazy dog"
    live.thread.join(timeout=10)
    assert not live.thread.is_alive()
    assert not any(
        thread.name == "edgegen-serve" and thread is live.scheduler._thread for thread in threading.enumerate()
    )


def refuses_connections(live):
    try:
        live.get("/health")
    except httpx.ConnectError:
        return True
    return False


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_grace_time_is_over_the_running_client_is_told(serve, ask, background, stream):
    live = serve(grace=0)
    live.puppet.hold()
    running = background(live.post, ask(stream=stream))
    live.wait_for_load(1, 0)
    live.server.should_exit = True
    live.wait_until_stopped()
    live.puppet.let()
    answer = running.result()
    assert answer.status_code == (200 if stream else 503)
    assert "the server is shutting down" in answer.text
    live.thread.join(timeout=10)
    assert not live.thread.is_alive()
