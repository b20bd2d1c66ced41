"""What re-ranking costs and what it gives: every re-ranker over a grid of strengths, on the same customers.

The same candidates are re-ranked in every way, and each way is compared with the ranker's own order in
the same bootstrap samples of customers, so that differences are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd

from feature_repo.errors import InputError
from pipelines.article_facts import ArticleFacts
from pipelines.data.split import Week
from pipelines.evaluation.evaluation import COVERAGE, EXPOSURE, MAIN, PAGE, Evaluation, Fold
from pipelines.evaluation.metrics import METRICS, bootstrap
from pipelines.evaluation.resampling import SAMPLES, Interval
from pipelines.recommender import RERANKED, Recommender, customer_state
from pipelines.rerankers import make_reranker
from pipelines.rerankers.base import CHANCE, Chain, Reranker, Slate, bought_by, rerank
from pipelines.rerankers.fairness import SMOOTHING, Calibrated, measured_exposure
from pipelines.steady_features import SteadyFeatures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH = 500
"""Customers whose candidates are in memory with all their features at a time."""
UNCHANGED = "unchanged"
MISCALIBRATION, GAP = "miscalibration@12", "gap of MAP@12 by {}"
_CANDIDATE = ("customer_id", "article_id", "rank")
_MEASURED = "as measured"
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

Grid = Mapping[str, Sequence[tuple[float, Reranker]]]
"""Name of a curve -> its points, by rising strength."""


@dataclass(frozen=True)
class Price:
    """One way to re-rank.

    Attributes:
        reranker: the curve that it belongs to.
        strength: where on the curve it lies; 0 is the ranker's order.
        settings: of the re-ranker.
        metrics: {name: interval}: all of `Evaluation` of 12 places, coverage and exposure among them;
            `miscalibration@12`, the mean KL(customer's mix of product groups || page's) of those who bought,
            with the mix of `Calibrated` unless told otherwise; and for each kind of groups of customers the
            `GAP`, by how much MAP of the best group is above that of the worst.
        changes: {name: interval} of the difference to the ranker's order, paired; not of gaps.
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
        """{metric of `CURVES`: MAP@12 against it, a line for each re-ranker that moves it most}, of the
        metrics that were measured."""
        from pipelines.reports import plots

        found = {}
        for metric, means in CURVES.items():
            if metric not in self.start.metrics:
                continue
            along = {
                name: [price.metrics[metric]["mean"] for price in (self.start, *curve)]
                for name, curve in self.curves.items()
            }
            most = sorted(along, key=lambda name: -np.ptp(along[name]))[: len(plots.COLOURS)]
            series = {
                name: (
                    along[name],
                    [price.metrics[MAIN]["mean"] for price in (self.start, *curve)],
                )
                for name, curve in self.curves.items()
                if name in most
            }
            found[metric] = plots.lines(
                series, x=means, y=MAIN, said=_three, x_said=_three, dots=True, wide=True
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
    fold: Fold,
    *,
    state: pd.DataFrame | None = None,
    grid: Grid | None = None,
    samples: int = SAMPLES,
    progress: Callable[[str], None] = lambda text: None,
) -> PriceCurves:
    """Re-rank the same candidates in every way of the grid, and judge each page of 12.

    Args:
        candidates: customer_id, article_id, rank (from 1), perhaps chance; the deeper, the more there is
            to choose from.
        fold: the week, with facts of articles, nothing judged yet. Its customers are those who count.
        state: `customer_state` of the customers: what they bought before. Without it there is no
            `miscalibration@12`, and taste changes no order.
        grid: `usual_grid` with the exposure of the pages in the ranker's order, if None.
        samples: bootstrap samples.

    Raises:
        InputError: nobody bought anything.
    """
    if not len(fold):
        raise InputError("Nobody bought anything: re-ranking is judged by what was bought.")
    if fold.facts is None:
        raise ValueError("Re-ranking needs the facts of articles.")
    facts, moment = fold.facts, fold.moment
    mixes = None if state is None else _mixes(fold, state)
    far: dict[str, np.ndarray] = {}
    points: dict[str, tuple[str, float, Reranker]] = {}

    def add(curve: str, strength: float, reranker: Reranker) -> pd.DataFrame:
        name = f"{curve} {strength:g}"
        points[name] = (curve, strength, reranker)
        pages = rerank(candidates, reranker, facts, moment, PAGE, state=state)
        fold.add(name, pages)
        if mixes is not None:
            far[name] = _divergence(mixes, fold.lists[name], facts)
        return pages

    pages = add(UNCHANGED, 0.0, Chain([]))
    (start,) = points
    ways = usual_grid(measured_exposure(pages, facts, PAGE)) if grid is None else grid
    for curve, steps in ways.items():
        for strength, reranker in steps:
            add(curve, strength, reranker)
        progress(f"{curve}: {len(steps)} strengths")
    found = Evaluation.of([fold], start, samples=samples)
    prices = {
        name: _price(*point, name, found, _of_taste(far, name, start, samples))
        for name, point in points.items()
    }
    return PriceCurves(
        len(fold),
        len(candidates) / max(candidates["customer_id"].nunique(), 1),
        prices[start],
        {
            curve: tuple(price for price in prices.values() if price.reranker == curve)
            for curve in ways
        },
    )


