"""Scheduler: a thread that answers, a bounded queue before it, and jobs that the event loop follows and may cancel."""

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
    from edgegen_serve.openai.requests import GenerationRequest
    from edgegen_serve.scheduling.engine import Answer, Engine

log = logging.getLogger("edgegen_serve")

_PATIENCE = 10.0
"""Seconds for one call of the model, when the server ends."""


@dataclass(frozen=True)
class Usage:
    """Token counts; ``cached`` are prompt tokens that were in the KV cache already."""

    prompt: int
    cached: int
    completion: int


@dataclass(frozen=True)
class GenerationStarted:
    """Stream event: the request has been accepted and the model begins."""


@dataclass(frozen=True)
class TextDelta:
    """Stream event: more text of the answer."""

    text: str


@dataclass(frozen=True)
class GenerationFinished:
    """Stream event: the answer is complete."""

    finish_reason: str
    usage: Usage


@dataclass(frozen=True)
class GenerationFailed:
    """Stream event: there will be no (further) answer."""

    error: ApiError


StreamEvent = GenerationStarted | TextDelta | GenerationFinished | GenerationFailed
"""Events of a job in order: started, deltas, finished; or failed at any point, which is the last."""


def _ending() -> ApiError:
    return busy("the server is shutting down")


class Job:
    """A generation request in the queue or being answered. Made on the event loop, by :meth:`Scheduler.submit`."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.stopped: ApiError | None = None
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[StreamEvent] = asyncio.Queue()
        self._generation: Generation | None = None
        self._lock = threading.Lock()

    async def next(self) -> StreamEvent:
        """The next event."""
        return await self._events.get()

    def tell(self, event: StreamEvent) -> None:
        """Send an event to the event loop; from any thread."""
        with suppress(RuntimeError):  # the loop is closed: the server ended without waiting
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def attach(self, generation: Generation) -> None:
        """Let :meth:`stop` reach the model from now on."""
        with self._lock:
            self._generation = generation
            if self.stopped:
                generation.cancel()

    def stop(self, why: ApiError) -> None:
        """Cancel it before the model's next call; from any thread."""
        with self._lock:
            self.stopped = self.stopped or why
            if self._generation is not None:
                self._generation.cancel()


class Scheduler:
    """A first-in-first-out queue of jobs with one worker thread.

    Args:
        engine: answers requests; used from the scheduler's thread only.
        queue: number of jobs that may wait while one runs.
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
        """Number of jobs running (0 or 1), and of jobs waiting."""
        with self._changed:
            return int(self._running is not None), len(self._waiting)

    def submit(self, request: GenerationRequest) -> Job:
        """Queue a request.

        Raises:
            ApiError: the queue is full, or the server is about to end.
        """
        job = Job(request)
        with self._changed:
            if self._draining:
                raise _ending()
            if (self._running is not None) + len(self._waiting) > self._queue:
                raise busy(f"the server is busy, and {len(self._waiting)} requests wait already; try again later")
            self._waiting.append(job)
            self._changed.notify()
        return job

    def cancel(self, job: Job, why: ApiError) -> None:
        """Cancel a job, waiting or running; one that has ended stays as it is."""
        with self._changed:
            queued = job in self._waiting
            if queued:
                self._waiting.remove(job)
        if queued:
            job.tell(GenerationFailed(why))
        else:
            job.stop(why)

    def drain(self) -> None:
        """Refuse waiting and new jobs; the running one goes on."""
        with self._changed:
            self._draining = True
            refused = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        for job in refused:
            job.tell(GenerationFailed(_ending()))

    def stop(self) -> None:
        """Cancel everything, and wait for nothing."""
        self.drain()
        with self._changed:
            running = self._running
        if running is not None:
            running.stop(_ending())

    def close(self) -> None:
        """Cancel everything, and wait until the model's call that is under way has returned."""
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

    def _answer(self, job: Job) -> StreamEvent:
        """Answer a job and send its events but the last, which is returned."""
        answer: Answer | None = None
        try:
            if job.stopped:
                return GenerationFailed(job.stopped)
            answer = self._engine.begin(job.request)
            job.attach(answer.generation)
            job.tell(GenerationStarted())
            for piece in answer.pieces:
                job.tell(TextDelta(piece))
            return self._end(job, answer.generation)
        except EdgegenError as error:
            if answer is not None:
                log.error("the model failed: %s", error)
            return GenerationFailed(from_runtime(error, job.request.prompt_field))
        except Exception:
            log.exception("a bug: an answer failed")
            self._engine.forget()
            return GenerationFailed(internal())
        finally:
            if answer is not None:
                with suppress(Exception):  # the reason has been reported already
                    answer.close()

    def _end(self, job: Job, generation: Generation) -> StreamEvent:
        if generation.finish_reason == "cancelled":
            return GenerationFailed(job.stopped or internal())
        cached = generation.timings.reused_tokens
        usage = Usage(len(generation.prompt_ids), cached, len(generation.token_ids))
        return GenerationFinished(generation.finish_reason or "stop", usage)
