"""Metrics of recommendations: one value per customer, and bootstrap intervals of their means.

Every customer of the truth counts, and nobody else; who got no recommendation scores 0. Articles count
once, at their best rank; equal ranks take their turn in the order of article ids. docs/evaluation.md says what
each metric is and what becomes of the corner cases.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal, Self

import numpy as np
import pandas as pd

from feature_repo.errors import InputError
from pipelines.article_facts import ArticleFacts
from pipelines.evaluation.resampling import (
    LEVEL,
    SAMPLES,
    Interval,
    Means,
    draws,
    interval,
    over_weeks,
)

NEW_DAYS = 28
"""An article is new on its first days of sale, and before its first sale."""
DESCRIBED = 0.5
"""Of fewer articles on sale known by their content, what their likeness says of lists is of a few."""
RIDGE = 1e-3
"""How much of each article's likeness is its own: twins then have a determinant, though a small one."""
_BLOCK = 4_096
"""Customers whose lists' vectors are in memory at a time."""


@dataclass(frozen=True)
class Shown:
    """What was recommended to N customers beside what they bought: the one pass that all metrics share.

    Rows are distinct articles of a customer's list, in order of customer and place.

    Attributes:
        customers: ids of the truth, each once and in order (N,).
        bought: distinct articles that each bought (N,).
        customer: number of each row's customer (R,).
        place: of each row in its list, from 1 (R,): the rank, later where earlier ones share theirs.
        hit: whether it was bought (R,).
        paid: what the customer paid for it in the week (R,); missing where that is not known.
        article: its place in the facts' assortment (R,), -1 where they do not know it or there are none.
        facts: of the articles, as known before the week.
        moment: the start of the week.
    """

    customers: np.ndarray
    bought: np.ndarray
    customer: np.ndarray
    place: np.ndarray
    hit: np.ndarray
    paid: np.ndarray
    article: np.ndarray
    facts: ArticleFacts | None = None
    moment: datetime | None = None

    @classmethod
    def of(
        cls,
        recommended: pd.DataFrame,
        truth: pd.DataFrame,
        depth: int,
        facts: ArticleFacts | None = None,
        moment: datetime | None = None,
    ) -> Self:
        """
        Args:
            recommended: customer_id, article_id, rank (from 1).
            truth: customer_id, article_id, the articles bought; perhaps `price`, what was paid in all
                rows of an article together.
            depth: recommendations beyond this place do not count.

        Raises:
            InputError: a rank is missing or below 1, or there are facts and no moment.
        """
        buyer, customers = pd.factorize(truth["customer_id"], sort=True)
        if facts is not None and moment is None:
            raise InputError(
                "Facts of articles come with the moment of the recommendations: give it."
            )
        rank = recommended["rank"].to_numpy()
        if not (rank >= 1).all():
            raise InputError("A recommendation has no rank of 1 or more: number them from 1.")
        kept = rank <= depth
        known, ids = pd.factorize(recommended["customer_id"].to_numpy()[kept])
        customer = pd.Index(customers).get_indexer(pd.Index(ids))[known]
        ours = customer >= 0
        customer = customer[ours]
        rank = rank[kept][ours].astype("int64")
        article, ids = _numbered(recommended["article_id"].to_numpy()[kept][ours])
        size = max(len(ids), 1)
        key = (customer * (depth + 1) + rank) * size + article
        if (key[1:] < key[:-1]).any():
            order = np.argsort(key, kind="stable")
            customer, rank, article = customer[order], rank[order], article[order]
        pair = customer * size + article
        first = ~pd.Series(pair).duplicated().to_numpy()
        customer, rank, article, pair = customer[first], rank[first], article[first], pair[first]
        place = _places(customer, rank, depth)
        kept = place <= depth
        customer, place, article, pair = customer[kept], place[kept], article[kept], pair[kept]

        wanted, price = _purchases(truth, buyer)
        bought = np.bincount(wanted["buyer"], minlength=len(customers))
        of_list = pd.Index(ids).get_indexer(pd.Index(wanted["article_id"]))
        there = of_list >= 0
        numbers = wanted["buyer"].to_numpy()[there] * size + of_list[there]
        hit, paid = np.zeros(len(pair), dtype=bool), np.full(len(pair), np.nan)
        if len(numbers):
            order = np.argsort(numbers)
            numbers, price = numbers[order], price[there][order]
            found = np.minimum(np.searchsorted(numbers, pair), len(numbers) - 1)
            hit = numbers[found] == pair
            paid[hit] = price[found[hit]]
        unknown = np.full(len(ids), -1)
        where = unknown if facts is None else facts.assortment.places(list(ids))
        return cls(
            np.asarray(customers, dtype=object),
            bought,
            customer,
            place,
            hit,
            paid,
            where[article],
            facts,
            moment,
        )

    def __len__(self) -> int:
        return len(self.customers)

    # --- against what was bought --------------------------------------------------------------

    def average_precision(self, k: int) -> np.ndarray:
        """AP@k: precision at each hit, over min(k, articles bought) (Kaggle's definition)."""
        at = self._hits(k)
        return self._sums(self._nth[at] / self.place[at], at) / np.minimum(self.bought, k)

    def recall(self, k: int) -> np.ndarray:
        """The share of the articles bought that are among the first k."""
        return self._sums(1.0, self._hits(k)) / self.bought

    def precision(self, k: int) -> np.ndarray:
        """The share of k places with an article bought; a place that is left empty is a miss."""
        return self._sums(1.0, self._hits(k)) / k

    def ndcg(self, k: int) -> np.ndarray:
        """NDCG@k with gain 1 for each article bought and discount 1 / log2(place + 1); the ideal list
        has min(k, articles bought) hits (Järvelin and Kekäläinen, TOIS 2002)."""
        at = self._hits(k)
        ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(1, k + 1) + 1))])
        return self._sums(1 / np.log2(self.place[at] + 1), at) / ideal[np.minimum(self.bought, k)]

    def hit_rate(self, k: int) -> np.ndarray:
        """1 for each customer with a hit among the first k, else 0."""
        return (self._sums(1.0, self._hits(k)) > 0).astype("float64")

    def reciprocal_rank(self, k: int) -> np.ndarray:
        """1 / place of the first hit among the first k, 0 without one (Voorhees, TREC-8 1999)."""
        at = self._hits(k)
        at = at[self._nth[at] == 1]
        return self._sums(1 / self.place[at], at)

    def revenue(self, k: int) -> np.ndarray:
        """What was paid in the week for hits among the first k; where the truth has no price, the
        latest price before the week. A price that is not known adds nothing."""
        at = self._hits(k)
        paid = self.paid[at]
        if self.facts is not None:
            latest = np.append(self.facts.price, np.nan)[self.article[at]]
            paid = np.where(np.isnan(paid), latest, paid)
        return self._sums(np.nan_to_num(paid), at)

    # --- of what was shown, bought or not; missing for customers to whom it does not apply ------

    def diversity(self, k: int) -> np.ndarray:
        """Mean distance (1 - likeness) of two articles of the first k (Ziegler et al., WWW 2005).

        What the facts know nothing of is left out; missing with fewer than two.
        """
        found = np.full(len(self), np.nan)
        for rows, known, vectors in self._vectors(k):
            # The sum over pairs is that of all products of vectors, without those with themselves.
            alike = (vectors.sum(axis=1) ** 2).sum(axis=1) - (vectors**2).sum(axis=(1, 2))
            pairs = known * (known - 1)
            found[rows] = np.where(pairs > 0, 1 - alike / np.maximum(pairs, 1), np.nan)
        return found

    def log_determinant(self, k: int) -> np.ndarray:
        """Log determinant of the likeness of the first k with each other, per article.

        0 where all are unlike; the lower, the smaller the volume that their vectors span (Kulesza and
        Taskar 2012). `RIDGE` of each likeness is the article's own. Left out and missing as in `diversity`.
        """
        found = np.full(len(self), np.nan)
        for rows, known, vectors in self._vectors(k):
            likeness = (1 - RIDGE) * (vectors @ vectors.transpose(0, 2, 1))
            diagonal = np.arange(likeness.shape[1])
            likeness[:, diagonal, diagonal] = 1.0
            _, volume = np.linalg.slogdet(likeness)
            found[rows] = np.where(known > 1, volume / np.maximum(known, 1), np.nan)
        return found

    def novelty(self, k: int) -> np.ndarray:
        """Mean self-information -log2(share of recent purchases) of the first k, in bits (Zhou et
        al., PNAS 2010).

        What did not sell counts as half of what sold least; missing for empty lists and where nothing sold.
        """
        assert self.facts is not None
        share = self.facts.share
        least = share[share > 0].min(initial=np.inf) / 2
        if not np.isfinite(least):
            return np.full(len(self), np.nan)
        return self._mean_shown(-np.log2(np.maximum(share, least)), k)

    def freshness(self, k: int) -> np.ndarray:
        """The share of the first k that were first sold in the last `NEW_DAYS` days, or never."""
        return self._mean_shown((self._days <= NEW_DAYS).astype("float64"), k)

    def days_on_sale(self, k: int) -> np.ndarray:
        """Mean days from the first sale of the first k to the week; 0 for what never sold."""
        return self._mean_shown(self._days, k)

    def articles(self, k: int) -> np.ndarray:
        """The first k of each list as places in the facts' assortment (N x k), -1 where there is none."""
        found = np.full((len(self), k), -1)
        at = np.flatnonzero(self.place <= k)
        found[self.customer[at], self.place[at] - 1] = self.article[at]
        return found

    # --- what they share -------------------------------------------------------------------------

    @cached_property
    def _nth(self) -> np.ndarray:
        """This row is the customer's nth hit (R,)."""
        hits = np.cumsum(self.hit)
        start = np.searchsorted(self.customer, np.arange(len(self)))
        before = np.concatenate([[0], hits])[start]
        found: np.ndarray = hits - before[self.customer]
        return found

    def _hits(self, k: int) -> np.ndarray:
        """Rows of hits among the first k."""
        return np.flatnonzero(self.hit & (self.place <= k))

    def _sums(self, values: np.ndarray | float, rows: np.ndarray) -> np.ndarray:
        """Sums of values of rows by customer (N,)."""
        weights = np.broadcast_to(values, len(rows))
        return np.bincount(self.customer[rows], weights, len(self)).astype("float64")

    def _mean_shown(self, of_articles: np.ndarray, k: int) -> np.ndarray:
        """The mean over the articles among the first k that the facts know (N,)."""
        rows = np.flatnonzero((self.place <= k) & (self.article >= 0))
        count = self._sums(1.0, rows)
        total = self._sums(of_articles[self.article[rows]], rows)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @cached_property
    def _days(self) -> np.ndarray:
        assert self.facts is not None
        assert self.moment is not None
        return self.facts.days_on_sale(self.moment)

    def _vectors(self, k: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Blocks of b customers: which, of how many articles something is known (b,), and the vectors of
        the first k (b x k x D), zeros where nothing is known."""
        assert self.facts is not None
        lists = self.articles(k)
        # The last one stands for what is not there.
        empty = np.zeros((1, self.facts.vectors.shape[1]), dtype=self.facts.vectors.dtype)
        everything = np.concatenate([self.facts.vectors, empty])
        for start in range(0, len(self), _BLOCK):
            rows = slice(start, start + _BLOCK)
            vectors = everything[lists[rows]].astype("float64")
            yield rows, vectors.any(axis=2).sum(axis=1), vectors


def _numbered(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of ids (R,) in the order of the distinct ones, and these."""
    numbers, distinct = pd.factorize(ids)
    order = np.argsort(distinct.astype(str)) if len(distinct) else np.array([], dtype="int64")
    turn = np.empty(len(order), dtype="int64")
    turn[order] = np.arange(len(order))
    return turn[numbers], distinct[order]


def _places(customer: np.ndarray, rank: np.ndarray, depth: int) -> np.ndarray:
    """Ranks within each customer (R,), where equal ones push those behind them back."""
    same = (customer[1:] == customer[:-1]) & (rank[1:] == rank[:-1])
    if not same.any():
        return rank
    row = np.arange(len(rank))
    start = np.flatnonzero(np.concatenate([[True], customer[1:] != customer[:-1]]))
    before = row - np.repeat(start, np.diff(np.append(start, len(rank))))
    # The largest rank so far, less the rows that have come; customers are kept apart by a wide step.
    apart = customer * (depth + len(rank) + 1)
    pushed: np.ndarray = np.maximum.accumulate(rank - before + apart) - apart + before
    return pushed


def _purchases(truth: pd.DataFrame, buyer: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Distinct articles of each buyer (P rows: buyer, article_id), and what was paid for each (P,)."""
    rows = pd.DataFrame({"buyer": buyer, "article_id": truth["article_id"].to_numpy()})
    if "price" not in truth:
        distinct = rows.drop_duplicates()
        return distinct, np.full(len(distinct), np.nan)
    rows["price"] = truth["price"].to_numpy("float64")
    found = (
        rows.groupby(["buyer", "article_id"], sort=False)["price"].sum(min_count=1).reset_index()
    )
    return found[["buyer", "article_id"]], found["price"].to_numpy("float64")


Needs = Literal["", "prices", "facts", "content"]


@dataclass(frozen=True)
class Metric:
    """A metric by its name in reports.

    Attributes:
        function: one value for each customer.
        k: how many recommendations count.
        needs: what beside the truth: prices (of the truth or the facts), facts and the moment, or facts
            that know most articles by their content.
    """

    function: Callable[[Shown, int], np.ndarray]
    k: int
    needs: Needs = ""


METRICS: dict[str, Metric] = {
    "MAP@12": Metric(Shown.average_precision, 12),
    "recall@12": Metric(Shown.recall, 12),
    "recall@100": Metric(Shown.recall, 100),
    "NDCG@12": Metric(Shown.ndcg, 12),
    "hit_rate@12": Metric(Shown.hit_rate, 12),
    "precision@12": Metric(Shown.precision, 12),
    "MRR@12": Metric(Shown.reciprocal_rank, 12),
    "revenue@12": Metric(Shown.revenue, 12, "prices"),
    "diversity@12": Metric(Shown.diversity, 12, "content"),
    "log_det@12": Metric(Shown.log_determinant, 12, "content"),
    "novelty@12": Metric(Shown.novelty, 12, "facts"),
    "freshness@12": Metric(Shown.freshness, 12, "facts"),
    "days_on_sale@12": Metric(Shown.days_on_sale, 12, "facts"),
}
DEPTH = max(metric.k for metric in METRICS.values())
ACCURACY = tuple(name for name, metric in METRICS.items() if not metric.needs)
"""Metrics that need nothing but the truth."""


def measure(
    recommended: pd.DataFrame,
    truth: pd.DataFrame,
    facts: ArticleFacts | None = None,
    moment: datetime | None = None,
) -> pd.DataFrame:
    """Every metric, one row per customer of the truth (index customer_id, in order).

    Args:
        recommended: customer_id, article_id, rank (from 1).
        truth: customer_id, article_id, the articles bought; perhaps `price`, what was paid for them.
        facts: of the articles, as known before the week; without them what needs them is missing.
        moment: the start of the week, with the facts.

    Raises:
        InputError: a rank is missing or below 1, or there are facts and no moment.
    """
    return measured(Shown.of(recommended, truth, DEPTH, facts, moment))


def measured(shown: Shown) -> pd.DataFrame:
    """`measure` of what was put together before."""
    able = {"": True, "facts": shown.facts is not None}
    able["prices"] = able["facts"] or not np.isnan(shown.paid).all()
    able["content"] = shown.facts is not None and _described(shown.facts) >= DESCRIBED
    nothing = np.full(len(shown), np.nan)
    return pd.DataFrame(
        {
            name: metric.function(shown, metric.k) if able[metric.needs] else nothing
            for name, metric in METRICS.items()
        },
        index=pd.Index(shown.customers, name="customer_id", dtype=object),
    )


def _described(facts: ArticleFacts) -> float:
    """The share of the articles on sale of whose content anything is known."""
    return float(facts.vectors[facts.assortment.on_sale].any(axis=1).mean())


def average_precision(recommended: pd.DataFrame, truth: pd.DataFrame, k: int) -> pd.Series:
    """AP@k by customer."""
    shown = Shown.of(recommended, truth, k)
    return pd.Series(shown.average_precision(k), shown.customers)


def recall(recommended: pd.DataFrame, truth: pd.DataFrame, k: int) -> pd.Series:
    """The share of the articles bought that are among the first k, by customer."""
    shown = Shown.of(recommended, truth, k)
    return pd.Series(shown.recall(k), shown.customers)


# --- of all lists together ----------------------------------------------------------------------


def coverage(exposures: np.ndarray, catalogue: int) -> np.ndarray:
    """The share of the catalogue that anybody is shown.

    Args:
        exposures: how often each article is shown (articles x S); those that are never may be left out.
        catalogue: how many articles are on sale.
    """
    found: np.ndarray = (exposures > 0).sum(axis=0) / max(catalogue, 1)
    return found


def gini(exposures: np.ndarray, catalogue: int) -> np.ndarray:
    """How unequally articles are shown: 0 all alike, near 1 a few alone (Gini 1912).

    Args:
        exposures, catalogue: as for `coverage`.
    """
    ordered = np.sort(exposures, axis=0)
    total = ordered.sum(axis=0)
    # What is never shown comes first and adds nothing.
    turn = np.arange(catalogue - len(ordered) + 1, catalogue + 1)
    weighted = (2 * turn - catalogue - 1) @ ordered
    return np.where(total > 0, weighted / (np.maximum(total, 1) * max(catalogue, 1)), np.nan)


# --- intervals ----------------------------------------------------------------------------------


def bootstrap(
    values: pd.DataFrame, *, samples: int = SAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, Interval]:
    """Mean over weeks of each week's mean over customers, with a percentile interval.

    Whole customers are drawn, with all their weeks (`resampling`). Who has no value of a metric does not
    count in it, and a metric of which nobody has one is left out.

    Args:
        values: one row per customer and week, with the columns customer_id and week, then metrics.
        samples: bootstrap samples.
        level: coverage of the interval.

    Returns:
        {metric: {"mean", "low", "high"}}.
    """
    metrics = [name for name in values.columns if name not in ("customer_id", "week")]
    metrics = [name for name in metrics if values[name].notna().any()]
    customer, _ = pd.factorize(values["customer_id"], sort=True)
    week, weeks = pd.factorize(values["week"], sort=True)
    rows = [np.flatnonzero(week == number) for number in range(len(weeks))]
    numbers = values[metrics].to_numpy("float64").T
    parts = [
        Means(numbers[:, at], np.zeros(len(at), dtype="int64"), np.ones((1, 1))) for at in rows
    ]
    if not metrics:
        return {}
    means = over_weeks([part.exact()[0] for part in parts])
    drawn = np.concatenate(
        [
            over_weeks([part.of(of)[0] for part, of in zip(parts, times, strict=True)])
            for times in draws([customer[at] for at in rows], samples, seed)
        ],
        axis=1,
    )
    return {
        name: interval(mean, of, level=level)
        for name, mean, of in zip(metrics, means, drawn, strict=True)
    }
