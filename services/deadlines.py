"""How long each stage of an answer may take, and what is not tried again for a while after it failed.

A request works through its stages in a thread of a pool, while the one that asked waits for each stage as long as
it is allowed. What is too slow is left behind with its thread, and the answer is made of what is there by then.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

from feature_repo.errors import InputError, LookbookError

log = logging.getLogger(__name__)

STAGES = ("queue", "customer", "candidates", "features", "rank", "rerank", "display", "rescue")
MILLISECONDS = {
    "queue": 400.0,
    "customer": 150.0,
    "candidates": 250.0,
    "features": 250.0,
    "rank": 250.0,
    "rerank": 150.0,
    "display": 150.0,
    "rescue": 150.0,
}
"""What each stage may take unless LOOKBOOK_DEADLINES says otherwise: some ten times what it takes on a busy core."""
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
                f"are {', '.join(STAGES)}."
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


class Workers:
    """Runs attempts, few at a time, and leaves behind what is too slow."""

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = limits
        self.breakers = Breakers()
        self._pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="lookbook-request")
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._behind = 0
        self._lock = threading.Lock()

    def attempt(self) -> Attempt:
        return Attempt(self.limits, self.breakers)

    def run(self, attempt: Attempt, work: Callable[[], T]) -> T | None:
        """What the work gives; None if one of its stages was too slow, or there was no place for it.

        Raises:
            Exception: what the work raises.
        """
        if self._behind >= MOST_THREADS - AT_ONCE or not self._slots.acquire(
            timeout=self.limits["queue"]
        ):
            attempt.leave()
            return None
        try:
            attempt.begin()
            future: Future[T] = self._pool.submit(work)
        except BaseException:
            self._slots.release()
            raise
        # The stage changes meanwhile, and the next may have less time than the one that was under way.
        while not wait([future], min(max(attempt.seconds_left, 0.001), LOOKS)).done:
            if attempt.seconds_left <= 0:
                attempt.leave()
                self._left_behind(future)
                return None
        self._slots.release()
        return future.result()

    def _left_behind(self, future: "Future[T]") -> None:
        with self._lock:
            self._behind += 1
        self._slots.release()

        def over(_: object) -> None:
            with self._lock:
                self._behind -= 1

        future.add_done_callback(over)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
