"""Customers drawn again and again: means over weeks, their intervals, and those of what is made of them.

Whole customers are drawn, with all their weeks, since a customer's weeks are alike (cluster bootstrap,
Davison and Hinkley 1997). All models, metrics and groups are looked at in the same draws, so that what is
compared is paired.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 50
"""Samples in memory at a time."""
_BITS = 30
"""Values are summed in steps of so many bits of their range, 52 of which hold eight million customers:
sums are then exact, hence the same in any order, with any number of threads, and beside any other metric."""

Interval = dict[str, float]
"""mean, low, high."""


def draws(
    customers: Sequence[np.ndarray], samples: int = SAMPLES, seed: int = 0
) -> Iterator[list[np.ndarray]]:
    """How often each customer is drawn, with replacement.

    Args:
        customers: for each week the numbers of its customers, from 0 (n,).

    Yields:
        for `AT_ONCE` samples at a time and each week a matrix (n x samples).
    """
    count = 1 + max((int(numbers.max()) for numbers in customers if len(numbers)), default=0)
    rng = np.random.default_rng(seed)
    for start in range(0, samples, AT_ONCE):
        times = np.empty((min(AT_ONCE, samples - start), count))
        for row in times:
            row[:] = np.bincount(rng.integers(0, count, count), minlength=count)
        turned = np.ascontiguousarray(times.T)
        yield [turned[numbers] for numbers in customers]


class Means:
    """Means over the customers of each group in a week, for one sample or many.

    Args:
        values: C columns of n customers (C x n); a customer without a value does not count.
        cell: number of each customer's cell (n,).
        groups: which cells each of the K groups holds (K x cells).
    """

    def __init__(self, values: np.ndarray, cell: np.ndarray, groups: np.ndarray) -> None:
        self.groups = groups.astype("float64")
        order = np.argsort(cell, kind="stable")
        self._order = order
        self._ends = np.searchsorted(cell[order], np.arange(groups.shape[1] + 1))
        values = np.ascontiguousarray(values[:, order], dtype="float64")
        has = ~np.isnan(values)
        self._lacking = np.flatnonzero(~has.all(axis=1))
        self._has = has[self._lacking].astype("float64")
        some = has.any(axis=1)
        least = np.where(some, values.min(axis=1, where=has, initial=np.inf), 0.0)
        most = np.where(some, values.max(axis=1, where=has, initial=-np.inf), 0.0)
        # Taken out, so that what is the same for everybody has no spread, not even in the last digit.
        self._middle = least / 2 + most / 2
        values -= self._middle[:, None]
        values[~has] = 0.0
        sizes = np.diff(self._ends).astype("float64")
        self._exact = self._divided(
            _sums(self._split(values)), sizes[:, None], _sums(self._split(self._has))
        )
        _, exponent = np.frexp(most - self._middle)
        step = np.ldexp(1.0, exponent - _BITS)[:, None]
        # All of this in place: these are the largest arrays of an evaluation.
        values /= step
        np.rint(values, out=values)
        values *= step
        self._steps = values

    def exact(self) -> np.ndarray:
        """Of the customers as they are (K x C), missing where a group has none."""
        return self._exact[..., 0]

    def of(self, times: np.ndarray) -> np.ndarray:
        """Of customers who count so many times (n x S): K x C x S."""
        times = times[self._order]
        parts = [times[a:b] for a, b in zip(self._ends[:-1], self._ends[1:], strict=True)]
        sums = np.stack(
            [one @ two for one, two in zip(self._split(self._steps), parts, strict=True)]
        )
        has = np.stack([one @ two for one, two in zip(self._split(self._has), parts, strict=True)])
        return self._divided(sums, np.stack([part.sum(axis=0) for part in parts]), has)

    def _split(self, values: np.ndarray) -> list[np.ndarray]:
        return np.split(values, self._ends[1:-1], axis=1)

    def _divided(self, sums: np.ndarray, sizes: np.ndarray, has: np.ndarray) -> np.ndarray:
        total = np.tensordot(self.groups, sums, 1)
        count = np.repeat((self.groups @ sizes)[:, None], total.shape[1], axis=1)
        count[:, self._lacking] = np.tensordot(self.groups, has, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: np.ndarray = self._middle[:, None] + total / np.where(count > 0, count, np.nan)
        return found


def _sums(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Sums of each part (each C x n): parts x C x 1."""
    return np.stack([part.sum(axis=1) for part in parts])[..., None]


def over_weeks(means: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over those weeks that have one, missing where none has."""
    stacked = np.stack(means)
    has = ~np.isnan(stacked)
    count = has.sum(axis=0)
    # The middle is taken out, so that what is the same in all weeks stays the same to the last digit.
    middle = np.where(has, stacked, -np.inf).max(axis=0)
    middle = np.where(count > 0, middle, np.nan)
    rest = np.where(has, stacked - middle, 0.0).sum(axis=0)
    found: np.ndarray = middle + rest / np.maximum(count, 1)
    return found


def interval(
    mean: float, drawn: np.ndarray, *, level: float = LEVEL, centred: bool = False
) -> Interval:
    """The value with a percentile interval of what samples gave (S,).

    Args:
        centred: samples are moved so that their mean is the value: for what is lower (or higher) in
            every sample because fewer distinct customers are in it.
    """
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(mean) or not len(drawn):
        return {"mean": float(mean), "low": float(mean), "high": float(mean)}
    if centred:
        drawn = drawn + (mean - drawn.mean())
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return {"mean": float(mean), "low": float(low), "high": float(high)}
