"""What every ranker is: it scores candidate rows that carry the features of its service."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd


class Ranker(ABC):
    """From hundreds of candidates to an order.

    A ranker names a feature service and uses every column `view__feature` and `source__score`,
    `source__rank` that its rows carry; it never lists columns itself. Which columns those were at
    training is saved with it.
    """

    name: ClassVar[str]
    feature_service: ClassVar[str]

    @abstractmethod
    def fit(self, rows: pd.DataFrame) -> Self:
        """Learn from candidates of past weeks.

        Args:
            rows: customer_id, week, label (1 if bought in the week) and the columns to learn from.

        Raises:
            LookbookError: no row has the label 1: there is nothing to learn.
        """

    @abstractmethod
    def score(self, rows: pd.DataFrame) -> np.ndarray:
        """One score per row (R,), higher is better.

        Raises:
            LookbookError: a column of training is missing; the text names it.
        """

    @abstractmethod
    def explain(self, rows: pd.DataFrame) -> pd.DataFrame:
        """What each column added to each row's score (R x columns)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into the folder, without pickle."""

    @abstractmethod
    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""


def learnable(rows: pd.DataFrame) -> list[str]:
    """The columns a ranker may learn from: features and candidate scores, but not moments or lists."""
    return [
        name
        for name in rows.columns
        if "__" in name
        and not pd.api.types.is_datetime64_any_dtype(rows[name].dtype)
        and not any(map(pd.api.types.is_list_like, rows[name].dropna().head(1)))
    ]
