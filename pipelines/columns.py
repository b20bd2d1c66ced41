"""A small table for one request: arrays by name, without what pandas spends on each column.

It has the few ways of a DataFrame that the recommender's path uses, so that the same code takes both: `len`,
`in`, `[name]`, `columns`, `empty`, `assign` and `drop`. What is read from either goes through `np.asarray`.
"""

from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd

from feature_repo.coded import Coded, decoded, texts


class Columns:
    """R rows, each column an array (R,).

    Args:
        of: {name: array (R,), or `Coded`}; a list or one value for all rows is no column.
        size: R; that of the first column if None.

    Raises:
        ValueError: a column has another length.
    """

    __slots__ = ("_at", "_behind", "_coded", "_of", "_size", "memo")

    def __init__(self, of: Mapping[str, np.ndarray | Coded], size: int | None = None) -> None:
        self._size = len(next(iter(of.values()), ())) if size is None else size
        for name, values in of.items():
            if len(values) != self._size:
                raise ValueError(f"Column {name!r} has {len(values)} rows instead of {self._size}.")
        self._of = {name: of for name, of in of.items() if not isinstance(of, Coded)}
        self._coded = {name: of for name, of in of.items() if isinstance(of, Coded)}
        self._behind: dict[str, Columns] = {}
        """Columns that are taken from others when they are asked for: most are not."""
        self._at: dict[int, np.ndarray] = {}
        self.memo: dict[Any, Any] = {}
        """What somebody has made of these rows, and may need again."""

    def __len__(self) -> int:
        return self._size

    def __contains__(self, name: object) -> bool:
        return name in self._of or name in self._coded or name in self._behind

    def __getitem__(self, name: str) -> np.ndarray:
        found = self._of.get(name)
        if found is None:
            if (coded := self._coded.get(name)) is not None:
                found = coded.decoded()
            else:
                behind = self._behind[name]
                found = behind[name][self._at[id(behind)]]
            self._of[name] = found
        return found

    def coded(self, name: str) -> Coded | None:
        """The column by its names, if it came so."""
        found = self._coded.get(name)
        if found is None and (behind := self._behind.get(name)) is not None:
            whole = behind.coded(name)
            if whole is not None:
                found = Coded(whole.names, whole.codes[self._at[id(behind)]])
                self._coded[name] = found
        return found

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys([*self._behind, *self._coded, *self._of]))

    @property
    def empty(self) -> bool:
        return self._size == 0

    @property
    def size(self) -> int:
        """How many values there are."""
        return self._size * len(self.columns)

    def assign(self, **columns: np.ndarray | Coded) -> Self:
        """With these columns, new or in the place of others."""
        made = type(self)(columns, self._size)
        for name in ("_of", "_coded", "_behind"):
            getattr(made, name).update(self._kept(name, columns))
        made._at = self._at
        return made

    def _kept(self, kind: str, without: Container[str]) -> dict[str, Any]:
        # A copy first: a request that was left behind may still be filling them in its thread.
        found = getattr(self, kind).copy()
        return {name: values for name, values in found.items() if name not in without}

    def take(self, places: np.ndarray | Sequence[int]) -> Self:
        """The rows at these places, in this order.

        Raises:
            ValueError: truth values are given for places.
        """
        at = np.asarray(places)
        if at.dtype == bool:
            raise ValueError("Rows are taken by their places, not by truth values.")
        at = at.astype(np.intp, copy=False)
        made = type(self)({}, len(at))
        made._behind = dict.fromkeys(self.columns, self)
        made._at = {id(self): at}
        return made

    def drop(self, *, columns: Sequence[str]) -> Self:
        """Without these columns."""
        made = type(self)({}, self._size)
        for name in ("_of", "_coded", "_behind"):
            setattr(made, name, self._kept(name, columns))
        made._at = self._at
        return made

    def frame(self) -> pd.DataFrame:
        flat = {name: self[name] for name in self.columns if self[name].ndim == 1}
        return pd.DataFrame(flat, pd.RangeIndex(self._size))


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


__all__ = [
    "Coded",
    "Columns",
    "Row",
    "SameTable",
    "Table",
    "as_frame",
    "coded",
    "decoded",
    "objects",
    "taken",
    "texts",
]

Table = pd.DataFrame | Columns
"""Rows of many customers, or those of one request."""
SameTable = TypeVar("SameTable", pd.DataFrame, Columns)
"""The same kind of table that was given."""


def objects(table: Table, name: str) -> np.ndarray:
    """A column as an array of objects (R,)."""
    return np.asarray(table[name], dtype=object)


def taken(table: SameTable, places: np.ndarray) -> SameTable:
    """The rows at these places, numbered anew."""
    if isinstance(table, pd.DataFrame):
        return table.iloc[places].reset_index(drop=True)
    return table.take(places)


def coded(table: Table, name: str) -> Coded | None:
    """A column by its names, if it came so."""
    return table.coded(name) if isinstance(table, Columns) else None


def as_frame(table: Table) -> pd.DataFrame:
    return table if isinstance(table, pd.DataFrame) else table.frame()
