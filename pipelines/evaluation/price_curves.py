"""What re-ranking costs and what it gives: every re-ranker over a grid of strengths, on the same customers.

The same candidates are re-ranked in every way, and each way is compared with the ranker's own order in
the same bootstrap samples of customers, so that differences are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
from scipy import sparse

from feature_repo.errors import InputError
from pipelines.article_facts import ArticleFacts
from pipelines.data.split import Week
from pipelines.evaluation.metrics import METRICS, Shown, coverage, gini
from pipelines.evaluation.resampling import SAMPLES, Interval, Means, draws, interval
from pipelines.features import OfflineFeatures
from pipelines.recommender import Recommender, customer_state
from pipelines.rerankers import make_reranker
from pipelines.rerankers.base import CHANCE, Chain, Reranker, Slate, bought_by, by_rank, rerank
from pipelines.rerankers.fairness import SMOOTHING, Calibrated, measured_exposure
from pipelines.retrievers.base import Past
from pipelines.training import sampled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

K = 12
DEPTH = 200
"""Candidates of each customer that are re-ranked."""
BATCH = 500
"""Customers whose candidates are in memory with all their features at a time."""
UNCHANGED = "unchanged"
PER_CUSTOMER = tuple(name for name, metric in METRICS.items() if metric.k == K)
MISCALIBRATION, COVERAGE, EXPOSURE, GAP = (
    "miscalibration@12",
    "coverage@12",
    "exposure_gini@12",
    "gap@12",
)
SMALLEST_GROUP = 30
"""Of fewer customers a mean says too little to be the best or the worst of all groups."""
PRECISION = "MAP@12"
CURVES = {
    "diversity@12": "mean distance of two articles",
    "log_det@12": "log determinant per article",
    COVERAGE: "share of the articles on sale that are shown",
    EXPOSURE: "Gini of exposure",
    "freshness@12": "share of articles new or unsold",
    MISCALIBRATION: "divergence from the customer's mix",
    "revenue@12": "paid for what was shown",
}
"""What MAP is drawn against -> what its axis says."""

_CANDIDATE = ("customer_id", "article_id", "rank")

Grid = Mapping[str, Sequence[tuple[float, Reranker]]]
"""Name of a curve -> its points, by rising strength."""


@dataclass(frozen=True)
class Price:
    """One way to re-rank.

    Attributes:
        reranker: the curve that it belongs to.
        strength: where on the curve it lies; 0 is the ranker's order.
        settings: of the re-ranker.
        metrics: {name: interval}: those of `metrics.METRICS` of 12 places; and `miscalibration@12`, the mean
            KL(customer's mix of product groups || page's) of those who bought, as `Calibrated` has the mix
            unless told otherwise; `coverage@12` of what is on sale; `exposure_gini@12` of attention, 1 /
            log2(place + 1); `gap@12`, the best MAP@12 of a group of customers less the worst.
        changes: {name: interval} of the difference to the ranker's order, paired.
    """

    reranker: str
    strength: float
    settings: Mapping[str, Any]
    metrics: Mapping[str, Interval]
    changes: Mapping[str, Interval]


@dataclass(frozen=True)
class PriceCurves:
    """Curves from the ranker's order to the strongest re-ranking.

    Attributes:
        customers: how many were asked about.
        candidates: mean number of candidates of each.
        start: the ranker's order.
        curves: {name: by rising strength}, without the start.
    """

    customers: int
    candidates: float
    start: Price
    curves: Mapping[str, tuple[Price, ...]]

    @property
    def rows(self) -> list[Price]:
        return [self.start, *(price for curve in self.curves.values() for price in curve)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "customers": self.customers,
            "candidates": self.candidates,
            "rows": [vars(price) for price in self.rows],
        }

    def figures(self) -> "dict[str, Figure]":
        """{metric: MAP@12 against it, a line for each re-ranker}, of those that were measured."""
        from pipelines.reports import plots

        found = {}
        for metric, means in CURVES.items():
            if metric not in self.start.metrics:
                continue
            series = {}
            for name, curve in self.curves.items():
                points = [self.start, *curve]
                series[name] = (
                    [price.metrics[metric]["mean"] for price in points],
                    [price.metrics[PRECISION]["mean"] for price in points],
                )
            found[metric] = plots.lines(
                series, x=means, y=PRECISION, said=_three, x_said=_three, dots=True
            )
        return found


def _three(value: float) -> str:
    return f"{value:.3g}"


def usual_grid(
    exposure: Mapping[str, float] | None = None,
) -> dict[str, list[tuple[float, Reranker]]]:
    """Every re-ranker over its strengths; of the business rules a cap of product groups.

    Args:
        exposure: `measured_exposure` of pages in the ranker's order: exposure is then also by that.
    """
    strengths = {
        "dpp": (0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
        "mmr": (0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
        "freshness": (0.25, 0.5, 1.0, 2.0, 4.0),
        "calibrated": (0.1, 0.25, 0.5, 0.75, 1.0),
        "exposure": (0.1, 0.2, 0.4, 0.7, 1.0),
    }
    grid = {
        name: [(at, make_reranker(name, {"strength": at})) for at in grades]
        for name, grades in strengths.items()
    }
    if exposure is not None:
        grid["exposure, as measured"] = [
            (at, make_reranker("exposure", {"strength": at, "times": exposure}))
            for at in strengths["exposure"]
        ]
    grid["cap of product groups"] = [
        (1 / most, make_reranker("business_rules", {"caps": [["product_group", most]]}))
        for most in (8, 6, 4, 3, 2)
    ]
    return grid


def price_curves(
    candidates: pd.DataFrame,
    truth: pd.DataFrame,
    facts: ArticleFacts,
    moment: datetime,
    *,
    state: pd.DataFrame | None = None,
    groups: pd.Series | None = None,
    grid: Grid | None = None,
    samples: int = SAMPLES,
    progress: Callable[[str], None] = lambda text: None,
) -> PriceCurves:
    """Re-rank the same candidates in every way of the grid, and judge each page of 12.

    Args:
        candidates: customer_id, article_id, rank (from 1), perhaps chance; the deeper, the more there is
            to choose from.
        truth: customer_id, article_id, perhaps price: what was bought. Its customers are those who count.
        facts: of articles, as known at the moment.
        moment: when recommendations are asked for (UTC).
        state: `customer_state` of the customers: what they bought before. Without it there is no
            `miscalibration@12`, and taste changes no order.
        groups: by customer_id the group across which the gap is; without it there is none.
        grid: `usual_grid` with the exposure of the pages in the ranker's order, if None.
        samples: bootstrap samples.
    """
    if truth.empty:
        raise InputError("Nobody bought anything: re-ranking can be judged where there is a truth.")
    # By number: what customers look for is the same in all re-rankings.
    known = _Known.of(truth, facts, moment, state, groups)
    pages = rerank(candidates, Chain([]), facts, moment, K, state=state)
    ways = usual_grid(measured_exposure(pages, facts, K)) if grid is None else grid
    start = _Pages.of(pages, truth, known)
    before = start.drawn(samples)
    curves = {}
    for name, points in ways.items():
        found = []
        for strength, reranker in points:
            pages = rerank(candidates, reranker, facts, moment, K, state=state)
            found.append(
                _price(
                    name, strength, reranker, _Pages.of(pages, truth, known), samples, start, before
                )
            )
        curves[name] = tuple(found)
        progress(f"{name}: {len(found)} strengths")
    return PriceCurves(
        len(known.customers),
        len(candidates) / max(candidates["customer_id"].nunique(), 1),
        _price(UNCHANGED, 0.0, Chain([]), start, samples, start, before),
        curves,
    )


def _price(
    name: str,
    strength: float,
    reranker: Reranker,
    pages: "_Pages",
    samples: int,
    start: "_Pages",
    before: Mapping[str, np.ndarray],
) -> Price:
    exact, at_start = pages.exact(), start.exact()
    drawn = pages.drawn(samples)
    metrics, changes = {}, {}
    for metric, value in exact.items():
        # Of fewer distinct customers, as in each sample, all see less, and groups differ more.
        moved = metric in (COVERAGE, EXPOSURE, GAP)
        metrics[metric] = interval(value, drawn[metric], centred=moved)
        changes[metric] = interval(
            value - at_start[metric], drawn[metric] - before[metric], centred=moved
        )
    settings = {
        n: "as measured" if n == "times" and v else v for n, v in reranker.settings().items()
    }
    return Price(name, strength, settings, metrics, changes)


@dataclass(frozen=True)
class _Known:
    """What is the same however candidates are re-ranked.

    Attributes:
        customers: of the truth, in order (N,).
        mixes: each one's mix of product groups (N x G), missing without purchases; None without a state.
        cell: number of each one's group (N,), -1 without one that is large enough.
        cells: how many groups there are.
    """

    facts: ArticleFacts
    moment: datetime
    customers: np.ndarray
    mixes: np.ndarray | None
    cell: np.ndarray
    cells: int

    @classmethod
    def of(
        cls,
        truth: pd.DataFrame,
        facts: ArticleFacts,
        moment: datetime,
        state: pd.DataFrame | None,
        groups: pd.Series | None,
    ) -> "_Known":
        customers = Shown.of(truth.assign(rank=1), truth, 1).customers
        mixes = None
        if state is not None:
            taste, bought = Calibrated(), bought_by(state, moment)
            mixes = np.full((len(customers), len(facts.names[taste.kind])), np.nan)
            for number, customer in enumerate(customers):
                if customer in bought:
                    slate = Slate.of([], facts, moment, bought=bought[customer])
                    mix = taste.mix(slate)
                    if mix is not None:
                        mixes[number] = mix
        cell, cells = np.full(len(customers), -1), 0
        if groups is not None:
            of, names = pd.factorize(groups.reindex(customers), sort=True)
            sizes = np.bincount(of[of >= 0], minlength=len(names))
            large = np.flatnonzero(sizes >= SMALLEST_GROUP)
            cells = len(large)
            # The last one is for those without a group.
            turn = np.full(len(names) + 1, -1)
            turn[large] = np.arange(cells)
            cell = turn[of]
        return cls(facts, moment, customers, mixes, cell, cells)


@dataclass(frozen=True)
class _Pages:
    """The pages of all customers, in one way.

    Attributes:
        values: {metric: value of each customer (N,)}.
        seen: attention that each shown article gets of each customer (A' x N).
    """

    known: _Known
    values: Mapping[str, np.ndarray]
    seen: sparse.csr_matrix

    @classmethod
    def of(cls, pages: pd.DataFrame, truth: pd.DataFrame, known: _Known) -> "_Pages":
        shown = Shown.of(pages, truth, K, known.facts, known.moment)
        values = {name: METRICS[name].function(shown, K) for name in PER_CUSTOMER}
        articles = shown.articles(K)
        if known.mixes is not None:
            values[MISCALIBRATION] = _divergence(known.mixes, articles, known.facts)
        customer, place = np.nonzero(articles >= 0)
        found, number = np.unique(articles[customer, place], return_inverse=True)
        seen = sparse.csr_matrix(
            (by_rank(K)[place], (number, customer)), (len(found), len(articles))
        )
        values = {name: of for name, of in values.items() if not np.isnan(of).all()}
        return cls(known, values, seen)

    def exact(self) -> dict[str, float]:
        """Of the customers as they are."""
        once = np.ones((len(self.known.customers), 1))
        by_group = None if self._groups is None else self._groups.exact()[:, 0, None]
        found = zip(self.values, self._means.exact()[0, :, None], strict=True)
        return {
            name: float(value[0])
            for name, value in (dict(found) | self._of_all(once, by_group)).items()
        }

    def drawn(self, samples: int) -> dict[str, np.ndarray]:
        """{metric: its value in each bootstrap sample}: the same samples for all pages."""
        parts: dict[str, list[np.ndarray]] = {}
        for (times,) in draws([np.arange(len(self.known.customers))], samples):
            by_group = None
            if self._groups is not None:
                by_group = self._groups.of(times[self.known.cell >= 0])[:, 0]
            found = dict(zip(self.values, self._means.of(times)[0], strict=True))
            for name, values in (found | self._of_all(times, by_group)).items():
                parts.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in parts.items()}

    def _of_all(self, times: np.ndarray, by_group: np.ndarray | None) -> dict[str, np.ndarray]:
        """What only all pages together have (S,).

        Args:
            times: how many times each customer counts (N x S).
            by_group: MAP of each group of customers (groups x S).
        """
        exposures = self.seen @ times
        catalogue = max(len(self.known.facts.assortment.for_sale), exposures.shape[0])
        found = {COVERAGE: coverage(exposures, catalogue), EXPOSURE: gini(exposures, catalogue)}
        if by_group is not None:
            found[GAP] = np.nanmax(by_group, axis=0) - np.nanmin(by_group, axis=0)
        return found

    @cached_property
    def _means(self) -> Means:
        everybody = np.zeros(len(self.known.customers), dtype="int64")
        return Means(np.stack(list(self.values.values())), everybody, np.ones((1, 1)))

    @cached_property
    def _groups(self) -> Means | None:
        """The precision of each group of customers, if there are two at least."""
        cell, cells = self.known.cell, self.known.cells
        if cells < 2:
            return None
        precision = self.values[PRECISION][None, cell >= 0]
        return Means(precision, cell[cell >= 0], np.eye(cells))


def _divergence(mixes: np.ndarray, articles: np.ndarray, facts: ArticleFacts) -> np.ndarray:
    """KL(customer's mix || page's) (N,), the page's smoothed as in `Calibrated`.

    Args:
        mixes: N x G, missing for those who bought nothing.
        articles: places (N x k), -1 where there is none.
    """
    group = np.append(facts.groups[Calibrated().kind], -1)[articles]
    customer, place = np.nonzero(group >= 0)
    shown = np.zeros_like(mixes)
    np.add.at(shown, (customer, group[customer, place]), 1.0)
    size = (articles >= 0).sum(axis=1, keepdims=True)
    page = (1 - SMOOTHING) * shown / np.maximum(size, 1) + SMOOTHING * mixes
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = mixes * np.log(mixes / page)
    found = np.where(mixes > 0, terms, 0.0).sum(axis=1)
    return np.where(np.isnan(mixes).any(axis=1) | (size[:, 0] == 0), np.nan, found)


def measure_prices(
    con: duckdb.DuckDBPyConnection,
    recommender: Recommender,
    week: Week,
    *,
    customers: int = 3_000,
    progress: Callable[[str], None] = lambda text: None,
) -> PriceCurves:
    """The price curves of a recommender on the buyers of a week of which it has seen nothing.

    The gap is across age buckets; revenue is what was paid in the week.

    Args:
        con: an open warehouse.
        recommender: fitted on days before the week; a re-ranker of its own is left out.
        customers: at most so many of the week's buyers, the same ones each time.
    """
    facts = ArticleFacts.at(Past.at(con, week.start))
    truth = con.execute(
        "SELECT customer_id, article_id, CAST(sum(spend) AS DOUBLE) AS price "
        "FROM staging.purchases WHERE day >= ? AND day < ? GROUP BY ALL ORDER BY ALL",
        [week.start, week.end],
    ).df()
    chosen = sampled(truth["customer_id"].unique(), customers)
    truth = truth[truth["customer_id"].isin(chosen)].reset_index(drop=True)
    features = OfflineFeatures(week.moment)
    plain = replace(recommender, reranker=None)
    states, parts = [], []
    for at in range(0, len(chosen), BATCH):
        state = customer_state(chosen[at : at + BATCH], features)
        found = plain.recommend(
            list(state["customer_id"]),
            features,
            week.moment,
            DEPTH,
            state=state,
            with_features=True,
        )
        parts.append(found[[name for name in (*_CANDIDATE, CHANCE) if name in found]])
        states.append(state)
    progress(f"candidates of {len(chosen):,} customers")
    state = pd.concat(states, ignore_index=True)
    return price_curves(
        pd.concat(parts, ignore_index=True),
        truth,
        facts,
        week.moment,
        state=state,
        groups=state.set_index("customer_id")["customer_profile__age_bucket"],
        progress=progress,
    )
