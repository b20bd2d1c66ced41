"""Packed rows of views in LMDB: many processes read, one at a time writes, and no reader waits.

An environment is a folder. Every view is a database of it, whose keys are those of its entities
(`encode_keys`) and whose values are packed rows. What is known of the views themselves (`View`)
stands in a database beside them, so a reader needs nothing but the folder. Each write is one
transaction: others see all of it or nothing, whatever happens to the writer.

LMDB: http://www.lmdb.tech/doc/, and https://lmdb.readthedocs.io for its rules on processes and threads.
"""

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np

from feature_repo.errors import InputError, LookbookError
from feature_repo.stores.packed_rows import Matrix, Schema

Keys = Sequence[Any] | Mapping[str, Sequence[Any]]
"""Of a view with one key its values, of others {join key: values}."""

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Given the event and created times (int64 (n, 2)) of rows that are there and of those that would take
their places: which may (bool (n,))."""

MAP_SIZE = 16 * 2**30
"""Bytes of address space, not of disk; it doubles when it is full."""
MOST_VIEWS = 4096
MOST_READERS = 1024
_VIEWS = "views"
_SMALLEST = 8192
_T = TypeVar("_T")
_LONGEST_KEY = 511
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OnlineStoreError(LookbookError):
    """The online store cannot be read or written; the text says what to do."""


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
    """A fingerprint of the data from which it is brought."""
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
    if not isinstance(keys, Mapping):
        if len(view.keys) != 1:
            names = ", ".join(name for name, _ in view.keys)
            raise InputError(f"View {view.name!r} has the keys {names}: give each by its name.")
        keys = {view.keys[0][0]: keys}
    missing = [name for name, _ in view.keys if name not in keys]
    if missing:
        raise InputError(f"View {view.name!r}: no values are given for the key {missing[0]!r}.")
    columns = [_encoded(name, kind, keys[name]) for name, kind in view.keys]
    # A text ends where two zeros are: one within it is followed by 255.
    whole = columns[0] if len(columns) == 1 else list(map(b"\0\0".join, zip(*columns, strict=True)))
    lengths = set(map(len, whole))
    if 0 in lengths:
        # LMDB has no empty keys; nothing else encodes to this.
        whole = [key or b"\0" for key in whole]
    if max(lengths, default=0) > _LONGEST_KEY:
        whole = [key if len(key) <= _LONGEST_KEY else _shortened(key) for key in whole]
    if not any(None in keys[name] for name, _ in view.keys):
        return [*whole]
    given = zip(*(keys[name] for name, _ in view.keys), strict=True)
    return [None if None in parts else key for parts, key in zip(given, whole, strict=True)]


def _encoded(name: str, kind: str, values: Sequence[Any]) -> list[bytes]:
    try:
        if kind in ("INT32", "INT64", "UNIX_TIMESTAMP"):
            return [
                b"" if value is None else (int(value) + 2**63).to_bytes(8, "big")
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
        raise InputError(f"Key {name!r} must be {kind}: {error}") from error


def _shortened(key: bytes) -> bytes:
    digest = hashlib.blake2b(key, digest_size=32).digest()
    return key[: _LONGEST_KEY - len(digest)] + digest


# The environment


class _Environment:
    """An LMDB environment of this process, which may open a folder only once.

    Transactions of its threads run side by side. To open a database or to resize the map none may
    run (a rule of LMDB), so whoever does that is `alone`.
    """

    def __init__(self, folder: Path, map_size: int, create: bool) -> None:
        self.folder = folder
        self.file = folder / "data.mdb"
        self.process = os.getpid()
        self.databases: dict[str, Any] = {}
        self.parsed: dict[str, tuple[bytes, View]] = {}
        self._active = 0
        self._turn = threading.Condition()
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        size = self.file.stat().st_size if self.file.exists() else 0
        if 0 < size < _SMALLEST:
            raise damaged(folder, "data.mdb is shorter than its own header")
        settings: dict[str, Any] = {
            "map_size": max(map_size, size),
            "max_dbs": MOST_VIEWS,
            "max_readers": MOST_READERS,
        }
        self.readonly = False
        try:
            self.env = lmdb.open(str(folder), create=create, **settings)
        except lmdb.Error as error:
            if not _is_permission(error):
                raise damaged(folder, str(error)) from error
            # Without a lock table a writer elsewhere does not see us; it may be a folder that nobody writes.
            self.readonly = True
            self.env = lmdb.open(str(folder), create=False, readonly=True, lock=False, **settings)
        self.inode = self.file.stat().st_ino
        self._page = self.env.stat()["psize"]
        if not self.readonly:
            # Readers that were killed leave their places in the lock table.
            self.env.reader_check()
        self._require_whole()

    def _require_whole(self) -> None:
        """A page that is mapped but not there would end the process with a bus error.

        Raises:
            OnlineStoreError: the file is shorter than what it says it holds.
        """
        needed = (self.env.info()["last_pgno"] + 1) * self._page
        if (size := self.file.stat().st_size) < needed:
            raise damaged(self.folder, f"data.mdb has {size:,} bytes and needs {needed:,}")

    @contextmanager
    def transaction(self, write: bool = False) -> Iterator[Any]:
        if write and self.readonly:
            raise OnlineStoreError(
                f"The online store {self.folder} can only be read by this user, not written."
            )
        with self._turn:
            self._active += 1
        try:
            self._require_whole()
            with self._begun(write) as txn:
                yield txn
        finally:
            with self._turn:
                self._active -= 1
                self._turn.notify_all()

    def _begun(self, write: bool) -> Any:
        try:
            return self.env.begin(write=write)
        except lmdb.ReadersFullError:
            self.env.reader_check()
            return self.env.begin(write=write)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No transaction of this process runs meanwhile."""
        with self._turn:
            while self._active:
                self._turn.wait()
            yield

    def open_databases(self, names: Sequence[str]) -> None:
        """Those that are there. It waits for the batch that somebody writes, once for each database."""
        if all(name in self.databases for name in names):
            return
        with self.alone():
            for name in names:
                with suppress(lmdb.NotFoundError):
                    self.databases[name] = self.env.open_db(name.encode(), create=False)


