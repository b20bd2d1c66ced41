"""One request's way: what is known of the customer, candidates, features, order, page; and what is answered when
a part of that is missing.

Retrieval, ranking and re-ranking are those of `pipelines.recommender`, which evaluation runs too. What stands here
is the ladder: no ranker -> the sources' own order -> popular near you -> popular. Each step down has a code, and the
last needs nothing but memory, so there is always an answer.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Any, TypeVar

import numpy as np

from feature_repo.errors import LookbookError
from pipelines.columns import Columns, objects, taken, texts
from pipelines.explaining import article_display, explained
from pipelines.exploration import Exploration, explore
from pipelines.monitoring.served_log import ServedLog
from pipelines.rankers.base import Objective
from pipelines.recommender import (
    AGE_BUCKET,
    MATCHING,
    PINNED,
    POSTAL_CODE,
    SPONSORED,
    Ask,
    Recommender,
    dismissed,
    is_known,
    one_customer,
)
from pipelines.rerankers.base import Reranker
from pipelines.retrievers.base import NOTHING, Asked, Proposals, top
from services.deadlines import STAGES, Attempt, Breakers, StageError, Steps, Workers
from services.filters import allowed, excluded, matching_of, may_fit
from services.schemas import Context, Filters
from services.served import Served, given_by

log = logging.getLogger(__name__)

T = TypeVar("T")
KEPT_POPULAR = 200
FILLED = 4
"""Best sellers for each place, where retrievers did not answer: the customer's rules may forbid some."""
NEAR = {"popular_by_postal_code": POSTAL_CODE, "popular_by_age": AGE_BUCKET}
"""The retrievers that need to know one thing of somebody, where they live or how old they are; the best first."""
POPULAR = "popular"


@dataclass
class Question:
    """What is asked.

    Attributes:
        k: so many are shown.
        reranker: another than the release's, as an experiment wants it.
        exploration: how places are drawn, as an experiment wants it, and the seed of it.
        rest: whether what stands behind them is wanted too.
    """

    customer_id: str
    k: int
    objective: Objective | None = None
    filters: Filters | None = None
    context: Context | None = None
    reranker: Reranker | None = None
    exploration: Exploration | None = None
    seed: int = 0
    rest: bool = False


@dataclass(frozen=True)
class Found:
    """What was found, the best first.

    Attributes:
        rows: customer_id, article_id, source, score, rank, and what the ranker saw as far as it came.
        state: what is known of the customer.
        display: gives what is shown of articles.
        known: whether the shop knows anything of the customer.
        fallback: why it is simpler than usual, or None.
        ranked: whether a ranker has put them in order.
        plain: whether what is said of them must need nothing but memory.
        reranker: another than the release's, whose rules hold.
    """

    rows: Columns
    state: Columns
    display: Callable[[Iterable[str]], Mapping[str, Mapping[str, Any]]]
    moment: datetime
    known: bool
    fallback: str | None = None
    ranked: bool = True
    plain: bool = False
    reranker: Reranker | None = None

    def in_words(
        self, recommender: Recommender, rows: Columns, objective: Objective | None
    ) -> list[dict[str, Any]]:
        """Some of the rows as they are said (`explained`)."""
        return explained(
            recommender,
            rows,
            self.state,
            self.display,
            self.moment,
            objective,
            ranked=self.ranked,
            plain=self.plain,
        )


@dataclass
class _SoFar:
    """What a request has found, for the case that it goes wrong or is not waited for.

    Attributes:
        state: with `moment` and `known`, of the customer.
        ordered: the candidates in their order, before re-ranking, and whether a ranker has made it.
    """

    state: tuple[Columns, datetime, bool] | None = None
    candidates: Columns | None = None
    ordered: tuple[Columns, bool] | None = None
    found: Found | None = None


