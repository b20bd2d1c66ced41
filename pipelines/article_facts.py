"""What re-ranking and evaluation must know of each article, at a cutoff and from memory.

Likeness, launch, product, price and how much it sells: read once from the feature store, kept as arrays
in the order of the assortment, saved with a release.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from pipelines.assortment import Assortment
from pipelines.features import OfflineFeatures, moment_of
from pipelines.retrievers.base import Past, days_since_epoch
from pipelines.retrievers.similar import CONTENT_SERVICE, as_unit, vectors_of

SALES_SERVICE = "article_sales"
DIMENSIONS = 32
"""Of the vectors that stand for attributes."""
GROUPS = {
    "product": "article_profile__product_code",
    "product_type": "article_profile__product_type_name",
    "product_group": "article_profile__product_group_name",
    "colour": "article_profile__colour_group_name",
    "department": "article_profile__department_name",
    "index_group": "article_profile__index_group_name",
}
"""Kinds of groups of articles -> the feature with the group."""
_ARRAYS, _NAMES = "facts.npz", "groups.json"


@dataclass(frozen=True)
class ArticleFacts:
    """Facts in order of the assortment's A articles; what only it does not know is missing.

    Attributes:
        vectors: unit vectors whose product is the likeness of two articles (A x D), zeros where nothing is
            known.
        groups: {kind of `GROUPS`: number of each article's group (A,), -1 where it is not known}.
        names: {kind: name of each of its groups}.
        launched: days from 1970 to the first sale (A,), NaN for what never sold.
        price: the latest (A,), NaN for what never sold.
        share: of the lines of the last 30 days (A,), 0 for what did not sell; they add up to 1.
    """

    assortment: Assortment
    vectors: np.ndarray
    groups: dict[str, np.ndarray]
    names: dict[str, list[str]]
    launched: np.ndarray
    price: np.ndarray
    share: np.ndarray

    @classmethod
    def at(cls, past: Past) -> Self:
        """As they were known at the cutoff."""
        features = OfflineFeatures(moment_of(past.cutoff))
        asked = pd.DataFrame({"article_id": past.assortment.ids}, dtype=object)
        content = features.read(asked, CONTENT_SERVICE)
        sales = features.read(asked, SALES_SERVICE)
        groups, names = {}, {}
        for kind, column in GROUPS.items():
            numbers, found = pd.factorize(content[column].astype(object), sort=True)
            groups[kind] = numbers.astype("int32")
            names[kind] = [str(name) for name in found]
        first = pd.to_datetime(sales["article_activity__first_sold"], utc=True)
        sold = sales["article_activity__t_purchases_30d"].fillna(0).to_numpy("float64")
        return cls(
            past.assortment,
            _vectors(content),
            groups,
            names,
            ((first - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)).to_numpy("float64"),
            sales["article_activity__latest_price"].to_numpy("float64", na_value=np.nan),
            sold / max(sold.sum(), 1.0),
        )

    @cached_property
    def mix(self) -> dict[str, np.ndarray]:
        """{kind of `GROUPS`: what share of sales each of its groups has}, zeros if nothing sold."""
        found = {}
        for kind, numbers in self.groups.items():
            has = numbers >= 0
            sold = np.bincount(numbers[has], self.share[has], len(self.names[kind]))
            found[kind] = sold / (sold.sum() or 1.0)
        return found

    def days_on_sale(self, moment: datetime, places: np.ndarray | None = None) -> np.ndarray:
        """Days since the first sale (A,), 0 for what never sold: it is as new as can be.

        Args:
            places: only of these articles; all if None.
        """
        launched = self.launched if places is None else self.launched[places]
        return np.nan_to_num(days_since_epoch(moment) - launched, nan=0.0).clip(min=0)

    def save(self, folder: Path) -> None:
        self.assortment.save(folder)
        arrays = {f"groups_{kind}": numbers for kind, numbers in self.groups.items()}
        for name in ("vectors", "launched", "price", "share"):
            arrays[name] = getattr(self, name)
        np.savez(folder / _ARRAYS, **arrays)  # type: ignore[arg-type]
        (folder / _NAMES).write_text(json.dumps(self.names))

    @classmethod
    def load(cls, folder: Path) -> Self:
        names = json.loads((folder / _NAMES).read_text())
        with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
            return cls(
                Assortment.load(folder),
                arrays["vectors"],
                {kind: arrays[f"groups_{kind}"] for kind in names},
                names,
                *(arrays[name] for name in ("launched", "price", "share")),
            )


def _vectors(content: pd.DataFrame) -> np.ndarray:
    """Attributes, words and picture beside each other, each as a unit vector (A x D float32).

    So the product of two is the mean of the likenesses of each kind, as far as both are known.
    """
    kinds = [_attributes(content)]
    kinds += [vectors_of(content[name]) for name in content.columns if name.endswith("_embedding")]
    return as_unit(np.concatenate(kinds, axis=1))


def _attributes(content: pd.DataFrame) -> np.ndarray:
    """Attribute values by how rare they are (inverse document frequency), in few dimensions."""
    size, blocks = len(content), []
    for column in content.columns:
        if column == "article_id" or column.endswith("_embedding"):
            continue
        numbers, names = pd.factorize(content[column].astype(object), sort=True)
        has = np.flatnonzero(numbers >= 0)
        counts = np.bincount(numbers[has], minlength=len(names))
        weight = np.log(size / np.maximum(counts, 1))[numbers[has]]
        # A value that one article alone has makes it like none.
        shared = counts[numbers[has]] > 1
        places = (has[shared], numbers[has][shared])
        blocks.append(sparse.csr_matrix((weight[shared], places), (size, len(names))))
    matrix = sparse.hstack([sparse.csr_matrix((size, 0)), *blocks], format="csr")
    width = min(DIMENSIONS, min(matrix.shape) - 1)
    if width < 1 or not matrix.nnz:
        return np.zeros((size, 0), dtype="float32")
    left, strength, _ = randomized_svd(matrix, width, random_state=7)
    return as_unit((left * strength).astype("float32"))
