"""Packed rows of views in LMDB: many processes read, one at a time writes, and no reader waits.

An environment is a folder. Every view is a database of it, whose keys are those of its entities
(`encode_keys`) and whose values are packed rows. What is known of the views themselves (`View`)
stands in a database beside them, so a reader needs nothing but the folder. Each write is one
transaction: others see all of it or nothing, whatever happens to the writer.
"""

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property, partial
from itertools import repeat
from operator import index
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np

from feature_repo.errors import InputError
from feature_repo.stores.lmdb_environment import (
    MAP_SIZE,
    NEW,
    DamagedStoreError,
    Environment,
    Gone,
    OnlineStoreError,
    Overwritten,
    cannot,
    close_folder,
    forget,
    is_there,
    open_folder,
)
from feature_repo.stores.packed_rows import Matrix, Schema

Keys = Sequence[Any] | Mapping[str, Sequence[Any]]
"""Of a view with one key its values, of others {join key: values}."""

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Given the event and created times (int64 (n, 2)) of rows that are there and of those that would take
their places: which may (bool (n,))."""

_VIEWS = "views"
_MARKS = "marks"
"""For each view what its rows were last marked with: every transaction that may change them marks them anew."""
_T = TypeVar("_T")
_LONGEST_KEY = 511
_NUMBERS = ("INT32", "INT64", "UNIX_TIMESTAMP")


def microseconds_now() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class View:
    """What the store knows of a view, beside its rows."""

    name: str
    keys: tuple[tuple[str, str], ...]
    """The join keys and the names of their Feast types, in the order in which rows are sorted."""
    schemas: tuple[Schema, ...]
    """All that rows may have been packed with, the newest last."""
    ttl: timedelta | None = None
    """How long a row counts after its event time; None: forever."""
    brought_to: int | None = None
    """The moment whose state was last brought here, whole (microseconds since 1970)."""
    bringing_to: int | None = None
    """The moment whose state is being brought: rows are of either."""
    bringing_data: str = ""
    """A fingerprint of what it is brought from."""
    bringing: str = ""
    """The run that brings it: one that another has taken over from may not go on."""
    done_until: Any = None
    """Rows whose first key is less than this are here already."""
    brought_at: int | None = None
    """When the last bringing began."""
    newest_created: int | None = None
    """The newest created time among the source's rows that were brought."""

    @cached_property
    def schema(self) -> Schema:
        return self.schemas[-1]

    @cached_property
    def by_number(self) -> dict[int, Schema]:
        return {schema.number: schema for schema in self.schemas}

    def to_json(self) -> bytes:
        fields = {key: value for key, value in vars(self).items() if key in _FIELDS}
        return json.dumps(
            fields
            | {
                "schemas": [[schema.number, schema.features] for schema in self.schemas],
                "ttl": None if self.ttl is None else self.ttl // timedelta(microseconds=1),
            }
        ).encode()

    @staticmethod
    def from_json(text: bytes) -> "View":
        fields = json.loads(text)
        ttl = fields.pop("ttl")
        return View(
            **fields
            | {
                "keys": tuple(map(tuple, fields["keys"])),
                "schemas": tuple(
                    Schema(number, tuple(map(tuple, features)))
                    for number, features in fields["schemas"]
                ),
                "ttl": None if ttl is None else timedelta(microseconds=ttl),
            }
        )


_FIELDS = View.__dataclass_fields__.keys()


# Keys


def encode_keys(view: View, keys: Keys) -> list[bytes | None]:
    """The keys as LMDB has them, in an order that is that of the values; None for a key that is null.

    Raises:
        InputError: a join key is not given, or its values are of another type.
    """
    if isinstance(keys, str | bytes):
        raise InputError(f"View {view.name!r}: give the keys as a list, also one: [{keys!r}].")
    if not isinstance(keys, Mapping):
        if len(view.keys) != 1:
            names = ", ".join(name for name, _ in view.keys)
            raise InputError(f"View {view.name!r} has the keys {names}: give each by its name.")
        keys = {view.keys[0][0]: keys}
    missing = [name for name, _ in view.keys if name not in keys]
    if missing:
        raise InputError(f"View {view.name!r}: no values are given for the key {missing[0]!r}.")
    given = [
        column.to_pylist() if hasattr(column := keys[name], "to_pylist") else list(column)
        for name, _ in view.keys
    ]
    if len(set(map(len, given))) > 1:
        counts = ", ".join(
            f"{name} has {len(c)}" for (name, _), c in zip(view.keys, given, strict=True)
        )
        raise InputError(f"View {view.name!r}: each row needs all keys, but {counts}.")
    columns = [_encoded(*key, values) for key, values in zip(view.keys, given, strict=True)]
    # A text ends where two zeros are: one within it is followed by 255.
    whole = columns[0] if len(columns) == 1 else list(map(b"\0\0".join, zip(*columns, strict=True)))
    lengths = set(map(len, whole))
    if 0 in lengths:
        # LMDB has no empty keys; nothing else encodes to this.
        whole = [key or b"\0" for key in whole]
    if max(lengths, default=0) > _LONGEST_KEY:
        whole = [key if len(key) <= _LONGEST_KEY else _shortened(key) for key in whole]
    if not any(None in values for values in given):
        return [*whole]
    rows = zip(*given, strict=True)
    return [None if None in parts else key for parts, key in zip(rows, whole, strict=True)]


