"""Similar articles: those whose content is like that of the customer's own.

What is known of an article from its first day: attributes, words, picture. So articles without a
single sale are named too. Cost of fitting: articles x articles on sale x dimensions, in blocks; of a
request: the customer's articles times the neighbours of each.
"""

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from pipelines.features import OfflineFeatures, moment_of
from pipelines.nearest import faiss
from pipelines.retrievers.article_to_article import ArticleToArticle, cosines
from pipelines.retrievers.base import FUSION, Past, largest, ranked

CONTENT_SERVICE = "article_content"
COMMON = 0.03
"""Attribute values that a greater share of articles has say too little to make two alike."""
FEW = 50
"""Articles among which no value is too common."""


class Similar(ArticleToArticle):
    """Articles by their likeness to the customer's own, which are not named themselves.

    Args:
        neighbours: how many like articles to remember of each.
    """

    in_words: ClassVar[str]
    names_own = False

    def __init__(self, neighbours: int = 100) -> None:
        super().__init__()
        self.neighbours = neighbours

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return f"{self.in_words} {led_by or 'what you bought'}."


class SimilarByContent(Similar):
    """By what is known of an article before anybody has bought it."""

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        asked = pd.DataFrame({"article_id": past.assortment.ids}, dtype=object)
        content = OfflineFeatures(moment_of(past.cutoff)).read(asked, CONTENT_SERVICE)
        self.likeness = self.alike(content)
        return self

    @abstractmethod
    def alike(self, content: pd.DataFrame) -> sparse.csr_matrix:
        """A x A: of each article the `neighbours` on sale that are most like it, but itself.

        Args:
            content: the service `article_content`, a row for each article of the assortment.
        """


class SimilarByMetadata(SimilarByContent):
    """By what the article file says: product, type, group, colour, pattern, section and so on, and by the
    visual cluster where there are pictures.

    Two articles are alike by the cosine of their attribute values, each weighted by the logarithm of how
    rare it is (inverse document frequency, Sparck Jones 1972).
    """

    name = "similar_by_metadata"
    in_words = "The same kind of article as"

    def alike(self, content: pd.DataFrame) -> sparse.csr_matrix:
        size = len(content)
        values = []
        for column in content.columns:
            if column == "article_id" or any(
                map(pd.api.types.is_list_like, content[column].dropna().head(1))
            ):
                continue
            codes, names = pd.factorize(content[column])
            has = np.flatnonzero(codes >= 0)
            counts = np.bincount(codes[has], minlength=len(names))
            telling = counts <= max(COMMON * size, FEW)
            weight = np.where(telling, np.log(size / np.maximum(counts, 1)), 0.0)
            matrix = sparse.csr_matrix((weight[codes[has]], (codes[has], has)), (len(names), size))
            values.append(matrix)
        weighted = sparse.vstack(
            [sparse.csr_matrix((0, size), dtype="float64"), *values], format="csr"
        )
        weighted.eliminate_zeros()
        return cosines(weighted, self.assortment.on_sale, self.neighbours)


class SimilarByVector(SimilarByContent):
    """By an embedding of the article; who has none is like nobody."""

    column: ClassVar[str]

    def fit(self, past: Past) -> Self:
        super().fit(past)
        if not self.likeness.nnz:
            past.progress(
                f"{self.name} names nothing: too few articles have the vectors that `lookbook features embed` "
                "makes of them"
            )
        return self

    def alike(self, content: pd.DataFrame) -> sparse.csr_matrix:
        return nearest_vectors(
            vectors_of(content[self.column]), self.assortment.on_sale, self.neighbours
        )


class SimilarByText(SimilarByVector):
    """By the words of name, category and description (`article_profile__text_embedding`)."""

    name = "similar_by_text"
    column = "article_profile__text_embedding"
    in_words = "Described like"


class SimilarByImage(SimilarByVector):
    """By the picture (`article_profile__image_embedding`)."""

    name = "similar_by_image"
    column = "article_profile__image_embedding"
    in_words = "Looks like"


