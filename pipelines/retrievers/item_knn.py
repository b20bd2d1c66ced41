"""Item-item collaborative filtering: what was bought by those who bought this customer's articles.

Sarwar, Karypis, Konstan and Riedl, "Item-based collaborative filtering recommendation algorithms" (WWW
2001), on a customers x articles matrix whose entries fade with age. Cost of fitting: the sum of squared
numbers of articles per customer, at most 200 each; of a request: the customer's articles times the
neighbours of each.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse

from pipelines.retrievers.article_to_article import ArticleToArticle, cosines
from pipelines.retrievers.base import History, Past
from pipelines.retrievers.purchase_matrix import bought, evened, habit, selling

WEIGHTINGS = ("cosine", "bm25")


class ItemKnn(ArticleToArticle):
    """Articles by the customers that they share with the customer's own, which may be named too.

    Args:
        weighting: `cosine`: entries are decayed days with a purchase, rows are brought to one length;
            `bm25`: Okapi BM25 (Robertson and Walker, SIGIR 1994) with customers as documents.
        days: look-back in days.
        decay: time in which a purchase's weight falls to 1/e, in days.
        shrink: keeps rare articles from looking alike by chance.
        neighbours: how many like articles to remember of each.
        trend: power of what an article sold in the last week, which its likeness is multiplied with.
    """

    name = "item_knn"

    def __init__(
        self,
        weighting: str = "bm25",
        days: int = 365,
        decay: float = 30.0,
        shrink: float = 0.01,
        neighbours: int = 300,
        trend: float = 0.25,
    ) -> None:
        super().__init__()
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting is one of {', '.join(WEIGHTINGS)}, not {weighting!r}.")
        self.weighting = weighting
        self.days = days
        self.decay = decay
        self.shrink = shrink
        self.neighbours = neighbours
        self.trend = trend

    def weigh(self, history: History) -> np.ndarray:
        return habit(history)

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        matrix = bought(past, self.days, self.decay)
        self.likeness = cosines(
            bm25(matrix) if self.weighting == "bm25" else evened(matrix, 1.0),
            self.assortment.on_sale,
            self.neighbours,
            shrink=self.shrink,
            itself=True,
            factor=selling(past, self.trend),
        )
        return self

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return f"Bought by others who bought {led_by or 'what you bought'}."


def bm25(
    matrix: sparse.csr_matrix, saturation: float = 100.0, length: float = 1.0
) -> sparse.csr_matrix:
    """Entries weighted by Okapi BM25, customers as documents and articles as words.

    Args:
        saturation: k1, from which on buying more often says little more.
        length: b, how much less an article says of a customer who bought much, from 0 to 1.
    """
    weighted = matrix.astype("float64")
    customers = matrix.shape[0]
    buyers = np.bincount(matrix.indices, minlength=matrix.shape[1])
    rarity = np.log1p(customers / (1 + buyers))
    total = np.asarray(weighted.sum(axis=1)).ravel()
    relative = 1 - length + length * total / (total.mean() if customers else 1.0)
    per_row = np.repeat(relative, np.diff(matrix.indptr))
    weighted.data *= (saturation + 1) / (saturation * per_row + weighted.data)
    weighted.data *= rarity[matrix.indices]
    return weighted
