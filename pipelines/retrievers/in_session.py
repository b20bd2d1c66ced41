"""In-session: what goes with what the customer just looked at, put in the cart or bought.

Session-based nearest neighbours in the item-to-item form (Ludewig and Jannach, UMUAI 2018): articles
are alike if the same visits touched both. A visit is what a customer did on one day, from the log of
interactions and from purchases. Cost of fitting: the sum of squared visit sizes; of a request: the last 50
events times the neighbours of each.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse

from pipelines.retrievers.article_to_article import ArticleToArticle, cosines
from pipelines.retrievers.base import (
    EVENT_WEIGHTS,
    PURCHASE,
    Asked,
    Past,
    Proposals,
    Weights,
    without,
)

_VISITS = """
WITH touched AS (
    SELECT customer_id, article_id, day, 1.0 AS weight
    FROM staging.purchases
    WHERE day < $cutoff AND day >= $cutoff - CAST($days AS INTEGER)
    UNION ALL
    SELECT customer_id, article_id, CAST(event_time AS DATE) AS day, weight
    FROM staging.actions
    INNER JOIN (SELECT unnest($kinds) AS kind, unnest($weights) AS weight) AS kinds USING (kind)
    WHERE event_time < CAST($cutoff AS TIMESTAMP)
        AND event_time >= CAST($cutoff AS TIMESTAMP) - to_days(CAST($days AS INTEGER))
),

visits AS (
    SELECT customer_id, day, article, max(weight) AS weight
    FROM touched
    INNER JOIN places USING (article_id)
    GROUP BY customer_id, day, article
)

SELECT
    dense_rank() OVER (ORDER BY day, customer_id) - 1 AS visit,
    article,
    weight * sqrt(exp(-($cutoff - day) / $decay) / ln(2 + count(*) OVER (PARTITION BY day, customer_id)))
        AS weight
FROM visits
ORDER BY visit, article
"""


_OVER = 30.0
"""Days after which nothing is picked up any more."""


class InSession(ArticleToArticle):
    """Articles by how often the visits that touched what the customer just touched had them too.

    An event counts by its kind, and half as much after each `half_life` hours. An article is most like
    itself: what was looked at comes first, to be picked up where it was left. What was bought leads to others
    only, and what was waved away to none.

    Args:
        days: look-back in days.
        decay: time in which a visit's weight falls to 1/e, in days.
        shrink: keeps rare articles from looking alike by chance.
        neighbours: how many like articles to remember of each.
        half_life: in hours.
    """

    name = "in_session"
    of_itself = "You looked at it."

    def __init__(
        self,
        days: int = 60,
        decay: float = 30.0,
        shrink: float = 0.5,
        neighbours: int = 200,
        half_life: float = 24.0,
    ) -> None:
        super().__init__()
        self.days = days
        self.decay = decay
        self.shrink = shrink
        self.neighbours = neighbours
        self.half_life = half_life

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        kinds = {"kinds": list(EVENT_WEIGHTS), "weights": list(EVENT_WEIGHTS.values())}
        visits = past.query(_VISITS, days=self.days, decay=self.decay, **kinds)
        weighted = sparse.csr_matrix(
            (visits["weight"], (visits["visit"], visits["article"])),
            (int(visits["visit"][-1]) + 1 if len(visits["visit"]) else 0, len(self.assortment)),
        )
        self.likeness = cosines(
            weighted, self.assortment.on_sale, self.neighbours, shrink=self.shrink, itself=True
        )
        return self

    def seeds(self, asked: Asked) -> Weights:
        session = asked.session(self.assortment)
        says = session.says
        weight = says * np.exp2(-session.age * 24 / self.half_life)
        counts = (says > 0) & (session.age < _OVER)
        return Weights(session.customer[counts], session.article[counts], weight[counts])

    def propose(self, asked: Asked, k: int) -> Proposals:
        session = asked.session(self.assortment)
        bought = np.flatnonzero(session.last == PURCHASE)
        if not len(bought):
            return super().propose(asked, k)
        customer, article = session.customer[bought], session.article[bought]
        most = int(np.bincount(customer).max())
        return without(super().propose(asked, k + most), customer, article, k)

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return f"Because you looked at {led_by}." if led_by else "Goes with what you looked at."
