"""From a ranker's score to a chance.

Isotonic regression (Zadrozny and Elkan, KDD 2002) of what came of candidates on their scores, on customers
from whom the ranker did not learn. Rows of which only a share was kept count 1 / share times (Horvitz and
Thompson, JASA 1952), so that the chance is that in the whole data, whatever was left out of training (He et
al., ADKDD 2014).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

MOST_KNOTS = 500


@dataclass(frozen=True)
class Calibration:
    """A rising line through knots; beyond the first and the last it is level.

    Attributes:
        scores: of the knots (K,), rising.
        chances: at them (K,), never falling, above 0 and below 1.
    """

    scores: Sequence[float]
    chances: Sequence[float]

    @classmethod
    def fit(cls, scores: np.ndarray, labels: np.ndarray, kept: np.ndarray) -> Self:
        """Learn from rows that the ranker has not seen.

        Args:
            scores: (R,).
            labels: 1 where it came to it (R,).
            kept: of how large a share of such rows each is a sample (R,).

        Without rows the chance is 0.5 for all; without any 1 or any 0 it is near 0 or 1.
        """
        if not len(scores):
            return cls([0.0], [0.5])
        from sklearn.isotonic import IsotonicRegression

        weights = 1 / kept
        # Nothing is impossible, nor certain because the last few rows agree: half a row speaks against at
        # either end (Krichevsky and Trofimov, 1981).
        fitted = IsotonicRegression().fit(
            np.append(scores, [scores.min(), scores.max()]),
            np.append(labels, [1.0, 0.0]),
            np.append(weights, [0.5, 0.5]),
        )
        knots, chances = fitted.X_thresholds_, fitted.y_thresholds_
        if len(knots) > MOST_KNOTS:
            some = np.unique(np.linspace(0, len(knots) - 1, MOST_KNOTS).round().astype(int))
            knots, chances = knots[some], chances[some]
        return cls([float(x) for x in knots], [float(x) for x in chances])

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """The chance of each score (R,)."""
        return np.asarray(np.interp(scores, self.scores, self.chances))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
