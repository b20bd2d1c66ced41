"""Repurchase ("buy it again"): what the customer bought before, the more and the later the better.

Anderson et al., "The dynamics of repeat consumption" (WWW 2014): what is bought again is what was bought
lately and often, and what is worth it to others too. Cost of fitting: one count of the last week; of a
request: the customer's articles.
"""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from feature_repo.windows import DECAY_DAYS
from pipelines.assortment import Assortment
from pipelines.columns import Table
from pipelines.retrievers.base import Asked, Past, Proposals, Retriever, ranked
from pipelines.retrievers.purchase_matrix import habit, selling


class Repurchase(Retriever):
    """Each past line of an article counts exp(-age / 30 days), and for what is long ago the times bought
    exp(-days since / 365 days); all of it times (1 + customers in the last 7 days) ** trend.

    What a customer bought stands in their own features; what is learnt is what sells.

    Args:
        trend: how much what sells lately counts; 0 is the customer's own habit alone.
    """

    name = "repurchase"

    def __init__(self, trend: float = 0.5) -> None:
        self.trend = trend
        self.trend_of = np.zeros(0, dtype="float32")
        """What an article's score is multiplied with (A,)."""

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        self.trend_of = selling(past, self.trend)
        return self

    def propose(self, asked: Asked, k: int) -> Proposals:
        history = asked.history(self.assortment)
        there = self.assortment.on_sale[history.article]
        article = history.article[there]
        score = habit(history)[there] * self.trend_of[article]
        return ranked(history.customer[there], article, score, k)

    def because(self, asked: Asked, pairs: Table) -> list[str | None]:
        return list(pairs["article_id"])

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        times, last = (
            row.get(f"customer_article__{name}") for name in ("times_bought", "last_bought")
        )
        if pd.isna(times) or pd.isna(last):
            return "You bought this before."
        often = {1: "once", 2: "twice"}.get(int(times), f"{times:.0f} times")
        day = pd.Timestamp(last)
        return f"You bought this {often}, last on {day.day} {day:%B %Y}."

    def save(self, folder: Path) -> None:
        self.assortment.save(folder)
        np.save(folder / "trend_of.npy", self.trend_of)
        (folder / "decay.json").write_text(json.dumps({"decay_days": DECAY_DAYS}))

    def load(self, folder: Path) -> Self:
        self.assortment = Assortment.load(folder)
        self.trend_of = np.load(folder / "trend_of.npy", allow_pickle=False)
        saved = json.loads((folder / "decay.json").read_text())
        if saved["decay_days"] != DECAY_DAYS:
            raise ValueError(
                f"Repurchase was registered when weights decayed over {saved['decay_days']} days, "
                f"and the features now decay over {DECAY_DAYS}: train again."
            )
        return self