def _is_permission(error: BaseException) -> bool:
    text = str(error)
    return any(os.strerror(code) in text for code in (errno.EACCES, errno.EROFS, errno.EPERM))


def damaged(folder: Path, what: str) -> OnlineStoreError:
    return OnlineStoreError(
        f"The online store {folder} is damaged: {what}. Make it anew from the warehouse with "
        "`lookbook features online --rebuild`."
    )


_environments: dict[Path, _Environment] = {}
_opening = threading.RLock()


class OnlineRows:
    """The online store in a folder.

    Args:
        folder: of the environment; it is made when something is written.
        map_size: bytes of address space to begin with.
    """

    def __init__(self, folder: Path, map_size: int = MAP_SIZE) -> None:
        self.folder = folder.resolve()
        self._map_size = map_size

    def _environment(self, create: bool = False) -> _Environment | None:
        """The open environment; None if there is nothing in the folder yet.

        Raises:
            OnlineStoreError: it is damaged, or cannot be opened.
        """
        found = _environments.get(self.folder)
        try:
            inode = (self.folder / "data.mdb").stat().st_ino
        except FileNotFoundError:
            inode = None
        if found is not None and found.process == os.getpid() and found.inode == inode:
            return found
        with _opening:
            # Somebody has removed or replaced the file, or this process is a fork of the one that opened it.
            self.close()
            if inode is None and not create:
                return None
            try:
                found = _environments[self.folder] = _Environment(
                    self.folder, self._map_size, create
                )
            except OSError as error:
                raise OnlineStoreError(
                    f"The online store {self.folder} cannot be opened: {error.strerror}."
                ) from error
            return found

    def close(self) -> None:
        """Close the environment in this process; it opens again when it is asked for."""
        with _opening:
            found = _environments.pop(self.folder, None)
            if found is not None and found.process == os.getpid():
                with found.alone():
                    found.env.close()

    @contextmanager
    def reading(self, *views: str) -> Iterator["Snapshot"]:
        """The store as it is now, for as long as this lasts, whatever is written meanwhile.

        Args:
            views: those whose rows are read.
        """
        environment = self._environment()
        if environment is None:
            yield Snapshot(None, None)
            return
        environment.open_databases((_VIEWS, *views))
        with environment.transaction() as txn:
            yield Snapshot(environment, txn)

    def read_matrix(
        self, view: str, keys: Keys, features: Sequence[str] | None = None, now: int | None = None
    ) -> Matrix:
        """`Snapshot.read_matrix` of what is there now."""
        with self.reading(view) as snapshot:
            return snapshot.read_matrix(view, keys, features, now)

    def write(self, change: "Callable[[Transaction], _T]", *views: str) -> "_T":
        """Make a change in one transaction; all of it is on disk when this returns, or nothing.

        Args:
            change: may be called again, when the map had to grow.
            views: those whose rows are written; none to declare and forget views.

        Raises:
            OnlineStoreError: the disk is full, or the folder cannot be written.
        """
        while True:
            environment = self._environment(create=True)
            assert environment is not None
            try:
                if views:
                    environment.open_databases((_VIEWS, *views))
                    with environment.transaction(write=True) as txn:
                        return change(Transaction(environment, txn))
                with environment.alone():
                    # What is opened in a transaction that fails is not open.
                    environment.databases.clear()
                    try:
                        with environment.transaction(write=True) as txn:
                            return change(Transaction(environment, txn).opened())
                    except BaseException:
                        environment.databases.clear()
                        raise
            except lmdb.MapResizedError:
                with environment.alone():
                    environment.env.set_mapsize(0)
            except lmdb.MapFullError:
                with environment.alone():
                    environment.env.set_mapsize(2 * environment.env.info()["map_size"])
            except lmdb.Error as error:
                self.close()
                what = str(error)
                if any(os.strerror(code) in what for code in _FULL):
                    what = "no space is left"
                raise OnlineStoreError(
                    f"The online store {self.folder} cannot be written: {what}. Nothing of this "
                    "batch was written; what was there before can be read."
                ) from error

    def remove(self) -> None:
        """Everything, with the files."""
        self.close()
        for name in ("data.mdb", "lock.mdb"):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


