"""Popular near you: what sells to customers of the same postal code, as far as they say enough.

Few people share a postal code, so what sells there is put together with what sells everywhere: the
smoothed estimate of a multinomial (Zhai and Lafferty, SIGIR 2001, with a Dirichlet prior).
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipelines.retrievers.base import Asked, Past, Weights
from pipelines.retrievers.popular import PopularInKind

_EVERYWHERE = ""
"""The kind that everybody is of; no postal code is empty."""

_SQL = """
WITH lately AS (
    SELECT DISTINCT customer_id, article, day
    FROM staging.purchases
    INNER JOIN places USING (article_id)
    WHERE day < $cutoff AND day >= $cutoff - CAST($days AS INTEGER)
),

weighed AS (
    SELECT
        coalesce(postal_code, '') AS postal_code,
        article,
        -- Exact sums: those of DOUBLEs would depend on how rows are shared among threads.
        CAST(exp(-($cutoff - day) / $decay) AS DECIMAL(18, 12)) AS weight
    FROM lately
    LEFT JOIN staging.customers USING (customer_id)
),

everywhere AS (
    -- The share of all, also of what is not kept.
    SELECT
        '' AS kind,
        article,
        CAST(sum(weight) AS DOUBLE) / CAST(sum(sum(weight)) OVER () AS DOUBLE) AS score
    FROM weighed
    GROUP BY article
    ORDER BY score DESC, article
    LIMIT $keep
),

here AS (
    SELECT postal_code AS kind, article, CAST(sum(weight) AS DOUBLE) AS score
    FROM weighed
    WHERE postal_code <> ''
    GROUP BY ALL
)

SELECT kind, article, score
FROM (FROM everywhere UNION ALL FROM here) AS scored
ORDER BY kind, article
"""


class PopularByPostalCode(PopularInKind):
    """Articles by (bought here + smoothing x share everywhere) / (all bought here + smoothing).

    A day on which a customer bought an article counts exp(-age / decay). A customer whose postal code is
    unknown, or nobody bought in, gets what sells everywhere.

    Args:
        days: look-back in days.
        keep: how many articles to remember of what sells everywhere.
        decay: time in which a purchase's weight falls to 1/e, in days.
        smoothing: purchases of today that a postal code needs to count as much as all others together.
    """

    name = "popular_by_postal_code"

    def __init__(
        self, days: int = 60, keep: int = 500, decay: float = 7.0, smoothing: float = 100.0
    ) -> None:
        super().__init__(days, keep)
        self.decay = decay
        self.smoothing = smoothing
        self.bought = np.zeros(0)
        """All that was bought in each postal code (kinds,)."""

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        self.keep_counts(past.query(_SQL, days=self.days, keep=self.keep, decay=self.decay))
        self.bought = np.asarray(self.counts.sum(axis=1)).ravel()
        return self

    def shares(self, asked: Asked) -> Weights:
        here = self.one_kind(asked.state["customer_profile__postal_code"].tolist())
        everywhere = self.kinds.get(_EVERYWHERE)
        if everywhere is None:
            return here
        bought = np.zeros(len(asked))  # nothing where the postal code is unknown
        bought[here.customer] = self.bought[here.row]
        weight = 1 / (bought + self.smoothing)
        everybody = np.arange(len(asked))
        return Weights(
            np.concatenate([here.customer, everybody]),
            np.concatenate([here.row, np.full(len(asked), everywhere)]),
            np.concatenate([weight[here.customer], self.smoothing * weight]),
        )

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return "Popular near you." if self.knows(row.get("postal_code")) else "Popular."

    def knows(self, postal_code: Any) -> bool:
        """Whether anybody has bought there; elsewhere it names what sells everywhere."""
        return isinstance(postal_code, str) and bool(postal_code) and postal_code in self.kinds

    def load(self, folder: Path) -> Self:
        super().load(folder)
        self.bought = np.asarray(self.counts.sum(axis=1)).ravel()
        return self
