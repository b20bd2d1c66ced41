"""Gradient-boosted trees that put each customer's candidates in order (LambdaMART).

Burges, "From RankNet to LambdaRank to LambdaMART", 2010; by LightGBM (Ke et al., NIPS 2017).
"""

import logging
from collections.abc import Callable
from functools import cached_property, partial
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightgbm
import lleaves
import numpy as np
import pandas as pd

from pipelines.columns import Columns, SameTable, Table, coded
from pipelines.rankers.base import PURCHASE, Parts, Ranker, learnable, require_columns

log = logging.getLogger(__name__)

FEW_ROWS = 2_000
COMPILED_LEAVES = 10_000
"""Trees with more leaves are not compiled: that takes a second for some thousand of them."""
MATRIX = "matrix_of_the_ranker"
"""A column of rows of numbers: what the trees are asked with."""


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
    takes_columns = True

    def __init__(
        self,
        trees: int = 110,
        leaves: int = 20,
        learning_rate: float = 0.08,
        min_leaf: int = 400,
        column_share: float = 0.2,
        l2: float = 10.0,
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
        self._take({})
        self.booster: lightgbm.Booster | None = None
        self._compiled: lleaves.Model | None = None

    def _learn(
        self,
        parts: Parts,
        held_out: Parts,
        checkpoint: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        self.columns, categories = _columns(parts)
        self._take(categories)
        grouped = _Grouped(parts)
        labels, sizes, counts = grouped.labels_and_sizes()
        progress(f"gradient boosting: {len(labels):,} rows, {len(self.columns)} columns")
        data = lightgbm.Dataset(
            [_Rows(self._matrix, grouped, n, rows) for n, rows in enumerate(counts) if rows],
            label=labels,
            group=sizes,
            feature_name=self.columns,
            categorical_feature=list(self.categories),
        )
        self._use(lightgbm.train(self.parameters, data, num_boost_round=self.trees))

    def _use(self, booster: lightgbm.Booster) -> None:
        self.booster, self._compiled = booster, None
        self.__dict__.pop("_ways", None)

    def quicken(self) -> None:
        booster, (ways, first) = self._fitted(), self._ways
        if self._compiled is not None or len(ways) > COMPILED_LEAVES:
            return
        try:
            with TemporaryDirectory() as folder:
                booster.save_model(Path(folder) / "trees.txt")
                made = lleaves.Model(str(Path(folder) / "trees.txt"))
                # In one block, so that the trees are added up in LightGBM's order; as functions of their own they
                # are compiled in a quarter of the time, and walked in half as much again.
                made.compile(fblocksize=max(len(first), 1), finline=False)
            self._compiled = made
        except Exception:
            # Whatever a compiler may stumble over: the trees are there.
            log.exception("the trees are not compiled; LightGBM itself walks them")

    def _take(self, categories: dict[str, list[str]]) -> None:
        self.categories = categories
        self._numbers = [name for name in self.columns if name not in categories]
        self._number_places = [self.columns.index(name) for name in self._numbers]
        self._codes = {
            (self.columns.index(name), name): {text: float(n) for n, text in enumerate(found)}
            for name, found in categories.items()
        }

    def prepared(self, rows: SameTable) -> SameTable:
        if isinstance(rows, Columns):
            return rows.assign(**{MATRIX: self._matrix(rows)})
        return rows

    def _matrix(self, rows: Table) -> np.ndarray:
        """R x C float32, missing as NaN, a string as its place among the categories of training."""
        if MATRIX in rows:
            return np.asarray(rows[MATRIX])
        require_columns(rows, self.columns)
        matrix = np.empty((len(rows), len(self.columns)), dtype="float32")
        matrix[:, self._number_places] = _numbers(rows, self._numbers)
        for (place, name), codes in self._codes.items():
            if (known := coded(rows, name)) is not None:
                matrix[:, place] = known.mapped(partial(_code, codes))
                continue
            # For the rows of one customer a plain dictionary is several times as quick as an index of pandas.
            found = map(codes.get, rows[name].tolist(), repeat(np.nan))
            matrix[:, place] = np.fromiter(found, "float32", len(rows))
        return matrix

    def _fitted(self) -> lightgbm.Booster:
        if self.booster is None:
            raise ValueError("This ranker has not been trained: call fit or load first.")
        return self.booster

    def _raw(self, rows: Table) -> dict[str, np.ndarray]:
        matrix = self._matrix(rows)
        if self._compiled is not None and len(rows) < FEW_ROWS:
            scores = self._compiled.predict(matrix, n_jobs=1)
        else:
            scores = self._fitted().predict(matrix, **_threads(rows))
        return {PURCHASE: np.asarray(scores, dtype="float64")}

    def explain(self, rows: Table) -> pd.DataFrame:
        # The last column is what every row gets (SHAP values, Lundberg et al. 2018).
        parts = np.asarray(self._fitted().predict(self._matrix(rows), pred_contrib=True))
        index = rows.index if isinstance(rows, pd.DataFrame) else None
        return pd.DataFrame(parts[:, :-1], columns=self.columns, index=index)

    def quick_effects(self, rows: Table) -> pd.DataFrame:
        """What each split on a row's way through each tree changed (Saabas, 2014): exact in sum, and a thirtieth of
        the time of SHAP values, but of columns that act together it credits the one nearer the leaf with more."""
        found = self._fitted().predict(self._matrix(rows), pred_leaf=True, **_threads(rows))
        # Of a single tree LightGBM gives no second dimension.
        leaves = np.asarray(found, "int64").reshape(len(rows), -1)
        parts, first = self._ways
        effects = parts[leaves + first].sum(axis=1, dtype="float64")
        index = rows.index if isinstance(rows, pd.DataFrame) else None
        return pd.DataFrame(effects, columns=self.columns, index=index)

    @cached_property
    def _ways(self) -> tuple[np.ndarray, np.ndarray]:
        """What the splits on the way to each leaf changed (leaves x C), and the first leaf of each tree (T,)."""
        trees = self._fitted().dump_model()["tree_info"]
        first = np.cumsum([0, *(tree["num_leaves"] for tree in trees)])
        parts = np.zeros((first[-1], len(self.columns)), dtype="float32")
        for start, tree in zip(first, trees, strict=False):
            _walk(tree["tree_structure"], parts[start:], [])
        return parts, first[:-1]

    def _save(self, folder: Path) -> dict[str, Any]:
        self._fitted().save_model(folder / "trees.txt")
        return {"columns": self.columns, "categories": self.categories}

    def _load(self, folder: Path, said: dict[str, Any]) -> None:
        self._use(lightgbm.Booster(model_file=folder / "trees.txt"))
        self.columns = said["columns"]
        self._take(said["categories"])


def _threads(rows: Table) -> dict[str, int]:
    """LightGBM's own number of threads for many rows; for few they would only wait for each other."""
    return {"num_threads": 1} if len(rows) < FEW_ROWS else {}


def _code(codes: dict[str, float], name: Any) -> float:
    return codes.get(name, np.nan)


def _walk(node: dict[str, Any], parts: np.ndarray, changes: list[tuple[int, float]]) -> None:
    """Write into `parts` what changed on the way to each leaf below a node.

    Args:
        changes: (column, by how much) of the splits above.
    """
    if "split_feature" not in node:
        for column, by in changes:
            parts[node.get("leaf_index", 0), column] += by
        return
    for child in (node["left_child"], node["right_child"]):
        value = child["internal_value" if "split_feature" in child else "leaf_value"]
        change = (node["split_feature"], value - node["internal_value"])
        _walk(child, parts, [*changes, change])


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


def _numbers(rows: Table, columns: list[str]) -> np.ndarray:
    """R x C float32, missing as NaN."""
    if isinstance(rows, Columns):
        return np.array([rows[name] for name in columns], dtype="float32").T
    found = rows[columns]
    if len(found.select_dtypes("object").columns):
        found = found.apply(pd.to_numeric)
    return found.to_numpy(dtype="float32", na_value=np.nan)


class _Grouped:
    """Rows of parts in order of week, customer and article; the part used last stays in memory.

    Customers without a hit among their candidates teach an order nothing, and are left out.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._at = self._matrix_at = -1

    def part(self, place: int) -> pd.DataFrame:
        if place != self._at:
            rows = self.parts[place]
            hit = rows.groupby(["week", "customer_id"], sort=False)["label"].transform("max") > 0
            rows = rows[hit]
            names = ("week", "customer_id", "article_id")
            week, customer, article = (pd.factorize(rows[n], sort=True)[0] for n in names)
            order = np.lexsort((article, customer, week))
            self._rows, self._at = rows.iloc[order], place
            starts = np.diff(week[order], prepend=-1) + np.diff(customer[order], prepend=-1)
            self._sizes = np.diff(np.append(np.flatnonzero(starts), len(order)))
        return self._rows

    def matrix_of(self, place: int, matrix: Callable[[pd.DataFrame], np.ndarray]) -> np.ndarray:
        if place != self._matrix_at:
            self._matrix, self._matrix_at = matrix(self.part(place)), place
        return self._matrix

    def labels_and_sizes(self) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Of all parts: the label of each row, how many rows each customer has in each week, and how many
        each part has."""
        labels, sizes = [], []
        for place in range(len(self.parts)):
            labels.append(self.part(place)["label"].to_numpy())
            sizes.append(self._sizes)
        return np.concatenate(labels), np.concatenate(sizes), [len(found) for found in labels]


class _Rows(lightgbm.Sequence):
    """One part as LightGBM reads it: row by row for the bins, and then once in order."""

    batch_size = 65_536

    def __init__(
        self,
        matrix: Callable[[pd.DataFrame], np.ndarray],
        grouped: _Grouped,
        place: int,
        size: int,
    ) -> None:
        self.matrix, self.grouped, self.place, self.size = matrix, grouped, place, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, rows: Any) -> np.ndarray:
        found = self.grouped.matrix_of(self.place, self.matrix)[rows]
        # Single rows, of which the bins are made, must be float64.
        return found.astype("float64") if found.ndim == 1 else found
