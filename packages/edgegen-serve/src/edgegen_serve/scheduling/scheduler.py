"""One thread that answers, a short queue before it, and jobs that the event loop follows and may end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgegen.errors import EdgegenError
from edgegen_serve.openai.errors import ApiError, busy, from_runtime, internal

if TYPE_CHECKING:
    from edgegen_runtime import Generation
    from edgegen_serve.openai.requests import Ask
    from edgegen_serve.scheduling.engine import Answer, Engine

log = logging.getLogger("edgegen_serve")

_PATIENCE = 10.0
"""Seconds for one call of the model, when the server ends."""


@dataclass(frozen=True)
class Usage:
    """Counts of tokens; ``cached`` ones of the prompt were not read again."""

    prompt: int
    cached: int
    completion: int


@dataclass(frozen=True)
class Started:
    """The request has been understood and the model begins."""


@dataclass(frozen=True)
class Piece:
    """Some of the answer."""

    text: str


@dataclass(frozen=True)
class Ended:
    """All of the answer has come."""

    finish_reason: str
    usage: Usage


@dataclass(frozen=True)
class Failed:
    """There will be no (further) answer."""

    error: ApiError


Event = Started | Piece | Ended | Failed
"""A job's events: Started, Pieces, Ended; or Failed at any point, which is the last."""


def _ending() -> ApiError:
    return busy("the server is shutting down")


class Job:
    """One request on its way. Made on the event loop, by :meth:`Scheduler.submit`."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.stopped: ApiError | None = None
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._generation: Generation | None = None
        self._lock = threading.Lock()

    async def next(self) -> Event:
        """The next event."""
        return await self._events.get()

    def tell(self, event: Event) -> None:
        """Send an event to the event loop; from any thread."""
        with suppress(RuntimeError):  # the loop is closed: the server ended without waiting
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def attach(self, generation: Generation) -> None:
        """From now on :meth:`stop` reaches the model."""
        with self._lock:
            self._generation = generation
            if self.stopped:
                generation.cancel()

    def stop(self, why: ApiError) -> None:
        """End it before the model's next call; from any thread."""
        with self._lock:
            self.stopped = self.stopped or why
            if self._generation is not None:
                self._generation.cancel()


class Scheduler:
    """Answers jobs in the order in which they came.

    Args:
        engine: used from the scheduler's thread only.
        queue: how many jobs may wait while one runs.
    """

    def __init__(self, engine: Engine, queue: int) -> None:
        self._engine = engine
        self._queue = queue
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._draining = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="edgegen-serve", daemon=True)
        self._thread.start()

    @property
    def load(self) -> tuple[int, int]:
        """Jobs that run (0 or 1), and jobs that wait."""
        with self._changed:
            return int(self._running is not None), len(self._waiting)

    def submit(self, ask: Ask) -> Job:
        """Queue a request.

        Raises:
            ApiError: the queue is full, or the server is about to end.
        """
        job = Job(ask)
        with self._changed:
            if self._draining:
                raise _ending()
            if (self._running is not None) + len(self._waiting) > self._queue:
                raise busy(f"the server is busy, and {len(self._waiting)} requests wait already; try again later")
            self._waiting.append(job)
            self._changed.notify()
        return job

    def cancel(self, job: Job, why: ApiError) -> None:
        """End a job, wherever it is; one that has ended stays as it is."""
        with self._changed:
            queued = job in self._waiting
            if queued:
                self._waiting.remove(job)
        if queued:
            job.tell(Failed(why))
        else:
            job.stop(why)

    def drain(self) -> None:
        """Refuse what waits and what comes; what runs goes on."""
        with self._changed:
            self._draining = True
            refused = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        for job in refused:
            job.tell(Failed(_ending()))

    def stop(self) -> None:
        """End everything, and wait for nothing."""
        self.drain()
        with self._changed:
            running = self._running
        if running is not None:
            running.stop(_ending())

    def close(self) -> None:
        """End everything, and wait until the model's call that is under way has returned."""
        self.stop()
        self._thread.join(timeout=_PATIENCE)

    def _work(self) -> None:
        while (job := self._take()) is not None:
            last = self._answer(job)
            with self._changed:
                self._running = None
            # Only now: a client that asks again at once must find the place free.
            job.tell(last)

    def _take(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._draining)
            self._running = self._waiting.popleft() if self._waiting else None
            return self._running

    def _answer(self, job: Job) -> Event:
        """Everything but the job's last event, which is returned."""
        answer: Answer | None = None
        try:
            if job.stopped:
                return Failed(job.stopped)
            answer = self._engine.begin(job.ask)
            job.attach(answer.generation)
            job.tell(Started())
            for piece in answer.pieces:
                job.tell(Piece(piece))
            return self._end(job, answer.generation)
        except EdgegenError as error:
            if answer is not None:
                log.error("the model failed: %s", error)
            return Failed(from_runtime(error, job.ask.prompt_field))
        except Exception:
            log.exception("a bug: an answer failed")
            self._engine.forget()
            return Failed(internal())
        finally:
            if answer is not None:
                with suppress(Exception):  # the reason has been reported already
                    answer.close()

    def _end(self, job: Job, generation: Generation) -> Event:
        if generation.finish_reason == "cancelled":
            return Failed(job.stopped or internal())
        cached = generation.timings.reused_tokens
        usage = Usage(len(generation.prompt_ids), cached, len(generation.token_ids))
        return Ended(generation.finish_reason or "stop", usage)
