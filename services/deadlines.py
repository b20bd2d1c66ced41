"""How long each stage of an answer may take, and what is not tried again for a while after it failed.

A request works through its stages in a thread of a pool, while the one that asked waits for each stage as long as
it is allowed. What is too slow is left behind with its thread, and the answer is made of what is there by then.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import wraps
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar

from feature_repo.errors import InputError, LookbookError

log = logging.getLogger(__name__)

STAGES = ("queue", "customer", "candidates", "features", "rank", "rerank", "display", "rescue")
"""Of a recommendation."""
MILLISECONDS = {
    "queue": 400.0,
    "customer": 150.0,
    "candidates": 250.0,
    "features": 250.0,
    "rank": 250.0,
    "rerank": 150.0,
    "display": 150.0,
    "rescue": 150.0,
    "articles": 150.0,
    "profile": 250.0,
    "explain": 2000.0,
    "health": 500.0,
}
"""What each stage may take unless LOOKBOOK_DEADLINES says otherwise: some ten times what it takes on a busy core. The last
are what else is read: to show articles that were found, of a customer, to explain, and to know whether it can be read."""
TRIES = 5
"""So many failures one after the other, and a stage is not tried for `REST_SECONDS`."""
REST_SECONDS = 2.0
AT_ONCE = 2
"""Requests of a process that are worked on at a time: more would only wait for each other."""
MOST_THREADS = 32
"""Also those that were left behind."""
LOOKS = 0.02
"""Seconds after which whoever waits looks what stage is under way: what most answers do not take."""
QUEUE_AGAIN = 0.1
"""Seconds in which the second attempt of a request must find a place."""
SOON = 0.7
"""From this share of its time on a stage should come to an end with what it has, instead of being left behind."""

T = TypeVar("T")
_Self = TypeVar("_Self")
_Asked = ParamSpec("_Asked")


class StageError(LookbookError):
    """A stage gave no result; the text says why: failed, slow, or resting."""


def deadlines(text: str | None = None) -> dict[str, float]:
    """{stage: seconds}.

    Args:
        text: stages with their milliseconds, as "rank=50,features=100"; LOOKBOOK_DEADLINES if None.

    Raises:
        InputError: a stage is unknown, or its time is no number above 0.
    """
    found = dict(MILLISECONDS)
    said = os.environ.get("LOOKBOOK_DEADLINES", "") if text is None else text
    for part in filter(None, (part.strip() for part in said.split(","))):
        stage, _, value = part.partition("=")
        try:
            time = float(value)
        except ValueError:
            time = 0.0
        if stage not in found or not 0 < time < 1e6:
            raise InputError(
                f"LOOKBOOK_DEADLINES says {part!r}: write stages with their milliseconds, as rank=50; the stages "
                f"are {', '.join(MILLISECONDS)}."
            )
        found[stage] = time
    return {stage: time / 1000 for stage, time in found.items()}


@dataclass
class Breakers:
    """Which stages, or parts of one, are not tried now: each that has failed often gets a rest, then one try."""

    failures: dict[str, int] = field(default_factory=dict)
    rest_until: dict[str, float] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    def may(self, stage: str) -> bool:
        if stage not in self.rest_until:
            return True
        with self._lock:
            until, now = self.rest_until.get(stage), perf_counter()
            if until is None:
                return True
            if now < until:
                return False
            # One request tries; the others go on resting until it has succeeded.
            self.rest_until[stage] = now + REST_SECONDS
            return True

    def succeeded(self, stage: str) -> None:
        if stage in self.failures:
            with self._lock:
                self.failures.pop(stage, None)
                self.rest_until.pop(stage, None)

    def failed(self, stage: str) -> None:
        with self._lock:
            self.failures[stage] = self.failures.get(stage, 0) + 1
            if self.failures[stage] >= TRIES:
                self.rest_until[stage] = perf_counter() + REST_SECONDS


@dataclass
class Attempt:
    """How far a request has come.

    Attributes:
        spent: {stage: seconds}, of those that have ended.
        trouble: "stage:why" of what went wrong on the way.
        left: whether nobody waits for it any more.
    """

    limits: dict[str, float]
    breakers: Breakers
    spent: dict[str, float] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    left: bool = False
    _under_way: tuple[str, float] = field(default_factory=lambda: ("queue", perf_counter()))
    """The stage, and when it began."""
    _part: str = ""
    """What of the stage is under way, if it has parts."""

    @contextmanager
    def stage(self, name: str) -> Iterator[float]:
        """A stage; gives the time (`perf_counter`) at which it should be over.

        Raises:
            StageError: it is not tried now, nobody waits any more, or it failed.
        """
        if self.left:
            raise StageError("nobody waits")
        if not self.breakers.may(name):
            self.trouble.append(f"{name}:resting")
            raise StageError(f"{name} rests")
        began = perf_counter()
        self._part, self._under_way = "", (name, began)
        try:
            yield began + SOON * self.limits[name]
        except Exception as error:
            self._failed(name, error)
            raise StageError(f"{name} failed: {error}") from error
        finally:
            if not self.left:
                self._ended(name, began)
        if self.left:
            raise StageError("nobody waits")
        self.breakers.succeeded(name)

    def part(self, name: str, until: float, work: Callable[[], T]) -> T | None:
        """What a part of the stage gives; None if it fails, or is not tried now. The stage goes on without it.

        Args:
            until: as the stage has given it; from then on no further part is tried.
        """
        if perf_counter() > until:
            self.trouble.append(f"{name}:late")
            return None
        if not self.breakers.may(name):
            self.trouble.append(f"{name}:resting")
            return None
        self._part = name
        try:
            found = work()
        except Exception as error:
            self._failed(name, error)
            return None
        finally:
            self._part = ""
        if not self.left:
            self.breakers.succeeded(name)
        return found

    def _failed(self, what: str, error: Exception) -> None:
        if not self.left:
            log.warning("%s failed", what, exc_info=error)
            self.trouble.append(f"{what}:failed")
            self.breakers.failed(what)

    def _ended(self, stage: str, began: float) -> None:
        # Whoever has not waited for it may be reading what was there before.
        took = self.spent.get(stage, 0.0) + perf_counter() - began
        self.spent = {**self.spent, stage: took}

    @property
    def seconds_left(self) -> float:
        """Of the stage under way."""
        stage, began = self._under_way
        return began + self.limits[stage] - perf_counter()

    @property
    def busy(self) -> bool:
        """Whether there was no place for it."""
        return self.left and self._under_way[0] == "queue"

    def begin(self) -> None:
        """It has a place; what is waited for now is that its first stage begins."""
        self._ended(*self._under_way)
        self._under_way = ("queue", perf_counter())

    def leave(self) -> None:
        """Wait no longer for the stage under way."""
        (stage, began), part = self._under_way, self._part
        self.left = True
        self._ended(stage, began)
        # Where one part is to blame, the others may be tried again.
        slow = part or stage
        self.trouble = [*self.trouble, f"{slow}:slow"]
        if slow != "queue":
            self.breakers.failed(slow)

    def again(self) -> "Attempt":
        """Another one for the same request: that which has been left may still be under way."""
        return Attempt(
            self.limits | {"queue": QUEUE_AGAIN}, self.breakers, {**self.spent}, [*self.trouble]
        )


Steps = Generator[tuple["Future[Any]", float], None, T]
"""Work that is waited for, whoever waits: each step gives what to wait for, and for how many seconds at most."""


def waited(steps: Steps[T]) -> T:
    """What comes of it; this thread waits.

    Raises:
        Exception: what the work raises.
    """
    try:
        while True:
            future, seconds = next(steps)
            wait([future], seconds)
    except StopIteration as over:
        found: T = over.value
        return found


async def awaited(steps: Steps[T]) -> T:
    """The same, while the event loop does other things.

    Raises:
        Exception: what the work raises.
    """
    try:
        while True:
            future, seconds = next(steps)
            await asyncio.wait([asyncio.wrap_future(future)], timeout=seconds)
    except StopIteration as over:
        found: T = over.value
        return found


def waiting(
    steps: "Callable[Concatenate[_Self, _Asked], Steps[T]]",
) -> "Callable[Concatenate[_Self, _Asked], T]":
    """The method that waits for what another says in steps."""

    @wraps(steps)
    def method(self: _Self, *asked: _Asked.args, **named: _Asked.kwargs) -> T:
        return waited(steps(self, *asked, **named))

    return method


class LaneFullError(LookbookError):
    """Too many wait already."""


class Lane:
    """Long work of an event loop that goes on one at a time, so that it takes little from what somebody waits for.

    Args:
        most: so many may wait for their turn.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting = 0
        self._turn = asyncio.Semaphore(1)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """
        Raises:
            LaneFullError: too many wait already.
        """
        if self._waiting >= self._most:
            raise LaneFullError(f"{self._waiting} wait for their turn already.")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()


