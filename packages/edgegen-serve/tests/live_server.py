"""A server in a thread, whose model says what a test tells it and stops where the test wants it to."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai

import edgegen_runtime
from edgegen_serve import Settings, create_app
from edgegen_serve.http.server import Server, bind, url_of
from edgegen_serve.scheduling.scheduler import Scheduler


class Puppet:
    """Makes a model say what it is told to say, and holds its calls until they are let through.

    The model is asked all the same, so that caches, tokens and texts are what they would be.
    """

    def __init__(self, model: Any) -> None:
        self._really_run, self._really_new_cache = model._session.run, model.new_cache
        model._session.run, model.new_cache = self._run, self._new_cache
        self._changed = threading.Condition()
        self._allowed = float("inf")
        self._script: deque[int] = deque()
        self.calls = 0
        self.fault: Exception | None = None

    def say(self, token_ids: list[int]) -> None:
        """The next tokens; what comes after them is the model's own."""
        self._script = deque(token_ids)

    def hold(self) -> None:
        """From now on calls of the model wait."""
        with self._changed:
            self._allowed = 0

    def let(self, tokens: float = float("inf")) -> None:
        """Some tokens may be said; as many as there are, unless told."""
        with self._changed:
            self._allowed += tokens
            self._changed.notify_all()

    def reset(self) -> None:
        """As at the beginning."""
        self._script.clear()
        self.fault = None
        self.let()

    def _run(self, *arguments: Any) -> Any:
        with self._changed:
            self.calls += 1
            assert self._changed.wait_for(lambda: self._allowed > 0, timeout=20), "the test never let it go on"
        if self.fault is not None:
            raise self.fault
        return self._really_run(*arguments)

    def _new_cache(self) -> Any:
        cache = self._really_new_cache()
        really_step = cache.step

        def step(token_id: int) -> Any:
            logits = really_step(token_id)
            with self._changed:
                self._allowed -= 1
            if self._script:
                logits = np.full_like(logits, -50)
                logits[self._script.popleft()] = 50
            return logits

        cache.step = step
        return cache


@dataclass
class Live:
    """A server that listens."""

    url: str
    model: edgegen_runtime.LanguageModel
    puppet: Puppet
    scheduler: Scheduler
    server: Server
    thread: threading.Thread

    def say(self, text: str, *, end: bool = True) -> None:
        """The next answer."""
        assert self.model.tokenizer is not None
        self.puppet.say([*self.model.tokenizer.encode(text, special=False), *([1] if end else [])])

    def client(self, api_key: str = "none", **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key, **{"max_retries": 0, "timeout": 20, **options})

    def request(self, method: str, path: str, timeout: float = 20, **arguments: Any) -> httpx.Response:
        # Certificates would be loaded for each request, and there are none to check.
        return httpx.request(method, self.url + path, timeout=timeout, verify=False, **arguments)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, body: Any = None, *, path: str = "/v1/chat/completions", **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **({} if body is None else {"json": body}), **arguments)

    def wait_for_load(self, running: int, waiting: int) -> None:
        """Until so many are answered and wait."""
        until(lambda: self.scheduler.load == (running, waiting))

    def wait_until_stopped(self) -> None:
        """Until what is answered has been told to stop."""

        def told() -> bool:
            running = self.scheduler._running
            return running is None or running.stopped is not None

        until(told)

    def stop(self) -> None:
        self.puppet.reset()
        self.server.should_exit = True
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()


def until(happened: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def start(exported: Path, *, grace: int = 10, **settings: Any) -> Live:
    model = edgegen_runtime.load(exported, threads=1)
    puppet = Puppet(model)
    app = create_app(model, Settings(**settings))
    listener = bind("127.0.0.1", 0, has_key=False)
    ready = threading.Event()
    server = Server(app, grace=grace, ready=ready.set)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    assert ready.wait(timeout=20)
    return Live(url_of(listener), model, puppet, app.state.scheduler, server, thread)
