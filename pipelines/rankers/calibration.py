"""From a ranker's score to a chance.

Isotonic regression (Zadrozny and Elkan, KDD 2002) of what came of candidates on their scores, on customers
from whom the ranker did not learn. Rows of which only a share was kept count 1 / share times (Horvitz and
Thompson, JASA 1952), so that the chance is that in the whole data, whatever was left out of training (He et
al., ADKDD 2014). Where chances of several things are weighed to put candidates in order, steps would leave the
best of them equal: a logistic curve through the same rows (Platt, 1999) has none.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit

MOST_KNOTS = 500
LEAST_SPREAD, LEAST_SLOPE = 1e-9, 1e-3


@dataclass(frozen=True)
class Calibration:
    """A rising line through knots, level beyond the first and the last; and a curve without steps.

    Attributes:
        scores: of the knots (K,), rising.
        chances: at them (K,), never falling, above 0 and below 1.
        slope: of the curve 1 / (1 + exp(-(slope x score + intercept))), above 0.
        intercept: of it.
    """

    scores: Sequence[float]
    chances: Sequence[float]
    slope: float = 1.0
    intercept: float = 0.0

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
        from sklearn.linear_model import LogisticRegression

        # Nothing is impossible, nor certain because the last few rows agree: half a row speaks against at
        # either end (Krichevsky and Trofimov, 1981).
        weights = np.append(1 / kept, [0.5, 0.5])
        labels = np.append(labels, [1.0, 0.0])
        spread = max(float(scores.std()), LEAST_SPREAD)
        scores = np.append(scores, [scores.min(), scores.max()])
        fitted = IsotonicRegression().fit(scores, labels, weights)
        curve = LogisticRegression(C=1e4).fit(scores[:, None] / spread, labels, weights)
        # A ranker that is wrong on these rows still means its higher scores to be better.
        slope = max(float(curve.coef_[0, 0]), LEAST_SLOPE) / spread
        knots, chances = fitted.X_thresholds_, fitted.y_thresholds_
        if len(knots) > MOST_KNOTS:
            some = np.unique(np.linspace(0, len(knots) - 1, MOST_KNOTS).round().astype(int))
            knots, chances = knots[some], chances[some]
        return cls(
            [float(x) for x in knots],
            [float(x) for x in chances],
            slope,
            float(curve.intercept_[0]),
        )

    def curve(self, scores: np.ndarray) -> np.ndarray:
        """About the chance of each score (R,), and of a higher score always a higher one."""
        return np.asarray(expit(self.slope * scores + self.intercept))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """The chance of each score (R,)."""
        return np.asarray(np.interp(scores, self.scores, self.chances))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
