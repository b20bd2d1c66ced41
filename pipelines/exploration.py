"""Exploration: an order that is drawn, and with which probability each article came to its place.

An answer that always shows the best teaches nothing of the rest. Where each place is drawn with a known
chance, what customers did can be weighed by it afterwards, and another order judged that was never
shown (Horvitz and Thompson, JASA 1952; Li et al., WSDM 2011).
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from feature_repo.errors import InputError

EPSILON, PLACKETT_LUCE = "epsilon", "plackett_luce"


@dataclass(frozen=True)
class Exploration:
    """How places are drawn.

    Attributes:
        kind: "epsilon" draws at each place with probability `epsilon` one of the first `depth` that are
            left, each alike, and else takes the first that is left. "plackett_luce" draws from the first
            `depth` without replacement, each with weight exp(score / temperature) (Plackett, Applied
            Statistics 1975).
        depth: how far down the order an article may be drawn from.
        epsilon: from 0 (never drawn) to 1.
        temperature: in the unit of the scores; the smaller, the more the best is preferred.

    Raises:
        InputError: one of them is out of range.
    """

    kind: Literal["epsilon", "plackett_luce"]
    depth: int = 50
    epsilon: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in (EPSILON, PLACKETT_LUCE):
            raise InputError(f"kind is {self.kind!r}: give {EPSILON} or {PLACKETT_LUCE}.")
        if type(self.depth) is not int or self.depth < 1:
            raise InputError(f"depth is {self.depth!r}: give a whole number, 1 or more.")
        if not _is_number(self.epsilon) or not 0 <= self.epsilon <= 1:
            raise InputError(f"epsilon is {self.epsilon!r}: give a number from 0 to 1.")
        if not _is_number(self.temperature) or not 0 < self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature!r}: give a number above 0.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def seed_of(request_id: str) -> int:
    """A seed of 64 bits, so that an answer can be drawn again from its id."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "big")


def explore(
    scores: np.ndarray, k: int, exploration: Exploration, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the first k places; the same arguments always give the same.

    Args:
        scores: of N candidates in the order in which they would be shown, the first first (N,). That order
            counts, also where a score does not fall: only "plackett_luce" looks at the scores.
        k: places to draw, 0 or more.

    Returns:
        positions of all candidates in their new order (N,), those behind the first k as they stood; and of
        each of the first k the probability with which it was drawn, given what stands before it
        (min(k, N),).

    Raises:
        ValueError: a score is not finite, for which no probability could be told.
    """
    scores = np.asarray(scores, dtype="float64")
    size = len(scores)
    k = min(k, size)
    if exploration.kind == EPSILON:
        drawn, propensities = _epsilon(size, k, exploration, np.random.default_rng(seed))
    else:
        if not np.isfinite(scores).all():
            raise ValueError("a score that is not finite has no probability")
        drawn, propensities = _plackett_luce(scores, k, exploration, np.random.default_rng(seed))
    behind = np.ones(size, dtype=bool)
    behind[drawn] = False
    return np.concatenate([drawn, np.flatnonzero(behind)]), propensities


def _epsilon(
    size: int, k: int, exploration: Exploration, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    epsilon, depth = exploration.epsilon, exploration.depth
    explores = random.random(k) < epsilon
    places = random.random(k)
    left = list(range(min(size, depth + k)))
    drawn, propensities = np.empty(k, dtype="int64"), np.empty(k)
    for n in range(k):
        choices = min(depth, size - n)
        place = int(places[n] * choices) if explores[n] else 0
        drawn[n] = left.pop(place)
        # The first may come by chance too.
        propensities[n] = epsilon / choices + (1 - epsilon) * (place == 0)
    return drawn, propensities


def _plackett_luce(
    scores: np.ndarray, k: int, exploration: Exploration, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    depth = min(exploration.depth, len(scores))
    weights = scores[:depth] / exploration.temperature
    # Sorting by Gumbel noise on top of them is drawing without replacement (Yellott, J. Math. Psych. 1977).
    order = np.argsort(-(weights + random.gumbel(size=depth)), kind="stable")
    sorted_weights = weights[order]
    left = np.logaddexp.accumulate(sorted_weights[::-1])[::-1]
    drawn = np.arange(k)
    propensities = np.ones(k)
    # What is deeper comes as it stands once the others are used up.
    among = min(k, depth)
    drawn[:among] = order[:among]
    propensities[:among] = np.exp(np.minimum(sorted_weights - left, 0)[:among])
    return drawn, propensities
