"""Repurchase ("buy it again"): what the customer bought before, the more and the later the better."""

import json
from collections.abc import Hashable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pandas as pd

from feature_repo.windows import DECAY_DAYS
from pipelines.retrievers.base import Retriever, days_since_epoch, recent_purchases, top


class Repurchase(Retriever):
    """Each past line of an article counts exp(-age / 30 days).

    All of it stands in the customer's own features, so there is nothing to fit.
    """

    name = "repurchase"

    def fit(self, con: duckdb.DuckDBPyConnection, cutoff: date) -> Self:
        return self

    def candidates(self, state: pd.DataFrame, moment: datetime, k: int) -> pd.DataFrame:
        recent = recent_purchases(state)
        age = days_since_epoch(moment) - recent["day"].astype("float64")
        return top(
            pd.DataFrame(
                {
                    "customer_id": state["customer_id"].to_numpy()[recent["customer"]],
                    "article_id": recent["article_id"],
                    "score": recent["weight"].astype("float64") * np.exp(-age / DECAY_DAYS),
                }
            ),
            k,
        )

    def because(
        self, state: pd.DataFrame, pairs: pd.DataFrame, moment: datetime
    ) -> list[str | None]:
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
        (folder / "decay.json").write_text(json.dumps({"decay_days": DECAY_DAYS}))

    def load(self, folder: Path) -> Self:
        saved = json.loads((folder / "decay.json").read_text())
        if saved["decay_days"] != DECAY_DAYS:
            raise ValueError(
                f"Repurchase was registered when weights decayed over {saved['decay_days']} days, "
                f"and the features now decay over {DECAY_DAYS}: train again."
            )
        return self
