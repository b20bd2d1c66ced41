"""What was answered and what came of it, for ever: what experiments are judged by and models learn from.

Every answer and every event is a line of JSON below LOOKBOOK_HOME/answers/. A line is written in one
piece, an event at once and an answer right behind whoever gets it, at the end of a file that only this process writes: a process that is killed loses nothing that was written, and
tears at most the line that it was writing, which readers leave out and count. `lookbook data load
served` makes interactions of them (`pipelines.data.adapters.served`, which says what a folder holds).
"""

import atexit
import fcntl
import json
import logging
import math
import os
import queue
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from weakref import ref

from prometheus_client import Counter

from feature_repo import environment
from feature_repo.errors import InputError, LookbookError
from feature_repo.raw_tables import INTERACTIONS
from pipelines.data.adapters.served import (
    ANSWERS,
    EVENTS,
    FORGOTTEN,
    TIME,
    WRITTEN_WITHIN,
    files,
    folder,
    forgotten,
    lines,
)

log = logging.getLogger(__name__)

MOST_BYTES = 32 * 2**20
"""Of a file, if the budget is not small."""
FILES_AT_LEAST = 8
"""So many files at least share the budget, so that making room takes a small part."""
SHARES = {ANSWERS: 0.75, EVENTS: 0.25}
"""Of the budget, which each kind has for certain; one may take what the other leaves."""
MOST_SECONDS = 86_400
"""So long a file is written; a day is then complete soon after its end."""
BEHIND = timedelta(seconds=1)
"""So much may the time of a file be behind that of a line in it."""

MOST_WAITING = 2_000
"""Answers that a disk may be behind with; of more none is remembered until it has caught up."""
CLOSE_SECONDS = 5.0

_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

AHEAD = timedelta(minutes=5)
"""So much may the clock of whoever tells an event be ahead."""

NOT_REMEMBERED = Counter(
    "lookbook_answers_not_remembered",
    "Answers that were given and could not be written to the log of answers.",
    ["reason"],
)
DELETED = Counter(
    "lookbook_remembered_files_deleted",
    "Files of answers or events that were deleted to make room.",
    ["kind"],
)


class AnswerLogError(LookbookError):
    """Events cannot be written; the text says why."""