def _encoded(name: str, kind: str, values: Sequence[Any]) -> list[bytes]:
    try:
        if kind in _NUMBERS:
            return [
                b"" if value is None else (index(value) + 2**63).to_bytes(8, "big")
                for value in values
            ]
        if kind == "BYTES":
            texts = [value or b"" for value in values]
        else:
            try:
                texts = list(map(str.encode, values))
            except TypeError:
                texts = [b"" if value is None else str.encode(value) for value in values]
        if b"\0" in b"".join(texts):
            texts = [text.replace(b"\0", b"\0\xff") for text in texts]
        return texts
    except (TypeError, ValueError, OverflowError) as error:
        wanted = int if kind in _NUMBERS else bytes if kind == "BYTES" else str
        wrong = next((v for v in values if v is not None and not isinstance(v, wanted)), None)
        raise InputError(
            f"Key {name!r} must be {kind}, and one is {wrong!r}, {type(wrong).__name__}."
        ) from error


def _shortened(key: bytes) -> bytes:
    digest = hashlib.blake2b(key, digest_size=32).digest()
    return key[: _LONGEST_KEY - len(digest)] + digest


class OnlineRows:
    """The online store in a folder.

    Args:
        folder: of the environment; it is made when something is written.
        map_size: bytes of address space to begin with.
    """

    def __init__(self, folder: Path | str, map_size: int = MAP_SIZE) -> None:
        self.folder = Path(folder).resolve()
        self._map_size = map_size

    def close(self) -> None:
        """Close the environment in this process; it opens again when it is asked for."""
        close_folder(self.folder)

    @contextmanager
    def reading(self, *views: str) -> Iterator["Snapshot"]:
        """The store as it is now, for as long as this lasts, whatever is written meanwhile.

        Args:
            views: those whose rows are read.

        Raises:
            OnlineStoreError: it cannot be read, or is damaged.
        """
        environment, txn, thread, databases = self._begin((_VIEWS, _MARKS, *views))
        if environment is None:
            yield Snapshot(None, None, databases)
            return
        overwritten = False
        try:
            try:
                yield Snapshot(environment, txn, databases)
            finally:
                overwritten = environment.was_overwritten(txn)
                environment.end(txn, thread)
        except Exception as error:
            if not overwritten:
                if isinstance(error, lmdb.Error):
                    raise cannot(self.folder, "read", error) from error
                raise
        if overwritten:
            raise Overwritten(
                f"The online store {self.folder} was written while it was read by a user who may not "
                "write its lock table: read again."
            )

    def _begin(self, names: tuple[str, ...]) -> tuple[Environment | None, Any, int, dict[str, Any]]:
        was_there = False
        while True:
            environment = open_folder(self.folder, self._map_size)
            if environment is None and was_there:
                # Another folder may be about to take its place.
                was_there = False
                time.sleep(0.02)
                continue
            if environment is None:
                return None, None, 0, dict.fromkeys(names)
            try:
                return environment, *environment.begin(names)
            except Gone:
                forget(environment)
                was_there = True
            except lmdb.MapResizedError:
                self._grow(environment, 0)
            except lmdb.Error as error:
                raise cannot(self.folder, "read", error) from error

    def read(self, look: "Callable[[Snapshot], _T]", *views: str) -> "_T":
        """What is found in a snapshot.

        Args:
            look: may be called again, where this user may not write the lock table.
            views: those whose rows are read.
        """
        for _ in range(100):
            with suppress(Overwritten), self.reading(*views) as snapshot:
                return look(snapshot)
        with self.reading(*views) as snapshot:
            return look(snapshot)

    def read_matrix(
        self, view: str, keys: Keys, features: Sequence[str] | None = None, now: int | None = None
    ) -> Matrix:
        """`Snapshot.read_matrix` of what is there now."""
        return self.read(lambda snapshot: snapshot.read_matrix(view, keys, features, now), view)

    def write(self, change: "Callable[[Transaction], _T]") -> "_T":
        """Make a change in one transaction; all of it is on disk when this returns, or nothing.

        Args:
            change: may be called again, when the map had to grow.

        Raises:
            OnlineStoreError: the disk is full, or the folder cannot be written.
        """
        while True:
            environment = open_folder(self.folder, self._map_size, write=True)
            assert environment is not None
            size = environment.map_size
            try:
                return environment.write(partial(_changed, environment, change))
            except Gone:
                forget(environment)
            except lmdb.MapResizedError:
                self._grow(environment, 0)
            except lmdb.MapFullError:
                self._grow(environment, size)
            except lmdb.Error as error:
                # An environment that failed to write may be of no use any more.
                forget(environment)
                what = cannot(self.folder, "written", error)
                if isinstance(what, DamagedStoreError):
                    raise what from error
                raise OnlineStoreError(
                    f"{what} Nothing of this batch was written; what was there before can be read."
                ) from error

    def _grow(self, environment: Environment, size: int) -> None:
        try:
            environment.grow(size)
        except lmdb.Error as error:
            forget(environment)
            raise cannot(self.folder, "opened", error) from error

    def remove(self) -> None:
        """Everything, with the files.

        Raises:
            OnlineStoreError: they cannot be removed.
        """
        try:
            if is_there(self.folder):
                try:
                    # A batch that waits for this one finds that the files are gone, and makes others.
                    self.write(lambda store: self._unlink())
                except OnlineStoreError:
                    self._unlink()
            for left in self.folder.glob(f"{NEW}*"):
                shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            raise cannot(self.folder, "removed", error) from error
        self.close()
        with suppress(OSError):
            self.folder.rmdir()

    def _unlink(self) -> None:
        # The lock table first: who opens the data meanwhile must not lock a file that is about to go.
        for name in ("lock.mdb", "data.mdb"):
            (self.folder / name).unlink(missing_ok=True)


