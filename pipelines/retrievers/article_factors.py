"""What retrievers share in which an article is a vector and a customer the sum of their articles' parts."""

import hashlib
from abc import abstractmethod
from collections.abc import Hashable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from pipelines.assortment import Assortment
from pipelines.columns import Table
from pipelines.nearest import Index
from pipelines.retrievers.base import NOTHING, Asked, Proposals, Retriever, ranked
from pipelines.retrievers.purchase_matrix import habit

MEASURED = 2_000
"""Past customers, the latest, for whom an index of articles must find enough."""


class ArticleFactors(Retriever):
    """A customer's score of an article is the product of two vectors times what the article sold lately.

    The customer's vector is the sum of one part for each article that they bought, made when they ask
    (folding in), so that every score can be shared out among the customer's articles.

    Attributes:
        factors: articles' vectors (A x D float32), zero where nothing was learnt.
        trend_of: what an article's score is multiplied with (A,).
    """

    def __init__(self) -> None:
        self.factors = np.zeros((0, 1), dtype="float32")
        self.trend_of = np.zeros(0, dtype="float32")
        self.taught = np.zeros(0, dtype=bool)
        """Of which articles anything was learnt (A,)."""
        self.offered = np.zeros(0, dtype="int64")
        """Places of the articles that may be named, in the order of the index."""
        self.index: Index | None = None
        """None while no article may be named."""

    def keep(self, factors: np.ndarray, trend_of: np.ndarray, customers: np.ndarray) -> None:
        """Take what was learnt, and index the articles on sale.

        Args:
            customers: vectors of some customers (N x D), for which the index must find enough.
        """
        self.take(np.ascontiguousarray(factors, dtype="float32"), trend_of)
        self.index = None
        if len(self.offered):
            vectors = self.factors[self.offered] * self.trend_of[self.offered, None]
            self.index = Index.build(vectors, made_for=self.version(), queries=customers)

    def take(self, factors: np.ndarray, trend_of: np.ndarray) -> None:
        self.factors = factors
        self.trend_of = trend_of
        self.taught = (factors != 0).any(axis=1)
        self.offered = np.flatnonzero(self.assortment.on_sale & self.taught)

    def version(self) -> str:
        """Of the vectors, which an index of others does not fit."""
        digest = hashlib.sha256(self.assortment.digest.encode())
        for array in (self.factors, self.trend_of):
            digest.update(array.tobytes())
        return digest.hexdigest()

    @abstractmethod
    def parts(self, articles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """What each article of one customer gives to the customer's vector (R x D).

        Args:
            articles: places of what they bought (R,).
            weights: how much each counts (R,).
        """

    def fold_in(self, starts: np.ndarray, articles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The vectors of customers (N x D): the sums of their articles' parts.

        Args:
            starts: where the articles of each customer begin, and the end of the last (N + 1,).
            articles: places, customer by customer (R,).
            weights: how much each counts (R,).
        """
        return np.stack(
            [
                self.parts(articles[start:end], weights[start:end]).sum(axis=0)
                for start, end in pairwise(starts)
            ]
        )

    def propose(self, asked: Asked, k: int) -> Proposals:
        history = asked.history(self.assortment)
        # Whoever bought only what nothing was learnt of is like one who bought nothing.
        taught = np.flatnonzero(self.taught[history.article])
        if not len(taught) or self.index is None:
            return NOTHING
        whom, starts = np.unique(history.customer[taught], return_index=True)
        vectors = self.fold_in(
            np.append(starts, len(taught)), history.article[taught], habit(history)[taught]
        )
        scores, found = self.index.search(vectors, k)
        known = found.ravel() >= 0
        return ranked(
            np.repeat(whom, found.shape[1])[known],
            self.offered[found.ravel()[known]],
            scores.ravel()[known],
            k,
        )

    def because(self, asked: Asked, pairs: Table) -> list[str | None]:
        history = asked.history(self.assortment)
        weights = habit(history)
        customers = asked.positions(pairs)
        places = self.assortment.places(list(pairs["article_id"]))
        found: list[str | None] = [None] * len(pairs)
        for customer in np.unique(customers[customers >= 0]):
            own = slice(*np.searchsorted(history.customer, [customer, customer + 1]))
            bought = history.article[own]
            asks = np.flatnonzero((customers == customer) & (places >= 0))
            if not len(bought) or not len(asks):
                continue
            shares = self.parts(bought, weights[own]) @ self.factors[places[asks]].T
            best = shares.argmax(axis=0)
            for number, pair in enumerate(asks):
                if shares[best[number], number] > 0:
                    found[pair] = str(self.assortment.ids[bought[best[number]]])
        return found

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        if led_by:
            return f"Fits your taste, as {led_by} does."
        return "Fits what you bought."

    def save(self, folder: Path) -> None:
        self.assortment.save(folder)
        save_file(
            {"factors": self.factors, "trend_of": self.trend_of}, folder / "factors.safetensors"
        )
        if self.index is not None:
            self.index.save(folder)

    def load(self, folder: Path) -> Self:
        self.assortment = Assortment.load(folder)
        saved = load_file(folder / "factors.safetensors")
        self.take(saved["factors"], saved["trend_of"])
        self.index = Index.load(folder, made_for=self.version()) if len(self.offered) else None
        return self