class RequestPath:
    """Answers questions out of a release that is loaded."""

    def __init__(self, workers: Workers, log: ServedLog) -> None:
        self._workers = workers
        self._log = log

    def answer(
        self, question: Question, served: Served, dress: Callable[[Found], T]
    ) -> Steps[tuple[T, Found, Attempt]]:
        """What is best for the customer, whatever happens.

        What fails or is too slow is tried once more without it, as long as that may take; and what then is still
        missing is answered from memory.

        Args:
            dress: makes the answer of what was found; it may read what is shown of articles, unless that is `plain`.

        Raises:
            ObjectiveError: the release's ranker has not learnt what is asked for.
        """
        if served.recommender.ranker is not None:
            served.recommender.ranker.require(question.objective)
        first, so_far = self._workers.attempt(), _SoFar()

        def work() -> tuple[T, Found] | None:
            features = served.features(question.context)
            # Of what the request itself says the warehouse knows nothing, and could not say the same.
            if features.given:
                return _worked(question, served, features, first, so_far, dress)
            with self._log.request(features, served.versions) as logged:
                return _worked(question, served, logged, first, so_far, dress)

        done, attempt = (yield from self._done(first, work)), first
        if done is None and not first.busy:
            again = attempt = first.again()

            def rescue() -> tuple[T, Found] | None:
                with suppress(StageError), again.stage("rescue"):
                    found = _second_best(question, served, so_far)
                    return dress(found), found
                return None

            done = yield from self._done(again, rescue)
        if done is None:
            found = _second_best(question, served, so_far, careful=True)
            done = dress(found), found
        return *done, attempt

    def _done(self, attempt: Attempt, work: Callable[[], T | None]) -> Steps[T | None]:
        try:
            return (yield from self._workers.run(attempt, work))
        except Exception:
            log.exception("an answer is made of what memory has")
            attempt.trouble = [*attempt.trouble, "answer:failed"]
            return None

    def reading(self, stage: str, work: Callable[[], T]) -> Steps[tuple[T | None, Attempt]]:
        """What else needs the store, in the time that a stage has; None if it fails or takes longer."""
        attempt = self._workers.attempt()

        def worked() -> T | None:
            with suppress(StageError), attempt.stage(stage):
                return work()
            return None

        return (yield from self._done(attempt, worked)), attempt

    @property
    def stuck(self) -> bool:
        """Whether whatever it is that hangs has taken all threads."""
        return self._workers.stuck

    def close(self) -> None:
        self._workers.close()


def _worked(
    question: Question,
    served: Served,
    features: Any,
    attempt: Attempt,
    so_far: _SoFar,
    dress: Callable[[Found], T],
) -> tuple[T, Found] | None:
    found = so_far.found = _walked(question, served, features, attempt, so_far)
    if found is not None:
        with suppress(StageError), attempt.stage("display"):
            return dress(found), found
    return None


def _walked(
    question: Question, served: Served, features: Any, attempt: Attempt, so_far: _SoFar
) -> Found | None:
    """None if there is no candidate although there should be, or nobody waits any more."""
    recommender = served.recommender
    with suppress(StageError):
        with attempt.stage("customer"):
            state = one_customer(question.customer_id, features)
            moment = features.moment or served.moment
            # What the request says of them the shop does not know.
            known = is_known(state.drop(columns=[*given_by(question.context)]))
        so_far.state = state, moment, known
        with attempt.stage("candidates") as until:
            matching = matching_of(question.filters, served)
            ask, answered = _asking(attempt, until)
            rows = recommender.candidates(
                state, moment, matching=matching, ask=ask, reranker=question.reranker
            )
            if not answered:
                raise LookbookError("no retriever has answered")
            if (
                len(rows) < question.k
                and len(answered) < len(recommender.retrievers)
                and not matching
            ):
                # Few are left of those that were asked in time: what sells best fills up.
                rows = recommender.candidates(
                    state,
                    moment,
                    best_sellers=served.popular[: FILLED * question.k],
                    ask=lambda name, _: answered.get(name, NOTHING),
                    reranker=question.reranker,
                )
            rows = allowed(rows, question.filters, features)
        so_far.candidates = rows
        if not len(rows) and question.filters is None:
            return None
        rows, ranked = _ordered(question, recommender, rows, state, features, attempt)
        so_far.ordered = rows, ranked
        if attempt.left:
            return None
        page = None
        with suppress(StageError), attempt.stage("rerank"):
            page = _page(question, recommender, rows, state, moment)
        if attempt.left:
            return None
        if page is None:
            page = _by_score(question, served, rows, state, moment)
        display = partial(article_display, features=features)
        fallback = None if ranked or recommender.ranker is None else "no_ranker"
        return Found(
            page, state, display, moment, known, fallback, ranked, reranker=question.reranker
        )
    return None


