"""A server under clients that behave badly: who is answered, who is refused, and whether anything is left behind.

    python bench/serve_load.py DIR --seconds 60 --clients 8

Starts ``edgegen serve`` on DIR; each client does one thing after the other, at random: asks, breaks off, sends too
much, sends nonsense. Every outcome is counted. Fails if anything came back that should not have, if the server ended,
if it logged anything, if a request is left over, or if memory, open files or threads grew.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import httpx
import psutil

MAX_BODY = 20_000
HALF = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
GROWTH = 1.05
"""Most that memory may grow from the first quarter, when all buffers have been used, to the end."""
TEXT = "What is the capital of France, and why do foxes jump over lazy dogs when it rains in the mountains? " * 4


@contextmanager
def serving(folder: str, log: IO[str], *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The process and its ``--json`` document, once it answers; ended by SIGTERM."""
    command = [sys.executable, "-m", "edgegen", "serve", folder, "--port", "0", "--json", "--quiet", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        document = json.loads("".join(lines))
        if "error" in document:
            raise SystemExit(document["error"]["message"])
        yield process, document
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@dataclass
class Tally:
    """What all clients saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    first_piece: list[float] = field(default_factory=list)
    tokens: int = 0


class Client:
    """Does one thing after the other, at random, and counts what comes of it."""

    def __init__(self, url: str, model: str, seed: int, tally: Tally) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        self._random = random.Random(seed)
        self._model = model
        self._tally = tally
        self._actions: list[Callable[[], str]] = [
            self.whole, self.whole, self.streamed, self.streamed, self.breaks_off, self.goes_before_the_answer,
            self.half_a_request, self.oversized, self.oversized_chunked, self.malformed, self.wrong_type,
        ]  # fmt: skip

    def act(self) -> None:
        action = self._random.choice(self._actions)
        try:
            outcome = action()
        except (httpx.HTTPError, KeyError, ValueError) as error:
            outcome = f"UNEXPECTED {type(error).__name__}: {error}"
        self._tally.outcomes[f"{action.__name__}: {outcome}"] += 1
        if outcome == "503":
            time.sleep(self._random.uniform(0.2, 1.0))

    def close(self) -> None:
        self._http.close()

    def whole(self) -> str:
        """An answer in one piece."""
        began = time.perf_counter()
        response = self._post(json=self._body())
        if response.status_code != 200:
            return self._refused(response, 503)
        self._answered(began, response.json()["usage"])
        return "200"

    def streamed(self) -> str:
        """An answer piece by piece."""
        body, began = self._body(stream=True, stream_options={"include_usage": True}), time.perf_counter()
        with self._stream(body) as response:
            if response.status_code != 200:
                return self._refused(response, 503)
            lines = response.iter_lines()
            events = [next(lines)]
            self._tally.first_piece.append(time.perf_counter() - began)
            events += lines
        *_, last, done = [line.removeprefix("data: ") for line in events if line]
        if done != "[DONE]":
            return f"UNEXPECTED end {done}"
        self._answered(began, json.loads(last)["usage"])
        return "200"

    def breaks_off(self) -> str:
        """Goes in the middle of an answer."""
        with self._stream(self._body(stream=True, max_tokens=500)) as response:
            if response.status_code != 200:
                return self._refused(response, 503)
            lines = response.iter_lines()
            for _ in range(self._random.randint(0, 20)):
                next(lines, None)
        return "gone"

    def goes_before_the_answer(self) -> str:
        """Waits less than an answer takes, as a rule."""
        try:
            response = self._post(json=self._body(max_tokens=100), timeout=self._random.uniform(0.01, 0.3))
        except httpx.TimeoutException:
            return "gone"
        return "200" if response.status_code == 200 else self._refused(response, 503)

    def half_a_request(self) -> str:
        """Goes before it has said what it wants."""
        with socket.create_connection((self._http.base_url.host, self._http.base_url.port or 80)) as connection:
            connection.sendall(HALF[: self._random.randint(1, len(HALF))])
        return "gone"

    def oversized(self) -> str:
        """Says that its body is too large, and sends it."""
        return self._refused(self._post(json=self._body(user="x" * 20 * MAX_BODY)), 413)

    def oversized_chunked(self) -> str:
        """Does not say how large it is."""
        chunks = iter([b" " * MAX_BODY] * 20)
        return self._refused(self._post(content=chunks, headers={"Content-Type": "application/json"}), 413)

    def malformed(self) -> str:
        """Sends what is no JSON."""
        content = self._random.choice([b"{", b"\xff", b"[" * 9_000, b"", b'{"model": NaN}', b"null"])
        return self._refused(self._post(content=content, headers={"Content-Type": "application/json"}), 400)

    def wrong_type(self) -> str:
        """Sends JSON that makes no sense."""
        return self._refused(self._post(json=self._body(temperature="hot")), 400)

    def _body(self, **fields: Any) -> dict[str, Any]:
        content = TEXT[self._random.randrange(200) :][: self._random.randint(10, 200)]
        messages = [{"role": "user", "content": content}]
        return {"model": self._model, "messages": messages, "max_tokens": self._random.randint(4, 48), **fields}

    def _post(self, **arguments: Any) -> httpx.Response:
        return self._http.post("/v1/chat/completions", **arguments)

    def _stream(self, body: dict[str, Any]) -> Any:
        return self._http.stream("POST", "/v1/chat/completions", json=body)

    def _answered(self, began: float, usage: dict[str, Any]) -> None:
        self._tally.seconds.append(time.perf_counter() - began)
        self._tally.tokens += usage["completion_tokens"]

    def _refused(self, response: httpx.Response, expected: int) -> str:
        body = json.loads(response.read())
        clean = response.status_code == expected and bool(body["error"]["message"])
        return str(response.status_code) if clean else f"UNEXPECTED {response.status_code} {body}"


def load(folder: str, seconds: float, clients: int, *options: str) -> dict[str, Any]:
    """Outcomes of one run, and what the server holds before and after it."""
    tally = Tally()
    with tempfile.TemporaryFile("w+") as log:
        with serving(folder, log, "--queue", "4", "--max-body", str(MAX_BODY), *options) as (process, document):
            server = psutil.Process(process.pid)
            warm_up(document)
            before, memory = held(server), []
            started = time.monotonic()

            def go(seed: int) -> None:
                client = Client(document["url"], document["model"], seed, tally)
                while time.monotonic() - started < seconds:
                    client.act()
                client.close()

            threads = [threading.Thread(target=go, args=(seed,)) for seed in range(clients)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                time.sleep(min(0.5, seconds / 20))
                memory.append(own_memory(server))
            lasted = time.monotonic() - started
            time.sleep(1)  # what was broken off at the end is noticed
            after = held(server)
            health = httpx.get(f"{document['url']}/health").json()
            crashed = process.poll() is not None
        log.seek(0)
        logged = log.read().splitlines()[:20]
    quarters = [memory[len(memory) * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]
    return {
        "seconds": round(lasted, 1),
        "clients": clients,
        "requests": sum(tally.outcomes.values()),
        "outcomes": dict(sorted(tally.outcomes.items())),
        "unexpected": sum(count for outcome, count in tally.outcomes.items() if "UNEXPECTED" in outcome),
        "answer_seconds": percentiles(tally.seconds),
        "first_piece_seconds": percentiles(tally.first_piece),
        "answered_tokens_per_second": round(tally.tokens / lasted, 1),
        "before": before,
        "after": after,
        "own_mb_at_each_quarter": quarters,
        "grown": after["open_files"] > before["open_files"]
        or after["threads"] > before["threads"]
        or quarters[3] > GROWTH * quarters[0],
        "left_over": health["running"] + health["waiting"],
        "logged": logged,
        "crashed": crashed,
        "exit_code": process.returncode,
    }


def warm_up(document: dict[str, Any]) -> None:
    """One answer: threads and buffers are made with the first."""
    body = {"model": document["model"], "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    with httpx.Client(base_url=document["url"], timeout=60) as client:
        client.post("/v1/chat/completions", json=body).raise_for_status()


def own_memory(server: psutil.Process) -> float:
    """Without the pages of files such as the model, which are mapped, come with use and can go at any time."""
    memory = server.memory_info()
    return round((memory.rss - memory.shared) / 1e6, 1)


def held(server: psutil.Process) -> dict[str, Any]:
    """What the server has of the system."""
    return {
        "own_mb": own_memory(server),
        "rss_mb": round(server.memory_info().rss / 1e6, 1),
        "open_files": server.num_fds(),
        "threads": server.num_threads(),
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """The middle, and what the slowest take."""
    if len(values) < 2:
        return {}
    hundredths = statistics.quantiles(values, n=100)
    return {name: round(hundredths[rank - 1], 3) for name, rank in (("p50", 50), ("p90", 90), ("p99", 99))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", default="2", help="of the model")
    arguments = parser.parse_args()
    result = load(arguments.folder, arguments.seconds, arguments.clients, "--threads", arguments.threads)
    print(json.dumps(result, indent=2))
    return int(any(result[name] for name in ("unexpected", "grown", "left_over", "logged", "crashed", "exit_code")))


if __name__ == "__main__":
    sys.exit(main())
