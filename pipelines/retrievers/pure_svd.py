"""PureSVD: a customer's articles, seen through the few directions in which purchases vary most.

Cremonesi, Koren and Turrin, "Performance of recommender algorithms on top-n recommendation tasks" (RecSys
2010): with V the right singular vectors of the customers x articles matrix (A x D), a customer with weights
w is w V and an article its row of V. Here entries fade with age. The decomposition is the randomised one of
Halko, Martinsson and Tropp (SIAM Review 2011). Cost of fitting: some ten passes over the purchases with D
numbers each; of a request: a sum of D numbers per article bought, and one search.
"""

from typing import Self

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from pipelines.retrievers.article_factors import MEASURED, ArticleFactors
from pipelines.retrievers.base import Past
from pipelines.retrievers.purchase_matrix import bought, evened, selling


class PureSvd(ArticleFactors):
    """Articles near to what the customer bought.

    Args:
        dimensions: D.
        days: look-back in days.
        decay: time in which a purchase's weight falls to 1/e, in days.
        common: how much what sells much is held back, from 0 (not) to 1: articles' columns are divided by
            their length to this power.
        even: the same for customers who buy much.
        trend: power of what an article sold in the last week, which its score is multiplied with.
        seed: of the randomised decomposition.
    """

    name = "pure_svd"

    def __init__(
        self,
        dimensions: int = 64,
        days: int = 365,
        decay: float = 120.0,
        common: float = 0.5,
        even: float = 1.0,
        trend: float = 0.25,
        seed: int = 7,
    ) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.days = days
        self.decay = decay
        self.common = common
        self.even = even
        self.trend = trend
        self.seed = seed

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        matrix = evened(bought(past, self.days, self.decay), self.even)
        matrix = evened(matrix.T.tocsr(), self.common).T.tocsr()
        size = min(self.dimensions, *matrix.shape)
        vectors = np.zeros((len(self.assortment), 1), dtype="float32")
        if size:
            _, _, found = randomized_svd(matrix, size, n_iter=4, random_state=self.seed)
            vectors = found.T
        self.keep(vectors, selling(past, self.trend), matrix[:MEASURED] @ vectors)
        return self

    def parts(self, articles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.asarray(self.factors[articles] * weights[:, None].astype("float32"))

    def fold_in(self, starts: np.ndarray, articles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if len(starts) == 2:
            # For one, making a sparse matrix costs more than what is in it.
            return np.asarray(weights.astype("float32") @ self.factors[articles])[None]
        counts = sparse.csr_matrix(
            (weights.astype("float32"), articles, starts), (len(starts) - 1, len(self.factors))
        )
        return np.asarray(counts @ self.factors)
