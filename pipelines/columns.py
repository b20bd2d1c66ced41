"""A small table for one request: arrays by name, without what pandas spends on each column.

It has the few ways of a DataFrame that the recommender's path uses, so that the same code takes both: `len`,
`in`, `[name]`, `columns`, `empty`, `assign` and `drop`. What is read from either goes through `np.asarray`.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd


class Columns:
    """R rows, each column an array (R,).

    Args:
        of: {name: array (R,)}; a list or one value for all rows is no column.
        size: R; that of the first column if None.

    Raises:
        ValueError: a column has another length.
    """

    __slots__ = ("_at", "_behind", "_of", "_size")

    def __init__(self, of: Mapping[str, np.ndarray], size: int | None = None) -> None:
        self._of = dict(of)
        self._size = len(next(iter(self._of.values()), ())) if size is None else size
        for name, values in self._of.items():
            if len(values) != self._size:
                raise ValueError(f"Column {name!r} has {len(values)} rows instead of {self._size}.")
        self._behind: dict[str, Columns] = {}
        """Columns that are taken from others when they are asked for: most are not."""
        self._at: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._size

    def __contains__(self, name: object) -> bool:
        return name in self._of or name in self._behind

    def __getitem__(self, name: str) -> np.ndarray:
        found = self._of.get(name)
        if found is None:
            behind = self._behind[name]
            found = self._of[name] = behind[name][self._at[id(behind)]]
        return found

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys([*self._behind, *self._of]))

    @property
    def empty(self) -> bool:
        return self._size == 0

    @property
    def size(self) -> int:
        """How many values there are."""
        return self._size * len(self.columns)

    def assign(self, **columns: np.ndarray) -> Self:
        """With these columns, new or in the place of others."""
        made = type(self)(columns, self._size)
        made._of = self._of | made._of
        made._behind, made._at = self._behind, self._at
        return made

    def take(self, places: np.ndarray | Sequence[int]) -> Self:
        """The rows at these places, in this order."""
        at = np.asarray(places, dtype=np.intp)
        made = type(self)({}, len(at))
        made._behind = dict.fromkeys(self.columns, self)
        made._at = {id(self): at}
        return made

    def drop(self, *, columns: Sequence[str]) -> Self:
        """Without these columns."""
        made = type(self)({n: v for n, v in self._of.items() if n not in columns}, self._size)
        made._behind = {n: of for n, of in self._behind.items() if n not in columns}
        made._at = self._at
        return made

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({n: self[n] for n in self.columns}, pd.RangeIndex(self._size))


class Row(Mapping[Hashable, Any]):
    """One row of a table, of which each value is looked up when it is asked for."""

    def __init__(self, table: "Table", place: int) -> None:
        self._table = table
        self._place = place

    def __getitem__(self, name: Hashable) -> Any:
        if name not in self._table:
            raise KeyError(name)
        return np.asarray(self._table[str(name)])[self._place]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._table.columns)

    def __len__(self) -> int:
        return len(self._table.columns)


Table = pd.DataFrame | Columns
"""Rows of many customers, or those of one request."""
SameTable = TypeVar("SameTable", pd.DataFrame, Columns)
"""The same kind of table that was given."""


def texts(*values: Any) -> np.ndarray:
    """A column of texts."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def objects(table: Table, name: str) -> np.ndarray:
    """A column as an array of objects (R,)."""
    return np.asarray(table[name], dtype=object)


def taken(table: SameTable, places: np.ndarray) -> SameTable:
    """The rows at these places, numbered anew."""
    if isinstance(table, pd.DataFrame):
        return table.iloc[places].reset_index(drop=True)
    return table.take(places)


def as_frame(table: Table) -> pd.DataFrame:
    return table if isinstance(table, pd.DataFrame) else table.frame()
