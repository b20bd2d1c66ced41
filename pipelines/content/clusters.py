"""What looks alike inside each product group: clusters of picture vectors, with names that last.

Shops' own groups are coarse: two fifths of H&M's articles are `Garment Upper body`. A cluster inside one
is a look, which a customer may like without having bought any of its articles.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

MOST = 99
"""Clusters of a group, at most: their names have two digits."""
SHAPED_BY = 8
"""A group of N pictures has about the root of N / 8 clusters."""
UNKNOWN = "Unknown"
"""The group of articles that name none."""

_NAMES, _CENTRES = "clusters.json", "clusters.npz"


class Clusters:
    """k-means (Lloyd, 1982) inside each product group.

    Cost: pictures x clusters of their group x dimensions, some tens of times over.

    Args:
        seed: of the first centres.
    """

    def __init__(self, seed: int = 7) -> None:
        self.seed = seed
        self._centres: dict[str, np.ndarray] = {}

    def fit(self, groups: Sequence[str | None], vectors: np.ndarray) -> Self:
        """Find the clusters; the same vectors in the same order give the same ones.

        Args:
            groups: the product group of each picture.
            vectors: N x D.
        """
        rows = _rows_of(groups)
        self._centres = {group: self._of_group(vectors[rows[group]]) for group in sorted(rows)}
        return self

    def _of_group(self, vectors: np.ndarray) -> np.ndarray:
        """K x D, the largest cluster first."""
        wanted = int(np.clip(round((len(vectors) / SHAPED_BY) ** 0.5), 1, MOST))
        count = min(wanted, len(np.unique(vectors, axis=0)))
        # Threads add up in any order, and the last bits decide who is nearest.
        with threadpool_limits(1):
            found = KMeans(count, n_init=3, random_state=self.seed).fit(vectors)
        sizes = np.bincount(found.labels_, minlength=count)
        centres: np.ndarray = found.cluster_centers_[np.argsort(-sizes, kind="stable")]
        return centres.astype("float32")

    def names(self, groups: Sequence[str | None], vectors: np.ndarray) -> list[str | None]:
        """The cluster of each picture, the nearest of its product group, such as `Shoes 03`; None where
        the group had no picture when clusters were found."""
        found: list[str | None] = [None] * len(vectors)
        for group, rows in _rows_of(groups).items():
            if group not in self._centres:
                continue
            centres = self._centres[group]
            # The nearest centre: |v - c|^2 without the part that all have.
            distance = (centres**2).sum(axis=1) - 2 * vectors[rows] @ centres.T
            for row, nearest in zip(rows.tolist(), distance.argmin(axis=1).tolist(), strict=True):
                found[row] = f"{group} {nearest + 1:02}"
        return found

    @property
    def count(self) -> int:
        return sum(map(len, self._centres.values()))

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into the folder, without pickle."""
        record = {"seed": self.seed, "groups": list(self._centres)}
        (folder / _NAMES).write_text(json.dumps(record, indent=1), encoding="utf-8")
        sizes = [len(centres) for centres in self._centres.values()]
        centres = np.concatenate([*self._centres.values()])
        np.savez(folder / _CENTRES, centres=centres, sizes=sizes)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        record = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
        clusters = cls(record["seed"])
        with np.load(folder / _CENTRES, allow_pickle=False) as arrays:
            parts = np.split(arrays["centres"], np.cumsum(arrays["sizes"])[:-1])
        clusters._centres = dict(zip(record["groups"], parts, strict=True))
        return clusters


def _rows_of(groups: Sequence[str | None]) -> dict[str, np.ndarray]:
    named = pd.Series([group or UNKNOWN for group in groups], dtype=object)
    return {str(group): np.asarray(rows) for group, rows in named.groupby(named).indices.items()}


def purity(
    clusters: Sequence[str | None],
    groups: Sequence[str | None],
    attributes: pd.DataFrame,
    seed: int = 7,
) -> dict[str, dict[str, Any]]:
    """How much of a cluster is of one kind: {attribute: {"purity", "chance"}}.

    Purity is the share of articles that have the most common value of their cluster. By chance, it is what
    clusters of the same sizes would have whose articles are drawn from the product group.

    Args:
        clusters: of each article; None has none and does not count.
        groups: their product groups.
        attributes: a row for each; a missing value does not count.
    """
    frame = attributes.reset_index(drop=True).assign(
        _cluster=pd.Series(list(clusters), dtype=object),
        _group=pd.Series([group or UNKNOWN for group in groups], dtype=object),
    )
    frame = frame.dropna(subset=["_cluster"])
    found = {}
    for name in attributes.columns:
        known = frame[["_group", "_cluster", name]].dropna()
        drawn = known.sample(frac=1.0, random_state=seed).sort_values("_group", kind="stable")
        placed = known.sort_values("_group", kind="stable")
        found[name] = {
            "purity": _share(placed["_cluster"], placed[name]),
            "chance": _share(placed["_cluster"], drawn[name]),
        }
    return found


def _share(clusters: pd.Series, values: pd.Series) -> float | None:
    """The share of rows whose value is the most common one of their cluster."""
    if not len(clusters):
        return None
    counts = pd.crosstab(clusters.to_numpy(), values.to_numpy())
    return float(counts.max(axis=1).sum() / len(clusters))
