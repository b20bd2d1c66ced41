"""Gradient-boosted trees that put each customer's candidates in order (LambdaMART).

Burges, "From RankNet to LambdaRank to LambdaMART", 2010; by LightGBM (Ke et al., NIPS 2017).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import lightgbm
import numpy as np
import pandas as pd

from pipelines.rankers.base import PURCHASE, Parts, Ranker, learnable, require_columns


class GradientBoosting(Ranker):
    """LightGBM with the lambdarank objective; strings become categories known from training.

    Args:
        trees: number of boosting rounds.
        leaves: leaves per tree.
        learning_rate: shrinkage of each tree.
        min_leaf: fewest rows in a leaf.
        column_share: share of the columns that each tree may use.
        l2: L2 penalty of leaf values.
        seed: of the column sampling.
    """

    name = "gradient_boosting"
    feature_service: ClassVar[str] = "ranking"

    def __init__(
        self,
        trees: int = 100,
        leaves: int = 15,
        learning_rate: float = 0.08,
        min_leaf: int = 200,
        column_share: float = 0.4,
        l2: float = 1.0,
        seed: int = 7,
    ) -> None:
        super().__init__()
        self.parameters: dict[str, Any] = {
            "objective": "lambdarank",
            "num_leaves": leaves,
            "learning_rate": learning_rate,
            "min_data_in_leaf": min_leaf,
            "feature_fraction": column_share,
            "lambda_l2": l2,
            "lambdarank_truncation_level": 20,
            "max_bin": 63,
            "seed": seed,
            # The same rows give the same trees, whatever the number of threads.
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        self.trees = trees
        self.columns: list[str] = []
        self.categories: dict[str, list[str]] = {}
        self.booster: lightgbm.Booster | None = None

    def _learn(
        self,
        parts: Parts,
        held_out: Parts,
        checkpoint: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        self.columns, self.categories = _columns(parts)
        labels, sizes = [], []
        blocks = []
        for part in parts:
            week, customer, article = (
                pd.factorize(part[name], sort=True)[0]
                for name in ("week", "customer_id", "article_id")
            )
            order = np.lexsort((article, customer, week))
            _, counts = np.unique(np.stack([week, customer]), axis=1, return_counts=True)
            labels.append(part["label"].to_numpy()[order])
            sizes.append(counts)
            blocks.append(self._matrix(part)[order])
        data = lightgbm.Dataset(
            np.concatenate(blocks),
            label=np.concatenate(labels),
            group=np.concatenate(sizes),
            feature_name=self.columns,
            categorical_feature=list(self.categories),
        )
        self.booster = lightgbm.train(self.parameters, data, num_boost_round=self.trees)

    def _matrix(self, rows: pd.DataFrame) -> np.ndarray:
        """R x C float32, missing as NaN, a string as its place among the categories of training."""
        require_columns(rows, self.columns)
        matrix = np.empty((len(rows), len(self.columns)), dtype="float32")
        for place, name in enumerate(self.columns):
            if name in self.categories:
                codes = pd.Categorical(rows[name], categories=self.categories[name]).codes
                matrix[:, place] = np.where(codes < 0, np.nan, codes)
            else:
                matrix[:, place] = pd.to_numeric(rows[name]).to_numpy("float32", na_value=np.nan)
        return matrix

    def _fitted(self) -> lightgbm.Booster:
        if self.booster is None:
            raise ValueError("This ranker has not been trained: call fit or load first.")
        return self.booster

    def _raw(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        scores = self._fitted().predict(self._matrix(rows))
        return {PURCHASE: np.asarray(scores, dtype="float64")}

    def explain(self, rows: pd.DataFrame) -> pd.DataFrame:
        # The last column is what every row gets (SHAP values, Lundberg et al. 2018).
        parts = np.asarray(self._fitted().predict(self._matrix(rows), pred_contrib=True))
        return pd.DataFrame(parts[:, :-1], columns=self.columns, index=rows.index)

    def _save(self, folder: Path) -> dict[str, Any]:
        self._fitted().save_model(folder / "trees.txt")
        return {"columns": self.columns, "categories": self.categories}

    def _load(self, folder: Path, said: dict[str, Any]) -> None:
        self.booster = lightgbm.Booster(model_file=folder / "trees.txt")
        self.columns, self.categories = said["columns"], said["categories"]


def _columns(parts: Parts) -> tuple[list[str], dict[str, list[str]]]:
    """The columns to learn from, and the values of those that hold text, in order."""
    columns: list[str] = []
    texts: dict[str, set[str]] = {}
    for part in parts:
        columns = columns or learnable(part)
        for name in columns:
            if not pd.api.types.is_numeric_dtype(part[name].dtype):
                texts.setdefault(name, set()).update(part[name].dropna().unique().tolist())
    return columns, {name: sorted(texts[name]) for name in columns if name in texts}
