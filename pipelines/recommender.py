"""The recommender: candidates, features, order. Evaluation and serving both run this.

One table flows through it, a row for each customer and candidate, and gains columns on the way:
customer_id, article_id, source, score, rank.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import numpy as np
import pandas as pd

from pipelines.features import Features
from pipelines.rankers.base import Ranker
from pipelines.retrievers.base import STATE_SERVICE, Retriever, top

COLUMNS = ["customer_id", "article_id", "source", "score", "rank"]
POSTAL_CODE = "customer_profile__postal_code"
BATCH_CUSTOMERS = 2_000


@dataclass
class Recommender:
    """Retrievers, how many candidates each may name, and a ranker (None: the sources' own order)."""

    retrievers: Mapping[str, Retriever]
    per_source: Mapping[str, int]
    ranker: Ranker | None = None

    def recommend(
        self,
        customers: Sequence[str],
        features: Features,
        moment: datetime,
        k: int,
        *,
        state: pd.DataFrame | None = None,
        with_features: bool = False,
        stages: dict[str, float] | None = None,
    ) -> pd.DataFrame:
        """The k best articles for each customer.

        Args:
            customers: customer ids; an unknown one is answered like one without history.
            features: as of `moment`, from the warehouse or online.
            moment: when the question is asked (UTC).
            k: at most so many for each.
            state: `customer_state` of exactly these customers, if it has been read already.
            with_features: keep the columns that the ranker saw, for an explanation.
            stages: if given, gains the seconds spent on candidates, features and rank.

        Returns:
            one row for each recommendation: customer_id, article_id, source (the retriever that
            ranked it best), score and rank (from 1).
        """
        stages = {} if stages is None else stages
        unique = list(dict.fromkeys(customers))
        batches = []
        for start in range(0, len(unique), BATCH_CUSTOMERS):
            with _timed(stages, "candidates"):
                if state is None:
                    batch = customer_state(unique[start : start + BATCH_CUSTOMERS], features)
                else:
                    batch = state.iloc[start : start + BATCH_CUSTOMERS]
                rows = self.candidates(batch, moment)
            if rows.empty:
                continue
            if self.ranker is None:
                # Without a ranker the sources take turns: every one's first, then every second.
                rows = rows.assign(score=-rows["rank"].astype("float64"))
            else:
                with _timed(stages, "features"):
                    rows = features.read(rows, self.ranker.feature_service)
                with _timed(stages, "rank"):
                    rows = rows.assign(score=self.ranker.score(rows))
            best = top(rows, k)
            batches.append(best if with_features else best[COLUMNS])
        if not batches:
            return pd.DataFrame(columns=COLUMNS)
        return pd.concat(batches, ignore_index=True)

    def candidates(self, state: pd.DataFrame, moment: datetime) -> pd.DataFrame:
        """The union of what the retrievers name.

        Args:
            state: a row of `customer_state` for each customer.
            moment: when the question is asked (UTC).

        Returns:
            one row for each customer and article: customer_id, article_id, postal_code, source and
            rank of the retriever that ranked it best, and for each retriever `NAME__score` and
            `NAME__rank` (missing where it did not name the article), and `best__rank`.
        """
        merged = _merge(
            {
                name: retriever.candidates(state, moment, self.per_source[name])
                for name, retriever in self.retrievers.items()
            }
        )
        postal_codes = state.set_index("customer_id")[POSTAL_CODE]
        return merged.assign(postal_code=merged["customer_id"].map(postal_codes).astype(object))


def customer_state(customers: Sequence[str], features: Features) -> pd.DataFrame:
    """What retrieval needs to know of each customer: a row of the service `customer_state`."""
    return features.read(
        pd.DataFrame({"customer_id": list(customers)}, dtype=object), STATE_SERVICE
    )


def is_known(state: pd.DataFrame) -> bool:
    """Whether anything is known of a single customer."""
    return bool(state.drop(columns="customer_id").notna().any(axis=None))


@contextmanager
def _timed(stages: dict[str, float], stage: str) -> Iterator[None]:
    started = perf_counter()
    yield
    stages[stage] = stages.get(stage, 0.0) + perf_counter() - started


def _merge(named: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row for each customer and article, with every source's score and rank beside each other.

    Args:
        named: source -> its candidates.
    """
    rows = pd.concat(named.values(), ignore_index=True)
    customer, customers = pd.factorize(rows["customer_id"], sort=True)
    article, articles = pd.factorize(rows["article_id"], sort=True)
    pairs, place = np.unique(customer * len(articles) + article, return_inverse=True)
    values: dict[str, np.ndarray] = {}
    places = np.split(place, np.cumsum([len(found) for found in named.values()])[:-1])
    for (source, found), where in zip(named.items(), places, strict=True):
        for column in ("score", "rank"):
            values[f"{source}__{column}"] = np.full(len(pairs), np.nan)
            values[f"{source}__{column}"][where] = found[column]
    ranks = np.stack([values[f"{source}__rank"] for source in named], axis=1)
    rank = np.nanmin(ranks, axis=1).astype("int64")
    return pd.DataFrame(
        {
            "customer_id": customers[pairs // max(len(articles), 1)],
            "article_id": articles[pairs % max(len(articles), 1)],
            "source": np.array(list(named), dtype=object)[np.nanargmin(ranks, axis=1)],
            "rank": rank,
            **values,
            "best__rank": rank,
        }
    )
