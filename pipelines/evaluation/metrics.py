"""Metrics of recommendations: one value per customer, and bootstrap intervals of their means.

Every customer of the truth counts; who got no recommendation scores 0. Recommended articles are
counted once, at their best rank; only the first k are looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd


def hits(recommended: pd.DataFrame, truth: pd.DataFrame, k: int) -> pd.DataFrame:
    """The recommended articles that were bought.

    Args:
        recommended: customer_id, article_id, rank (from 1).
        truth: customer_id, article_id, the articles bought.
        k: how many recommendations count.

    Returns:
        customer_id, rank and nth (this is the customer's nth hit), in order of rank.
    """
    wanted = truth[["customer_id", "article_id"]].drop_duplicates()
    shown = recommended.loc[recommended["rank"] <= k, ["customer_id", "article_id", "rank"]]
    shown = shown.sort_values(["customer_id", "rank"]).drop_duplicates(
        ["customer_id", "article_id"]
    )
    found = shown.merge(wanted, on=["customer_id", "article_id"])
    found = found.sort_values(["customer_id", "rank"])
    return found.assign(nth=found.groupby("customer_id").cumcount() + 1)


def _bought(truth: pd.DataFrame) -> pd.Series:
    """Distinct articles bought, by customer_id."""
    return truth.groupby("customer_id")["article_id"].nunique()


def _per_customer(values: pd.Series, truth: pd.DataFrame) -> pd.Series:
    return values.reindex(_bought(truth).index, fill_value=0.0).astype("float64")


def average_precision(recommended: pd.DataFrame, truth: pd.DataFrame, k: int) -> pd.Series:
    """AP@k by customer: precision at each hit, over min(k, articles bought) (Kaggle's definition)."""
    found = hits(recommended, truth, k)
    total = (found["nth"] / found["rank"]).groupby(found["customer_id"]).sum()
    return _per_customer(total, truth) / _bought(truth).clip(upper=k)


def recall(recommended: pd.DataFrame, truth: pd.DataFrame, k: int) -> pd.Series:
    """The share of the articles bought that are among the first k, by customer."""
    return _per_customer(
        hits(recommended, truth, k).groupby("customer_id").size(), truth
    ) / _bought(truth)


def ndcg(recommended: pd.DataFrame, truth: pd.DataFrame, k: int) -> pd.Series:
    """NDCG@k by customer with gain 1 for each article bought and discount 1 / log2(rank + 1)."""
    found = hits(recommended, truth, k)
    gained = (1 / np.log2(found["rank"] + 1)).groupby(found["customer_id"]).sum()
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(1, k + 1) + 1))])
    return _per_customer(gained, truth) / ideal[_bought(truth).clip(upper=k).to_numpy()]


def hit_rate(recommended: pd.DataFrame, truth: pd.DataFrame, k: int) -> pd.Series:
    """1 for each customer with a hit among the first k, else 0."""
    return (recall(recommended, truth, k) > 0).astype("float64")


@dataclass(frozen=True)
class Metric:
    """A metric by its name in reports."""

    function: Callable[[pd.DataFrame, pd.DataFrame, int], pd.Series]
    k: int


METRICS: dict[str, Metric] = {
    "MAP@12": Metric(average_precision, 12),
    "recall@12": Metric(recall, 12),
    "recall@100": Metric(recall, 100),
    "NDCG@12": Metric(ndcg, 12),
    "hit_rate@12": Metric(hit_rate, 12),
}


def measure(recommended: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Every metric, one row per customer of the truth (index customer_id)."""
    return pd.DataFrame(
        {name: metric.function(recommended, truth, metric.k) for name, metric in METRICS.items()}
    )


def bootstrap(
    values: pd.DataFrame, *, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, dict[str, float]]:
    """Mean over weeks of each week's mean over customers, with a percentile interval.

    Whole customers are drawn, with all their weeks, since a customer's weeks are alike (cluster
    bootstrap, Davison and Hinkley 1997).

    Args:
        values: one row per customer and week, with the columns customer_id and week, then metrics.
        samples: bootstrap samples.
        level: coverage of the interval.

    Returns:
        {metric: {"mean", "low", "high"}}.
    """
    metrics = [name for name in values.columns if name not in ("customer_id", "week")]
    customer, _ = pd.factorize(values["customer_id"], sort=True)
    week, weeks = pd.factorize(values["week"], sort=True)
    measured = values[metrics].to_numpy("float64")
    means = np.stack([measured[week == w].mean(axis=0) for w in range(len(weeks))]).mean(axis=0)
    rng = np.random.default_rng(seed)
    customers = int(customer.max()) + 1
    drawn = np.empty((samples, len(metrics)))
    for sample in range(samples):
        times = np.bincount(rng.integers(0, customers, customers), minlength=customers)[customer]
        weight = np.bincount(week, times, len(weeks))
        sums = np.stack(
            [np.bincount(week, times * measured[:, m], len(weeks)) for m in range(len(metrics))], 1
        )
        drawn[sample] = np.nanmean(sums / np.where(weight > 0, weight, np.nan)[:, None], axis=0)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return {
        name: {"mean": float(means[i]), "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate(metrics)
    }
