"""Customer-customer collaborative filtering: what those bought who bought what this customer did.

Resnick, Iacovou, Suchak, Bergstrom and Riedl, "GroupLens" (CSCW 1994), for purchases in place of grades, with
the most alike customers only (Herlocker, Konstan, Borchers and Riedl, SIGIR 1999). The others are rows without
a name: those who bought last, at most so many, and of each article only the buyers among them who bought
anything last are looked through, as session-based neighbours are found (Jannach and Ludewig, RecSys 2017).
Cost of fitting: one pass over the purchases; of a request: the customer's articles times `buyers`, then
the neighbours' articles.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import sparse

from pipelines.assortment import Assortment
from pipelines.retrievers.base import (
    NOTHING,
    Asked,
    Past,
    Proposals,
    Retriever,
    Weights,
    best_of_sums,
)
from pipelines.retrievers.purchase_matrix import bought, evened, habit, selling

_BLOCK = 500
"""Customers answered at a time: what bounds the memory of a batch."""


class CustomerKnn(Retriever):
    """Articles by how much the customer's nearest neighbours bought them lately.

    Two customers are alike by the cosine of what they bought, to the power `sharp`. A neighbour's articles
    count as much as the neighbour is alike. Whoever asks may find themself among them.

    Args:
        customers: at most so many are kept, those who bought last.
        neighbours: how many of them answer.
        buyers: how many of an article's buyers are looked through, those who bought anything last.
        sharp: how much more the most alike count.
        own: how much the customer counts beside a neighbour who is all like them.
        days: look-back in days.
        decay: time in which a purchase's weight falls to 1/e, in days.
        trend: power of what an article sold in the last week, which its score is multiplied with.
    """

    name = "customer_knn"

    def __init__(
        self,
        customers: int = 200_000,
        neighbours: int = 300,
        buyers: int = 200,
        sharp: float = 3.0,
        own: float = 1.0,
        days: int = 365,
        decay: float = 60.0,
        trend: float = 0.25,
    ) -> None:
        self.customers = customers
        self.neighbours = neighbours
        self.buyers = buyers
        self.sharp = sharp
        self.own = own
        self.days = days
        self.decay = decay
        self.trend = trend
        empty = sparse.csr_matrix((0, 0), dtype="float32")
        self.rows = self.buyers_of = self.offers = empty
        self.trend_of = np.zeros(0, dtype="float32")

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        matrix = bought(past, self.days, self.decay)[: self.customers]
        self._keep(evened(matrix, 1.0), selling(past, self.trend))
        return self

    def _keep(self, rows: sparse.csr_matrix, trend_of: np.ndarray) -> None:
        """Take these customers, and stand ready to look them up by what they bought.

        Args:
            rows: customers x articles, of length 1, the latest first.
        """
        self.rows = rows
        self.trend_of = trend_of
        by_article = rows.T.tocsr()
        by_article.sort_indices()
        turn = np.arange(by_article.nnz) - np.repeat(
            by_article.indptr[:-1], np.diff(by_article.indptr)
        )
        kept = turn < self.buyers
        self.buyers_of = sparse.csr_matrix(
            (
                by_article.data[kept],
                by_article.indices[kept],
                np.concatenate([[0], np.cumsum(kept)])[by_article.indptr],
            ),
            by_article.shape,
        )
        offered = np.where(self.assortment.on_sale, trend_of, 0).astype("float32")
        both = sparse.vstack([rows, sparse.identity(len(offered), dtype="float32")])
        self.offers = sparse.csr_matrix(both @ sparse.diags(offered))
        self.offers.eliminate_zeros()

    def propose(self, asked: Asked, k: int) -> Proposals:
        history = asked.history(self.assortment)
        weight = habit(history)
        length = np.sqrt(np.bincount(history.customer, weight**2, len(asked)))
        own = Weights(history.customer, history.article, weight / length[history.customer])
        everybody = np.ones(self.rows.shape[0], dtype=bool)
        found = []
        for start in range(0, len(asked), _BLOCK):
            count = min(_BLOCK, len(asked) - start)
            here = slice(*np.searchsorted(own.customer, [start, start + count]))
            block = Weights(own.customer[here] - start, own.row[here], own.weight[here])
            near = best_of_sums(block, count, self.buyers_of, everybody, self.neighbours)
            # The customer's own articles stand below the rows of the others.
            weights = Weights(
                np.concatenate([near.customer, block.customer]),
                np.concatenate([near.article, len(everybody) + block.row]),
                np.concatenate([near.score**self.sharp, self.own * block.weight]),
            )
            best = best_of_sums(weights, count, self.offers, self.assortment.on_sale, k)
            found.append(best._replace(customer=start + best.customer))
        if not found:
            return NOTHING
        return Proposals(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return "Bought by customers who buy what you buy."

    def save(self, folder: Path) -> None:
        self.assortment.save(folder)
        sparse.save_npz(folder / "customers.npz", self.rows, compressed=False)
        np.save(folder / "trend_of.npy", self.trend_of)

    def load(self, folder: Path) -> Self:
        self.assortment = Assortment.load(folder)
        rows = sparse.csr_matrix(sparse.load_npz(folder / "customers.npz"))
        self._keep(rows, np.load(folder / "trend_of.npy", allow_pickle=False))
        return self
