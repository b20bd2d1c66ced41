"""Items bought together: what other customers had in the same basket as this customer's articles.

Item-based collaborative filtering (Sarwar et al., WWW 2001) over baskets instead of customers, with
time decay. Cost of fitting: the sum of squared basket sizes. Cost of a request: the customer's articles
times the neighbours of each.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse

from pipelines.retrievers.article_to_article import ArticleToArticle, cosines
from pipelines.retrievers.base import History, Past
from pipelines.retrievers.purchase_matrix import habit, selling

_BASKETS = """
WITH recent AS (
    SELECT DISTINCT customer_id, article, day
    FROM staging.purchases
    INNER JOIN places USING (article_id)
    WHERE day < $cutoff AND day >= $cutoff - CAST($days AS INTEGER)
),

baskets AS (
    SELECT
        customer_id,
        day,
        row_number() OVER (ORDER BY day, customer_id) - 1 AS basket,
        exp(-($cutoff - day) / $decay) / count(*) AS weight
    FROM recent
    GROUP BY customer_id, day
)

SELECT basket, article, weight
FROM recent
INNER JOIN baskets USING (customer_id, day)
ORDER BY basket, article
"""


class CoPurchase(ArticleToArticle):
    """Articles by how often, and how lately, they shared a basket with the customer's own.

    A basket (a customer's day) of n articles at age a weighs exp(-a / decay) / n. With C the weighted
    counts of shared baskets, two articles are alike by C_ij / sqrt((C_ii + s)(C_jj + s)), times what j sold
    in the last week to the power `trend`.

    Args:
        days: look-back in days.
        decay: time in which a basket's weight falls to 1/e, in days.
        shrink: s, which keeps rare articles from looking alike by chance.
        neighbours: how many like articles to remember of each.
        trend: how much what sells lately counts.
    """

    name = "co_purchase"

    def __init__(
        self,
        days: int = 365,
        decay: float = 60.0,
        shrink: float = 0.01,
        neighbours: int = 300,
        trend: float = 0.25,
    ) -> None:
        super().__init__()
        self.days = days
        self.decay = decay
        self.shrink = shrink
        self.neighbours = neighbours
        self.trend = trend

    def weigh(self, history: History) -> np.ndarray:
        return habit(history)

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        lines = past.query(_BASKETS, days=self.days, decay=self.decay)
        baskets = int(lines["basket"][-1]) + 1 if len(lines["basket"]) else 0
        # Both sides carry the root, so that the product carries the weight.
        weighted = sparse.csr_matrix(
            (np.sqrt(lines["weight"]), (lines["basket"], lines["article"])),
            (baskets, len(self.assortment)),
        )
        self.likeness = cosines(
            weighted,
            self.assortment.on_sale,
            self.neighbours,
            shrink=self.shrink,
            factor=selling(past, self.trend),
        )
        return self

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return f"Often bought together with {led_by or 'what you bought'}."
