"""What the online store survives: kill -9, full disks, folders that are read-only, maps that grow,
truncated files, threads and forks.

On the real LMDB. What could end the process runs in children, whose exit status is looked at.
"""

import os
import random
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_repo import places
from feature_repo.stores.lmdb_environment import OnlineStoreError
from feature_repo.stores.lmdb_rows import (
    OnlineRows,
    Snapshot,
    Transaction,
    encode_keys,
    not_after,
)
from feature_repo.stores.packed_rows import PRESENT, pack

KEYS = (("key", "STRING"),)
FEATURES = (("a", "DOUBLE"), ("b", "INT64"), ("c", "STRING"), ("d", "INT64_LIST"))
WIDER = (*FEATURES, ("e", "DOUBLE"))
GROUPS, TOGETHER = 5, 6
NOBODY = 65534


# Rows that all say one number


def keys_of(group: int) -> list[str]:
    return [f"{group}-{n}" for n in range(TOGETHER)]


ALL_KEYS = [key for group in range(GROUPS) for key in keys_of(group)]


def put(store: Transaction, number: int, keys: list[str], size: int = 900) -> None:
    """Rows that say the number in every feature; with the list they take some pages."""
    view = store.view("v")
    rows = len(keys)
    columns = {
        "a": pa.array([float(number)] * rows),
        "b": pa.array([number] * rows),
        "c": pa.array([str(number)] * rows),
        "d": pa.array([[number] * size] * rows),
        "e": pa.array([float(number)] * rows),
    }
    times = np.full(rows, number)
    packed = pack(view.schema, pa.table(columns), times, times)
    store.put(view, encode_keys(view, keys), packed)


def declare(store: Transaction, features: tuple[tuple[str, str], ...] = FEATURES) -> None:
    store.declare("v", KEYS, features, None)


def groups_of(snapshot: Snapshot) -> list[int | None]:
    """What each group of keys says. Fails if a row is torn or keys of a group do not say the same."""
    if snapshot.find("v") is None:
        return [None] * GROUPS
    matrix = snapshot.read_matrix("v", ALL_KEYS, ["a", "b"])
    rows = [
        {a, b, float(time), float(text), *np.unique(numbers).tolist()}
        if status == PRESENT
        else {None}
        for status, (a, b), time, text, numbers in zip(
            matrix.status,
            matrix.values.tolist(),
            matrix.event_times.tolist(),
            matrix.column("c").to_pylist(),
            matrix.column("d").to_numpy(zero_copy_only=False),
            strict=True,
        )
    ]
    found = []
    for first in range(0, len(rows), TOGETHER):
        batch = rows[first : first + TOGETHER]
        assert len(batch[0]) == 1, f"a torn row: {batch[0]}"
        assert batch == [batch[0]] * TOGETHER, f"a torn batch: {batch}"
        (number,) = batch[0]
        found.append(None if number is None else int(number))
    return found


def read(rows: OnlineRows) -> list[int | None]:
    return rows.read(groups_of, "v")


def filled(folder: Path, number: int = 1, **settings: int) -> OnlineRows:
    rows = OnlineRows(folder, **settings)
    rows.write(declare)
    rows.write(lambda store: put(store, number, ALL_KEYS))
    return rows


# Children


def child(work: Callable[[], object]) -> int:
    """A fork of this process that does the work; its exit status is 0 if nothing was raised."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def ended(pid: int, seconds: float = 30) -> int:
    """The exit status, negative if a signal ended it."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail("a child hangs")
        time.sleep(0.002)


def in_child(work: Callable[[], object]) -> None:
    assert ended(child(work)) == 0


@contextmanager
def running(work: Callable[[Callable[[], bool]], object], count: int = 1) -> Iterator[None]:
    """Children that work until they are told to stop, and then end well."""
    reading, writing = os.pipe()
    parent = os.getpid()

    def goes_on() -> bool:
        if os.getppid() != parent:
            os._exit(1)
        os.set_blocking(reading, False)
        with suppress(BlockingIOError):
            return bool(os.read(reading, 1))
        return True

    def start() -> None:
        os.close(writing)
        work(goes_on)

    pids = [child(start) for _ in range(count)]
    try:
        yield
    except BaseException:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise
    finally:
        os.close(writing)
        os.close(reading)
    assert [ended(pid) for pid in pids] == [0] * count