def _changed(
    environment: Environment, change: "Callable[[Transaction], _T]", txn: Any
) -> "tuple[_T, dict[str, Any]]":
    store = Transaction(environment, txn, {})
    found = change(store)
    store.set_marks()
    return found, store.opened()


class Snapshot:
    """The store in one transaction."""

    def __init__(
        self, environment: Environment | None, txn: Any, databases: dict[str, Any]
    ) -> None:
        self._environment = environment
        self._txn = txn
        self._databases = databases

    def views(self) -> dict[str, View]:
        """Every view that the store knows."""
        if (database := self._database(_VIEWS)) is None:
            return {}
        with self._txn.cursor(db=database) as cursor:
            return {name.decode(): View.from_json(text) for name, text in cursor}

    def view(self, name: str) -> View:
        """
        Raises:
            OnlineStoreError: the store does not know it.
        """
        found = self.find(name)
        if found is None:
            raise OnlineStoreError(
                f"The online store does not know the view {name!r}: run `feast -c feature_repo apply`, "
                "then `feast -c feature_repo materialize START END`."
            )
        return found

    def find(self, name: str) -> View | None:
        """The view, if the store knows it."""
        database = self._database(_VIEWS)
        text = None if database is None else self._txn.get(name.encode(), None, database)
        if text is None:
            return None
        assert self._environment is not None
        parsed = self._environment.parsed.get(name)
        if parsed is None or parsed[0] != text:
            parsed = self._environment.parsed[name] = (text, View.from_json(text))
        return parsed[1]

    def _database(self, name: str) -> Any:
        return self._databases[name]

    def mark(self, name: str) -> bytes | None:
        """What the rows of a view are marked with: as long as it is the same, so are they. None if they have not
        been written since there are marks."""
        if (database := self._database(_MARKS)) is None:
            return None
        found: bytes | None = self._txn.get(name.encode(), None, database)
        return found

    def read_matrix(
        self, view: str, keys: Keys, features: Sequence[str] | None = None, now: int | None = None
    ) -> Matrix:
        """Features of many keys of a view.

        Args:
            view: as the store names it.
            keys: of a view with one key its values; else {join key: values}.
            features: all of the view if None.
            now: against which the time to live counts (microseconds since 1970); the clock if None.

        Returns:
            a matrix with a row for each key, in their order.

        Raises:
            OnlineStoreError: the store does not know the view, or is damaged.
            InputError: the view has no such key or feature.
        """
        known = self.view(view)
        asked = tuple(known.schema.slots) if features is None else tuple(features)
        for name in asked:
            if name not in known.schema.slots:
                raise InputError(
                    f"View {view!r} has no feature {name!r}; it has: {', '.join(known.schema.slots)}."
                )
        rows = self.rows(known, encode_keys(known, keys))
        at = microseconds_now() if now is None and known.ttl else now or 0
        return Matrix.of_rows(known.by_number, known.schema, asked, rows, known.ttl, at)

    def rows(self, view: View, keys: Sequence[bytes | None]) -> list[bytes | None]:
        """The packed rows of encoded keys; None where there is none."""
        database = self._database(view.name)
        if database is None:
            return [None] * len(keys)
        get = self._txn.get
        if None in keys:
            return [None if key is None else get(key, None, database) for key in keys]
        return list(map(get, keys, repeat(None), repeat(database)))

    def beginning_with(
        self, name: str, key: str, first: str, most: int
    ) -> dict[bytes, bytes] | None:
        """All rows of a view with two keys whose first is this text: {second key, encoded: packed row}.

        One look takes all of them, where a customer has a few articles and hundreds are asked about.

        Args:
            name: of the view, as the store has it.
            key: which must be the first.
            most: how many may be looked through.

        Returns:
            None if there are more, or the view's keys are no two texts of which all is kept.
        """
        view, database = self.view(name), self._database(name)
        (begin,) = _encoded("", "STRING", [first])
        kinds = [kind for _, kind in view.keys]
        if view.keys[0][0] != key or kinds != ["STRING"] * 2 or len(begin) > _LONGEST_KEY // 2:
            return None
        if database is None:
            return {}
        begin += b"\0\0"
        found: dict[bytes, bytes] = {}
        with self._txn.cursor(db=database) as cursor:
            there = cursor.set_range(begin)
            for whole, row in cursor.iternext(keys=True, values=True) if there else ():
                if not whole.startswith(begin):
                    break
                if len(found) == most or len(whole) == _LONGEST_KEY:
                    return None
                found[whole[len(begin) :]] = row
        return found

    def matrix_of(self, name: str, features: Sequence[str], rows: Sequence[bytes]) -> Matrix:
        """Features of packed rows of a view."""
        known = self.view(name)
        at = microseconds_now() if known.ttl else 0
        return Matrix.of_rows(known.by_number, known.schema, tuple(features), rows, known.ttl, at)

    def entries(self, view: View) -> int:
        """How many rows it has."""
        database = self._database(view.name)
        return 0 if database is None else int(self._txn.stat(database)["entries"])

    def bytes_used(self, view: View) -> int:
        """Bytes of the pages that its rows take."""
        database = self._database(view.name)
        if database is None:
            return 0
        stat = self._txn.stat(database)
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return int(pages * stat["psize"])


