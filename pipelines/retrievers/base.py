"""What every retriever is: fitted on purchases before a day, it names candidates for customers.

A retriever keeps only what it learnt of articles. What it needs to know of a customer comes in as a
row of the feature service `customer_state`, read as of the moment in evaluation and from the online
store in serving, so both run the same code on the same values.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

import duckdb
import numpy as np
import pandas as pd
from scipy import sparse

STATE_SERVICE = "customer_state"
COLUMNS = ["customer_id", "article_id", "score", "rank"]


class Retriever(ABC):
    """From all articles to the likely ones.

    Subclasses take their settings as keyword arguments of `__init__`, so that the model catalogue
    can list them and a version can record them.
    """

    name: ClassVar[str]

    @abstractmethod
    def fit(self, con: duckdb.DuckDBPyConnection, cutoff: date) -> Self:
        """Learn from `staging.purchases` of days strictly before `cutoff`."""

    @abstractmethod
    def candidates(self, state: pd.DataFrame, moment: datetime, k: int) -> pd.DataFrame:
        """At most k articles for each customer.

        Args:
            state: rows of the service `customer_state`, one per customer.
            moment: when the question is asked (UTC).
            k: at most so many for each customer.

        Returns:
            customer_id, article_id, score (higher is better) and rank (from 1); each customer's rows
            in order of rank.
        """

    def because(
        self, state: pd.DataFrame, pairs: pd.DataFrame, moment: datetime
    ) -> list[str | None]:
        """The article of the customer's own that most led to each pair, None where none did.

        Args:
            state: as for `candidates`.
            pairs: customer_id, article_id.
        """
        return [None] * len(pairs)

    @abstractmethod
    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        """Why it named an article, as a sentence for the customer.

        Args:
            row: a recommendation with the columns that the ranker saw; any may be missing.
            led_by: the name of the article that `because` gave.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into the folder, without pickle."""

    @abstractmethod
    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""


def days_since_epoch(moment: datetime) -> float:
    """Days from 1970-01-01 00:00 UTC to the moment, with fractions."""
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400


def recent_purchases(state: pd.DataFrame) -> pd.DataFrame:
    """The lists of `customer_recent` as rows, in order.

    Returns:
        customer (position in `state`), article_id, day (since 1970-01-01), times, weight.
    """
    columns = {
        "article_id": "recent_articles",
        "day": "recent_days",
        "times": "recent_times",
        "weight": "recent_weights",
    }
    lists = {ours: state[f"customer_recent__{theirs}"].tolist() for ours, theirs in columns.items()}
    sizes = [0 if _missing(found) else len(found) for found in lists["article_id"]]
    flat: dict[str, np.ndarray] = {
        "customer": np.repeat(np.arange(len(state)), sizes),
    }
    for name, found in lists.items():
        kept = [np.asarray(values) for values in found if not _missing(values)]
        empty = np.array([], dtype=object if name == "article_id" else "float64")
        flat[name] = np.concatenate(kept) if kept else empty
    return pd.DataFrame(flat)


def _missing(values: object) -> bool:
    return values is None or isinstance(values, float)


def top(rows: pd.DataFrame, k: int) -> pd.DataFrame:
    """Each customer's k best rows by score, ranked; equal scores in order of article id.

    Args:
        rows: customer_id, article_id, score, and any others, which are kept.
    """
    # The order is found on codes, so that only the rows that stay are copied.
    customer, _ = pd.factorize(rows["customer_id"], sort=True)
    article, _ = pd.factorize(rows["article_id"], sort=True)
    order = np.lexsort((article, -rows["score"].to_numpy("float64"), customer))
    ordered = customer[order]
    rank = np.arange(len(rows)) - np.searchsorted(ordered, ordered) + 1
    best = rank <= k
    return rows.iloc[order[best]].assign(rank=rank[best]).reset_index(drop=True)


def largest(matrix: sparse.csr_matrix, k: int) -> sparse.csr_matrix:
    """Of each row of the matrix its k largest values; of equal ones those of the first columns."""
    kept = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(np.diff(matrix.indptr) > k):
        stretch = slice(matrix.indptr[row], matrix.indptr[row + 1])
        values = matrix.data[stretch]
        least = np.partition(values, -k)[-k]
        chosen = values > least
        ties = np.flatnonzero(values == least)
        by_column = np.argsort(matrix.indices[stretch][ties])
        chosen[ties[by_column[: k - np.count_nonzero(chosen)]]] = True
        kept[stretch] = chosen
    starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    found = sparse.csr_matrix((matrix.data[kept], matrix.indices[kept], starts), matrix.shape)
    found.sort_indices()
    return found
