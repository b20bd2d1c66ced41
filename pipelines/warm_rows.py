"""Views by article held in memory: what hundreds of candidates are looked up in takes microseconds there.

The online store marks a view whenever its rows may have changed (`Snapshot.mark`). What is held counts only as long
as the mark is that of the snapshot that a request reads, so that it gives what the store would give, always.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.columns import Coded, Table, coded, texts

if TYPE_CHECKING:
    from feature_repo.stores.lmdb_rows import Snapshot

KEY = "article_id"
AT_ONCE = 5_000
NO_CODES = np.empty((0, 0), dtype="int32")


@dataclass
class _Held:
    mark: bytes
    numbers: dict[str, int]
    """Feature -> its column in `matrix`."""
    matrix: np.ndarray
    """Articles by numbers, float64: what is asked of an article lies side by side, in few lines of the processor's cache."""
    texts: dict[str, tuple[np.ndarray, int]]
    """Feature -> its names (`Coded.names`), and its column in `codes`."""
    codes: np.ndarray
    """Articles by texts, int32."""
    others: dict[str, np.ndarray]
    """Feature -> its values by articles, of those that are neither."""


@dataclass
class WarmRows:
    """What the views by article say of these articles.

    Args:
        names: article ids, each once, and None at the end (`Coded.names`). Rows that number their articles by this
            array are found at once.
    """

    names: np.ndarray = field(default_factory=lambda: texts(None))
    _held: dict[str, _Held] = field(default_factory=dict)
    _filling: Any = field(default_factory=threading.Lock)
    _place: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._place = {article: place for place, article in enumerate(self.names[:-1])}

    def numbered_by(self, names: np.ndarray) -> "WarmRows":
        """The same memory, for rows that number the same articles by another array."""
        return WarmRows(names, self._held, self._filling)

    def __contains__(self, article: object) -> bool:
        return article in self._place

    def places(self, table: Table) -> np.ndarray | None:
        """Where each row's article stands (R,); None if one of them does not."""
        known = coded(table, KEY)
        if known is not None and known.names is self.names:
            return known.codes
        return self.places_of(table[KEY])

    def places_of(self, articles: Iterable[Any]) -> np.ndarray | None:
        """Where each article stands (R,); None if one of them does not."""
        try:
            return np.array([*map(self._place.__getitem__, articles)], dtype=np.intp)
        except (KeyError, TypeError):
            return None

    def read(
        self,
        snapshot: "Snapshot | None",
        view: str,
        numbers: Sequence[str],
        others: Sequence[str],
        places: np.ndarray,
    ) -> tuple[np.ndarray, dict[str, np.ndarray | Coded]] | None:
        """Features of articles, as the snapshot has them.

        Args:
            snapshot: None takes what is held, whatever has become of the store.
            view: as the store names it.
            numbers: features that are numbers.
            others: those that are not.
            places: of the articles (R,).

        Returns:
            the numbers (features x R, float64) and {feature: values (R,)}; None if they are not held, or the
            store has changed.
        """
        held = self._held.get(view)
        if held is None or (snapshot is not None and snapshot.mark(view) != held.mark):
            return None
        try:
            wanted = [held.numbers[name] for name in numbers]
            codes = held.codes.take(places, axis=0).T if held.texts else NO_CODES
            rest: dict[str, np.ndarray | Coded] = {}
            for name in others:
                if (text := held.texts.get(name)) is not None:
                    rest[name] = Coded(text[0], codes[text[1]])
                else:
                    rest[name] = held.others[name][places]
        except KeyError:
            return None
        found = np.ascontiguousarray(held.matrix.take(places, axis=0).T)
        if wanted != list(range(len(found))):
            found = found[wanted]
        return found, rest

    def remembered(
        self, view: str, numbers: Sequence[str], others: Sequence[str], places: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray | Coded]] | None:
        """The same as it was when it was filled, whatever has become of the store."""
        return self.read(None, view, numbers, others, places)

    def fill(
        self, snapshot: "Snapshot", view: str, numbers: Sequence[str], others: Sequence[str]
    ) -> None:
        """Hold these features of a view, if they are not held as the snapshot has them.

        Raises:
            OnlineStoreError: the store is damaged.
        """
        with self._filling:
            mark, before = snapshot.mark(view), self._held.get(view)
            if mark is None:
                # What there was before no longer counts, but for `remembered`.
                return
            known = snapshot.find(view)
            if known is None or known.ttl is not None:
                # What goes out of date by itself has no mark that says so.
                return
            if before and before.mark == mark:
                no_numbers = [*before.texts, *before.others]
                if set(numbers) <= before.numbers.keys() and set(others) <= set(no_numbers):
                    return
                numbers = list(dict.fromkeys([*before.numbers, *numbers]))
                others = list(dict.fromkeys([*no_numbers, *others]))
            size = len(self.names) - 1
            matrix = np.empty((size, len(numbers)))
            rest: dict[str, list[np.ndarray]] = {name: [] for name in others}
            for start in range(0, size, AT_ONCE):
                some = slice(start, start + AT_ONCE)
                found = snapshot.read_matrix(view, list(self.names[:-1][some]), tuple(numbers))
                matrix[some] = found.values
                for name in others:
                    rest[name].append(found.objects(name))
            whole = {name: _whole(parts) for name, parts in rest.items()}
            known_by_name = {name: of for name, of in whole.items() if isinstance(of, Coded)}
            codes = np.empty((size, len(known_by_name)), dtype="int32")
            for column, of in enumerate(known_by_name.values()):
                codes[:, column] = of.codes
            self._held[view] = _Held(
                mark,
                {name: column for column, name in enumerate(numbers)},
                matrix,
                {
                    name: (of.names, column)
                    for column, (name, of) in enumerate(known_by_name.items())
                },
                codes,
                {name: of for name, of in whole.items() if not isinstance(of, Coded)},
            )


def _whole(parts: list[np.ndarray]) -> np.ndarray | Coded:
    """The parts one after the other; texts by their names, as there are few of most."""
    whole = np.concatenate(parts) if parts else np.array([], dtype=object)
    if whole.dtype != object or not all(isinstance(value, str | None) for value in whole):
        return whole
    numbers: dict[str, int] = {}
    codes = (-1 if text is None else numbers.setdefault(text, len(numbers)) for text in whole)
    found = np.fromiter(codes, np.intp, len(whole))
    return Coded.of(list(numbers), found)
