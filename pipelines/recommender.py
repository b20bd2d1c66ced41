"""The recommender: candidates, features, order. Evaluation and serving both run this.

One table flows through it, a row for each customer and candidate, and gains columns on the way:
customer_id, article_id, source, score, rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from pipelines.features import Features
from pipelines.rankers.base import Ranker
from pipelines.retrievers.base import STATE_SERVICE, Retriever

POSTAL_CODE = "customer_profile__postal_code"
BATCH_CUSTOMERS = 2_000


@dataclass
class Recommender:
    """Retrievers, how many candidates each may name, and a ranker (None: the sources' own order)."""

    retrievers: Mapping[str, Retriever]
    per_source: Mapping[str, int]
    ranker: Ranker | None = None

    def recommend(
        self, customers: Sequence[str], features: Features, moment: datetime, k: int
    ) -> pd.DataFrame:
        """The k best articles for each customer.

        Args:
            customers: customer ids; an unknown one is answered like one without history.
            features: as of `moment`, from the warehouse or online.
            moment: when the question is asked (UTC).
            k: at most so many for each.

        Returns:
            one row for each recommendation: customer_id, article_id, source (the retriever that
            ranked it best), score, rank (from 1), and the columns the ranker saw.
        """
        unique = list(dict.fromkeys(customers))
        batches = [
            self._best(self.scored(unique[start : start + BATCH_CUSTOMERS], features, moment), k)
            for start in range(0, len(unique), BATCH_CUSTOMERS)
        ]
        return pd.concat(batches, ignore_index=True) if batches else pd.DataFrame()

    def scored(
        self, customers: Sequence[str], features: Features, moment: datetime
    ) -> pd.DataFrame:
        """Every candidate of the customers with its score, in no order."""
        candidates = self.candidates(customers, features, moment)
        if self.ranker is None:
            # Without a ranker the sources take turns: first everyone's first, then the second.
            return candidates.assign(score=-candidates["rank"].astype("float64"))
        rows = features.read(candidates, self.ranker.feature_service)
        return rows.assign(score=self.ranker.score(rows) if len(rows) else [])

    def candidates(
        self, customers: Sequence[str], features: Features, moment: datetime
    ) -> pd.DataFrame:
        """The union of what the retrievers name.

        Returns:
            one row for each customer and article: customer_id, article_id, postal_code, source and
            rank of the retriever that ranked it best, and for each retriever `NAME__score` and
            `NAME__rank` (missing where it did not name the article), and `best__rank`.
        """
        state = features.read(
            pd.DataFrame({"customer_id": pd.Series(list(customers), dtype=object)}), STATE_SERVICE
        )
        named = pd.concat(
            [
                retriever.candidates(state, moment, self.per_source[name]).assign(source=name)
                for name, retriever in self.retrievers.items()
            ],
            ignore_index=True,
        )
        merged = _merge(named, list(self.retrievers))
        postal_codes = state.set_index("customer_id")[POSTAL_CODE]
        return merged.assign(postal_code=merged["customer_id"].map(postal_codes).astype(object))

    @staticmethod
    def _best(rows: pd.DataFrame, k: int) -> pd.DataFrame:
        rows = rows.sort_values(
            ["customer_id", "score", "article_id"], ascending=[True, False, True], kind="stable"
        )
        rank = rows.groupby("customer_id", sort=False).cumcount() + 1
        return rows.assign(rank=rank)[rank <= k]


def _merge(named: pd.DataFrame, sources: list[str]) -> pd.DataFrame:
    """One row for each customer and article, with every source's score and rank beside each other."""
    best = named.sort_values("rank", kind="stable").drop_duplicates(["customer_id", "article_id"])
    best = best[["customer_id", "article_id", "source", "rank"]]
    best = best.sort_values(["customer_id", "article_id"], kind="stable").reset_index(drop=True)
    pair = pd.MultiIndex.from_frame(best[["customer_id", "article_id"]])
    for source in sources:
        found = named[named["source"] == source]
        place = pair.get_indexer(pd.MultiIndex.from_frame(found[["customer_id", "article_id"]]))
        for column in ("score", "rank"):
            values = np.full(len(best), np.nan)
            values[place] = found[column]
            best[f"{source}__{column}"] = values
    return best.assign(best__rank=best["rank"])
