"""How well scores part what was bought from what was not, and whether chances mean what they say.

Over candidates: every article that was scored for a customer, bought or not. What needs sums over
customers is kept as sums for each customer, so that customers can be drawn again.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from feature_repo.errors import InputError

EDGES = np.array([0.0, *(m * 10.0**e for e in (-4, -3, -2, -1) for m in (1, 2, 5)), 1.0])
"""Of the bins of chances: most are small, so steps are even in their logarithm."""
LEAST = 1e-15
"""A chance of 0 or 1 that is wrong would cost infinitely much."""

AUC, POOLED, ENTROPY, CALIBRATION, LOG_LOSS, BRIER = (
    "AUC",
    "AUC_pooled",
    "NE",
    "calibration",
    "log_loss",
    "brier",
)
MEASURES = (AUC, POOLED, ENTROPY, CALIBRATION, LOG_LOSS, BRIER)
SUMS = (
    "candidates",
    "bought",
    "chance",
    "log_loss",
    "squared_error",
    "bought_above",
    "others_below",
)
"""Of each customer's candidates: how many, how many of them bought, the sums of chances, of the log loss and
of squared errors; and of those bought, by how large a share of all others they are scored higher, as
of the others, by how large a share of all bought they are scored lower (ties count half)."""


def auc(group: np.ndarray, label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The chance that what was bought is scored above what was not, of each group (G,).

    Ties count half (Mann and Whitney 1947); missing for groups in which all or nothing was bought.

    Args:
        group: numbers from 0 (R,).
        label: 1 for what was bought (R,).
        score: (R,).
    """
    groups = int(group.max()) + 1 if len(group) else 0
    won = np.bincount(group, _won(group, label, score) * label, groups)
    bought = np.bincount(group, label, groups)
    some = (bought > 0) & (bought < np.bincount(group, minlength=groups))
    return np.where(some, won / np.where(some, bought, 1), np.nan)


