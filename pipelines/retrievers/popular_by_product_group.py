"""Popular of its kind: what sold most of the product groups that the customer buys from."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipelines.retrievers.base import Asked, Past, Weights
from pipelines.retrievers.popular import PopularInKind

_KIND_OF = """
SELECT article, product_group_name AS kind
FROM places
INNER JOIN staging.articles USING (article_id)
WHERE product_group_name IS NOT NULL
"""


class PopularByProductGroup(PopularInKind):
    """By product group, each as much as the customer bought of it lately (decayed over 30 days)."""

    name = "popular_by_product_group"
    kind = "product_group_name"
    joined = "INNER JOIN staging.articles USING (article_id)"

    def __init__(self, days: int = 7, keep: int = 500) -> None:
        super().__init__(days, keep)
        self.kind_of = np.array([], dtype="int32")
        """The kind of each article (A,), -1 where it is unknown or sold nothing."""

    def fit(self, past: Past) -> Self:
        super().fit(past)
        found = past.query(_KIND_OF)
        self.kind_of = np.full(len(self.assortment), -1, dtype="int32")
        self.kind_of[found["article"]] = [self.kinds.get(str(kind), -1) for kind in found["kind"]]
        return self

    def shares(self, asked: Asked) -> Weights:
        history = asked.history(self.assortment)
        kinds = self.kind_of[history.article]
        known = kinds >= 0
        customer, weight = history.customer[known], history.weight[known]
        total = np.bincount(customer, weight, len(asked))[customer]
        return Weights(customer, kinds[known], weight / np.where(total > 0, total, 1.0))

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        group = row.get("article_profile__product_group_name")
        return f"Popular in {group}." if isinstance(group, str) else "Popular where you buy."

    def save(self, folder: Path) -> None:
        super().save(folder)
        np.save(folder / "kind_of.npy", self.kind_of)

    def load(self, folder: Path) -> Self:
        super().load(folder)
        self.kind_of = np.load(folder / "kind_of.npy", allow_pickle=False)
        return self
