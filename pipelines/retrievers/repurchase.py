"""Repurchase ("buy it again"): what the customer bought before, the more and the later the better."""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Self

import pandas as pd

from feature_repo.windows import DECAY_DAYS
from pipelines.assortment import Assortment
from pipelines.retrievers.base import Asked, Past, Proposals, Retriever, ranked


class Repurchase(Retriever):
    """Each past line of an article counts exp(-age / 30 days).

    All of it stands in the customer's own features; what is learnt is only what is on sale.
    """

    name = "repurchase"

    def fit(self, past: Past) -> Self:
        self.assortment = past.assortment
        return self

    def propose(self, asked: Asked, k: int) -> Proposals:
        history = asked.history(self.assortment)
        there = self.assortment.on_sale[history.article]
        return ranked(history.customer[there], history.article[there], history.weight[there], k)

    def because(self, asked: Asked, pairs: pd.DataFrame) -> list[str | None]:
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
        (folder / "decay.json").write_text(json.dumps({"decay_days": DECAY_DAYS}))

    def load(self, folder: Path) -> Self:
        self.assortment = Assortment.load(folder)
        saved = json.loads((folder / "decay.json").read_text())
        if saved["decay_days"] != DECAY_DAYS:
            raise ValueError(
                f"Repurchase was registered when weights decayed over {saved['decay_days']} days, "
                f"and the features now decay over {DECAY_DAYS}: train again."
            )
        return self
