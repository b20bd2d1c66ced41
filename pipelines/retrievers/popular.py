"""Popular: what sold most in the last days, to everybody or to people of a kind.

The floor of every comparison, and what a customer of whom nothing is known is answered with. Fitting
counts the last days' purchases; a request is a row of a (groups x articles) table.
"""

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from pipelines.assortment import Assortment
from pipelines.retrievers.base import (
    NOTHING,
    Asked,
    Past,
    Proposals,
    Retriever,
    Weights,
    best_of_sparse,
    best_of_sums,
)

_SQL = """
WITH latest AS (
    SELECT max(day) AS last_day
    FROM staging.purchases
    WHERE day < $cutoff
),

counted AS (
    SELECT {kind} AS kind, article, CAST(count(DISTINCT customer_id) AS DOUBLE) AS score
    FROM staging.purchases
    INNER JOIN places USING (article_id)
    {joined}
    CROSS JOIN latest
    WHERE
        day < $cutoff
        -- After a pause in sales the days before it count, as long as what they sold is still on sale.
        AND day >= CASE
            WHEN last_day >= $cutoff - CAST($days AS INTEGER) THEN $cutoff - CAST($days AS INTEGER)
            ELSE last_day + 1 - CAST($days AS INTEGER)
        END
        AND {kind} IS NOT NULL
    GROUP BY ALL
)

SELECT kind, article, score
FROM counted
QUALIFY row_number() OVER (PARTITION BY kind ORDER BY score DESC, article) <= $keep
ORDER BY kind, article
"""


class PopularInKind(Retriever):
    """Articles by the number of distinct customers of a kind in the last `days` days.

    A customer's score of an article is the sum over the kinds of the customer's share in the kind
    times the article's customers there.

    Args:
        days: look-back in days.
        keep: how many articles to remember of each kind.
    """

    kind: ClassVar[str] = ""
    """SQL: the kind of a purchase, as text."""
    joined: ClassVar[str] = ""
    """SQL: what `kind` needs beside purchases."""

    def __init__(self, days: int = 7, keep: int = 500) -> None:
        self.days = days
        self.keep = keep
        self.kinds: dict[str, int] = {}
        self.counts = sparse.csr_matrix((0, 0), dtype="float64")
        """kinds x articles."""

    @abstractmethod
    def shares(self, asked: Asked) -> Weights:
        """How much each customer is of each kind."""

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        sql = _SQL.format(kind=self.kind, joined=self.joined)
        self.keep_counts(past.query(sql, days=self.days, keep=self.keep))
        return self

    def keep_counts(self, found: Mapping[str, np.ndarray]) -> None:
        """Take kind, article (its place) and score, a row for each pair."""
        names, row = np.unique(found["kind"].astype(object), return_inverse=True)
        self.kinds = {str(name): place for place, name in enumerate(names)}
        self.counts = sparse.csr_matrix(
            (found["score"], (row, found["article"])), (len(names), len(self.assortment))
        )

    def propose(self, asked: Asked, k: int) -> Proposals:
        return best_of_sums(self.shares(asked), len(asked), self.counts, self.assortment.on_sale, k)

    def one_kind(self, names: Sequence[object]) -> Weights:
        """Shares where each customer is of one kind, or of none that is known."""
        places = np.array([self.kinds.get(str(name), -1) for name in names], dtype="int64")
        known = np.flatnonzero(places >= 0)
        return Weights(known, places[known], np.ones(len(known)))

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        buyers = row.get("article_activity__u_customers_7d")
        if pd.isna(buyers):
            return "Popular."
        people = "1 customer" if buyers == 1 else f"{buyers:,.0f} customers"
        return f"Popular: {people} bought it in 7 days."

    def save(self, folder: Path) -> None:
        self.assortment.save(folder)
        found = self.counts.tocoo()
        names = np.array(list(self.kinds), dtype=object)
        table = {
            "kind": pa.array(names[found.row].tolist(), pa.string()),
            "article": found.col.astype("int32"),
            "score": found.data,
        }
        pq.write_table(pa.table(table), folder / "counts.parquet")

    def load(self, folder: Path) -> Self:
        self.assortment = Assortment.load(folder)
        saved = pq.read_table(folder / "counts.parquet")
        self.keep_counts(
            {
                "kind": np.array(saved["kind"].to_pylist(), dtype=object),
                "article": saved["article"].to_numpy(),
                "score": saved["score"].to_numpy(),
            }
        )
        return self


class PopularInOneKind(PopularInKind):
    """The same where each customer is of one kind, or of none: its articles in order, without sorting.

    Attributes:
        best: what each kind is proposed, with kinds in place of customers.
    """

    best: Proposals = NOTHING

    @abstractmethod
    def kind_of(self, asked: Asked) -> Sequence[object]:
        """The kind of each customer (N,), whatever it is if it is not known."""

    def shares(self, asked: Asked) -> Weights:
        return self.one_kind(self.kind_of(asked))

    def keep_counts(self, found: Mapping[str, np.ndarray]) -> None:
        super().keep_counts(found)
        self.best = best_of_sparse(self.counts, self.assortment.on_sale, self.keep)

    def propose(self, asked: Asked, k: int) -> Proposals:
        best = self.best
        kinds = np.array([self.kinds.get(str(name), -1) for name in self.kind_of(asked)], "int64")
        starts = np.append(np.searchsorted(best.customer, np.arange(len(self.kinds))), 0)
        sizes = np.append(np.minimum(np.bincount(best.customer, minlength=len(self.kinds)), k), 0)
        customer = np.repeat(np.arange(len(kinds)), sizes[kinds])
        first = np.cumsum(sizes[kinds]) - sizes[kinds]
        place = np.arange(len(customer)) + (starts[kinds] - first)[customer]
        return Proposals(customer, best.article[place], best.score[place], best.rank[place])


class Popular(PopularInOneKind):
    """The same for every customer."""

    name = "popular"
    kind = "''"

    def kind_of(self, asked: Asked) -> Sequence[object]:
        return [""] * len(asked)
