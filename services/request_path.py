"""One request's way: what is known of the customer, candidates, features, order, page; and what is answered when
a part of that is missing.

Retrieval, ranking and re-ranking are those of `pipelines.recommender`, which evaluation runs too. What stands here
is the ladder: no ranker -> the sources' own order -> popular near you -> popular. Each step down has a code, and the
last needs nothing but memory, so there is always an answer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from math import inf
from typing import Any, TypeVar

import numpy as np

from pipelines.columns import Columns, objects, taken, texts
from pipelines.content.search import SearchIndex
from pipelines.explaining import article_display, displayed
from pipelines.exploration import Exploration, explore
from pipelines.features import OnlineFeatures
from pipelines.model_registry.release import Release
from pipelines.monitoring.served_log import ServedLog, Versions
from pipelines.rankers.base import Objective
from pipelines.recommender import (
    AGE_BUCKET,
    PINNED,
    POSTAL_CODE,
    SPONSORED,
    Recommender,
    age_bucket,
    one_customer,
)
from pipelines.rerankers.base import Reranker
from pipelines.retrievers.base import Asked, top
from pipelines.warm_rows import KEY, WarmRows
from services.deadlines import STAGES, Attempt, Breakers, StageError, Workers
from services.schemas import Context, Filters

T = TypeVar("T")
StoredRead = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""A view, its name in the online store, and its numbers and other features."""

AGE = "customer_profile__age"
KEPT_POPULAR = 200
NEAR = ("popular_by_postal_code", "popular_by_age", "popular")
"""The retrievers that need to know nothing but where somebody lives, or how old they are; the best first."""
MATCHED = 300
"""So many of the articles that a filter asks for are candidates beside those that retrievers name."""
FILTERED = {
    "product_type": "article_profile__product_type_name",
    "product_group": "article_profile__product_group_name",
    "colour": "article_profile__colour_group_name",
    "department": "article_profile__department_name",
}


