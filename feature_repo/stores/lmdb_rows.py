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
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from itertools import repeat
from operator import index
from pathlib import Path
from threading import get_ident
from typing import Any, TypeVar

import lmdb
import numpy as np
from lmdb.verify import verify

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
_LOCK_TABLE = 64 * (MOST_READERS + 8)
_VIEWS = "views"
_SMALLEST = 8192
_T = TypeVar("_T")
_LONGEST_KEY = 511
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NEW = "new-"
_PROBE = 2**20
_DAMAGE = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
)


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
    given = [list(keys[name]) for name, _ in view.keys]
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
        if kind in ("INT32", "INT64", "UNIX_TIMESTAMP"):
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
        raise InputError(f"Key {name!r} must be {kind}: {error}") from error


def _shortened(key: bytes) -> bytes:
    digest = hashlib.blake2b(key, digest_size=32).digest()
    return key[: _LONGEST_KEY - len(digest)] + digest


# The environment


class _Overwritten(OnlineStoreError):
    """What was read may have been overwritten meanwhile."""


class _Gone(Exception):
    """The environment is closed, or its files are others now: open it again."""


class _Environment:
    """An LMDB environment of this process, which may open a folder only once.

    Transactions of its threads run side by side. To resize the map or to close it none may run (rules of
    LMDB), so whoever does that is `alone`. One that only reads opens databases without waiting for
    whoever writes; before this process writes it opens another.
    """

    def __init__(self, folder: Path, map_size: int, writable: bool) -> None:
        self.folder = folder
        self.writable = writable
        self.databases: dict[str, Any] = {}
        self.parsed: dict[str, tuple[bytes, View]] = {}
        self._process = os.getpid()
        self._closed = False
        self._transactions: dict[int, int] = {}
        """How many each thread has open."""
        self._turn = threading.Condition()
        self._waiting = 0
        self._opening_databases = threading.Lock()
        self._sound_end: tuple[int, int] | None = None
        self._data, self._lock = folder / "data.mdb", folder / "lock.mdb"
        if writable:
            _make(folder, map_size)
        data = self._data.stat()
        if data.st_size < _SMALLEST:
            raise damaged(folder, "data.mdb is shorter than its own header")
        self.env = _open(folder, map_size, writable)
        try:
            # None where this user may not write the lock table: then no writer knows of its transactions.
            locked = self.env.info()["num_readers"] > 0
            lock = self._lock.stat() if locked else None
            self._identity = _identity(data, lock)
            self._page = self.env.stat()["psize"]
            self.map_size: int = self.env.info()["map_size"]
            # Readers that were killed leave their places in the lock table.
            self.env.reader_check()
            self._require_whole(data.st_size)
        except BaseException:
            self.env.close()
            raise

    @property
    def _is_locked(self) -> bool:
        return self._identity[1] is not None

    # Transactions

    def begin(self, names: Sequence[str]) -> tuple[Any, int, dict[str, Any]]:
        """A transaction that reads, what to end it with, and the databases, None for those that are
        not there.

        Raises:
            _Gone: see there.
            OnlineStoreError: the file is shorter than what it says it holds.
        """
        thread = self._enter()
        try:
            self._require_there()
            while True:
                # A transaction knows only the databases that were open before it.
                databases = {name: self.databases.get(name) for name in names}
                txn = self._begun(write=False)
                there = [
                    name
                    for name, database in databases.items()
                    if database is None and txn.get(name.encode()) is not None
                ]
                if not there:
                    return txn, thread, databases
                txn.abort()
                self._open_databases(there)
        except BaseException:
            self._leave(thread)
            raise

    def end(self, txn: Any, thread: int) -> None:
        # What a fork inherits is its parent's: to end it would free the parent's place in the lock table.
        if self._process == os.getpid():
            txn.abort()
            self._leave(thread)

    def was_overwritten(self, txn: Any) -> bool:
        """Whether the pages that a transaction reads may have been used again meanwhile: for one that
        no writer knows of that begins with the third commit after it."""
        return not self._is_locked and self.env.info()["last_txnid"] > txn.id() + 1

    def write(self, change: "Callable[[Transaction], _T]") -> "_T":
        """Make a change in one transaction.

        Raises:
            _Gone: see there.
            OnlineStoreError: this thread has a snapshot, or the file is shorter than it says.
            lmdb.Error: it cannot be written.
        """
        self.require_outside()
        thread = self._enter()
        try:
            self._require_there()
            # Without those that were killed, whose snapshots would keep pages from being used again.
            self.env.reader_check()
            with self._begun(write=True) as txn:
                # Whoever removes the files holds the lock that this has waited for.
                self._require_there()
                self._fill_end()
                store = Transaction(self, txn, {})
                result = change(store)
            self.databases.update(store.opened())
            # Done is done, whatever happens now.
            with suppress(lmdb.Error, OSError):
                if self._missing_end():
                    with self._begun(write=True):
                        self._fill_end()
            return result
        finally:
            self._leave(thread)

    def _begun(self, write: bool) -> Any:
        try:
            return self.env.begin(write=write)
        except lmdb.ReadersFullError:
            self.env.reader_check()
            return self.env.begin(write=write)

    def _open_databases(self, names: Sequence[str]) -> None:
        if self.writable:
            opened = {}
            with self._begun(write=True) as txn:
                for name in names:
                    opened[name] = self.env.open_db(name.encode(), txn, create=False)
            self.databases.update(opened)
            return
        # One transaction of a process at a time may open databases: a rule of LMDB.
        with self._opening_databases:
            for name in names:
                self.databases[name] = self.env.open_db(name.encode(), create=False)

    # Threads

    def _enter(self) -> int:
        thread = get_ident()
        with self._turn:
            # Who waits to be alone comes first, but waits for the transactions that threads have.
            while self._waiting and thread not in self._transactions:
                self._turn.wait()
            if self._closed:
                raise _Gone
            self._transactions[thread] = self._transactions.get(thread, 0) + 1
        return thread

    def _leave(self, thread: int) -> None:
        with self._turn:
            self._transactions[thread] -= 1
            if not self._transactions[thread]:
                del self._transactions[thread]
                self._turn.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No transaction of this process runs meanwhile.

        Raises:
            OnlineStoreError: this thread has one itself.
        """
        with self._turn:
            self.require_outside()
            self._wait_for_others()
            yield

    def require_outside(self) -> None:
        """
        Raises:
            OnlineStoreError: this thread has a transaction.
        """
        if get_ident() in self._transactions:
            raise OnlineStoreError(
                f"The online store {self.folder} is being read by this thread, within whose snapshot "
                "it can neither be written nor opened again: end the snapshot first."
            )

    def _wait_for_others(self, timeout: float | None = None) -> None:
        thread = get_ident()
        self._waiting += 1
        try:
            self._turn.wait_for(lambda: not self._transactions.keys() - {thread}, timeout)
        finally:
            self._waiting -= 1
            self._turn.notify_all()

    def grow(self, size: int) -> None:
        """Double the map, if it has still this size; 0: make it as large as another process has."""
        with self.alone():
            if not self._closed and size in (0, self.map_size):
                self.env.set_mapsize(2 * size)
                self.map_size = self.env.info()["map_size"]

    def close(self) -> None:
        with self.alone():
            if not self._closed:
                self._closed = True
                self.env.close()

    # Forks

    def before_fork(self) -> None:
        self._turn.acquire()
        # Not forever: a thread may wait for the one that forks.
        self._wait_for_others(timeout=10)

    def after_fork(self) -> None:
        self._turn.release()

    def after_fork_in_child(self) -> None:
        """LMDB: what is inherited must not be used. It is closed before the child opens another, for to
        close it later would free the child's own file locks, and not if a transaction is inherited too,
        which it would end for the parent."""
        if self._transactions:
            _inherited.append(self)
        elif not self._closed:
            self.env.close()
        self._closed = True
        self._turn.release()

    # The files

    def _require_there(self) -> None:
        try:
            data = self._data.stat()
            lock = self._lock.stat() if self._is_locked else None
        except FileNotFoundError:
            raise _Gone from None
        except OSError as error:
            raise _cannot(self.folder, "opened", error) from error
        if _identity(data, lock) != self._identity:
            raise _Gone
        self._require_whole(data.st_size)

    def _require_whole(self, size: int) -> None:
        """A page that is mapped but not there would end the process with a bus error.

        Raises:
            OnlineStoreError: the file is shorter than what it says it holds.
        """
        if size < 2 * self._page:
            raise damaged(self.folder, "data.mdb is shorter than its own header")
        needed = (self.env.info()["last_pgno"] + 1) * self._page
        if size < needed and (size, needed) != self._sound_end:
            self._require_sound_end()

    def _require_sound_end(self) -> None:
        """LMDB writes no page that a batch took and gave back, so a sound file may end before such pages.
        Who has written it adds them at once, unless it was killed."""
        for pause in (0.001, 0.01, 0.1, 0):
            size, info = self._data.stat().st_size, self.env.info()
            needed = (info["last_pgno"] + 1) * self._page
            if size >= needed:
                return
            time.sleep(pause)
        # Every page that can be reached, read from the file and not from the map.
        problems = verify(str(self.folder))
        if self.env.info()["last_txnid"] != info["last_txnid"]:
            self._require_sound_end()
        elif problems:
            raise damaged(self.folder, f"data.mdb has {size:,} bytes and needs {needed:,}")
        else:
            self._sound_end = (size, needed)

    def _missing_end(self) -> int:
        needed: int = (self.env.info()["last_pgno"] + 1) * self._page
        return needed if self._data.stat().st_size < needed else 0

    def _fill_end(self) -> None:
        """Add the pages that LMDB did not write. Who calls it writes and has seen that the end is sound."""
        if needed := self._missing_end():
            with suppress(OSError):
                os.truncate(self._data, needed)


def _identity(data: os.stat_result, lock: os.stat_result | None) -> tuple[Any, Any]:
    """Of the files: a lock file that is another one, or shorter, is as bad as another file."""
    return (
        (data.st_dev, data.st_ino),
        None if lock is None else (lock.st_dev, lock.st_ino, lock.st_size),
    )


def _make(folder: Path, map_size: int) -> None:
    """The files of an empty environment, where they are missing. They are whole before they have their
    names, so nobody finds, or leaves when it is killed, a part of one. The lock table takes its space at
    once: it is mapped, and to write into a hole of it on a full disk would end the process."""
    files = (folder / "lock.mdb", folder / "data.mdb")
    if all(file.exists() for file in files):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_NEW, dir=folder) as made:
        lmdb.open(made, map_size=map_size, lock=False).close()
        Path(made, "lock.mdb").write_bytes(bytes(_LOCK_TABLE))
        for file in files:
            with suppress(FileExistsError):
                os.link(Path(made, file.name), file)


def _open(folder: Path, map_size: int, writable: bool) -> Any:
    # A writer does not see who reads without a lock (`was_overwritten`).
    ways: list[dict[str, bool]] = [{}] if writable else [{"readonly": True}]
    ways += [] if writable else [{"readonly": True, "lock": False}]
    # LMDB: to open it can fail while another process does, or was killed while it did.
    pauses = [0.01, 0.1]
    while True:
        try:
            return lmdb.open(
                str(folder),
                create=False,
                map_size=map_size,
                max_dbs=MOST_VIEWS,
                max_readers=MOST_READERS,
                **ways[0],
            )
        except lmdb.Error as error:
            if error.code in _FORBIDDEN and len(ways) > 1:
                ways = ways[1:]
            elif error.code in _FORBIDDEN and writable:
                raise OnlineStoreError(
                    f"The online store {folder} can only be read by this user, not written."
                ) from error
            elif pauses and error.code not in _FORBIDDEN:
                time.sleep(pauses.pop(0))
            else:
                raise


def damaged(folder: Path, what: str) -> OnlineStoreError:
    return OnlineStoreError(
        f"The online store {folder} is damaged: {what}. Make it anew from the warehouse with "
        "`lookbook features online --rebuild`."
    )


def _cannot(folder: Path, do: str, error: lmdb.Error | OSError) -> OnlineStoreError:
    """Why it cannot be opened, read or written."""
    if isinstance(error, _DAMAGE):
        return damaged(folder, str(error))
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return damaged(folder, "it is a file, not a folder")
    code = error.errno if isinstance(error, OSError) else error.code
    if code in _FULL or (code == errno.EIO and _is_full(folder)):
        what = "no space is left"
    elif code == errno.ENOMEM:
        what = "there is no room for its map: set a smaller map_size in feature_store.yaml"
    elif code == errno.EAGAIN:
        # LMDB tells processes by their numbers, which each container counts for itself.
        what = "a process of another container that has it open has the number of this one"
    else:
        what = os.strerror(code) if code and code > 0 else str(error).rstrip(".")
    return OnlineStoreError(f"The online store {folder} cannot be {do}: {what}.")


def _is_full(folder: Path) -> bool:
    """LMDB calls it an input/output error if only a part of what it writes finds room."""
    with suppress(OSError):
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if 0 <= most < (folder / "data.mdb").stat().st_size + _PROBE:
            return True
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
    except OSError as error:
        return error.errno in _FULL
    return False


_environments: dict[Path, _Environment] = {}
_inherited: list[_Environment] = []
_opening = threading.RLock()


def _before_fork() -> None:
    _opening.acquire()
    for environment in _environments.values():
        environment.before_fork()


def _after_fork() -> None:
    for environment in _environments.values():
        environment.after_fork()
    _opening.release()


def _after_fork_in_child() -> None:
    for environment in _environments.values():
        environment.after_fork_in_child()
    _environments.clear()
    _opening.release()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)


class OnlineRows:
    """The online store in a folder.

    Args:
        folder: of the environment; it is made when something is written.
        map_size: bytes of address space to begin with.
    """

    def __init__(self, folder: Path, map_size: int = MAP_SIZE) -> None:
        self.folder = folder.resolve()
        self._map_size = map_size

    def _environment(self, write: bool = False) -> _Environment | None:
        """The open environment; None if there is nothing in the folder yet.

        Raises:
            OnlineStoreError: it is damaged, or cannot be opened.
        """
        while True:
            found = _environments.get(self.folder)
            if found is not None:
                if found.writable or not write:
                    return found
                self._close(found)
            with _opening:
                if self.folder in _environments:
                    continue
                if any(inherited.folder == self.folder for inherited in _inherited):
                    raise OnlineStoreError(
                        f"The online store {self.folder} cannot be opened: this process was forked "
                        "while it was read. Fork outside of snapshots."
                    )
                try:
                    if not write and not self._is_there():
                        return None
                    found = _Environment(self.folder, self._map_size, write)
                except (lmdb.Error, OSError) as error:
                    raise _cannot(self.folder, "opened", error) from error
                _environments[self.folder] = found
                return found

    def _is_there(self) -> bool:
        try:
            (self.folder / "data.mdb").stat()
        except FileNotFoundError:
            return False
        return True

    def _close(self, found: _Environment) -> None:
        # No lock is held while this waits for other threads, which may open something meanwhile.
        found.close()
        with _opening:
            if _environments.get(self.folder) is found:
                del _environments[self.folder]

    def close(self) -> None:
        """Close the environment in this process; it opens again when it is asked for."""
        if (found := _environments.get(self.folder)) is not None:
            self._close(found)

    @contextmanager
    def reading(self, *views: str) -> Iterator["Snapshot"]:
        """The store as it is now, for as long as this lasts, whatever is written meanwhile.

        Args:
            views: those whose rows are read.

        Raises:
            OnlineStoreError: it cannot be read, or is damaged.
        """
        environment, txn, thread, databases = self._begin((_VIEWS, *views))
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
                    raise _cannot(self.folder, "read", error) from error
                raise
        if overwritten:
            raise _Overwritten(
                f"The online store {self.folder} was written while it was read by a user who may not "
                "write its lock table: read again."
            )

    def _begin(
        self, names: tuple[str, ...]
    ) -> tuple[_Environment | None, Any, int, dict[str, Any]]:
        while True:
            environment = self._environment()
            if environment is None:
                return None, None, 0, dict.fromkeys(names)
            try:
                return environment, *environment.begin(names)
            except _Gone:
                self._close(environment)
            except lmdb.MapResizedError:
                self._grow(environment, 0)
            except lmdb.Error as error:
                raise _cannot(self.folder, "read", error) from error

    def read(self, look: "Callable[[Snapshot], _T]", *views: str) -> "_T":
        """What is found in a snapshot.

        Args:
            look: may be called again, where this user may not write the lock table.
            views: those whose rows are read.
        """
        for _ in range(100):
            with suppress(_Overwritten), self.reading(*views) as snapshot:
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
            environment = self._environment(write=True)
            assert environment is not None
            size = environment.map_size
            try:
                return environment.write(change)
            except _Gone:
                self._close(environment)
            except lmdb.MapResizedError:
                self._grow(environment, 0)
            except lmdb.MapFullError:
                self._grow(environment, size)
            except lmdb.Error as error:
                # An environment that failed to write may be of no use any more.
                self._close(environment)
                what = _cannot(self.folder, "written", error)
                raise OnlineStoreError(
                    f"{what} Nothing of this batch was written; what was there before can be read."
                ) from error

    def _grow(self, environment: _Environment, size: int) -> None:
        try:
            environment.grow(size)
        except lmdb.Error as error:
            self._close(environment)
            raise _cannot(self.folder, "opened", error) from error

    def remove(self) -> None:
        """Everything, with the files.

        Raises:
            OnlineStoreError: they cannot be removed.
        """
        try:
            if self._is_there():
                try:
                    # A batch that waits for this one finds that the files are gone, and makes others.
                    self.write(lambda store: self._unlink())
                except OnlineStoreError:
                    self._unlink()
            for left in self.folder.glob(f"{_NEW}*"):
                shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            raise _cannot(self.folder, "removed", error) from error
        self.close()
        with suppress(OSError):
            self.folder.rmdir()

    def _unlink(self) -> None:
        # The lock table first: who opens the data meanwhile must not lock a file that is about to go.
        for name in ("lock.mdb", "data.mdb"):
            (self.folder / name).unlink(missing_ok=True)


class Snapshot:
    """The store in one transaction."""

    def __init__(
        self, environment: _Environment | None, txn: Any, databases: dict[str, Any]
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
        if self._database(name) is None:
            self._databases[name] = self._environment.env.open_db(name.encode(), self._txn)
        return self._databases[name]

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


def newer(there: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The rule of single rows: a newer event wins, of equal ones the one created later or last."""
    return (new[:, 0] > there[:, 0]) | ((new[:, 0] == there[:, 0]) & (new[:, 1] >= there[:, 1]))


def not_after(moment: int) -> Rule:
    """The rule of a state at a moment: it replaces whatever happened until then."""
    return lambda there, new: there[:, 0] <= moment
