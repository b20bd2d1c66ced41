"""What an evaluation has found: metrics of every model, with intervals."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from pipelines.evaluation.metrics import METRICS, bootstrap


@dataclass(frozen=True)
class Evaluation:
    """Metrics by model, over weeks.

    Attributes:
        weeks: first days of the test weeks, oldest first.
        models: {name: {metric: {"mean", "low", "high"}}}, the whole recommender under "release".
        per_customer: one row per model, week and customer with every metric.
    """

    weeks: tuple[date, ...]
    customers: int
    models: dict[str, dict[str, dict[str, float]]]
    per_customer: pd.DataFrame

    def difference(self, model: str, other: str) -> dict[str, dict[str, float]]:
        """By how much a model is better than another on the same customers and weeks, paired.

        Returns:
            {metric: {"mean", "low", "high"}}; an interval above 0 says that it is.
        """
        keys = ["customer_id", "week"]
        both = [
            self.per_customer[self.per_customer["model"] == name].set_index(keys)[[*METRICS]]
            for name in (model, other)
        ]
        return bootstrap((both[0] - both[1]).reset_index())

    def to_dict(self) -> dict[str, Any]:
        return {
            "weeks": [week.isoformat() for week in self.weeks],
            "customers": self.customers,
            "models": self.models,
        }
