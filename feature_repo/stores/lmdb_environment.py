"""An LMDB environment that is opened, shared, grown and closed by the rules of LMDB: by many processes and
threads, through forks, full disks and files that are cut off.

LMDB: http://www.lmdb.tech/doc/, and https://lmdb.readthedocs.io for its rules on processes and threads.
"""

import errno
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import Any, TypeVar

import lmdb
from lmdb.verify import verify

from feature_repo.errors import LookbookError

MAP_SIZE = 16 * 2**30
"""Bytes of address space, not of disk; it doubles when it is full."""
MOST_VIEWS = 4096
MOST_READERS = 1024
NEW = "new-"
"""How the name of a folder begins in which an environment is being made."""
_LOCK_TABLE = 64 * (MOST_READERS + 8)
_SMALLEST = 8192
_T = TypeVar("_T")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_PROBE = 2**20
_DAMAGE = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.BadTxnError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
)


class OnlineStoreError(LookbookError):
    """The online store cannot be read or written; the text says what to do."""


class DamagedStoreError(OnlineStoreError):
    """Its files are not those of an online store, or not whole."""

    def __init__(self, folder: Path, what: str) -> None:
        self.what = f"The online store {folder} is damaged: {what}."
        super().__init__(
            f"{self.what} Make it anew from the warehouse with `lookbook features online --rebuild`."
        )


class Overwritten(OnlineStoreError):
    """What was read may have been overwritten meanwhile."""


class Gone(Exception):
    """The environment is closed, or its files are others now: open it again."""


class Environment:
    """An LMDB environment of this process, which may open a folder only once.

    Transactions of its threads run side by side. To resize the map or to close it none may run (rules of
    LMDB), so whoever does that is `alone`. One that only reads opens databases without waiting for
    whoever writes; before this process writes it opens another.
    """

    def __init__(self, folder: Path, map_size: int, writable: bool) -> None:
        self.folder = folder
        self.writable = writable
        self.databases: dict[str, Any] = {}
        self.parsed: dict[str, tuple[bytes, Any]] = {}
        """What was read from values, beside the values."""
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
            raise DamagedStoreError(folder, "data.mdb is shorter than its own header")
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
            Gone: see there.
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

    def write(self, change: Callable[[Any], tuple[_T, dict[str, Any]]]) -> _T:
        """Make a change in one transaction.

        Args:
            change: gives what it has found, and the databases that it has opened.

        Raises:
            Gone: see there.
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
                result, opened = change(txn)
            self.databases.update(opened)
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
                raise Gone
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
            raise Gone from None
        except OSError as error:
            raise cannot(self.folder, "opened", error) from error
        if _identity(data, lock) != self._identity:
            raise Gone
        self._require_whole(data.st_size)

    def _require_whole(self, size: int) -> None:
        """A page that is mapped but not there would end the process with a bus error.

        Raises:
            OnlineStoreError: the file is shorter than what it says it holds.
        """
        if size < 2 * self._page:
            raise DamagedStoreError(self.folder, "data.mdb is shorter than its own header")
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
            raise DamagedStoreError(
                self.folder, f"data.mdb has {size:,} bytes and needs {needed:,}"
            )
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
    with tempfile.TemporaryDirectory(prefix=NEW, dir=folder) as made:
        lmdb.open(made, map_size=map_size, lock=False).close()
        Path(made, "lock.mdb").write_bytes(bytes(_LOCK_TABLE))
        for file in files:
            with suppress(FileExistsError):
                os.link(Path(made, file.name), file)


def replaced(folder: Path) -> Path:
    """Where a store goes whose place another takes."""
    return folder.with_name(f"{folder.name}.replaced")


def _open(folder: Path, map_size: int, writable: bool) -> Any:
    # A writer does not see who reads without a lock (`was_overwritten`).
    ways: list[dict[str, bool]] = [{}] if writable else [{"readonly": True}]
    ways += [] if writable else [{"readonly": True, "lock": False}]
    # LMDB: to open it can fail while another process does, or was killed while it did.
    pauses = [0.01, 0.1]
    while_replaced = [0.02] * 100
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
            elif while_replaced and not folder.exists() and replaced(folder).exists():
                # Between the two renames with which a new store takes the place of the old one.
                time.sleep(while_replaced.pop())
            elif pauses and error.code not in _FORBIDDEN:
                time.sleep(pauses.pop(0))
            else:
                raise


def cannot(folder: Path, do: str, error: lmdb.Error | OSError) -> OnlineStoreError:
    """Why it cannot be opened, read or written."""
    if isinstance(error, _DAMAGE):
        return DamagedStoreError(folder, str(error))
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return DamagedStoreError(folder, "it is a file, not a folder")
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


_environments: dict[Path, Environment] = {}
_inherited: list[Environment] = []
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


def open_folder(folder: Path, map_size: int, write: bool = False) -> Environment | None:
    """The environment of a folder in this process; None if there is nothing in it yet.

    Args:
        write: one that can write; the files are made if they are missing.

    Raises:
        OnlineStoreError: it is damaged, or cannot be opened.
    """
    while True:
        found = _environments.get(folder)
        if found is not None:
            if found.writable or not write:
                return found
            forget(found)
        with _opening:
            if folder in _environments:
                continue
            if any(inherited.folder == folder for inherited in _inherited):
                raise OnlineStoreError(
                    f"The online store {folder} cannot be opened: this process was forked while it was "
                    "read. Fork outside of snapshots."
                )
            try:
                if not write and not is_there(folder):
                    return None
                found = Environment(folder, map_size, write)
            except (lmdb.Error, OSError) as error:
                raise cannot(folder, "opened", error) from error
            _environments[folder] = found
            return found


def is_there(folder: Path) -> bool:
    """Whether a folder has the data of an environment."""
    try:
        (folder / "data.mdb").stat()
    except FileNotFoundError:
        return False
    return True


def forget(environment: Environment) -> None:
    """Close an environment; its folder is opened anew when it is asked for."""
    # No lock is held while this waits for other threads, which may open something meanwhile.
    environment.close()
    with _opening:
        if _environments.get(environment.folder) is environment:
            del _environments[environment.folder]


def close_folder(folder: Path) -> None:
    """Close the environment of a folder in this process, if it is open."""
    if (found := _environments.get(folder)) is not None:
        forget(found)
