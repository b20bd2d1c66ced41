"""Matrix factorisation of implicit feedback by alternating least squares.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM 2008): a purchase is
no grade but a preference of 1, held with a confidence 1 + alpha w, and everything that was not bought one of
0 with confidence 1. Here w fades with age. With Y the articles' vectors (A x D) and C the confidences of a
customer, the customer's vector solves (Y'CY + ridge I) x = Y'C p; the articles' the same with roles
exchanged. In training the systems are solved by a few steps of conjugate gradients from where they stood
(Takacs, Pilaszy and Tikk, RecSys 2011), many at a time; when a customer asks, exactly.

Cost of fitting: each sweep passes some eight times over the purchases with D numbers each; of a request:
D^2 per article bought, D^3 / 3, and one search.

Bayesian personalised ranking (Rendle et al., UAI 2009) would give factors of the same form. It is left out:
its customers' vectors come from the same descent as its articles', so that folding one in means descending
again at each request, and on Online Retail it put what was bought no higher.
"""

from itertools import pairwise
from typing import Self

import numpy as np
from scipy import sparse

from pipelines.retrievers.article_factors import MEASURED, ArticleFactors
from pipelines.retrievers.base import Past
from pipelines.retrievers.purchase_matrix import bought, selling

_ENTRIES = 2**16
"""Entries of the matrix whose systems are solved at a time: what bounds the memory of training."""


class MatrixFactorization(ArticleFactors):
    """Articles whose vectors point where the customer's does.

    Args:
        dimensions: D.
        alpha: how much surer a purchase is than none.
        ridge: what keeps vectors short.
        sweeps: over customers and articles.
        steps: of conjugate gradients in each.
        days: look-back in days.
        decay: time in which a purchase's weight falls to 1/e, in days.
        trend: power of what an article sold in the last week, which its score is multiplied with.
        seed: of the vectors to begin with.
    """

    name = "matrix_factorization"

    def __init__(
        self,
        dimensions: int = 64,
        alpha: float = 10.0,
        ridge: float = 30.0,
        sweeps: int = 8,
        steps: int = 3,
        days: int = 365,
        decay: float = 60.0,
        trend: float = 0.25,
        seed: int = 7,
    ) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.alpha = alpha
        self.ridge = ridge
        self.sweeps = sweeps
        self.steps = steps
        self.days = days
        self.decay = decay
        self.trend = trend
        self.seed = seed

    def take(self, factors: np.ndarray, trend_of: np.ndarray) -> None:
        super().take(factors, trend_of)
        self._gram = self._regular(self.factors)

    def _regular(self, vectors: np.ndarray) -> np.ndarray:
        """What all systems have in common (D x D): Y'Y + ridge I."""
        return np.asarray(
            vectors.T @ vectors + self.ridge * np.eye(vectors.shape[1], dtype="float32")
        )

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        by_customer = bought(past, self.days, self.decay)
        by_customer.data *= self.alpha
        by_article = by_customer.T.tocsr()
        rng = np.random.default_rng(self.seed)
        articles = rng.normal(0, 0.01, (len(self.assortment), self.dimensions)).astype("float32")
        articles[np.diff(by_article.indptr) == 0] = 0
        customers = np.zeros((by_customer.shape[0], self.dimensions), dtype="float32")
        for _ in range(self.sweeps if by_customer.nnz else 0):
            self._improve(customers, by_customer, articles)
            self._improve(articles, by_article, customers)
        self.keep(articles, selling(past, self.trend), customers[:MEASURED])
        return self

    def _improve(self, vectors: np.ndarray, matrix: sparse.csr_matrix, other: np.ndarray) -> None:
        """Bring one side's vectors (N x D) nearer to what the other side's (M x D) ask for.

        Args:
            matrix: alpha w (N x M).
        """
        gram = self._regular(other)
        start, rows = 0, matrix.shape[0]
        while start < rows:
            end = int(np.searchsorted(matrix.indptr, matrix.indptr[start] + _ENTRIES, "right")) - 1
            end = min(max(end, start + 1), rows)
            vectors[start:end] = self._solved(vectors[start:end], matrix[start:end], other, gram)
            start = end

    def _solved(
        self, found: np.ndarray, matrix: sparse.csr_matrix, other: np.ndarray, gram: np.ndarray
    ) -> np.ndarray:
        """Conjugate gradients on all rows at once."""
        row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        theirs = other[matrix.indices]

        def seen(vectors: np.ndarray) -> np.ndarray:
            """Of each purchase, its confidence above 1 times the product of its two vectors."""
            return np.asarray(np.einsum("rd,rd->r", theirs, vectors[row]) * matrix.data)

        def gathered(values: np.ndarray) -> np.ndarray:
            """The other side's vectors, summed for each row with a value for each purchase."""
            weights = sparse.csr_matrix((values, matrix.indices, matrix.indptr), matrix.shape)
            return np.asarray(weights @ other)

        residual = gathered(1 + matrix.data - seen(found)) - found @ gram
        direction = residual.copy()
        length = np.einsum("nd,nd->n", residual, residual)
        found = found.copy()
        for _ in range(self.steps):
            moved = direction @ gram + gathered(seen(direction))
            curve = np.einsum("nd,nd->n", direction, moved)
            step = np.divide(length, curve, out=np.zeros_like(length), where=curve > 1e-20)
            found += step[:, None] * direction
            residual -= step[:, None] * moved
            before, length = length, np.einsum("nd,nd->n", residual, residual)
            turn = np.divide(length, before, out=np.zeros_like(length), where=before > 1e-20)
            direction = residual + turn[:, None] * direction
        return found

    def parts(self, articles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        system, asked_for = self._equations(articles, weights)
        return np.asarray(np.linalg.solve(system, asked_for.T).T)

    def fold_in(self, starts: np.ndarray, articles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        found = np.empty((len(starts) - 1, self.factors.shape[1]), dtype="float32")
        for customer, (start, end) in enumerate(pairwise(starts)):
            system, asked_for = self._equations(articles[start:end], weights[start:end])
            found[customer] = np.linalg.solve(system, asked_for.sum(axis=0))
        return found

    def _equations(
        self, articles: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Y'CY + ridge I (D x D) of a customer, and what each article adds to Y'C p (R x D)."""
        own = self.factors[articles]
        surer = self.alpha * weights[:, None].astype("float32")
        return self._gram + own.T @ (own * surer), own * (1 + surer)