def _asking(attempt: Attempt, until: float) -> tuple[Ask, dict[str, Proposals]]:
    """How retrievers are asked, each of which may fail, and what those have proposed that have answered until now."""
    answered: dict[str, Proposals] = {}

    def ask(name: str, propose: Callable[[], Proposals]) -> Proposals:
        found = attempt.part(f"candidates.{name}", until, propose)
        if found is None:
            return NOTHING
        answered[name] = found
        return found

    return ask, answered


def _ordered(
    question: Question,
    recommender: Recommender,
    rows: Columns,
    state: Columns,
    features: Any,
    attempt: Attempt,
) -> tuple[Columns, bool]:
    """The candidates with their score, and whether it is the ranker's."""
    if recommender.ranker is not None:
        with suppress(StageError):
            with attempt.stage("features"):
                read = features.read(rows, recommender.ranker.feature_service)
            with attempt.stage("rank"):
                ranked = recommender.ranked(read, state, question.objective)
                if not np.isfinite(ranked["score"]).all():
                    raise LookbookError("the ranker's scores are no numbers")
            return ranked, True
    return recommender.fused(rows), False


def _page(
    question: Question, recommender: Recommender, rows: Columns, state: Columns, moment: datetime
) -> Columns:
    explores = question.exploration is not None and not question.rest
    page = recommender.page(
        rows,
        state,
        moment,
        question.k,
        with_rest=question.rest or explores,
        reranker=question.reranker,
    )
    return _explored(page, question, recommender) if explores else page


def _by_score(
    question: Question,
    served: Served,
    rows: Columns,
    state: Columns,
    moment: datetime,
    *,
    careful: bool = False,
) -> Columns:
    """The page without re-ranking: its order is lost, and what may on no account be shown is not shown all the same."""
    best = top(rows, len(rows))
    articles = list(best["article_id"])
    may = served.showable(articles, state, moment, question.reranker, careful=careful)
    best = taken(best, np.flatnonzero(may))
    best = best.assign(rank=np.arange(1, len(best) + 1))
    return best if question.rest else taken(best, np.arange(min(question.k, len(best))))


def _explored(page: Columns, question: Question, recommender: Recommender) -> Columns:
    """The first k with some places drawn: `propensity` says with what probability. What is paid for or pinned stays
    where it is."""
    assert question.exploration is not None
    reranker = question.reranker or recommender.reranker
    pinned = set(reranker.brings("pinned")) if reranker is not None else set()
    fixed = np.isin(objects(page, "source"), [SPONSORED, PINNED])
    fixed |= np.fromiter((a in pinned for a in page["article_id"]), bool, len(page))
    fixed[question.k :] = False
    free = np.flatnonzero(~fixed)
    size = min(question.k, len(page))
    order, chances = explore(
        np.asarray(page["score"], dtype="float64")[free],
        size - int(fixed.sum()),
        question.exploration,
        question.seed,
    )
    places, propensity = np.arange(size), np.ones(size)
    drawn = ~fixed[:size]
    places[drawn] = free[order[: int(drawn.sum())]]
    propensity[drawn] = chances
    return taken(page, places).assign(rank=np.arange(1, size + 1), propensity=propensity)


