"""What every ranker is: it scores candidate rows that carry the features of its service.

Rows come in parts, each a frame small enough for memory that holds whole customers of one week; a
ranker may go through the parts several times, and never puts all of them into one frame.
"""

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd

from feature_repo.errors import LookbookError
from pipelines.columns import SameTable, Table, as_frame
from pipelines.rankers.calibration import Calibration

PURCHASE = "purchase"
LABELS = {PURCHASE: "label", "cart": "label_cart", "view": "label_view"}
"""What may come of a candidate within its week -> the column that says whether it did: 1, 0, or -1 where it is
not known. A view or a cart is known of what the customer was shown, so that their chances are those of
showing it, and not of coming by it."""
RANKING_SERVICE = "ranking"
"""The feature service that rankers read unless a release names another."""
KEPT = "kept"
"""The column with the share of such rows of which this one is a sample; 1 if it is missing."""
BEST = "best__rank"
"""The column with the best rank that a retriever gave; missing where the row is no candidate."""
HISTORY = ("customer_recent__recent_articles", "customer_recent__recent_weights")
"""What a ranker that reads sequences gets of the customer beside its service: lists by row."""
CALIBRATES = 10
"""One customer of so many teaches the calibration, and when to stop, instead of the model."""
FILE = "ranker.json"

Parts = Sequence[pd.DataFrame]
Objective = Mapping[str, float]
"""What counts for how much: {"purchase": 1.0, "view": 0.1}."""


class Judgement(NamedTuple):
    """What a ranker thinks of rows.

    Attributes:
        score: by which they are put in order (R,), higher is better.
        chance: from 0 to 1 (R,), of a purchase, or the mean over the objectives by their weights.
    """

    score: np.ndarray
    chance: np.ndarray


class ObjectiveError(LookbookError):
    """A ranker is asked for what it has not learnt; the text says what it can."""


