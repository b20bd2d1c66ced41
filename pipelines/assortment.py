"""The shop's articles at a cutoff: their order, which are on sale, and which are new.

The shop's files say when an article was sold, not when it was on offer. So it counts as on sale if
it was sold or shown lately, or stands in the file of articles and was never sold or shown: it may be
about to be. What only later transactions name is not known.
"""

import hashlib
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.coded import texts

ON_SALE_DAYS = 60
"""Days without a sale or an impression after which an article is taken to be gone."""

_SQL = """
WITH sold AS (
    SELECT article_id, min(day) AS first_day, max(day) AS last_day
    FROM staging.purchases
    WHERE day < $cutoff
    GROUP BY article_id
),

shown AS (
    SELECT article_id, max(CAST(event_time AS DATE)) AS last_day
    FROM raw.interactions
    WHERE event_time < CAST($cutoff AS TIMESTAMP)
    GROUP BY article_id
)

SELECT
    article_id,
    CASE
        WHEN sold.last_day IS NULL AND shown.last_day IS NULL THEN true
        ELSE greatest(sold.last_day, shown.last_day) >= $cutoff - $days
    END AS on_sale,
    sold.last_day IS NULL AS is_new
FROM (
    SELECT article_id FROM raw.articles WHERE from_transactions IS NOT TRUE
    UNION
    SELECT article_id FROM sold
    UNION
    SELECT article_id FROM shown
) AS known
LEFT JOIN sold USING (article_id)
LEFT JOIN shown USING (article_id)
ORDER BY article_id
"""

_FILE = "articles.parquet"


class Assortment:
    """Articles by their place: ids in order, each once.

    Equal assortments are one object, also when they are loaded from several places, so that what
    several models of a release look up is looked up once.

    Attributes:
        ids: article ids as text (A,), ascending.
        on_sale: whether each may be recommended (A,).
        is_new: whether each had never been sold (A,).
    """

    _same: ClassVar["WeakValueDictionary[str, Assortment]"] = WeakValueDictionary()

    ids: np.ndarray
    on_sale: np.ndarray
    is_new: np.ndarray
    digest: str

    def __new__(cls, ids: np.ndarray, on_sale: np.ndarray, is_new: np.ndarray) -> "Assortment":
        parts = ("\n".join(ids).encode(), on_sale.astype(bool), is_new.astype(bool))
        digest = hashlib.sha256(b"\0".join(bytes(part) for part in parts)).hexdigest()
        found = cls._same.get(digest)
        if found is None:
            found = super().__new__(cls)
            found.ids = np.asarray(ids, dtype=object)
            found.on_sale = on_sale.astype(bool)
            found.is_new = is_new.astype(bool)
            found.digest = digest
            cls._same[digest] = found
        return found

    @classmethod
    def at(
        cls, con: duckdb.DuckDBPyConnection, cutoff: date, days: int = ON_SALE_DAYS
    ) -> "Assortment":
        """What was known on `cutoff` 00:00 UTC.

        Args:
            days: days without a sale after which an article is gone.
        """
        found = con.execute(_SQL, {"cutoff": cutoff, "days": days}).fetchnumpy()
        return cls(*(np.asarray(found[name]) for name in ("article_id", "on_sale", "is_new")))

    @classmethod
    def empty(cls) -> "Assortment":
        nothing = np.array([], dtype=bool)
        return cls(np.array([], dtype=object), nothing, nothing)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {article: place for place, article in enumerate(self.ids)}

    @cached_property
    def names(self) -> np.ndarray:
        """The ids and None: `Coded.names` of rows that number articles by their place."""
        return texts(*self.ids, None)

    def places(self, ids: np.ndarray | list[str]) -> np.ndarray:
        """The place of each id (R,), -1 where it is not known."""
        place_of = self._place_of
        return np.fromiter((place_of.get(i, -1) for i in ids), dtype="int64", count=len(ids))

    @cached_property
    def for_sale(self) -> np.ndarray:
        """The places of the articles on sale, ascending."""
        return np.flatnonzero(self.on_sale)

    def save(self, folder: Path) -> None:
        pq.write_table(
            pa.table(
                {
                    "article_id": pa.array(self.ids.tolist(), pa.string()),
                    "on_sale": self.on_sale,
                    "is_new": self.is_new,
                }
            ),
            folder / _FILE,
        )

    @classmethod
    def load(cls, folder: Path) -> "Assortment":
        saved = pq.read_table(folder / _FILE)
        return cls(
            np.array(saved["article_id"].to_pylist(), dtype=object),
            saved["on_sale"].to_numpy(),
            saved["is_new"].to_numpy(),
        )
