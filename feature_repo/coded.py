"""A column by its names: numbers in place of values of which there are few."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class Coded:
    """Values of which there are few, or that somebody has numbered already: what is done for each name need not be
    done for each row.

    Attributes:
        names: the values (N,), objects; the last is what is missing, so that the code -1 means it.
        codes: the number of each row's name (R,).
    """

    names: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, names: Sequence[Any] | np.ndarray, codes: np.ndarray, missing: Any = None) -> Self:
        return cls(texts(*names, missing), codes)

    @classmethod
    def one(cls, value: Any, size: int) -> Self:
        """The same value in every row."""
        return cls(texts(value, None), np.zeros(size, dtype=np.intp))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def is_one(self) -> bool:
        """Whether every row has the same value, `names[0]`."""
        return len(self.names) == 2 and not self.codes.any()

    def decoded(self) -> np.ndarray:
        """The values (R,)."""
        return np.asarray(self.names[self.codes])

    def mapped(self, of_name: Callable[[Any], float]) -> np.ndarray:
        """A number for each row (R,) float64, by its name."""
        found = np.fromiter(map(of_name, self.names), "float64", len(self.names))
        return np.asarray(found[self.codes])


def decoded(values: Any) -> Any:
    """A column's values (R,), whether it comes by its names or not."""
    return values.decoded() if isinstance(values, Coded) else values


def texts(*values: Any) -> np.ndarray:
    """A column of objects."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found