class Transaction(Snapshot):
    """The store while it is being changed. Nobody sees it before it ends."""

    _environment: Environment

    def __init__(self, environment: Environment, txn: Any, databases: dict[str, Any]) -> None:
        super().__init__(environment, txn, databases)
        self._written: set[str] = set()

    def opened(self) -> dict[str, Any]:
        """The databases that it has used, which others may use when it has ended."""
        return {name: database for name, database in self._databases.items() if database}

    def _database(self, name: str) -> Any:
        if name not in self._databases:
            found = self._environment.databases.get(name)
            if found is None:
                with suppress(lmdb.NotFoundError):
                    found = self._environment.env.open_db(name.encode(), self._txn, create=False)
            self._databases[name] = found
        return self._databases[name]

    def _made(self, name: str) -> Any:
        """The database to write into."""
        if name not in (_VIEWS, _MARKS):
            self._written.add(name)
        if self._database(name) is None:
            self._databases[name] = self._environment.env.open_db(name.encode(), self._txn)
        return self._databases[name]

    def set_marks(self) -> None:
        """Mark the views that were written, so that no other state of any store has the same mark."""
        for name in self._written:
            self._txn.put(name.encode(), secrets.token_bytes(16), db=self._made(_MARKS))

    def declare(
        self,
        name: str,
        keys: tuple[tuple[str, str], ...],
        features: tuple[tuple[str, str], ...],
        ttl: timedelta | None,
    ) -> View:
        """Let the store know a view, or that it has changed. Rows stay, unless its keys have changed."""
        known = self.find(name)
        if known is not None and known.keys != keys:
            self.forget(name)
            known = None
        if known is None:
            made = View(name, keys, (Schema(1, features),), ttl)
        elif known.schema.features != features:
            same = [s for s in known.schemas if s.features == features]
            others = tuple(s for s in known.schemas if s.features != features)
            number = max(s.number for s in known.schemas) + 1
            newest = same[0] if same else Schema(number, features)
            made = replace(known, schemas=(*others, newest), ttl=ttl)
        else:
            made = replace(known, ttl=ttl)
        if made != known:
            self.keep(made)
        self._made(name)
        return made

    def keep(self, view: View) -> None:
        """Replace what the store knows of a view."""
        self._txn.put(view.name.encode(), view.to_json(), db=self._made(_VIEWS))

    def forget(self, name: str) -> None:
        """Delete a view with its rows."""
        if self.find(name) is not None:
            # Emptied, not deleted: that would close it for the readers of this process at once.
            self._txn.drop(self._made(name), delete=False)
            self._txn.delete(name.encode(), db=self._made(_VIEWS))

    def clear(self, name: str) -> None:
        """Delete a view's rows, and that any have been brought."""
        if (known := self.find(name)) is not None:
            self._txn.drop(self._made(name), delete=False)
            self.keep(View(name, known.keys, (known.schema,), known.ttl))

    def put(
        self, view: View, keys: Sequence[bytes], rows: Sequence[bytes], rule: Rule | None = None
    ) -> int:
        """Write rows where they are not there already.

        Args:
            keys: encoded, each once.
            rows: packed, one for each key.
            rule: which rows may be replaced; all if None.

        Returns:
            the number of rows written.
        """
        database = self._made(view.name)
        with self._txn.cursor(db=database) as cursor:
            if not cursor.last() or min(keys, default=b"") > cursor.key():
                cursor.putmulti(sorted(zip(keys, rows, strict=True)), append=True)
                return len(keys)
        there = self.rows(view, keys)
        wanted = [old != new for old, new in zip(there, rows, strict=True)]
        if rule is not None:
            at = [n for n, (old, new) in enumerate(zip(there, wanted, strict=True)) if old and new]
            may = rule(headers([there[n] for n in at]), headers([rows[n] for n in at]))
            for n in np.array(at, dtype=np.intp)[~may].tolist():
                wanted[n] = False
        changed = [(key, row) for key, row, want in zip(keys, rows, wanted, strict=True) if want]
        with self._txn.cursor(db=database) as cursor:
            cursor.putmulti(changed)
        return len(changed)

    def delete_others(
        self, view: View, keys: Sequence[bytes], low: bytes, high: bytes | None, rule: Rule
    ) -> list[bytes]:
        """Delete the rows in a range of keys that are none of these.

        Args:
            keys: encoded.
            low: the first key of the range.
            high: the first key beyond it; None if it ends with the last.
            rule: as for `put`; what may not be replaced stays.

        Returns:
            the keys of others that stay.
        """
        database = self._made(view.name)
        these = set(keys)
        with self._txn.cursor(db=database) as cursor:
            there = cursor.set_range(low) if low else cursor.first()
            others = []
            for key in cursor.iternext(keys=True, values=False) if there else ():
                if high is not None and key >= high:
                    break
                if key not in these:
                    others.append(key)
        if not others:
            return []
        old = headers(self.rows(view, others))
        stay = []
        for key, goes in zip(others, rule(old, old).tolist(), strict=True):
            if goes:
                self._txn.delete(key, db=database)
            else:
                stay.append(key)
        return stay


def headers(rows: Sequence[bytes | None]) -> np.ndarray:
    """int64 (rows, 2): event and created time of packed rows."""
    return np.frombuffer(b"".join(row[:16] for row in rows if row), dtype="<i8").reshape(-1, 2)


def newest_first(keys: Sequence[bytes], rows: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """The rows of each key, by the rule `newer`."""
    found: dict[bytes, list[bytes]] = {}
    for at in np.lexsort(headers(rows).T[::-1])[::-1].tolist():
        found.setdefault(keys[at], []).append(rows[at])
    return found


def newer(there: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The rule of single rows: a newer event wins, of equal ones the one created later or last."""
    return (new[:, 0] > there[:, 0]) | ((new[:, 0] == there[:, 0]) & (new[:, 1] >= there[:, 1]))


def not_after(moment: int) -> Rule:
    """The rule of a state at a moment: it replaces whatever happened until then."""
    return lambda there, new: there[:, 0] <= moment