def _price(
    curve: str,
    strength: float,
    reranker: Reranker,
    name: str,
    found: Evaluation,
    taste: tuple[Mapping[str, Interval], Mapping[str, Interval]],
) -> Price:
    # A page has 12 places: what is asked of more is the same again.
    deeper = {metric for metric, asked in METRICS.items() if asked.k != PAGE}
    gaps = {
        GAP.format(kind): {end: of[name][MAIN][end] for end in ("mean", "low", "high")}
        for kind, of in found.gaps.items()
    }
    metrics, changes = ({**of, **taste[n]} for n, of in enumerate(_both(found, name)))
    settings = reranker.settings()
    if settings.get("times") is not None:
        settings["times"] = _MEASURED
    return Price(
        curve,
        strength,
        settings,
        {metric: of for metric, of in (metrics | gaps).items() if metric not in deeper},
        {metric: of for metric, of in changes.items() if metric not in deeper},
    )


def _both(found: Evaluation, name: str) -> tuple[Mapping[str, Interval], Mapping[str, Interval]]:
    """A way's figures, and their differences to the base; the base has none to itself."""
    nothing = {"mean": 0.0, "low": 0.0, "high": 0.0}
    figures = found.models[name]
    if name == found.base:
        return figures, dict.fromkeys(figures, nothing)
    return figures, found.differences[name]


def _of_taste(
    far: Mapping[str, np.ndarray], name: str, start: str, samples: int
) -> tuple[Mapping[str, Interval], Mapping[str, Interval]]:
    """The same two of `MISCALIBRATION`, empty where it is not known of anybody."""
    if name not in far:
        return {}, {}
    values = pd.DataFrame({"value": far[name], "change": far[name] - far[start]})
    values = values.assign(customer_id=np.arange(len(values)), week="")
    found = bootstrap(values, samples=samples)
    if not found:
        return {}, {}
    return {MISCALIBRATION: found["value"]}, {MISCALIBRATION: found["change"]}


def _mixes(fold: Fold, state: pd.DataFrame) -> np.ndarray:
    """Each customer's mix of product groups (N x G), missing for those who bought nothing."""
    assert fold.facts is not None
    taste, bought = Calibrated(), bought_by(state, fold.moment)
    found = np.full((len(fold), len(fold.facts.names[taste.kind])), np.nan)
    for number, customer in enumerate(fold.customers):
        if customer in bought:
            slate = Slate.of([], fold.facts, fold.moment, bought=bought[customer])
            mix = taste.mix(slate)
            if mix is not None:
                found[number] = mix
    return found


def _divergence(mixes: np.ndarray, articles: np.ndarray, facts: ArticleFacts) -> np.ndarray:
    """KL(customer's mix || page's) (N,), the page's smoothed as in `Calibrated`; missing without either.

    Args:
        mixes: N x G.
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

    Gaps are across ages and lengths of history; revenue is what was paid in the week.

    Args:
        con: an open warehouse.
        recommender: fitted on days before the week; a re-ranker of its own is left out.
        customers: at most so many of the week's buyers, the same ones each time.
    """
    fold = Fold.of(con, week, customers)
    features = SteadyFeatures(week.moment)
    plain = replace(recommender, reranker=None)
    states, parts = [], []
    for at in range(0, len(fold), BATCH):
        state = customer_state(list(fold.customers[at : at + BATCH]), features)
        found = plain.recommend(
            list(state["customer_id"]),
            features,
            week.moment,
            RERANKED,
            state=state,
            with_features=True,
        )
        parts.append(found[[name for name in (*_CANDIDATE, CHANCE) if name in found]])
        states.append(state)
    progress(f"candidates of {len(fold):,} customers")
    state = pd.concat(states, ignore_index=True)
    return price_curves(pd.concat(parts, ignore_index=True), fold, state=state, progress=progress)
