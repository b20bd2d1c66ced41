"""A copy of the traffic for the release under the alias `shadow`: what it would answer, and how long it takes.

Nobody waits for it: copies of some requests are answered one after the other by a thread, after the customer has
their answer, and only the comparison is kept.
"""

import logging
import queue
import random
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from prometheus_client import Counter, Histogram

from feature_repo import environment
from services.request_path import Question, plain_answer
from services.schemas import ShadowReport
from services.served import Served

log = logging.getLogger(__name__)

MOST_WAITING = 64
KEPT = 5_000
"""Times of so many of the last comparisons are kept."""
ANSWERED = ("customer", "candidates", "features", "rank", "rerank")
PERSISTENCE = 0.9
"""Of rank-biased overlap: how likely somebody looks at the next place too."""

OVERLAP = Histogram(
    "lookbook_shadow_overlap",
    "Share of the articles in an answer that the shadow's answer has too.",
    buckets=(0.0, 0.2, 0.4, 0.6, 0.8, 0.999, 1.0),
)
SECONDS = Histogram(
    "lookbook_shadow_seconds",
    "Time that the shadow took for a copy of a request.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
NOT_COPIED = Counter(
    "lookbook_shadow_not_copied", "Copies for the shadow that came to nothing.", ["reason"]
)


@dataclass
class _Sums:
    requests: int = 0
    failed: int = 0
    skipped: int = 0
    same_first: float = 0.0
    overlap: float = 0.0
    rank_overlap: float = 0.0
    production: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    shadow: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))


class Shadow:
    """Answers copies of requests with another release.

    Args:
        sample: the share of requests that is copied; LOOKBOOK_SHADOW_SAMPLE if None.

    Raises:
        InputError: the setting is no share.
    """

    def __init__(self, sample: float | None = None) -> None:
        default = environment.number("LOOKBOOK_SHADOW_SAMPLE", 0.2, 0, 1)
        self.sample = default if sample is None else sample
        self.served: Served | None = None
        self._sums = _Sums()
        self._waiting: queue.Queue[tuple[Question, list[str], float] | None] = queue.Queue(
            MOST_WAITING
        )
        self._thread: threading.Thread | None = None

    def take(self, served: Served | None) -> None:
        """Answer with this release from now on; with none if None."""
        same = served and self.served and served.release.tag == self.served.release.tag
        if not same:
            self.begin_anew()
        self.served = served
        if served is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lookbook-shadow", daemon=True)
            self._thread.start()

    def begin_anew(self) -> None:
        """Forget what was compared: it is beside another release in production from now on."""
        self._sums = _Sums()

    def copy(self, question: Question, answered: list[str], spent: Mapping[str, float]) -> None:
        """Hand over what was asked, what was answered, and how long each stage of that took."""
        if self.served is None or random.random() >= self.sample:
            return
        try:
            # What the shadow does too: it neither waits in a queue nor says why.
            seconds = sum(spent.get(stage, 0.0) for stage in ANSWERED)
            self._waiting.put_nowait((question, answered, seconds))
        except queue.Full:
            self._sums.skipped += 1
            NOT_COPIED.labels("full").inc()

    def stop(self) -> None:
        if self._thread is not None:
            with_room = threading.Thread(target=self._waiting.put, args=(None,), daemon=True)
            with_room.start()

    def _run(self) -> None:
        while (copied := self._waiting.get()) is not None:
            served, sums = self.served, self._sums
            if served is None:
                continue
            question, answered, seconds = copied
            try:
                started = perf_counter()
                found = plain_answer(question, served)
                took = perf_counter() - started
            except Exception:
                log.exception("the release under the alias shadow could not answer")
                sums.failed += 1
                NOT_COPIED.labels("failed").inc()
                continue
            compared = _compared(answered, found)
            OVERLAP.observe(compared[1])
            SECONDS.observe(took)
            sums.requests += 1
            sums.same_first += compared[0]
            sums.overlap += compared[1]
            sums.rank_overlap += compared[2]
            sums.production.append(seconds)
            sums.shadow.append(took)

    def report(self, production: str) -> ShadowReport:
        """
        Args:
            production: the tag of the release in production.
        """
        sums, served = self._sums, self.served

        def mean(total: float) -> float | None:
            return round(total / sums.requests, 4) if sums.requests else None

        times: dict[str, float] = {}
        for name, seconds in (("production", sums.production), ("shadow", sums.shadow)):
            if seconds:
                p50, p99 = np.percentile([*seconds], [50, 99])
                times |= {f"{name}_p50": round(1000 * p50, 2), f"{name}_p99": round(1000 * p99, 2)}
        return ShadowReport(
            release=served.release.tag if served else None,
            production=production,
            requests=sums.requests,
            failed=sums.failed,
            skipped=sums.skipped,
            same_first=mean(sums.same_first),
            overlap=mean(sums.overlap),
            rank_overlap=mean(sums.rank_overlap),
            milliseconds=times,
        )


def _compared(one: list[str], other: list[str]) -> tuple[float, float, float]:
    """Whether the first is the same, the share of articles that both have, and rank-biased overlap."""
    first = float(one[:1] == other[:1])
    most = max(len(one), len(other), 1)
    both = len(set(one) & set(other)) / most if one or other else 1.0
    return first, both, rank_biased_overlap(one, other)


def rank_biased_overlap(one: list[str], other: list[str], p: float = PERSISTENCE) -> float:
    """How alike two orders are, from 0 to 1, the first places before all; what stands behind the shorter is taken to
    agree as the last places do (Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", TOIS
    2010, equation 32 for lists of one length)."""
    depth = min(len(one), len(other))
    if not depth:
        return float(not one and not other)
    seen_one: set[str] = set()
    seen_other: set[str] = set()
    total, agreement = 0.0, 0.0
    for rank in range(1, depth + 1):
        seen_one.add(one[rank - 1])
        seen_other.add(other[rank - 1])
        agreement = len(seen_one & seen_other) / rank
        total += agreement * p**rank
    return (1 - p) / p * total + agreement * p**depth
