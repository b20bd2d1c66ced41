"""Popular: what sold most in the last days, the same for every customer."""

from collections.abc import Hashable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pandas as pd

from pipelines.retrievers.base import Retriever, top

_SQL = """
WITH latest AS (
    SELECT max(day) AS last_day
    FROM staging.purchases
    WHERE day < $cutoff
)

SELECT article_id, CAST(count(DISTINCT customer_id) AS DOUBLE) AS score
FROM staging.purchases, latest
WHERE
    day < $cutoff
    -- After a pause in sales the days before it count: a new customer is never answered nothing.
    AND day >= CASE
        WHEN last_day >= $cutoff - $days THEN $cutoff - $days
        ELSE last_day + 1 - $days
    END
GROUP BY article_id
ORDER BY score DESC, article_id
LIMIT $keep
"""


class Popular(Retriever):
    """Articles by the number of distinct customers in the last `days` days.

    Args:
        days: look-back in days.
        keep: how many articles to remember.
    """

    name = "popular"

    def __init__(self, days: int = 7, keep: int = 1000) -> None:
        self.days = days
        self.keep = keep
        self.articles = pd.DataFrame(
            {"article_id": pd.Series(dtype=str), "score": pd.Series(dtype=float)}
        )

    def fit(self, con: duckdb.DuckDBPyConnection, cutoff: date) -> Self:
        wanted = {"cutoff": cutoff, "days": self.days, "keep": self.keep}
        self.articles = con.execute(_SQL, wanted).df()
        return self

    def candidates(self, state: pd.DataFrame, moment: datetime, k: int) -> pd.DataFrame:
        best = self.articles.head(k)
        customers = state["customer_id"].to_numpy()
        return top(
            pd.DataFrame(
                {
                    "customer_id": np.repeat(customers, len(best)),
                    "article_id": np.tile(best["article_id"].to_numpy(), len(customers)),
                    "score": np.tile(best["score"].to_numpy(), len(customers)),
                }
            ),
            k,
        )

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        buyers = row.get("article_activity__u_customers_7d")
        if pd.isna(buyers):
            return "Popular."
        people = "1 customer" if buyers == 1 else f"{buyers:,.0f} customers"
        return f"Popular: {people} bought it in 7 days."

    def save(self, folder: Path) -> None:
        self.articles.to_parquet(folder / "articles.parquet", index=False)

    def load(self, folder: Path) -> Self:
        self.articles = pd.read_parquet(folder / "articles.parquet")
        return self
