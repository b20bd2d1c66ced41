"""Customers by articles: what the collaborative retrievers learn from, and what they share beside it.

They keep only what they learnt of articles. A customer's row comes from their own features when they
ask, so that a purchase of a minute ago counts, and a customer of whom nothing was known at training
is answered like any other.
"""

import numpy as np
from scipy import sparse

from feature_repo.windows import RECENT_ARTICLES
from pipelines.retrievers.base import History, Past

LONG_DECAY = 365.0
"""In days: how slowly an article that a customer once bought stops saying something of them."""

_BOUGHT = """
WITH bought AS (
    SELECT
        customer_id,
        article,
        max(day) AS last_day,
        -- Exact sums: those of DOUBLEs would depend on how rows are shared among threads.
        sum(CAST(exp(-($cutoff - day) / $decay) AS DECIMAL(18, 12))) AS weight
    FROM (
        SELECT DISTINCT customer_id, article_id, day
        FROM staging.purchases
        WHERE day < $cutoff AND day >= $cutoff - CAST($days AS INTEGER)
    )
    INNER JOIN places USING (article_id)
    GROUP BY customer_id, article
),

listed AS (
    SELECT
        customer_id,
        article,
        weight,
        max(last_day) OVER (PARTITION BY customer_id) AS last_day
    FROM bought
    QUALIFY row_number() OVER (
        PARTITION BY customer_id ORDER BY last_day DESC, weight DESC, article
    ) <= $most
)

SELECT
    CAST(dense_rank() OVER (ORDER BY last_day DESC, customer_id) - 1 AS INTEGER) AS customer,
    CAST(article AS INTEGER) AS article,
    CAST(weight AS FLOAT) AS weight
FROM listed
ORDER BY customer, article
"""

_SELLING = """
SELECT CAST(article AS INTEGER) AS article, count(DISTINCT customer_id) AS customers
FROM staging.purchases
INNER JOIN places USING (article_id)
WHERE day < $cutoff AND day >= $cutoff - CAST($days AS INTEGER)
GROUP BY article
"""


def bought(past: Past, days: int, decay: float) -> sparse.csr_matrix:
    """How much customers bought what: days with a purchase, each counted exp(-age / decay).

    Of a customer only the last 200 articles count, as many as are known when they ask. It bounds what
    products of the matrix with itself cost, and keeps out those who buy for others.

    Returns:
        customers x articles, float32; those who bought last come first.
    """
    found = past.query(_BOUGHT, days=days, decay=decay, most=RECENT_ARTICLES)
    customers = int(found["customer"][-1]) + 1 if len(found["customer"]) else 0
    return sparse.csr_matrix(
        (found["weight"], (found["customer"], found["article"])),
        (customers, len(past.assortment)),
    )


def evened(matrix: sparse.csr_matrix, power: float) -> sparse.csr_matrix:
    """Rows divided by their length to the power: with 1 every customer says as much as any other."""
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, length**power, out=np.zeros(len(length)), where=length > 0)
    return sparse.csr_matrix(sparse.diags(scale.astype(matrix.dtype)) @ matrix)


def selling(past: Past, power: float, days: int = 7) -> np.ndarray:
    """What an article's score is multiplied with (A,): (1 + customers in the last days) ** power.

    Likeness says what somebody would like, and not what the season asks for.
    """
    found = past.query(_SELLING, days=days)
    customers = np.zeros(len(past.assortment))
    customers[found["article"]] = found["customers"]
    return np.asarray((1 + customers) ** power, dtype="float32")


def habit(history: History) -> np.ndarray:
    """How much each article of a customer counts (R,): every line exp(-age / 30 days), and for what is
    long ago times bought x exp(-days since / 365 days)."""
    return np.asarray(history.weight + history.times * np.exp(-history.age / LONG_DECAY))
