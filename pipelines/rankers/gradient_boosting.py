"""Gradient-boosted trees that put each customer's candidates in order (LambdaMART).

Burges, "From RankNet to LambdaRank to LambdaMART", 2010; by LightGBM (Ke et al., NIPS 2017).
"""

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import lightgbm
import numpy as np
import pandas as pd

from feature_repo.errors import LookbookError
from pipelines.rankers.base import Ranker, learnable


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

    def fit(self, rows: pd.DataFrame) -> Self:
        if not rows["label"].any():
            raise LookbookError(
                "No candidate was bought in the training weeks, so there is nothing to learn from: "
                "load a longer history or more customers."
            )
        week, customer, article = (
            pd.factorize(rows[name], sort=True)[0] for name in ("week", "customer_id", "article_id")
        )
        order = np.lexsort((article, customer, week))
        _, sizes = np.unique(np.stack([week, customer]), axis=1, return_counts=True)
        self.columns = learnable(rows)
        self.categories = {
            name: sorted(rows[name].dropna().unique().tolist())
            for name in self.columns
            if not pd.api.types.is_numeric_dtype(rows[name].dtype)
        }
        data = lightgbm.Dataset(
            self._matrix(rows)[order],
            label=rows["label"].to_numpy()[order],
            group=sizes,
            feature_name=self.columns,
            categorical_feature=list(self.categories),
        )
        self.booster = lightgbm.train(self.parameters, data, num_boost_round=self.trees)
        return self

    def _matrix(self, rows: pd.DataFrame) -> np.ndarray:
        """R x C float32, missing as NaN, a string as its place among the categories of training."""
        missing = [name for name in self.columns if name not in rows.columns]
        if missing:
            raise LookbookError(
                f"The rows lack {', '.join(missing[:5])}, which this ranker was trained on: the "
                "feature service has changed, so train again."
            )
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

    def score(self, rows: pd.DataFrame) -> np.ndarray:
        return np.asarray(self._fitted().predict(self._matrix(rows)), dtype="float64")

    def explain(self, rows: pd.DataFrame) -> pd.DataFrame:
        # The last column is what every row gets (SHAP values, Lundberg et al. 2018).
        parts = np.asarray(self._fitted().predict(self._matrix(rows), pred_contrib=True))
        return pd.DataFrame(parts[:, :-1], columns=self.columns, index=rows.index)

    def save(self, folder: Path) -> None:
        self._fitted().save_model(folder / "trees.txt")
        (folder / "columns.json").write_text(
            json.dumps({"columns": self.columns, "categories": self.categories}, indent=1)
        )

    def load(self, folder: Path) -> Self:
        self.booster = lightgbm.Booster(model_file=folder / "trees.txt")
        saved = json.loads((folder / "columns.json").read_text())
        self.columns, self.categories = saved["columns"], saved["categories"]
        return self