@dataclass(frozen=True)
class Settings:
    """How much is remembered."""

    megabytes: float = 4096
    """What the files may take together; the oldest go when there are more."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """LOOKBOOK_ANSWERS_MEGABYTES.

        Raises:
            InputError: it is no number, or less than 1.
        """
        return cls(environment.number("LOOKBOOK_ANSWERS_MEGABYTES", cls.megabytes, 1))


class Shown(NamedTuple):
    """An article of an answer.

    Attributes:
        position: from 1.
        carousel: its place on a page that has several; None on a list.
        propensity: the probability with which it was chosen for its position, given those before it.
    """

    article_id: str
    position: int
    carousel: str | None = None
    source: str | None = None
    score: float | None = None
    propensity: float = 1.0


class Event(NamedTuple):
    """What a customer did with an article; `kind` is one of `raw_tables.INTERACTIONS`."""

    event_time: datetime
    customer_id: str
    article_id: str
    kind: str
    request_id: str | None = None
    position: int | None = None
    surface: str | None = None


class AnswerLog:
    """Remembers from any thread; each process writes files of its own.

    Args:
        settings: those of the environment if None.
        at: the folder; that of this home if None.

    Raises:
        InputError: the environment's settings are wrong.
    """

    def __init__(self, settings: Settings | None = None, at: Path | None = None) -> None:
        self.settings = settings or Settings.from_environment()
        self.folder = at or folder()
        most = min(MOST_BYTES, int(self.settings.megabytes * 2**20 / FILES_AT_LEAST))
        self._files = {kind: _File(self.folder, kind, most) for kind in (ANSWERS, EVENTS)}
        self._trouble = ""
        # Where several processes share their metrics, a new one is a part of a file, for which there may be no room later.
        reasons = ("unwritten", "unfit", "behind")
        self._lost = {reason: NOT_REMEMBERED.labels(reason) for reason in reasons}
        self._soon = _Behind(self._write_soon)
        atexit.register(_close, ref(self))

    def answered(
        self,
        *,
        request_id: str,
        customer_id: str,
        surface: str,
        asked_at: datetime,
        moment: datetime,
        release: str,
        shown: Sequence[Shown],
        variants: Mapping[str, str] | None = None,
        forced: bool = False,
        fallbacks: Sequence[str] = (),
        served_at: datetime | None = None,
    ) -> None:
        """Remember an answer; what cannot be remembered is counted, and costs no answer.

        Args:
            surface: "recommend", "home", "similar" or another.
            asked_at: the shop's time, which is that of events.
            moment: as of which features were read.
            shown: in order.
            variants: experiment -> variant.
            forced: whether one of them was chosen by hand.
            fallbacks: why the answer is simpler than usual.
            served_at: by the clock; now if None.
        """
        try:
            # Columns are written once a line, and read as one.
            columns = tuple(zip(*shown, strict=True)) or ((),) * len(Shown._fields)
            ids, positions, carousels, sources, scores, propensities = columns
            line = {
                "request_id": request_id,
                "served_at": _said(served_at or datetime.now(UTC)),
                "asked_at": _said(asked_at),
                "moment": _said(moment),
                "customer_id": customer_id,
                "surface": surface,
                "release": release,
                "variants": dict(variants or {}),
                "forced": bool(forced),
                "fallbacks": list(fallbacks),
                "article_id": ids,
                "position": [int(position) for position in positions],
                "carousel": carousels,
                "source": sources,
                "score": [_finite(score) for score in scores],
                "propensity": [_finite(propensity) for propensity in propensities],
            }
            self._write(ANSWERS, [line])
            self._trouble = ""
        except Exception as error:
            # A full disk may hold up the count and the complaint too.
            with suppress(Exception):
                self._lost["unwritten" if isinstance(error, OSError) else "unfit"].inc()
                said = _why(error)
                if said != self._trouble:
                    log.warning("an answer cannot be remembered in %s: %s", self.folder, said)
                self._trouble = said

    def answered_soon(self, **answer: Any) -> None:
        """The same by a thread of the log's own, for one who cannot wait for the disk.

        Args:
            answer: as `answered` takes it.
        """
        answer.setdefault("served_at", datetime.now(UTC))
        if not self._soon.put(answer):
            self._lost["behind"].inc()

    def _write_soon(self, answer: dict[str, Any]) -> None:
        # Later no load would look for it.
        if datetime.now(UTC) - answer["served_at"] > WRITTEN_WITHIN / 2:
            self._lost["behind"].inc()
        else:
            self.answered(**answer)

    def happened(self, events: Sequence[Event]) -> None:
        """Remember events, all or none; they are written when this returns.

        Raises:
            InputError: one of them is none that could be loaded; the text names it by its place, from 0.
            AnswerLogError: they cannot be written.
        """
        if not events:
            return
        now = datetime.now(UTC)
        for place, event in enumerate(events):
            if why := _unfit(event, now):
                raise InputError(f"events[{place}].{why}.")
        received_at = _said(now)
        said = [
            event._asdict() | {"event_time": _said(event.event_time), "received_at": received_at}
            for event in events
        ]
        try:
            self._write(EVENTS, said)
        except OSError as error:
            raise AnswerLogError(f"Events cannot be written: {_why(error)}.") from error

    def close(self) -> None:
        """Write what waits, and end the files; what comes afterwards begins new ones."""
        self._soon.close()
        for file in self._files.values():
            file.close()

    def _write(self, kind: str, said: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(f"{_json(line)}\n" for line in said)
        if self._files[kind].append(text.encode("ascii")):
            self._make_room()

    def _make_room(self) -> None:
        """Delete the oldest files until the rest is small enough; those that are being written stay."""
        try:
            with (self.folder / "room.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._delete_oldest()
        except BlockingIOError:
            return  # another process is at it
        except Exception as error:
            log.warning("no room can be made in %s: %s", self.folder, _why(error))

    def _delete_oldest(self) -> None:
        found = []
        for kind in (ANSWERS, EVENTS):
            for file in files(self.folder, kind):
                with suppress(FileNotFoundError):
                    stat = file.stat()
                    found.append((stat.st_mtime_ns, file, stat.st_size, kind))
        taken = dict.fromkeys(SHARES, 0)
        for *_, size, kind in found:
            taken[kind] += size
        most = self.settings.megabytes * 2**20
        gone = []
        for written, file, size, kind in sorted(found):
            if sum(taken.values()) <= most:
                break
            # Whoever asks much must not push out what customers did.
            if taken[kind] <= SHARES[kind] * most:
                continue
            with suppress(BlockingIOError, FileNotFoundError), file.open("rb") as stream:
                # Whoever writes it holds it.
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._mark(datetime.fromtimestamp(written / 1e9, UTC) + BEHIND)
                file.unlink()
                taken[kind] -= size
                gone.append(file.name)
                DELETED.labels(kind).inc()
        if gone:
            log.warning(
                "%s may take %g MB: %d files of answers and events were deleted, %s the last; load them in time "
                "(lookbook data load served), or set LOOKBOOK_ANSWERS_MEGABYTES higher",
                *(self.folder, self.settings.megabytes, len(gone), gone[-1]),
            )

    def _mark(self, until: datetime) -> None:
        """Say first up to when something will be gone: readers must not take what is left for all."""
        before = forgotten(self.folder)
        if before is not None and before >= until:
            return
        mark = self.folder / f"{until.strftime(TIME)}-{FORGOTTEN}"
        mark.touch()
        for old in self.folder.glob(f"*-{FORGOTTEN}"):
            if old.name < mark.name:
                old.unlink(missing_ok=True)


def _close(log: "ref[AnswerLog]") -> None:
    """What waits is written when the process ends in good order."""
    if (found := log()) is not None:
        found.close()


class _Behind:
    """Work that a thread does one after the other, begun anew wherever there is none: after a fork, and after `close`."""

    def __init__(self, work: Callable[[dict[str, Any]], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._waiting: queue.Queue[dict[str, Any] | None] | None = None
        self._thread: threading.Thread | None = None
        self._process = 0

    def put(self, one: dict[str, Any]) -> bool:
        """Whether there was room for it."""
        with self._lock:
            if self._waiting is None or self._process != os.getpid():
                self._waiting, self._process = queue.Queue(MOST_WAITING), os.getpid()
                self._thread = threading.Thread(
                    target=self._run, args=(self._waiting,), name="lookbook-answers", daemon=True
                )
                self._thread.start()
            try:
                self._waiting.put_nowait(one)
            except queue.Full:
                return False
            return True

    def close(self) -> None:
        """Wait until all of it is done, though for a disk that hangs not long."""
        with self._lock:
            waiting, thread, self._waiting, self._thread = self._waiting, self._thread, None, None
            own = self._process == os.getpid()
        if waiting is not None and thread is not None and own:
            with suppress(queue.Full):
                waiting.put(None, timeout=CLOSE_SECONDS)
            thread.join(CLOSE_SECONDS)

    def _run(self, waiting: "queue.Queue[dict[str, Any] | None]") -> None:
        while (one := waiting.get()) is not None:
            self._work(one)


class _File:
    """The end of a file that this process alone writes, and then of the next."""

    def __init__(self, at: Path, kind: str, most: int) -> None:
        self._at = at
        self._kind = kind
        self._most = most
        self._lock = threading.Lock()
        self._open = -1
        self._writer = 0
        self._size = 0
        self._since = -math.inf

    def append(self, data: bytes) -> bool:
        """Write whole lines; returns whether a new file was begun for them.

        Raises:
            OSError: nothing was written.
        """
        with self._lock:
            began = not self._fits(len(data))
            if began:
                self._begin()
            written = 0
            try:
                written = os.write(self._open, data)
            finally:
                if written < len(data):
                    self._undo()
            if written < len(data):
                raise OSError(0, "there is no room for it", str(self._at))
            self._size += written
            return began

    def close(self) -> None:
        with self._lock:
            self._end()

    def _fits(self, more: int) -> bool:
        """Whether the file at hand is ours, still there, and not full or old."""
        return (
            self._writer == os.getpid()
            and (self._size == 0 or self._size + more <= self._most)
            and monotonic() < self._since + MOST_SECONDS
            and os.fstat(self._open).st_nlink > 0
        )

    def _begin(self) -> None:
        self._end()
        self._at.mkdir(parents=True, exist_ok=True)
        while True:
            name = f"{datetime.now(UTC).strftime(TIME)}-{self._kind}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._open = os.open(self._at / name, flags, 0o666)
            self._writer, self._size, self._since = os.getpid(), 0, monotonic()
            # Held until this process ends, however it does. Whoever makes room may have come before us.
            fcntl.flock(self._open, fcntl.LOCK_EX)
            if os.fstat(self._open).st_nlink > 0:
                return
            self._end()

    def _end(self) -> None:
        # A process that was forked closes its copy, and not what its parent writes.
        if self._writer:
            with suppress(OSError):
                os.close(self._open)
        self._open, self._writer = -1, 0

    def _undo(self) -> None:
        """Take back a part of a line, or begin a new file after it."""
        try:
            os.ftruncate(self._open, self._size)
        except OSError:
            self._end()


def _unfit(event: Event, now: datetime) -> str:
    """Why an event could not be loaded; nothing if it could. One such column of many rows would stop a whole load."""
    utc = event.event_time if event.event_time.tzinfo else event.event_time.replace(tzinfo=UTC)
    if utc > now + AHEAD or utc.year < 1900:
        return f"event_time is {utc.isoformat()}: give a time that has been"
    for column in INTERACTIONS.columns:
        value: Any = getattr(event, column.name, None)
        if isinstance(value, str) and ("\0" in value or "\n" in value):
            return f"{column.name} holds a control character"
        if column.required and not value:
            return f"{column.name} is missing"
        if column.pattern and not re.fullmatch(column.pattern, value, re.ASCII):
            return f"{column.name} does not match {column.pattern}"
        if column.values and value not in column.values:
            return f"{column.name} is not one of {', '.join(column.values)}"
        if column.minimum is not None and value is not None and value < column.minimum:
            return f"{column.name} is below {column.minimum:g}"
    return ""


def _said(moment: datetime) -> str:
    """In UTC, to the microsecond; without a zone it is UTC already."""
    utc = moment if moment.tzinfo in (None, UTC) else moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or repr(error)


# Reading


class Answer(NamedTuple):
    """An answer as it was given; times are UTC."""

    request_id: str
    served_at: datetime
    asked_at: datetime
    moment: datetime
    customer_id: str
    surface: str
    release: str
    variants: dict[str, str]
    forced: bool
    fallbacks: tuple[str, ...]
    shown: tuple[Shown, ...]


Unreadable = Callable[[str, str], None]
"""Is told the name of a file, and why it, or which line of it, cannot be read."""


def answers(unreadable: Unreadable, at: Path | None = None) -> Iterator[Answer]:
    """What was answered, the oldest files first.

    Args:
        at: the log's folder; that of this home if None.
    """
    yield from _logged(ANSWERS, unreadable, at)


def events(unreadable: Unreadable, at: Path | None = None) -> Iterator[tuple[datetime, Event]]:
    """(when it was received by the clock, the event), the oldest files first."""
    yield from _logged(EVENTS, unreadable, at)


def _logged(kind: str, unreadable: Unreadable, at: Path | None) -> Iterator[Any]:
    of_line = {ANSWERS: _answer, EVENTS: _event}[kind]
    for file in files(at or folder(), kind):
        number = 0
        try:
            for some in lines(file):
                for line in some:
                    number += 1
                    try:
                        if not line.endswith(b"\n"):
                            raise ValueError("no end")
                        found = of_line(json.loads(line.decode("ascii")))
                    except (ValueError, KeyError, TypeError, AttributeError):
                        unreadable(file.name, f"line {number} is not whole")
                        continue
                    yield found
        except FileNotFoundError:
            continue  # the service has made room meanwhile
        except OSError as error:
            unreadable(file.name, _why(error))


def _answer(said: dict[str, Any]) -> Answer:
    values = {name: said[name] for name in Answer._fields if name != "shown"}
    for name in ("served_at", "asked_at", "moment"):
        values[name] = datetime.fromisoformat(values[name])
    shown = zip(*(said[name] for name in Shown._fields), strict=True)
    values |= {"fallbacks": tuple(said["fallbacks"]), "shown": tuple(Shown(*one) for one in shown)}
    return Answer(**values)


def _event(said: dict[str, Any]) -> tuple[datetime, Event]:
    values = {name: said[name] for name in Event._fields}
    values["event_time"] = datetime.fromisoformat(values["event_time"])
    return datetime.fromisoformat(said["received_at"]), Event(**values)