class SimilarByTransactions(Similar):
    """By who buys them: the cosine of article vectors from a singular value decomposition of purchases.

    Finds articles alike that nobody has bought together, for the same people buy their like (Sarwar et
    al., 2000).

    Args:
        dimensions: of the vectors.
        days: look-back in days.
        seed: of the randomised decomposition.
    """

    name = "similar_by_transactions"
    in_words = "Bought by those who buy"

    def __init__(
        self, neighbours: int = 100, dimensions: int = 64, days: int = 365, seed: int = 7
    ) -> None:
        super().__init__(neighbours)
        self.dimensions = dimensions
        self.days = days
        self.seed = seed

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        history = past.history(self.days)
        bought = sparse.csr_matrix(
            (np.log1p(history.times), (history.customer, history.article)),
            (int(history.customer.max(initial=-1)) + 1, len(past.assortment)),
        )
        size = min(self.dimensions, min(bought.shape) - 1)
        if size < 1:
            self.likeness = sparse.csr_matrix((len(self.assortment),) * 2, dtype="float32")
            return self
        _, strength, vectors = randomized_svd(bought, size, random_state=self.seed)
        unit = as_unit((vectors * strength[:, None]).T.astype("float32"))
        self.likeness = nearest_vectors(unit, self.assortment.on_sale, self.neighbours)
        return self


class SimilarBlended(SimilarByContent):
    """By attributes, words and picture together: the sum of what each kind gives an article for its rank
    among the nearest, 1 / (60 + rank) (reciprocal rank fusion; Cormack et al., SIGIR 2009).

    Likenesses themselves cannot be added up: those of pictures lie close together near 1, and would decide.
    """

    name = "similar"
    in_words = "Like"

    def alike(self, content: pd.DataFrame) -> sparse.csr_matrix:
        total = sparse.csr_matrix((len(content), len(content)), dtype="float32")
        for kind in (SimilarByMetadata, SimilarByText, SimilarByImage):
            one = kind(self.neighbours)
            one.assortment = self.assortment
            total = total + by_rank(one.alike(content))
        return largest(total, self.neighbours)


def by_rank(likeness: sparse.csr_matrix) -> sparse.csr_matrix:
    """1 / (60 + rank) in place of each value, by its rank in its row; of equal ones the first column is
    before."""
    row = np.repeat(np.arange(likeness.shape[0]), np.diff(likeness.indptr))
    found = ranked(row, likeness.indices, likeness.data, likeness.shape[1])
    shares = (1 / (FUSION + found.rank)).astype("float32")
    return sparse.csr_matrix((shares, (found.customer, found.article)), likeness.shape)


def vectors_of(column: pd.Series) -> np.ndarray:
    """Lists of one length as unit vectors (A x D float32); rows without one are zero."""
    lists = column.to_numpy()
    has = np.array([pd.api.types.is_list_like(found) and len(found) > 0 for found in lists], bool)
    width = len(lists[np.argmax(has)]) if has.any() else 0
    vectors = np.zeros((len(lists), width), dtype="float32")
    if width:
        vectors[has] = np.stack([np.asarray(found, dtype="float32") for found in lists[has]])
    return as_unit(vectors)


def as_unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1 (A x D); those of length 0 stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), dtype="float32")


def nearest_vectors(unit: np.ndarray, on_sale: np.ndarray, neighbours: int) -> sparse.csr_matrix:
    """The articles on sale with the largest positive cosine to each, but itself.

    Args:
        unit: unit vectors (A x D); an article without one has zeros, and is like none.
        on_sale: articles that may be like another (A,).
        neighbours: how many to keep of each article.

    Returns:
        A x A, float32.
    """
    there = np.flatnonzero(on_sale & (unit != 0).any(axis=1))
    size = len(unit)
    count = min(neighbours + 1, len(there))
    if not count:
        return sparse.csr_matrix((size, size), dtype="float32")
    value, nth = faiss.knn(unit, unit[there], count, metric=faiss.METRIC_INNER_PRODUCT)
    row, col, value = np.repeat(np.arange(size), count), there[nth.ravel()], value.ravel()
    wanted = (row != col) & (value > 0)
    alike = sparse.csr_matrix((value[wanted], (row[wanted], col[wanted])), (size, size))
    return largest(alike, neighbours)