class Snapshot:
    """The store in one transaction."""

    def __init__(self, environment: _Environment | None, txn: Any) -> None:
        self._environment = environment
        self._txn = txn

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
        return None if self._environment is None else self._environment.databases.get(name)

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

    def scan(self, view: View, after: bytes = b"", most: int = 10_000) -> list[tuple[bytes, bytes]]:
        """The next keys and rows after a key, in order."""
        database = self._database(view.name)
        found: list[tuple[bytes, bytes]] = []
        if database is None:
            return found
        with self._txn.cursor(db=database) as cursor:
            there = cursor.set_range(after) if after else cursor.first()
            if there and cursor.key() == after:
                there = cursor.next()
            while there and len(found) < most:
                found.append(cursor.item())
                there = cursor.next()
        return found


class Transaction(Snapshot):
    """The store while it is being changed. Nobody sees it before it ends."""

    _environment: _Environment

    def opened(self) -> "Transaction":
        """Itself, able to declare and forget views: no other transaction of the process runs."""
        self._made(_VIEWS)
        return self

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

    def _made(self, name: str) -> Any:
        """The database, which may only be made or opened where a transaction is `alone`."""
        databases = self._environment.databases
        if name not in databases:
            databases[name] = self._environment.env.open_db(name.encode(), self._txn)
        return databases[name]

    def forget(self, name: str) -> None:
        """Delete a view with its rows."""
        if self.find(name) is not None:
            self._txn.drop(self._made(name), delete=True)
            del self._environment.databases[name]
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
        database = self._database(view.name)
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
    ) -> int:
        """Delete the rows in a range of keys that are none of these.

        Args:
            keys: encoded.
            low: the first key of the range.
            high: the first key beyond it; None if it ends with the last.
            rule: as for `put`; what may not be replaced stays.

        Returns:
            the number of rows deleted.
        """
        database = self._database(view.name)
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
            return 0
        old = headers(self.rows(view, others))
        gone = np.array(others, dtype=object)[rule(old, old)]
        for key in gone:
            self._txn.delete(key, db=database)
        return len(gone)


def headers(rows: Sequence[bytes | None]) -> np.ndarray:
    """int64 (rows, 2): event and created time of packed rows."""
    return np.frombuffer(b"".join(row[:16] for row in rows if row), dtype="<i8").reshape(-1, 2)


def newer(there: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The rule of single rows: a newer event wins, of equal ones the one created later or last."""
    return (new[:, 0] > there[:, 0]) | ((new[:, 0] == there[:, 0]) & (new[:, 1] >= there[:, 1]))


def not_after(moment: int) -> Rule:
    """The rule of a state at a moment: it replaces whatever happened until then."""
    return lambda there, new: there[:, 0] <= moment
