"""What retrievers share that go from the customer's own articles to like ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from scipy import sparse

from feature_repo.windows import DECAY_DAYS
from pipelines.assortment import Assortment
from pipelines.columns import Table
from pipelines.retrievers.base import (
    Asked,
    History,
    Proposals,
    Retriever,
    Weights,
    best_of_sums,
    cells_of,
    largest,
)

_BLOCK = 2_000
"""Articles whose likeness is computed at a time: what bounds the memory of fitting."""


class ArticleToArticle(Retriever):
    """A customer's score of an article is the sum, over their own articles, of how much each counts
    (`weigh`) times how like the two are (`likeness`)."""

    names_own: ClassVar[bool] = True
    """Whether articles that the customer has are named again."""
    of_itself: ClassVar[str] = "You bought it before."
    """Why, where it was that article itself which led to it."""

    def __init__(self) -> None:
        self.likeness = sparse.csr_matrix((0, 0), dtype="float32")
        """A x A: of each article those that are like it, all of them on sale."""

    def weigh(self, history: History) -> np.ndarray:
        """How much each article of a customer counts (R,): ln(1 + times bought) exp(-days since / 30)."""
        return np.log1p(history.times) * np.exp(-history.age / DECAY_DAYS)

    def seeds(self, asked: Asked) -> Weights:
        """How much each of the customers' articles counts."""
        history = asked.history(self.assortment)
        return Weights(history.customer, history.article, self.weigh(history))

    def propose(self, asked: Asked, k: int) -> Proposals:
        return best_of_sums(
            self.seeds(asked),
            len(asked),
            self.likeness,
            self.assortment.on_sale,
            k,
            rows_too=self.names_own,
        )

    def similar_articles(self, article_ids: Sequence[str], k: int) -> pd.DataFrame:
        """The articles on sale that are most like each of these, but itself.

        Args:
            article_ids: S articles; one that is not known is like none.
            k: at most so many for each, no more than were kept of it when the retriever was fitted.

        Returns:
            article_id, similar_id, score (likeness, higher is more like) and rank (from 1); at most
            S x k rows, in order of `article_ids` and rank.

        Raises:
            ValueError: k is below 0.
        """
        if k < 0:
            raise ValueError(f"k is {k}: how many articles like each are wanted, 0 or more.")
        places = self.assortment.places(list(article_ids))
        known = np.flatnonzero(places >= 0)
        each = Weights(np.arange(len(known)), places[known], np.ones(len(known)))
        found = best_of_sums(
            each, len(known), self.likeness, self.assortment.on_sale, k, rows_too=False
        )
        return pd.DataFrame(
            {
                "article_id": np.array(list(article_ids), dtype=object)[known][found.customer],
                "similar_id": self.assortment.ids[found.article],
                "score": found.score,
                "rank": found.rank,
            }
        )

    def because(self, asked: Asked, pairs: Table) -> list[str | None]:
        customers = asked.positions(pairs)
        places = self.assortment.places(list(pairs["article_id"]))
        found: list[str | None] = [None] * len(pairs)
        seeds = self.seeds(asked)
        for customer in dict.fromkeys(customers[customers >= 0].tolist()):
            own = seeds.customer == customer
            # Of equal ones the first article counts, whenever it was met.
            bought, which = np.unique(seeds.row[own], return_inverse=True)
            weight = np.bincount(which, seeds.weight[own], len(bought))
            cells, sizes = cells_of(self.likeness, bought)
            share = np.repeat(weight, sizes) * self.likeness.data[cells]
            article, by = self.likeness.indices[cells], np.repeat(bought, sizes)
            for pair in np.flatnonzero((customers == customer) & (places >= 0)):
                here = np.flatnonzero(article == places[pair])
                if len(here) and share[here].max() > 0:
                    best = by[here[np.argmax(share[here])]]
                    found[pair] = str(self.assortment.ids[best])
        return found

    def save(self, folder: Path) -> None:
        self.assortment.save(folder)
        sparse.save_npz(folder / "likeness.npz", self.likeness, compressed=False)

    def load(self, folder: Path) -> Self:
        self.assortment = Assortment.load(folder)
        self.likeness = sparse.csr_matrix(sparse.load_npz(folder / "likeness.npz"))
        return self


def cosines(
    weighted: sparse.csr_matrix,
    on_sale: np.ndarray,
    neighbours: int,
    *,
    shrink: float = 0.0,
    itself: bool = False,
    factor: np.ndarray | None = None,
) -> sparse.csr_matrix:
    """How like articles are to those on sale: shrunk cosines of columns, the largest of each row.

    With C = X'X, two articles are alike by C_ij / sqrt((C_ii + shrink)(C_jj + shrink)).

    Args:
        weighted: X, baskets or customers by articles.
        on_sale: articles that may be like another (A,).
        neighbours: how many to keep of each article.
        shrink: keeps rare articles from looking alike by chance.
        itself: whether an article is like itself.
        factor: what likeness to each article is multiplied with (A,).

    Returns:
        A x A, float32.
    """
    size = weighted.shape[1]
    own = np.asarray(weighted.multiply(weighted).sum(axis=0)).ravel() + shrink
    scale = np.divide(1.0, np.sqrt(own), out=np.zeros(size), where=own > 0)
    there_scale = scale if factor is None else scale * factor
    by_article = weighted.T.tocsr()
    there = (weighted @ sparse.diags(on_sale.astype("float64"))).tocsr()
    there.eliminate_zeros()
    blocks = [sparse.csr_matrix((0, size), dtype="float32")]
    for start in range(0, size, _BLOCK):
        together = (by_article[start : start + _BLOCK] @ there).tocoo()
        wanted = slice(None) if itself else together.row + start != together.col
        row, col = together.row[wanted], together.col[wanted]
        value = (together.data[wanted] * scale[row + start] * there_scale[col]).astype("float32")
        alike = sparse.csr_matrix((value, (row, col)), together.shape)
        blocks.append(largest(alike, neighbours))
    return sparse.vstack(blocks, format="csr")