@dataclass
class _Job:
    """Work for the crew; whether anybody waits for it still, and whether another has the place of its thread."""

    attempt: Attempt
    work: Callable[[], Any]
    future: "Future[Any]" = field(default_factory=Future)
    context: Context = field(default_factory=copy_context)
    """Of who asks: lines of the log say for which request they are."""
    left: bool = False
    replaced: bool = False


class Workers:
    """Runs attempts, few at a time, and leaves behind what is too slow.

    Its threads end with the process, whatever they hang in.
    """

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = limits
        self.breakers = Breakers()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._behind = 0
        self._lock = threading.Lock()
        for _ in range(AT_ONCE):
            self._hire()

    def attempt(self) -> Attempt:
        return Attempt(self.limits, self.breakers)

    def run(self, attempt: Attempt, work: Callable[[], T]) -> Steps[T | None]:
        """What the work gives; None if one of its stages was too slow, or there was no place for it.

        Raises:
            Exception: what the work raises.
        """
        job = _Job(attempt, work)
        self._jobs.put(job)
        # The stage changes meanwhile, and the next may have less time than the one that was under way.
        while not job.future.done():
            yield job.future, min(max(attempt.seconds_left, 0.001), LOOKS)
            if not job.future.done() and attempt.seconds_left <= 0:
                attempt.leave()
                # What has not begun never will; of the rest the thread is left to itself.
                if not job.future.cancel():
                    self._left_behind(job)
                return None
        found: T = job.future.result()
        return found

    @property
    def stuck(self) -> bool:
        """Whether all threads that there may be were left behind, so that nothing is done until one comes back."""
        return self._behind > MOST_THREADS - AT_ONCE

    def _hire(self) -> None:
        threading.Thread(target=self._work, name="lookbook-request", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                job.attempt.begin()
                found = job.context.run(job.work)
            except BaseException as error:
                job.future.set_exception(error)
            else:
                job.future.set_result(found)
            with self._lock:
                self._behind -= job.left
                if job.replaced:
                    return
            del job

    def _left_behind(self, job: _Job) -> None:
        with self._lock:
            if job.future.done():
                return
            job.left = True
            self._behind += 1
            # Beyond so many nobody takes the place: requests find none until one of them comes back.
            job.replaced = self._behind <= MOST_THREADS - AT_ONCE
        if job.replaced:
            self._hire()

    def close(self) -> None:
        for _ in range(MOST_THREADS):
            self._jobs.put(None)
