"""Items bought together: what other customers had in the same basket as this customer's articles.

Item-based collaborative filtering (Sarwar et al., WWW 2001) over baskets instead of customers, with
time decay. Cost of fitting: the sum of squared basket sizes.
"""

from collections.abc import Hashable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from feature_repo.windows import DECAY_DAYS
from pipelines.retrievers.base import Retriever, days_since_epoch, largest, recent_purchases, top

_WITH = """
WITH recent AS (
    SELECT DISTINCT customer_id, article_id, day
    FROM staging.purchases
    WHERE day < $cutoff AND day >= $cutoff - CAST($days AS INTEGER)
),

baskets AS (
    SELECT
        customer_id,
        day,
        row_number() OVER (ORDER BY day, customer_id) - 1 AS basket,
        exp(-($cutoff - day) / $decay) / ln(2 + count(*)) AS weight
    FROM recent
    GROUP BY customer_id, day
),

articles AS (
    SELECT
        article_id,
        row_number() OVER (ORDER BY article_id) - 1 AS article
    FROM (SELECT DISTINCT article_id FROM recent) AS sold
)
"""

_LINES = """
SELECT basket, article, weight
FROM recent
INNER JOIN baskets USING (customer_id, day)
INNER JOIN articles USING (article_id)
ORDER BY basket, article
"""

_ARTICLES = "SELECT article_id FROM articles ORDER BY article"

_BLOCK = 2_000
"""Articles whose likeness is computed at a time: what bounds the memory of fitting."""


class CoPurchase(Retriever):
    """Articles by how often, and how lately, they shared a basket with the customer's own.

    A basket (a customer's day) of n articles at age a weighs exp(-a / decay) / ln(2 + n). With C the
    weighted counts of shared baskets, two articles are alike by C_ij / sqrt((C_ii + s)(C_jj + s)).
    A customer's score of j is the sum over their recent articles i of
    ln(1 + times bought) exp(-days since / 30) times that likeness.

    Args:
        days: look-back in days.
        decay: time in which a basket's weight falls to 1/e, in days.
        shrink: s, which keeps rare articles from looking alike by chance.
        neighbours: how many like articles to remember of each.
    """

    name = "co_purchase"

    def __init__(
        self, days: int = 365, decay: float = 90.0, shrink: float = 0.5, neighbours: int = 300
    ) -> None:
        self.days = days
        self.decay = decay
        self.shrink = shrink
        self.neighbours = neighbours
        self.articles = pd.Index([], dtype=object)
        self.likeness = sparse.csr_matrix((0, 0), dtype="float32")

    def fit(self, con: duckdb.DuckDBPyConnection, cutoff: date) -> Self:
        settings = {"cutoff": cutoff, "days": self.days, "decay": self.decay}
        lines = con.execute(_WITH + _LINES, settings).fetchnumpy()
        ids = con.execute(_WITH + _ARTICLES, settings).fetchnumpy()["article_id"]
        self.articles = pd.Index(ids, dtype=object)
        baskets = int(lines["basket"][-1]) + 1 if len(lines["basket"]) else 0
        # Both sides carry the root, so that the product carries the weight.
        weighted = sparse.csr_matrix(
            (np.sqrt(lines["weight"]), (lines["basket"], lines["article"])), (baskets, len(ids))
        )
        self.likeness = self._alike(weighted)
        return self

    def _alike(self, weighted: sparse.csr_matrix) -> sparse.csr_matrix:
        """The likeness of articles to each other from the weighted baskets (baskets x articles)."""
        size = weighted.shape[1]
        own = np.asarray(weighted.multiply(weighted).sum(axis=0)).ravel() + self.shrink
        by_article = weighted.T.tocsr()
        blocks = [sparse.csr_matrix((0, size), dtype="float32")]
        for start in range(0, size, _BLOCK):
            together = (by_article[start : start + _BLOCK] @ weighted).tocoo()
            apart = together.row + start != together.col
            row, col = together.row[apart], together.col[apart]
            value = (together.data[apart] / np.sqrt(own[row + start] * own[col])).astype("float32")
            alike = sparse.csr_matrix((value, (row, col)), together.shape)
            blocks.append(largest(alike, self.neighbours))
        return sparse.vstack(blocks, format="csr")

    def _seeds(self, state: pd.DataFrame, moment: datetime) -> sparse.csr_matrix:
        """How much each of a customer's recent articles counts (customers x articles)."""
        recent = recent_purchases(state)
        place = self.articles.get_indexer(pd.Index(recent["article_id"], dtype=object))
        age = days_since_epoch(moment) - recent["day"].to_numpy("float64")
        weight = np.log1p(recent["times"].to_numpy("float64")) * np.exp(-age / DECAY_DAYS)
        known = place >= 0
        return sparse.csr_matrix(
            (weight[known], (recent["customer"].to_numpy()[known], place[known])),
            (len(state), len(self.articles)),
        )

    def candidates(self, state: pd.DataFrame, moment: datetime, k: int) -> pd.DataFrame:
        scores = largest(self._seeds(state, moment) @ self.likeness, k).tocoo()
        return top(
            pd.DataFrame(
                {
                    "customer_id": state["customer_id"].to_numpy()[scores.row],
                    "article_id": self.articles.to_numpy()[scores.col],
                    "score": scores.data.astype("float64"),
                }
            ),
            k,
        )

    def because(
        self, state: pd.DataFrame, pairs: pd.DataFrame, moment: datetime
    ) -> list[str | None]:
        seeds = self._seeds(state, moment)
        customers = pd.Index(state["customer_id"]).get_indexer(pd.Index(pairs["customer_id"]))
        places = self.articles.get_indexer(pd.Index(pairs["article_id"]))
        found: list[str | None] = []
        for customer, place in zip(customers, places, strict=True):
            best = None
            own = slice(*seeds.indptr[customer : customer + 2]) if customer >= 0 else slice(0)
            bought = seeds.indices[own]
            if place >= 0 and len(bought):
                shares = seeds.data[own] * self.likeness[bought, place].toarray().ravel()
                if shares.max() > 0:
                    best = str(self.articles[bought[np.argmax(shares)]])
            found.append(best)
        return found

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return f"Often bought together with {led_by or 'what you bought'}."

    def save(self, folder: Path) -> None:
        matrix = self.likeness
        pq.write_table(
            pa.table({"article_id": pa.array(self.articles.tolist(), pa.string())}),
            folder / "articles.parquet",
        )
        np.savez(
            folder / "likeness.npz", data=matrix.data, indices=matrix.indices, indptr=matrix.indptr
        )

    def load(self, folder: Path) -> Self:
        ids = pq.read_table(folder / "articles.parquet")["article_id"].to_pylist()
        self.articles = pd.Index(ids, dtype=object)
        with np.load(folder / "likeness.npz", allow_pickle=False) as saved:
            self.likeness = sparse.csr_matrix(
                (saved["data"], saved["indices"], saved["indptr"]), (len(ids), len(ids))
            )
        return self