def plain_answer(question: Question, served: Served) -> list[str]:
    """The articles that a release answers with, without a ladder and without being logged.

    Raises:
        StageError: it has no such answer.
    """
    features = served.features(question.context)
    attempt = Attempt(dict.fromkeys(STAGES, inf), Breakers())
    found = _walked(question, served, features, attempt, _SoFar())
    if found is None or attempt.trouble:
        raise StageError(", ".join(attempt.trouble) or "no answer")
    return list(found.rows["article_id"])


def _second_best(
    question: Question, served: Served, so_far: _SoFar, *, careful: bool = False
) -> Found:
    """An answer from memory, out of what the request had found before it went wrong.

    Args:
        careful: ask no retriever, ranker or re-ranker, of which one may be what is too slow.
    """
    recommender, found = served.recommender, so_far.found
    if found is not None:
        return replace(found, display=served.remembered, plain=True)
    state, moment, known = so_far.state or (_nobody(question, served), served.moment, False)

    def of(rows: Columns, fallback: str | None, ranked: bool = False) -> Found:
        return Found(
            rows,
            state,
            served.remembered,
            moment,
            known,
            fallback,
            ranked,
            plain=careful,
            reranker=question.reranker,
        )

    if so_far.candidates is not None and len(so_far.candidates):
        rows, ranked = so_far.ordered or (recommender.fused(so_far.candidates), False)
        page = None
        if so_far.ordered is None and not careful:
            with suppress(Exception):
                page = _page(question, recommender, rows, state, moment)
        if page is None:
            page = _by_score(question, served, rows, state, moment, careful=careful)
        if len(page):
            return of(page, None if ranked or recommender.ranker is None else "no_ranker", ranked)
    gone = {*excluded(question.filters), *(article for _, article in dismissed(state))}
    for fallback, articles, source in _popular(question, served, state, careful):
        wanted = [article for article in articles if article not in gone]
        display = served.remembered(wanted)
        wanted = [a for a in wanted if may_fit(display[a], question.filters, source)]
        may = served.showable(wanted, state, moment, question.reranker, careful=careful)
        wanted = [article for article, ok in zip(wanted, may, strict=True) if ok]
        if wanted:
            return of(_listed(question, state, wanted, source), fallback)
    return of(_listed(question, state, [], POPULAR), POPULAR)


def _listed(question: Question, state: Columns, articles: Sequence[str], source: str) -> Columns:
    """Rows of articles in this order."""
    size = len(articles) if question.rest else min(question.k, len(articles))
    rank = np.arange(1, size + 1)
    return Columns(
        {
            "customer_id": np.full(size, question.customer_id, dtype=object),
            "article_id": texts(*articles[:size]),
            "postal_code": np.repeat(objects(state, POSTAL_CODE), size),
            "source": np.full(size, source, dtype=object),
            "rank": rank,
            "score": 1.0 / rank,
        }
    )


def _nobody(question: Question, served: Served) -> Columns:
    given = {name: texts(value) for name, value in given_by(question.context).items()}
    return served.nobody.assign(customer_id=texts(question.customer_id), **given)


def _popular(
    question: Question, served: Served, state: Columns, careful: bool
) -> Iterable[tuple[str, Sequence[str], str]]:
    """(code, articles, source) of what can be had without knowing what the customer likes, the nearest first."""
    asked = Asked(state, served.moment)
    for name, known in NEAR.items():
        retriever = served.recommender.retrievers.get(name)
        if not careful and retriever is not None and isinstance(objects(state, known)[0], str):
            with suppress(Exception):
                found = retriever.propose(asked, KEPT_POPULAR).article
                yield "popular_near_you", list(retriever.assortment.ids[found]), name
    if matching := matching_of(question.filters, served):
        yield POPULAR, matching, MATCHING
    yield POPULAR, served.popular, POPULAR