@dataclass(frozen=True)
class Served:
    """A release, loaded, with what is held in memory beside it."""

    release: Release
    recommender: Recommender
    sample: list[dict[str, str]]
    moment: datetime
    """Everything before it is in the online store; the question is asked then, as in training."""
    versions: Versions
    warm: WarmRows
    nobody: Columns
    """What is known of a customer of whom nothing is known."""
    popular: tuple[str, ...]
    """What sells best everywhere."""
    display: tuple["StoredRead", ...]
    """What `article_display` reads."""
    search: SearchIndex | None = None
    """None for a release from before there was search, or whose encoder is gone."""

    def features(self, context: Context | None = None) -> OnlineFeatures:
        """
        Args:
            context: what the request says of a customer of whom the store says nothing.
        """
        return OnlineFeatures(self.moment, self.warm, _given(context))

    def remembered(self, articles: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is shown of articles as memory has it, whatever has become of the store."""
        wanted = list(dict.fromkeys(articles))
        places = self.warm.places_of(wanted)
        columns: dict[str, Any] = {KEY: texts(*wanted)}
        for view, stored, numbers, others in self.display:
            held = None
            if places is not None:
                held = self.warm.remembered(stored, numbers, others, places)
            for number, name in enumerate(numbers):
                missing = np.full(len(wanted), np.nan)
                columns[f"{view}__{name}"] = missing if held is None else held[0][number]
            for name in others:
                none = np.full(len(wanted), None, dtype=object)
                columns[f"{view}__{name}"] = none if held is None else held[1][name]
        return displayed(Columns(columns))


def _given(context: Context | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if context is not None and context.age is not None:
        found |= {AGE: float(context.age), AGE_BUCKET: age_bucket(context.age)}
    if context is not None and context.postal_code is not None:
        found[POSTAL_CODE] = context.postal_code
    return found


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


@dataclass
class Found:
    """What was found, the best first.

    Attributes:
        rows: customer_id, article_id, source, score, rank, and what the ranker saw as far as it came.
        state: what is known of the customer.
        display: gives what is shown of articles.
        fallback: why it is simpler than usual, or None.
        ranked: whether a ranker has put them in order.
    """

    rows: Columns
    state: Columns
    display: Callable[[Iterable[str]], Mapping[str, Mapping[str, Any]]]
    moment: datetime
    fallback: str | None = None
    ranked: bool = True


@dataclass
class _SoFar:
    """What a request has found, for the case that it is not waited for."""

    state: Columns | None = None
    candidates: Columns | None = None
    found: Found | None = None
    lost: dict[str, Exception] = field(default_factory=dict)


class RequestPath:
    """Answers questions out of a release that is loaded."""

    def __init__(self, workers: Workers, log: ServedLog) -> None:
        self._workers = workers
        self._log = log

    def answer(
        self, question: Question, served: Served, dress: Callable[[Found], T]
    ) -> tuple[T, Found, Attempt]:
        """What is best for the customer, whatever happens.

        Args:
            dress: makes the answer of what was found; it may read what is shown of articles.

        Raises:
            ObjectiveError: the release's ranker has not learnt what is asked for.
        """
        if served.recommender.ranker is not None:
            served.recommender.ranker.require(question.objective)
        attempt, so_far = self._workers.attempt(), _SoFar()

        def work() -> tuple[T, Found] | None:
            features = served.features(question.context)
            # Of what the request itself says the warehouse knows nothing, and could not say the same.
            if features.given:
                return _worked(question, served, features, attempt, so_far, dress)
            with self._log.request(features, served.versions) as logged:
                return _worked(question, served, logged, attempt, so_far, dress)

        done = self._workers.run(attempt, work)
        if done is None:
            found = so_far.found or _rescued(question, served, attempt, so_far)
            found.display = served.remembered
            done = dress(found), found
        dressed, found = done
        attempt.trouble += [f"candidates.{name}:failed" for name in so_far.lost]
        return dressed, found, attempt

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
    found = _walked(question, served, features, attempt, so_far)
    if found is None:
        return None
    so_far.found = found
    with suppress(StageError), attempt.stage("display"):
        return dress(found), found
    if attempt.left:
        return None
    found.display = served.remembered
    return dress(found), found


def _walked(
    question: Question, served: Served, features: Any, attempt: Attempt, so_far: _SoFar
) -> Found | None:
    recommender = served.recommender
    try:
        with attempt.stage("customer"):
            state = one_customer(question.customer_id, features)
        so_far.state = state
        moment = features.moment or served.moment
        with attempt.stage("candidates") as until:
            matching = _matching(question.filters, served)
            rows = recommender.candidates(
                state, moment, matching=matching, lost=so_far.lost, until=until
            )
            rows = _allowed(rows, question.filters, features)
        so_far.candidates = rows
    except StageError:
        return None if attempt.left else _rescued(question, served, attempt, so_far)
    if not len(rows) and (question.filters is None or so_far.lost):
        return _rescued(question, served, attempt, so_far)
    ranked = False
    if recommender.ranker is not None:
        with suppress(StageError):
            with attempt.stage("features"):
                read = features.read(rows, recommender.ranker.feature_service)
            with attempt.stage("rank"):
                rows = recommender.ranked(read, state, question.objective)
            ranked = True
    if not ranked:
        rows = recommender.fused(rows)
    if attempt.left:
        return None
    fallback = "no_ranker" if recommender.ranker is not None and not ranked else None
    rows = _page(question, served, rows, state, moment, attempt)
    if attempt.left:
        return None
    display = partial(article_display, features=features)
    return Found(rows, state, display, moment, fallback, ranked)


def _page(
    question: Question,
    served: Served,
    rows: Columns,
    state: Columns,
    moment: datetime,
    attempt: Attempt,
) -> Columns:
    recommender = served.recommender
    explores = question.exploration is not None and not question.rest
    with suppress(StageError), attempt.stage("rerank"):
        page = recommender.page(
            rows,
            state,
            moment,
            question.k,
            with_rest=question.rest or explores,
            reranker=question.reranker,
        )
        return _explored(page, question) if explores else page
    # Its order is lost; what may on no account be shown is not shown all the same.
    best = top(rows, len(rows))
    try:
        may = recommender.may_be_shown(list(best["article_id"]), state, moment)
    except Exception:
        may = recommender.on_sale(list(best["article_id"]))
    best = taken(best, np.flatnonzero(may))
    best = best.assign(rank=np.arange(1, len(best) + 1))
    return best if question.rest else taken(best, np.arange(min(question.k, len(best))))


def _explored(page: Columns, question: Question) -> Columns:
    """The first k with some places drawn: `propensity` says with what probability. What is paid for or pinned stays
    where it is."""
    assert question.exploration is not None
    fixed = np.isin(objects(page, "source"), [SPONSORED, PINNED])
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


def _rescued(question: Question, served: Served, attempt: Attempt, so_far: _SoFar) -> Found:
    """An answer from memory alone, out of what the request had found before it went wrong."""
    recommender = served.recommender
    state = so_far.state if so_far.state is not None else _nobody(question, served)
    moment = served.moment
    if so_far.candidates is not None and len(so_far.candidates):
        rows = recommender.fused(so_far.candidates)
        fallback = "no_ranker"
        best = _page(question, served, rows, state, moment, _quiet(attempt))
        if len(best):
            return Found(best, state, served.remembered, moment, fallback, False)
    for fallback, articles, source in _popular(question, served, state):
        wanted = [a for a in articles if a not in set(_excluded(question.filters))]
        display = served.remembered(wanted)
        wanted = [a for a in wanted if _fits(display[a], question.filters)]
        # `may_be_shown` knows the shop's rules and needs memory alone.
        may = np.ones(len(wanted), dtype=bool)
        with suppress(Exception):
            may = recommender.may_be_shown(wanted, state, moment)
        wanted = [a for a, ok in zip(wanted, may, strict=True) if ok]
        if wanted:
            size = len(wanted) if question.rest else min(question.k, len(wanted))
            rank = np.arange(1, size + 1)
            rows = Columns(
                {
                    "customer_id": np.full(size, question.customer_id, dtype=object),
                    "article_id": np.array(wanted[:size], dtype=object),
                    "postal_code": np.repeat(objects(state, POSTAL_CODE), size),
                    "source": np.full(size, source, dtype=object),
                    "rank": rank,
                    "score": 1.0 / rank,
                }
            )
            return Found(rows, state, served.remembered, moment, fallback, False)
    nothing = {name: np.array([], dtype=object) for name in ("customer_id", "article_id", "source")}
    rows = Columns({**nothing, "rank": np.array([], int), "score": np.array([])})
    return Found(rows, state, served.remembered, moment, "popular", False)


def _quiet(attempt: Attempt) -> Attempt:
    """Another attempt with the same limits: the request's own may have been left by its thread."""
    return Attempt(attempt.limits, attempt.breakers, attempt.spent, attempt.trouble)


def _nobody(question: Question, served: Served) -> Columns:
    given = {name: texts(value) for name, value in _given(question.context).items()}
    return served.nobody.assign(customer_id=texts(question.customer_id), **given)


def _popular(
    question: Question, served: Served, state: Columns
) -> Iterable[tuple[str, Sequence[str], str]]:
    """(code, articles, source) of what can be had without knowing the customer, the nearest first."""
    recommender = served.recommender
    asked = Asked(state, served.moment)
    somewhere = isinstance(objects(state, POSTAL_CODE)[0], str)
    aged = isinstance(objects(state, AGE_BUCKET)[0], str)
    for name in NEAR:
        near = {"popular_by_postal_code": somewhere, "popular_by_age": aged}.get(name, False)
        if name in recommender.retrievers and near:
            with suppress(Exception):
                retriever = recommender.retrievers[name]
                found = retriever.propose(asked, KEPT_POPULAR).article
                yield "popular_near_you", list(retriever.assortment.ids[found]), name
    source = next((name for name in NEAR if name in recommender.retrievers), "popular")
    yield "popular", served.popular, source


# Filters


def _excluded(filters: Filters | None) -> Sequence[str]:
    return filters.exclude if filters is not None else ()


def _wishes(filters: Filters | None) -> dict[str, list[str]]:
    """{kind of attribute: the values that are asked for}."""
    found = {kind: getattr(filters, kind) for kind in FILTERED} if filters is not None else {}
    return {kind: values for kind, values in found.items() if values}


def _priced(filters: Filters | None) -> bool:
    return filters is not None and (filters.price_min, filters.price_max) != (None, None)


def _fits(shown: Mapping[str, Any], filters: Filters | None) -> bool:
    """Whether an article is what is asked for, by what is shown of it."""
    if any(shown[kind] not in values for kind, values in _wishes(filters).items()):
        return False
    if filters is None or not _priced(filters):
        return True
    price = shown["price"]
    return (
        price is not None
        and (filters.price_min is None or price >= filters.price_min)
        and (filters.price_max is None or price <= filters.price_max)
    )


def _allowed(rows: Columns, filters: Filters | None, features: Any) -> Columns:
    """The candidates that are what is asked for."""
    if filters is None or not len(rows):
        return rows
    keep = np.ones(len(rows), dtype=bool)
    if filters.exclude:
        gone = set(filters.exclude)
        keep &= np.fromiter((a not in gone for a in rows["article_id"]), bool, len(rows))
    if _wishes(filters) or _priced(filters):
        shown = article_display(rows["article_id"], features)
        keep &= np.fromiter((_fits(shown[a], filters) for a in rows["article_id"]), bool, len(rows))
    return taken(rows, np.flatnonzero(keep))


def _fitting(filters: Filters | None, served: Served) -> np.ndarray | None:
    """Which articles of the facts are what is asked for (A,), on sale or not; None if nothing is asked for, or there
    are no facts."""
    facts = served.recommender.facts
    if facts is None or not (_wishes(filters) or _priced(filters)):
        return None
    fits = np.ones(len(facts.assortment), dtype=bool)
    for kind, values in _wishes(filters).items():
        number = {name: place for place, name in enumerate(facts.names[kind])}
        fits &= np.isin(facts.groups[kind], [number[v] for v in values if v in number])
    if filters is not None and filters.price_min is not None:
        fits &= np.nan_to_num(facts.price, nan=-1.0) >= filters.price_min
    if filters is not None and filters.price_max is not None:
        fits &= np.nan_to_num(facts.price, nan=np.inf) <= filters.price_max
    return fits


def _matching(filters: Filters | None, served: Served) -> Sequence[str]:
    """What sells best of all that is asked for, as a narrow filter leaves little of what retrievers name."""
    facts, fits = served.recommender.facts, _fitting(filters, served)
    if facts is None or fits is None:
        return ()
    places = np.flatnonzero(fits & facts.assortment.on_sale)
    best = places[np.argsort(-facts.share[places], kind="stable")[:MATCHED]]
    found: list[str] = facts.assortment.ids[best].tolist()
    return found


def allowed_by(filters: Filters | None, served: Served) -> np.ndarray | None:
    """Which articles of the search index a filter leaves (A,); all if None."""
    if filters is None or served.search is None:
        return None
    ids = served.search.assortment.ids
    allowed = np.ones(len(ids), dtype=bool)
    fits, facts = _fitting(filters, served), served.recommender.facts
    if fits is not None and facts is not None:
        if served.search.assortment is facts.assortment:
            allowed &= fits
        else:
            place = facts.assortment.places(ids)
            allowed &= (place >= 0) & fits[place]
    gone = served.search.assortment.places(list(filters.exclude))
    allowed[gone[gone >= 0]] = False
    return allowed