@contextmanager
def no_more_than(seconds: float) -> Iterator[None]:
    """A deadlock ends the test."""

    def too_late(*_: object) -> None:
        raise TimeoutError(f"not done within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def watch(folder: Path) -> Callable[[Callable[[], bool]], None]:
    """Reads, and looks at what it reads, all the time."""

    def work(goes_on: Callable[[], bool]) -> None:
        rows, looks = OnlineRows(folder), 0
        newest = [-1] * GROUPS
        while goes_on() or not looks:
            found = [-1 if number is None else number for number in read(rows)]
            assert all(map(int.__ge__, found, newest)), f"{newest} became {found}"
            newest, looks = found, looks + 1
        assert max(newest) >= 0

    return work


# kill -9


def write_for_ever(folder: Path, kind: int, number: int, done: int) -> None:
    """Batches, each with the next number, acknowledged through the pipe when they are written."""
    rows = OnlineRows(folder, map_size=2**18)
    while True:

        def change(store: Transaction, number: int = number) -> None:
            if kind == 1:
                # Everything anew: whoever reads sees the old rows or the new ones, never none.
                store.clear("v")
                put(store, number, ALL_KEYS)
                return
            if kind == 2:
                # The schema changes under the rows that are there.
                declare(store, WIDER if number % 2 else FEATURES)
            put(store, number, keys_of(number % GROUPS))
            if kind == 3:
                # Pages that are taken and given back in one batch, at the end of the file.
                view = store.view("v")
                put(store, number, [f"~{n}" for n in range(random.randrange(40))])
                stay = encode_keys(view, ALL_KEYS)
                store.delete_others(view, stay, b"~", None, not_after(number))

        rows.write(change)
        os.write(done, struct.pack("<q", number))
        number += 1


def killed(work: Callable[[int], object], seconds: float, once_it_writes: bool) -> list[int]:
    """The numbers that a child acknowledged before it was killed."""
    reading, writing = os.pipe()
    pid = child(lambda: work(writing))
    os.close(writing)
    if once_it_writes:
        select.select([reading], [], [])
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    assert len(said) % 8 == 0
    return [number for (number,) in struct.iter_unpack("<q", said)]


def test_a_writer_that_is_killed_a_hundred_times_loses_nothing_and_tears_nothing(tmp_path):
    folder = tmp_path / "online"
    in_child(lambda: filled(folder, number=0))
    chance = random.Random(7)
    acknowledged, unsure, batches, number = [0] * GROUPS, {0}, 0, 1
    with no_more_than(50), running(watch(folder), count=2):
        for kill in range(100):
            kind = kill % 4
            said = killed(
                lambda done, kind=kind, number=number: write_for_ever(folder, kind, number, done),
                seconds=chance.uniform(0, 0.05),
                once_it_writes=kill % 3 > 0,
            )
            assert said == list(range(number, number + len(said)))
            batches += len(said)
            for one in said:
                for group in range(GROUPS) if kind == 1 else [one % GROUPS]:
                    acknowledged[group] = one
            # One more may have been written, which it had no time to acknowledge.
            number += len(said) + 1
            unsure.add(number - 1)
            rows = OnlineRows(folder)
            for there, known in zip(read(rows), acknowledged, strict=True):
                assert there == known or (there > known and there in unsure), (kill, there, known)
            rows.close()
    assert batches >= 66
    rows.write(lambda store: put(store, number, ALL_KEYS))
    assert read(rows) == [number] * GROUPS


def test_a_writer_killed_while_it_makes_the_store_leaves_one_that_works_or_none(tmp_path):
    chance = random.Random(3)

    def make(folder: Path, done: int) -> None:
        filled(folder)
        os.write(done, struct.pack("<q", 1))
        time.sleep(60)

    with no_more_than(30):
        for kill in range(20):
            folder = tmp_path / str(kill)
            said = killed(
                lambda done, folder=folder: make(folder, done),
                seconds=chance.uniform(0, 0.03),
                once_it_writes=False,
            )
            rows = OnlineRows(folder)
            found = read(rows)
            assert found == [1] * GROUPS or (not said and found == [None] * GROUPS)
            filled(folder, number=2)
            assert read(rows) == [2] * GROUPS
            rows.remove()
            assert not folder.exists()


def test_readers_that_are_killed_neither_block_nor_grow_the_store(tmp_path):
    folder = tmp_path / "online"
    asked, told = os.pipe()

    def read_and_stay() -> None:
        rows = OnlineRows(folder)
        with rows.reading("v") as snapshot:
            groups_of(snapshot)
            os.write(told, b"x")
            time.sleep(60)

    in_child(lambda: filled(folder))
    sizes = []
    with no_more_than(30):
        for round_ in range(2, 8):
            pids = [child(read_and_stay) for _ in range(5)]
            for _ in pids:
                os.read(asked, 1)
            rows = OnlineRows(folder)
            rows.write(lambda store, n=100 * round_: put(store, n, ALL_KEYS))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                assert ended(pid) == -signal.SIGKILL
            for number in range(100 * round_, 100 * round_ + 40):
                rows.write(lambda store, n=number: put(store, n, ALL_KEYS))
            sizes.append((folder / "data.mdb").stat().st_size)
            rows.close()
    # Forty times what a batch writes would be more.
    assert max(sizes) < 5_000_000, f"the pages of dead snapshots are not used again: {sizes}"


# A full disk


def until_it_is_full(rows: OnlineRows) -> tuple[int, OnlineStoreError]:
    for number in range(2, 1000):
        try:
            rows.write(lambda store, n=number: put(store, n, [f"{n}-more-{k}" for k in range(30)]))
        except OnlineStoreError as error:
            return number, error
    raise AssertionError("the disk is not full")


def survives_a_full_disk(folder: Path, fill: Callable[[], object], free: Callable[[], object]):
    rows = filled(folder)
    fill()
    number, error = until_it_is_full(rows)
    assert "no space is left" in str(error)
    assert str(rows.folder) in str(error)
    assert "can be read" in str(error)

    assert read(rows) == [1] * GROUPS
    in_child(lambda: read(OnlineRows(folder)))
    rows.close()
    assert read(rows) == [1] * GROUPS
    with pytest.raises(OnlineStoreError, match="no space is left"):
        rows.write(lambda store: put(store, number, [f"more-{k}" for k in range(300)]))
    with ExitStack() as many:
        # Their places in the lock table take no space that there is not.
        for _ in range(200):
            assert groups_of(many.enter_context(rows.reading("v"))) == [1] * GROUPS
    free()
    rows.write(lambda store: put(store, number, [f"more-{k}" for k in range(300)]))
    rows.write(lambda store: put(store, 2, ALL_KEYS))
    assert read(rows) == [2] * GROUPS


def test_a_file_that_may_not_grow_says_that_no_space_is_left(tmp_path):
    most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = (tmp_path / "online" / "data.mdb").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_000, most[1]))

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)

    with no_more_than(30):
        in_child(lambda: survives_a_full_disk(tmp_path / "online", fill, free))


