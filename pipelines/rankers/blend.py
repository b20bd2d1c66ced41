"""Trees and a network, put together: the sum of what both say.

They err differently: trees cut numbers where it matters, the network knows articles and what the customer bought last
by learnt vectors (stacking; Wolpert, Neural Networks 1992, here with fixed weights).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.rankers.base import PURCHASE, Parts, Ranker
from pipelines.rankers.deep_fm import DeepFM
from pipelines.rankers.gradient_boosting import GradientBoosting


class Blend(Ranker):
    """Gradient-boosted trees and DeepFM, each in units of how much its scores differ.

    Args:
        share: of the network in the sum, from 0 to 1.
        trees, network: settings of each, where they are not its own.
        seed: of both.
    """

    name = "blend"
    reads_history = DeepFM.reads_history

    def __init__(
        self,
        share: float = 0.5,
        trees: Mapping[str, Any] | None = None,
        network: Mapping[str, Any] | None = None,
        seed: int = 7,
    ) -> None:
        super().__init__()
        self.share = share
        self.members: dict[str, Ranker] = {
            "trees": GradientBoosting(**{"seed": seed, **(trees or {})}),
            "network": DeepFM(**{"seed": seed, **(network or {})}),
        }
        self.scales: dict[str, float] = {}
        """By member, the standard deviation of its scores of customers that it has not seen."""

    @property
    def _weights_of(self) -> dict[str, float]:
        if not self.scales:
            raise ValueError("This ranker has not been trained: call fit or load first.")
        shares = {"trees": 1 - self.share, "network": self.share}
        return {name: shares[name] / self.scales[name] for name in self.members}

    def _learn(
        self,
        parts: Parts,
        held_out: Parts,
        checkpoint: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        for name, member in self.members.items():
            member._learn(parts, held_out, checkpoint, progress)
            seen = held_out if any(len(part) for part in held_out) else parts
            scores = np.concatenate([member._raw(part)[PURCHASE] for part in seen if len(part)])
            # Sorted, so that the sum does not depend on the order of rows.
            self.scales[name] = float(np.sort(scores).std()) or 1.0

    def _raw(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        total = np.zeros(len(rows))
        for name, weight in self._weights_of.items():
            total += weight * self.members[name]._raw(rows)[PURCHASE]
        return {PURCHASE: total}

    def quicken(self) -> None:
        for member in self.members.values():
            member.quicken()

    def explain(self, rows: pd.DataFrame) -> pd.DataFrame:
        found = [
            weight * self.members[name].explain(rows) for name, weight in self._weights_of.items()
        ]
        return found[0].add(found[1], fill_value=0.0)

    def _save(self, folder: Path) -> dict[str, Any]:
        for name, member in self.members.items():
            (folder / name).mkdir()
            member.save(folder / name)
        return {"scales": self.scales}

    def _load(self, folder: Path, said: dict[str, Any]) -> None:
        for name, member in self.members.items():
            member.load(folder / name)
        self.scales = dict(said["scales"])
