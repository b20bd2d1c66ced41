"""EASE: a linear model of every article by all others, in closed form.

Steck, "Embarrassingly shallow autoencoders for sparse data" (WWW 2019), on a customers x articles matrix
whose entries fade with age. With G the Gram matrix of N articles and P the inverse of G + ridge, the weight
of article i for article j is -P_ij / P_jj. Cost of fitting: N^3 and 32 N^2 bytes (N = 5,000: 0.8 GB), whatever
the shop's size; of a request: the customer's articles times the weights kept of each.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Self

import numpy as np
from scipy import linalg, sparse

from pipelines.retrievers.article_to_article import ArticleToArticle
from pipelines.retrievers.base import History, Past, largest
from pipelines.retrievers.purchase_matrix import bought, evened, habit, selling

_BLOCK = 500
"""Rows of the Gram matrix computed at a time."""


class Ease(ArticleToArticle):
    """Articles by their weights for the customer's own.

    Where articles are bought again it helps to let an article speak for itself, which Steck forbids: the
    model is then plain ridge regression, whose weights are those of I - ridge P.

    Args:
        articles: N, the most sold of those on sale; the others are neither named nor listened to (measured:
            with what is gone from sale among them nothing more is found).
        ridge: what keeps weights small, as a multiple of the mean of G's diagonal.
        itself: whether an article has a weight for itself.
        days: look-back in days.
        decay: time in which a purchase's weight falls to 1/e, in days.
        neighbours: how many weights to keep of each article, the largest.
        trend: power of what an article sold in the last week, which its weights are multiplied with.
    """

    name = "ease"

    def __init__(
        self,
        articles: int = 5_000,
        ridge: float = 3.0,
        itself: bool = True,
        days: int = 365,
        decay: float = 60.0,
        neighbours: int = 300,
        trend: float = 0.25,
    ) -> None:
        super().__init__()
        self.articles = articles
        self.ridge = ridge
        self.itself = itself
        self.days = days
        self.decay = decay
        self.neighbours = neighbours
        self.trend = trend

    def weigh(self, history: History) -> np.ndarray:
        return habit(history)

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        size = len(self.assortment)
        matrix = evened(bought(past, self.days, self.decay), 1.0)
        sold = np.asarray(matrix.sum(axis=0)).ravel()
        wanted = np.flatnonzero((sold > 0) & self.assortment.on_sale)
        wanted = np.sort(wanted[np.argsort(-sold[wanted], kind="stable")[: self.articles]])
        weights = self._weights(matrix[:, wanted]) * selling(past, self.trend)[wanted]
        if not self.itself:
            np.fill_diagonal(weights, 0)
        row, col = np.nonzero(weights > 0)
        kept = sparse.csr_matrix(
            (weights[row, col], (wanted[row], wanted[col])), (size, size), dtype="float32"
        )
        self.likeness = largest(kept, self.neighbours)
        return self

    def _weights(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Of each article for each other (N x N)."""
        size = matrix.shape[1]
        if not size:
            return np.zeros((0, 0))
        gram = np.empty((size, size))
        by_article = matrix.T.tocsr()
        for start in range(0, size, _BLOCK):
            gram[start : start + _BLOCK] = (by_article[start : start + _BLOCK] @ matrix).toarray()
        ridge = self.ridge * np.trace(gram) / size
        gram[np.diag_indices(size)] += ridge
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
        if self.itself:
            inverse *= -ridge
            inverse[np.diag_indices(size)] += 1
            return np.asarray(inverse)
        return np.asarray(inverse / -np.diag(inverse))

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return f"Bought by others who bought {led_by or 'what you bought'}."