def survive_on_a_small_disk(folder: Path) -> None:
    """Run where a disk of a few megabytes may be mounted."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], check=True)
    filler = folder / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        os.truncate(filler, filler.stat().st_size - 100_000)

    def free() -> None:
        with pytest.raises(OnlineStoreError, match="no space is left"):
            filled(folder / "another")
        filler.unlink()

    survives_a_full_disk(folder / "online", fill, free)
    print("done")


def test_a_full_disk_says_so_and_stays_readable(tmp_path):
    unshare = ["unshare", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "none", str(tmp_path)]
    try:
        tried = subprocess.run([*unshare, *mount], capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if tried.returncode:
        pytest.skip(f"no disk may be mounted here: {tried.stderr.strip()}")
    work = (
        "from pathlib import Path; from tests.test_online_store_survives import *; "
        f"survive_on_a_small_disk(Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [*unshare, sys.executable, "-c", work],
        cwd=places.PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


# A folder that is read-only


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that others may enter: those of pytest are for its user alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_another(work: Callable[[], object], folder: Path) -> Callable[[], None]:
    """The work of a user who may read the folder but not write it."""

    def do() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        else:
            for path in (folder, *folder.iterdir()) if folder.exists() else ():
                path.chmod(0o555 if path.is_dir() else 0o444)
        work()

    return do


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_who_may_only_read_reads_everything_and_changes_nothing(outside):
    folder = outside / "online"
    in_child(lambda: filled(folder))
    before = contents(folder)

    def work() -> None:
        rows = OnlineRows(folder)
        assert read(rows) == [1] * GROUPS
        with pytest.raises(OnlineStoreError, match="can only be read by this user, not written"):
            rows.write(lambda store: put(store, 2, ALL_KEYS))
        with pytest.raises(OnlineStoreError, match="cannot be removed: Permission denied"):
            rows.remove()
        assert read(rows) == [1] * GROUPS

    in_child(as_another(work, folder))
    folder.chmod(0o755)
    assert contents(folder) == before


def test_who_may_only_read_sees_whole_rows_while_others_write(outside):
    if os.getuid():
        pytest.skip("it takes two users: run as root")
    folder = outside / "online"
    in_child(lambda: filled(folder, number=0))

    def write(goes_on: Callable[[], bool]) -> None:
        rows, number = OnlineRows(folder), 1
        while goes_on():
            rows.write(lambda store, n=number: put(store, n, ALL_KEYS))
            number += 1

    def look_for_long(rows: OnlineRows) -> None:
        with rows.reading("v") as snapshot:
            groups_of(snapshot)
            time.sleep(1)
            groups_of(snapshot)

    def work() -> None:
        rows = OnlineRows(folder)
        seen = {tuple(read(rows)) for _ in range(300)}
        assert len(seen) > 5
        with pytest.raises(OnlineStoreError, match="read again"):
            look_for_long(rows)

    with no_more_than(30), running(write):
        in_child(as_another(work, folder))


def test_reading_a_store_that_is_not_there_makes_nothing(tmp_path, outside):
    for folder in (tmp_path / "a" / "b", outside):
        rows = OnlineRows(folder / "online")
        assert read(rows) == [None] * GROUPS
        with pytest.raises(OnlineStoreError, match="does not know the view 'v'"):
            rows.read_matrix("v", ["0-0"])
        rows.remove()
    assert not (tmp_path / "a").exists()

    def work() -> None:
        rows = OnlineRows(outside / "online")
        assert read(rows) == [None] * GROUPS
        with pytest.raises(OnlineStoreError, match="cannot be opened: Permission denied"):
            rows.write(declare)

    in_child(as_another(work, outside))
    outside.chmod(0o755)
    assert not list(outside.iterdir())


def test_a_store_that_may_not_be_read_says_so(outside):
    folder = outside / "online"
    in_child(lambda: filled(folder))

    def work() -> None:
        with pytest.raises(OnlineStoreError, match="cannot be opened: Permission denied"):
            read(OnlineRows(folder))

    if os.getuid() == 0:
        for mode in (0o700, 0o755):
            folder.chmod(mode)
            (folder / "data.mdb").chmod(0o600)
            in_child(as_another(work, folder))


# A map that must grow


def look_until(stop: threading.Event, rows: OnlineRows, wrong: list[BaseException]) -> None:
    """Read again and again; what is wrong is found by whoever ends it."""
    try:
        while not stop.is_set():
            read(rows)
    except BaseException as error:
        wrong.append(error)


def test_a_map_grows_while_threads_and_another_process_read(tmp_path):
    folder = tmp_path / "online"
    in_child(lambda: filled(folder, number=0, map_size=2**16))
    rows = OnlineRows(folder, map_size=2**16)
    stop, wrong = threading.Event(), []

    def elsewhere(goes_on: Callable[[], bool]) -> None:
        other, last = OnlineRows(folder, map_size=2**16), 0
        while goes_on() or last < 30:
            last = read(other)[0] or 0

    threads = [
        threading.Thread(target=look_until, args=(stop, rows, wrong), daemon=True) for _ in range(4)
    ]
    with no_more_than(30), running(elsewhere), running(watch(folder)):
        for thread in threads:
            thread.start()
        for number in range(1, 31):
            more = [f"{number}+{n}" for n in range(20)]
            rows.write(lambda store, n=number, more=more: put(store, n, [*ALL_KEYS, *more]))
            if number % 10 == 0:
                rows.write(lambda store, n=number: declare(store, WIDER if n % 20 else FEATURES))
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong
    assert read(rows) == [30] * GROUPS
    assert (folder / "data.mdb").stat().st_size > 50 * 2**16


# Files that are damaged

PAGE = os.sysconf("SC_PAGESIZE")
LENGTHS = {
    "nothing": lambda size: 0,
    "100 bytes": lambda size: 100,
    "a page": lambda size: PAGE,
    "a page and a bit": lambda size: PAGE + 200,
    "two pages": lambda size: 2 * PAGE,
    "half": lambda size: size // 2,
    "all but a byte": lambda size: size - 1,
}


def says_it_is_damaged(rows: OnlineRows) -> None:
    for use in (lambda: read(rows), lambda: rows.write(lambda store: put(store, 2, ALL_KEYS))):
        with pytest.raises(OnlineStoreError) as caught:
            use()
        text = str(caught.value)
        assert f"The online store {rows.folder} is damaged" in text
        assert "`lookbook features online --rebuild`" in text


@pytest.mark.parametrize("length", LENGTHS)
def test_a_truncated_file_is_named_and_made_anew(tmp_path, length):
    folder = tmp_path / "online"
    in_child(lambda: filled(folder))
    size = (folder / "data.mdb").stat().st_size
    short = LENGTHS[length](size)
    kept = (folder / "data.mdb").read_bytes()

    def opened_after() -> None:
        says_it_is_damaged(OnlineRows(folder))

    def opened_before(writes: bool) -> None:
        (folder / "data.mdb").write_bytes(kept)
        rows = OnlineRows(folder)
        if writes:
            rows.write(declare)
        assert read(rows) == [1] * GROUPS
        os.truncate(folder / "data.mdb", short)
        says_it_is_damaged(rows)
        says_it_is_damaged(rows)
        # Another is put in its place: that is what `--rebuild` does.
        in_child(lambda: (OnlineRows(folder).remove(), filled(folder, number=5)))
        assert read(rows) == [5] * GROUPS
        rows.write(lambda store: put(store, 6, ALL_KEYS))

    os.truncate(folder / "data.mdb", short)
    in_child(opened_after)
    for writes in (False, True):
        in_child(lambda writes=writes: opened_before(writes))
        assert read(OnlineRows(folder)) == [6] * GROUPS
        OnlineRows(folder).remove()
        folder.mkdir()


def test_a_file_that_is_something_else_is_named(tmp_path):
    folder = tmp_path / "online"
    in_child(lambda: filled(folder))
    whole = (folder / "data.mdb").read_bytes()
    garbage = random.Random(1).randbytes(len(whole))
    for made in (garbage, bytes(len(whole)), b"PAR1" * 5000):
        (folder / "data.mdb").write_bytes(made)
        in_child(lambda: says_it_is_damaged(OnlineRows(folder)))
    # The header is sound, and nothing behind it.
    for made in (garbage, bytes(len(whole))):
        (folder / "data.mdb").write_bytes(whole[: 2 * PAGE] + made[2 * PAGE :])
        in_child(lambda: says_it_is_damaged(OnlineRows(folder)))
    in_child(lambda: OnlineRows(folder).remove())
    in_child(lambda: filled(folder, number=3))
    in_child(lambda: read(OnlineRows(folder)) == [3] * GROUPS)


def test_a_folder_that_is_a_file_is_named(tmp_path):
    folder = tmp_path / "online"
    folder.write_text("not a folder")
    says_it_is_damaged(OnlineRows(folder))
    assert folder.read_text() == "not a folder"


def test_without_its_lock_file_it_opens_and_whoever_has_it_open_goes_over_to_the_new_one(tmp_path):
    folder = tmp_path / "online"
    rows = filled(folder)
    (folder / "lock.mdb").unlink()

    def another() -> None:
        other = OnlineRows(folder)
        assert read(other) == [1] * GROUPS
        other.write(lambda store: put(store, 2, ALL_KEYS))

    in_child(another)
    lock = (folder / "lock.mdb").stat().st_ino
    assert read(rows) == [2] * GROUPS
    rows.write(lambda store: put(store, 3, ALL_KEYS))
    in_child(lambda: read(OnlineRows(folder)) == [3] * GROUPS)
    assert (folder / "lock.mdb").stat().st_ino == lock


def test_a_sound_file_may_end_before_pages_that_a_batch_gave_back(tmp_path):
    rows = filled(tmp_path / "online")
    file = tmp_path / "online" / "data.mdb"
    short = 0
    for number in range(2, 15):
        before = file.stat().st_size

        def change(store: Transaction, number: int = number) -> None:
            put(store, number, [f"~{n}" for n in range(number)])
            view = store.view("v")
            store.delete_others(view, encode_keys(view, ALL_KEYS), b"", None, not_after(number))

        rows.write(change)
        grown = file.stat().st_size - before
        # As if the writer had been killed before it added them.
        if grown:
            data = file.read_bytes()
            short += 1
            os.truncate(file, len(data.rstrip(b"\0")) // PAGE * PAGE + PAGE)
        assert read(rows) == [1] * GROUPS
        rows.close()
        assert read(rows) == [1] * GROUPS
    assert short


# Threads and forks


def test_threads_read_while_others_write_declare_clear_and_the_map_grows(tmp_path):
    folder = tmp_path / "online"
    rows = filled(folder, number=0, map_size=2**16)
    stop, wrong = threading.Event(), []
    numbers = iter(range(1, 10**6))
    taking = threading.Lock()

    def next_number(store: Transaction) -> int:
        # In a transaction, so that numbers are in the order in which they are written.
        with taking:
            return next(numbers)

    def forever(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:
                wrong.append(error)
                stop.set()

        return threading.Thread(target=run, daemon=True)

    def look() -> None:
        with rows.reading("v") as snapshot:
            found = groups_of(snapshot)
            assert None not in found
            # Within a snapshot others begin, whoever waits, and it stays as it is.
            inner = read(rows)
            assert all(map(int.__ge__, inner, found))
            assert groups_of(snapshot) == found

    def write() -> None:
        def change(store: Transaction) -> None:
            number = next_number(store)
            put(store, number, keys_of(number % GROUPS))

        rows.write(change)

    def clear() -> None:
        def change(store: Transaction) -> None:
            number = next_number(store)
            store.clear("v")
            put(store, number, ALL_KEYS, size=random.randrange(1, 3000))

        rows.write(change)

    def redeclare() -> None:
        rows.write(lambda store: declare(store, random.choice([FEATURES, WIDER])))
        name = f"view {random.randrange(20)}"
        rows.write(lambda store: store.declare(name, KEYS, FEATURES, None))
        with rows.reading(name) as snapshot:
            known = snapshot.find(name)
            assert known is None or snapshot.entries(known) == 0
        rows.write(lambda store: store.forget(name))

    def fail() -> None:
        with pytest.raises(ZeroDivisionError):
            rows.write(lambda store: (put(store, 10**9, ALL_KEYS), 1 / 0))

    def grow_and_open() -> None:
        big = [f"big {n}" for n in range(random.randrange(300))]
        rows.write(lambda store: put(store, next_number(store), big))
        rows.close()

    threads = [forever(look) for _ in range(6)]
    threads += [forever(work) for work in (write, clear, redeclare, fail, grow_and_open)]
    with no_more_than(30):
        for thread in threads:
            thread.start()
        stop.wait(4)
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong
    assert None not in read(rows)


def test_within_a_snapshot_nothing_is_written_and_nothing_hangs(tmp_path):
    rows = filled(tmp_path / "online")
    with no_more_than(10):
        for close in (True, False):
            if close:
                rows.close()
            with rows.reading("v") as snapshot:
                with pytest.raises(OnlineStoreError, match="end the snapshot first"):
                    rows.write(declare)
                with pytest.raises(OnlineStoreError, match="end the snapshot first"):
                    rows.close()
                assert groups_of(snapshot) == [1] * GROUPS
            rows.write(declare)

        def write_twice(store: Transaction) -> None:
            rows.write(declare)

        with pytest.raises(OnlineStoreError, match="end the snapshot first"):
            rows.write(write_twice)
        assert read(rows) == [1] * GROUPS


def test_a_fork_reads_and_writes_and_its_parent_goes_on(tmp_path):
    folder = tmp_path / "online"
    rows = filled(folder)
    stop, wrong = threading.Event(), []

    def work(number: int) -> None:
        assert None not in read(rows)
        rows.write(lambda store: put(store, number, ALL_KEYS))
        assert read(rows)[0] >= number

    threads = [
        threading.Thread(target=look_until, args=(stop, rows, wrong), daemon=True) for _ in range(3)
    ]
    with no_more_than(40):
        for thread in threads:
            thread.start()
        for number in range(2, 22):
            pids = [child(lambda number=number: work(number)) for _ in range(2)]
            rows.write(lambda store, number=number: put(store, number, ALL_KEYS))
            assert [ended(pid) for pid in pids] == [0, 0]
            assert read(rows) == [number] * GROUPS
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong


def test_a_fork_within_a_snapshot_leaves_the_parents_place_in_the_lock_table(tmp_path):
    folder = tmp_path / "online"

    def work() -> None:
        reading, writing = os.pipe()
        # Forked before the store is open here.
        writer = child(lambda: os.read(reading, 1) and [filled(folder, n) for n in range(2, 12)])
        rows = filled(folder)
        with rows.reading("v") as snapshot:
            pid = os.fork()
            if not pid:
                with pytest.raises(OnlineStoreError, match="forked while it was read"):
                    OnlineRows(folder).read(groups_of)
                # And leaves the snapshot that it has inherited.
                return
            assert ended(pid) == 0
            # Its pages stay, however much is written.
            os.write(writing, b"x")
            assert ended(writer) == 0
            assert groups_of(snapshot) == [1] * GROUPS
        assert read(rows) == [11] * GROUPS

    with no_more_than(20):
        in_child(work)


def test_a_write_that_waited_while_the_store_was_removed_is_not_lost(tmp_path):
    folder = tmp_path / "online"
    in_child(lambda: filled(folder))

    def write(reading: int) -> None:
        rows = OnlineRows(folder)
        assert read(rows) == [1] * GROUPS
        rows.write(declare)
        os.read(reading, 1)
        rows.write(lambda store: (declare(store), put(store, 2, ALL_KEYS)))

    reading, writing = os.pipe()
    pid = child(lambda: write(reading))
    time.sleep(0.3)

    def remove(store: Transaction) -> None:
        os.write(writing, b"x")
        time.sleep(0.3)
        for file in folder.iterdir():
            file.unlink()

    with no_more_than(20):
        OnlineRows(folder).write(remove)
        assert ended(pid) == 0
    assert read(OnlineRows(folder)) == [2] * GROUPS


def read_in_a_container(folder: Path) -> None:
    """Run where this process is the first."""
    assert os.getpid() == 1
    with OnlineRows(folder).reading("v") as snapshot:
        print(groups_of(snapshot), flush=True)
        sys.stdin.read()


def test_processes_of_two_containers_with_the_same_number_are_told_apart(tmp_path):
    container = ["unshare", "--map-root-user", "--pid", "--fork"]
    try:
        tried = subprocess.run([*container, "true"], capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if tried.returncode:
        pytest.skip(f"no process numbers of its own here: {tried.stderr.strip()}")
    folder = tmp_path / "online"
    in_child(lambda: filled(folder))
    work = (
        "from pathlib import Path; from tests.test_online_store_survives import *; "
        f"read_in_a_container(Path({str(folder)!r}))"
    )

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*container, sys.executable, "-c", work],
            cwd=places.PROJECT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    with no_more_than(30):
        first = start()
        assert first.stdout is not None
        assert first.stdout.readline() == f"{[1] * GROUPS}\n"
        second = start()
        _, said = second.communicate()
        assert second.returncode == 1
        assert "a process of another container that has it open has the number of this one" in said
        in_child(lambda: read(OnlineRows(folder)))
        first.communicate()
        assert first.returncode == 0


def test_a_store_that_is_removed_or_replaced_meanwhile_is_found_again(tmp_path):
    folder = tmp_path / "online"
    rows = filled(folder)
    in_child(lambda: OnlineRows(folder).remove())
    assert read(rows) == [None] * GROUPS
    assert not folder.exists()
    in_child(lambda: filled(folder, number=2))
    assert read(rows) == [2] * GROUPS
    # Not by this process: to close a second lock file of its own would free its locks (a rule of LMDB).
    in_child(lambda: shutil.copytree(folder, tmp_path / "other"))
    in_child(lambda: filled(tmp_path / "other", number=3))
    shutil.rmtree(folder)
    (tmp_path / "other").rename(folder)
    assert read(rows) == [3] * GROUPS
    rows.write(lambda store: put(store, 4, ALL_KEYS))
    in_child(lambda: read(OnlineRows(folder)) == [4] * GROUPS)