class Ranker(ABC):
    """From hundreds of candidates to an order.

    A ranker names a feature service and uses every column `view__feature` and `source__score`,
    `source__rank` that its rows carry; it never lists columns itself. Which columns those were at
    training is saved with it.

    Attributes:
        feature_service: what it reads.
        objectives: what it gives chances of; more than one for a multi-task ranker.
        calibrations: for each of them, from its raw score to a chance.
    """

    name: ClassVar[str]
    reads_history: ClassVar[bool] = False
    """Whether rows must carry `HISTORY` too."""
    takes_columns: ClassVar[bool] = False
    """Whether `_raw` and `explain` know `Columns` too; else they get data frames alone."""

    def __init__(self) -> None:
        self.feature_service = RANKING_SERVICE
        self.objectives: tuple[str, ...] = (PURCHASE,)
        self.calibrations: dict[str, Calibration] = {}

    def fit(
        self,
        parts: Parts,
        *,
        checkpoint: Path | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> Self:
        """Learn from candidates of past weeks.

        Args:
            parts: frames with customer_id, article_id, week, label (1 if bought in the week), perhaps
                the other `LABELS` and `KEPT`, and the columns to learn from. The rows of a customer in a
                week stand in one part. Their order does not matter.
            checkpoint: where a long training keeps how far it came.
            progress: told how far it is.

        Raises:
            LookbookError: no row has the label 1: there is nothing to learn.
        """
        learn, rest = Share(parts, held_out=False), Share(parts, held_out=True)
        if not any((part["label"] > 0).any() for part in learn):
            raise LookbookError(
                "No candidate was bought in the training weeks, so there is nothing to learn from: "
                "load a longer history or more customers."
            )
        self.objectives = (PURCHASE,)
        self._learn(learn, rest, checkpoint, progress)
        raw: dict[str, list[np.ndarray]] = {name: [] for name in self.objectives}
        labels: dict[str, list[np.ndarray]] = {name: [] for name in self.objectives}
        kept: dict[str, list[np.ndarray]] = {name: [] for name in self.objectives}
        for part in rest:
            shares = kept_of(part)
            # Chances are those of candidates; drawn negatives are none.
            named = (
                part[BEST].notna().to_numpy() if BEST in part else np.ones(len(part), dtype=bool)
            )
            for name, scores in self._raw(part).items():
                label = part[LABELS[name]].to_numpy("float64")
                known = named & (label >= 0)
                raw[name].append(scores[known])
                labels[name].append(label[known])
                kept[name].append(shares[known])
        if not any(map(len, raw[PURCHASE])):
            progress(
                f"{self.name}: no customer could be held out, so every chance is said to be 0.5; more training "
                "customers would tell"
            )
        nothing = np.array([], dtype="float64")
        self.calibrations = {
            name: Calibration.fit(
                np.concatenate([nothing, *raw[name]]),
                np.concatenate([nothing, *labels[name]]),
                np.concatenate([nothing, *kept[name]]),
            )
            for name in self.objectives
        }
        return self

    @abstractmethod
    def _learn(
        self,
        parts: Parts,
        held_out: Parts,
        checkpoint: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        """Learn from the parts, of which one has a label at least; may set `objectives`.

        Args:
            held_out: of other customers, to see when to stop; perhaps without rows.
        """

    @abstractmethod
    def _raw(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """For each of the objectives one score per row (R,) float64, higher is more likely.

        Raises:
            LookbookError: a column of training is missing; the text names it.
        """

    def judge(self, rows: Table, objective: Objective | None = None) -> Judgement:
        """A score and a chance of each row.

        Args:
            objective: weights; the score is then the sum of each times about its chance (`Calibration.curve`),
                of one objective alone its raw order. Purchase alone if None.

        Raises:
            LookbookError: a column of training is missing; the text names it.
            ObjectiveError: a weight is of something that this ranker has not learnt, is negative, or
                none is above 0.
        """
        weights = self._weights(objective)
        raw = self._raw(self._taken(rows))
        chance, score = np.zeros(len(rows)), np.zeros(len(rows))
        for name, weight in weights.items():
            chance += weight * self.calibrations[name](raw[name])
            # Chances have steps, and the best candidates all stand on the highest.
            score += weight * self.calibrations[name].curve(raw[name])
        if set(weights) == {PURCHASE}:
            score = raw[PURCHASE]
        return Judgement(score, chance / sum(weights.values()))

    def _taken(self, rows: Table) -> Any:
        return rows if self.takes_columns else as_frame(rows)

    def score(self, rows: Table, objective: Objective | None = None) -> np.ndarray:
        """One score per row (R,), higher is better; as in `judge`."""
        return self.judge(rows, objective).score

    def chances(self, rows: pd.DataFrame) -> pd.DataFrame:
        """For each of the objectives the chance that it comes of the row within a week (R x objectives)."""
        raw = self._raw(rows)
        return pd.DataFrame(
            {name: self.calibrations[name](raw[name]) for name in self.objectives}, rows.index
        )

    def require(self, objective: Objective | None) -> None:
        """
        Raises:
            ObjectiveError: as in `judge`.
        """
        self._weights(objective)

    def _weights(self, objective: Objective | None) -> dict[str, float]:
        given = dict(objective or {PURCHASE: 1.0})
        for name, weight in given.items():
            if name not in LABELS:
                raise ObjectiveError(
                    f"There is no objective {name!r}: weigh any of {', '.join(LABELS)}."
                )
            if not 0 <= weight < float("inf"):
                raise ObjectiveError(f"The weight of {name} is {weight}: give 0 or more.")
        found = {name: weight for name, weight in given.items() if weight > 0}
        if not found:
            raise ObjectiveError("No weight of the objective is above 0: give one at least.")
        for name in found:
            if name not in self.objectives:
                raise ObjectiveError(
                    f"The ranker {self.name} knows the chance of {', '.join(self.objectives)} alone, not of "
                    f"{name}: leave {name} out, or use a release with a ranker that has learnt it."
                )
        return found

    def effects(self, rows: Table) -> pd.DataFrame:
        """What each column added to each row's raw score of a purchase (R x columns)."""
        return self.explain(self._taken(rows))

    def prepared(self, rows: SameTable) -> SameTable:
        """The rows with what `judge` and `quick_effects` would otherwise each make of them."""
        return rows

    def quicken(self) -> None:  # noqa: B027 - most have nothing to take time for
        """Take the time, once, that makes the answers for few rows quick; they stay the same to the last bit. Whoever
        serves calls it."""

    def quick_effects(self, rows: Table) -> pd.DataFrame:
        """About the same in a time that a request has; their sum is as much as that of `effects`."""
        return self.effects(rows)

    @abstractmethod
    def explain(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The same of a data frame."""

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into the folder, without pickle."""
        said = {
            "objectives": self.objectives,
            "calibrations": {name: c.to_dict() for name, c in self.calibrations.items()},
            "model": self._save(folder),
        }
        (folder / FILE).write_text(json.dumps(said, indent=1))

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        said = json.loads((folder / FILE).read_text())
        self.objectives = tuple(said["objectives"])
        self.calibrations = {n: Calibration(**c) for n, c in said["calibrations"].items()}
        self._load(folder, said["model"])
        return self

    @abstractmethod
    def _save(self, folder: Path) -> dict[str, Any]:
        """Write large things into files; returns the rest, for JSON."""

    @abstractmethod
    def _load(self, folder: Path, said: dict[str, Any]) -> None:
        """Take back what `_save` wrote and returned."""


class Share(Sequence[pd.DataFrame]):
    """Of each part the rows of those customers who are held out, or of all others."""

    def __init__(self, parts: Parts, held_out: bool) -> None:
        self.parts = parts
        self.held_out = held_out

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: Any) -> Any:
        part = self.parts[place]
        customers = part["customer_id"].to_numpy(dtype=object)
        held_out = np.fromiter(map(_is_held_out, customers), dtype=bool, count=len(customers))
        return part[held_out == self.held_out]


@lru_cache(maxsize=2**18)
def _is_held_out(customer: str) -> bool:
    return zlib.crc32(f"calibrates {customer}".encode()) % CALIBRATES == 0


def told(rows: pd.DataFrame) -> np.ndarray:
    """Whether a row tells more than that it was not bought (R,): something came of it, or it was shown."""
    found = rows[LABELS[PURCHASE]].to_numpy() > 0
    for name in LABELS.values():
        if name in rows:
            labels = rows[name].to_numpy()
            # Where nothing is unknown, being shown is not told of.
            found |= (labels > 0) | ((labels == 0) & bool((labels < 0).any()))
    return found


def kept_of(rows: pd.DataFrame) -> np.ndarray:
    """Of how large a share of such rows each is a sample (R,)."""
    if KEPT not in rows:
        return np.ones(len(rows))
    return rows[KEPT].to_numpy("float64")


def learnable(rows: pd.DataFrame) -> list[str]:
    """The columns a ranker may learn from: features and candidate scores, but not moments or lists."""
    return [
        name
        for name in rows.columns
        if "__" in name
        and not pd.api.types.is_datetime64_any_dtype(rows[name].dtype)
        and not any(map(pd.api.types.is_list_like, rows[name].dropna().head(1)))
    ]


def require_columns(rows: Table, columns: Collection[str]) -> None:
    """
    Raises:
        LookbookError: the rows lack a column; the text names it.
    """
    there = set(rows.columns)
    missing = [name for name in columns if name not in there]
    if missing:
        raise LookbookError(
            f"The rows lack {', '.join(missing[:5])}, which this ranker was trained on: the "
            "feature service has changed, so train again."
        )