def _won(group: np.ndarray, label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The share of the other kind in its group that each row wins against, ties by half (R,).

    What was bought wins against others with lower scores, these against what was bought with higher ones.
    """
    order = np.lexsort((score, group))
    group, bought, score = group[order], label[order] == 1, score[order]
    new = np.ones(len(group), dtype=bool)
    new[1:] = group[1:] != group[:-1]
    starts = np.flatnonzero(new)
    new[1:] |= score[1:] != score[:-1]
    ties = np.flatnonzero(new)
    group_of = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(group))))
    tie_of = np.repeat(np.arange(len(ties)), np.diff(np.append(ties, len(group))))
    found = np.empty(len(group))
    for kind in (True, False):
        mine = bought == kind
        # How many of the other kind stand before each row.
        seen = np.concatenate([[0], np.cumsum(~mine)])
        first, last = seen[starts], seen[np.append(starts[1:], len(group))]
        middle = (seen[ties] + seen[np.append(ties[1:], len(group))]) / 2
        below = middle[tie_of[mine]] - first[group_of[mine]]
        total = (last - first)[group_of[mine]]
        found[mine] = (below if kind else total - below) / np.maximum(total, 1)
    back = np.empty(len(group))
    back[order] = found
    return back


def log_losses(label: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the chance of what happened (R,), in nats."""
    chance = np.clip(chance, LEAST, 1 - LEAST)
    return -np.where(label == 1, np.log(chance), np.log1p(-chance))


def entropy(share: np.ndarray) -> np.ndarray:
    """Of a coin with this chance, in nats: the log loss of who always says the share."""
    share = np.clip(share, LEAST, 1 - LEAST)
    found: np.ndarray = -share * np.log(share) - (1 - share) * np.log1p(-share)
    return found


def rmse(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Root of the mean squared error, for data with ratings."""
    return float(np.sqrt(np.mean((np.asarray(predicted) - np.asarray(observed)) ** 2)))


def measures(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`MEASURES` of means over customers of `SUMS` and AUC; each may be of many samples.

    NE is the mean log loss over the entropy of the share that was bought (He et al., ADKDD 2014): 1 for who
    says that share of everything, below 1 for who knows more. Calibration is what was expected over what was
    bought. The pooled AUC of a sample is its first-order approximation (Obuchowski, Biometrics 1997), that
    of the data is exact.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rows, bought = means["candidates"], means["bought"]
        loss = means["log_loss"] / rows
        above = means["bought_above"] / bought
        below = means["others_below"] / (rows - bought)
        return {
            AUC: means[AUC],
            POOLED: above + below,
            ENTROPY: loss / np.where(bought > 0, entropy(bought / rows), np.nan),
            CALIBRATION: means["chance"] / np.where(bought > 0, bought, np.nan),
            LOG_LOSS: loss,
            BRIER: means["squared_error"] / rows,
        }


@dataclass
class Scored:
    """What a ranker said of the candidates of a week, taken in in batches of whole customers.

    Attributes:
        customers: who counts, in order (N,).
    """

    customers: np.ndarray
    _parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def add(self, rows: pd.DataFrame) -> None:
        """
        Args:
            rows: customer_id, label (1 if bought in the week), score, and chance where the ranker gives
                one; customers who do not count are left out.

        Raises:
            InputError: a score is missing, or a chance is not within 0 and 1.
        """
        customer = pd.Index(self.customers).get_indexer(pd.Index(rows["customer_id"]))
        ours = customer >= 0
        score = rows["score"].to_numpy("float64")[ours]
        chance = np.full(len(score), np.nan)
        if "chance" in rows:
            chance = rows["chance"].to_numpy("float64")[ours]
            if not ((chance >= 0) & (chance <= 1)).all():
                raise InputError("A chance is not a number from 0 to 1: calibrate the ranker.")
        if np.isnan(score).any():
            raise InputError("A candidate has no score: give every row that was scored one.")
        label = (rows["label"].to_numpy("float64")[ours] > 0).astype("int8")
        self._parts.append((customer[ours].astype("int32"), label, score, chance))

    def summed(self) -> "Sums":
        """What is kept of all that was added; the rows are let go."""
        types = ("int32", "int8", "float64", "float64")
        empty = tuple(np.array([], dtype=kind) for kind in types)
        parts = [empty, *self._parts]
        customer, label, score, chance = (
            np.concatenate([part[n] for part in parts]) for n in range(4)
        )
        self._parts = []
        count = len(self.customers)

        def total(weights: np.ndarray | None = None) -> np.ndarray:
            return np.bincount(customer, weights, count).astype("float64")

        won = _won(np.zeros(len(label), dtype="int8"), label, score)
        # The mean is taken out on one side, so that both sides together are it once.
        more = won - (won[label == 1].mean() if label.any() else 0.0)
        per_customer = np.full(count, np.nan)
        found = auc(customer, label, score)
        per_customer[: len(found)] = found
        sums = {
            "candidates": total(),
            "bought": total(label),
            "chance": total(chance),
            "log_loss": total(log_losses(label, chance)),
            "squared_error": total((chance - label) ** 2),
            "bought_above": total(more * (label == 1)),
            "others_below": total(won * (label == 0)),
        }
        return Sums(sums, per_customer, _bins(label, chance))


@dataclass(frozen=True)
class Sums:
    """Of each customer's candidates.

    Attributes:
        sums: {of `SUMS`: (N,)}; what is made of chances is missing if there are none.
        auc: of each customer (N,).
        bins: see `reliability`.
    """

    sums: dict[str, np.ndarray]
    auc: np.ndarray
    bins: np.ndarray


def _bins(label: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Rows, sum of chances and how many were bought in each bin of `EDGES` (bins x 3)."""
    known = ~np.isnan(chance)
    label, chance = label[known], chance[known]
    place = np.clip(np.searchsorted(EDGES, chance, side="right") - 1, 0, len(EDGES) - 2)
    parts = [None, chance, label]
    return np.stack([np.bincount(place, part, len(EDGES) - 1) for part in parts], axis=1)


def reliability(bins: np.ndarray) -> list[dict[str, Any]]:
    """What was said and what happened, by bins of the chance; empty ones are left out.

    Returns:
        [{"from", "to", "rows", "predicted", "observed"}], the last two means.
    """
    return [
        {
            "from": float(EDGES[place]),
            "to": float(EDGES[place + 1]),
            "rows": int(rows),
            "predicted": float(chances / rows),
            "observed": float(bought / rows),
        }
        for place, (rows, chances, bought) in enumerate(bins)
        if rows
    ]
