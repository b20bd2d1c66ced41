"""The log of what was served: the feature values of sampled requests, with moment and versions.

A request never waits for it. What the request read is handed over when it ends, all of it or nothing,
and a thread writes Parquet files below LOOKBOOK_HOME/served/, of which the oldest go when there are
too many. Each file holds reads of one feature service under the same versions; `logged` reads them.
"""

import json
import logging
import math
import os
import random
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prometheus_client import Counter

from feature_repo import environment, places
from pipelines.columns import Columns, SameTable, Table
from pipelines.features import (
    KEYS,
    Features,
    OnlineFeatures,
    feature_store,
    schema_hash,
    service_schema,
)
from pipelines.online import materialized_at

log = logging.getLogger(__name__)

ENOUGH_VALUES = 500_000
"""Values that have come together at which a file is written before its time."""
MOST_VALUES = 2_000_000
"""Values that may wait; what comes beyond them is dropped."""
COMPLAIN_SECONDS = 60
CLOSE_SECONDS = 10
MOST_ROWS_READ = 10_000

REQUEST, MOMENT, SERVED_AT = "request_id", "moment", "served_at"
_META = b"lookbook"
CLOCK = pa.timestamp("us", "UTC")

NOT_LOGGED = Counter(
    "lookbook_requests_not_logged",
    "Sampled requests that are missing in the log of what was served.",
    ["reason"],
)


@dataclass(frozen=True)
class Settings:
    """How much is logged."""

    sample: float = 0.1
    """The share of requests."""
    megabytes: float = 256
    """What the files may take together."""
    seconds: float = 5
    """How long a request's values may wait to be written: what a killed process loses."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """LOOKBOOK_SERVED_SAMPLE, LOOKBOOK_SERVED_MEGABYTES and LOOKBOOK_SERVED_SECONDS.

        Raises:
            InputError: one of them is no number, or out of range.
        """
        return cls(
            sample=environment.number("LOOKBOOK_SERVED_SAMPLE", cls.sample, 0, 1),
            megabytes=environment.number("LOOKBOOK_SERVED_MEGABYTES", cls.megabytes, 1),
            seconds=environment.number("LOOKBOOK_SERVED_SECONDS", cls.seconds, 0),
        )


@dataclass(frozen=True)
class Versions:
    """What a request was answered with."""

    release: str
    moment: datetime
    """Up to which the online store had been brought."""
    materialized_at: dict[str, datetime]
    """The time by the clock from which on each view was brought there; none if that was going on."""
    schema_hashes: dict[str, str]
    """Of each feature service."""
    schemas: dict[str, pa.Schema] = field(default_factory=dict, repr=False)
    """The declared types of each service."""

    @classmethod
    def now(cls, release: str, moment: datetime) -> "Versions":
        """Those of the registry as this process knows it."""
        services = [service.name for service in feature_store().list_feature_services()]
        return cls(
            release,
            moment,
            materialized_at(settled=True),
            {name: schema_hash(name) for name in services},
            {name: service_schema(name) for name in services},
        )


class _Read(NamedTuple):
    service: str
    served_at: datetime
    moment: datetime | None
    """As of which it was, not before the last event that had been seen."""
    frame: Table


@dataclass
class _Request:
    """A request that is logged: reads features like the door that it was given, and remembers them."""

    features: OnlineFeatures
    versions: Versions
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    reads: list[_Read] = field(default_factory=list)

    def table(self, columns: Mapping[str, np.ndarray]) -> Table:
        return self.features.table(columns)

    def read(self, rows: SameTable, service: str) -> SameTable:
        found = self.features.read(rows, service)
        # Columns that the reader adds to its frame do not come into ours.
        frame = found.copy(deep=False) if isinstance(found, pd.DataFrame) else found
        self.reads.append(_Read(service, datetime.now(UTC), self.moment, frame))
        return found

    @property
    def moment(self) -> datetime | None:
        """That of the request: not before the last event that it has seen."""
        return self.features.moment

    @property
    def values(self) -> int:
        return sum(read.frame.size for read in self.reads)


class ServedLog:
    """Takes sampled requests from any thread, and writes them from one of its own.

    Args:
        settings: those of the environment if None.
        at: the folder; that of this home if None.

    Raises:
        InputError: the environment's settings are wrong.
    """

    def __init__(self, settings: Settings | None = None, at: Path | None = None) -> None:
        self.settings = settings or Settings.from_environment()
        self.folder = at or folder()
        self.dropped = 0
        """Requests that were sampled and could not be kept."""
        self._waiting: list[_Request] = []
        self._values = 0
        self._changed = threading.Condition()
        self._closed = False
        self._writer: threading.Thread | None = None
        self._complained = -math.inf
        self._trouble = ""

    @contextmanager
    def request(self, features: OnlineFeatures, versions: Versions) -> Iterator[Features]:
        """The features to answer one request with; all that it reads is logged, or nothing."""
        if random.random() >= self.settings.sample:
            yield features
            return
        # The moment is logged, so it is chosen here and not at each read.
        moment = features.moment or datetime.now(UTC)
        request = _Request(features.at(moment), versions)
        try:
            yield request
        finally:
            self.offer(request)

    def offer(self, request: _Request) -> None:
        """Hand a request over: it is written soon, or dropped if too much is waiting."""
        try:
            values = request.values
            with self._changed:
                lost = "closed" if self._closed else ""
                if self._values + values > MOST_VALUES:
                    lost = "full"
                if not lost:
                    self._waiting.append(request)
                    self._values += values
                    if self._writer is None or not self._writer.is_alive():
                        self._writer = threading.Thread(
                            target=self._write_all, name="served-log", daemon=True
                        )
                        self._writer.start()
                    if len(self._waiting) == 1 or self._values >= ENOUGH_VALUES:
                        self._changed.notify()
            if lost:
                self._drop(1, lost)
        except Exception:
            log.exception("a request could not be logged")

    def close(self) -> None:
        """Write what waits; what is offered afterwards is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._writer is not None:
            self._writer.join(CLOSE_SECONDS)

    def _drop(self, requests: int, reason: str) -> None:
        NOT_LOGGED.labels(reason).inc(requests)
        self.dropped += requests
        if reason == "full" and monotonic() > self._complained + COMPLAIN_SECONDS:
            self._complained = monotonic()
            log.warning("more is served than can be logged: %d requests dropped", self.dropped)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(
                    lambda: self._values >= ENOUGH_VALUES or self._closed, self.settings.seconds
                )
                requests, self._waiting, self._values = self._waiting, [], 0
            if not requests:
                return
            try:
                self._write(requests)
                self._trouble = ""
            except Exception as error:
                self._drop(len(requests), "unwritten")
                said = (error.strerror if isinstance(error, OSError) else None) or repr(error)
                if said != self._trouble:
                    log.warning("what is served cannot be logged in %s: %s", self.folder, said)
                self._trouble = said

    def _write(self, requests: Sequence[_Request]) -> None:
        for service, table in _tables(requests):
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{service}-{os.getpid()}-{secrets.token_hex(3)}"
            with places.whole_file(self.folder / f"{name}.parquet") as partial:
                pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
        self._make_room()

    def _make_room(self) -> None:
        """Delete the oldest files, also what killed writers have left, until the rest is small enough."""
        files = []
        for file in self.folder.iterdir():
            # Another worker of the service may have deleted it.
            with suppress(FileNotFoundError):
                stat = file.stat()
                files.append((stat.st_mtime_ns, file.name, stat.st_size))
        excess = sum(size for *_, size in files) - self.settings.megabytes * 2**20
        for _, name, size in sorted(files):
            if excess <= 0:
                return
            (self.folder / name).unlink(missing_ok=True)
            excess -= size


def folder() -> Path:
    """Where the log of this home is."""
    return places.home() / "served"


# Writing


def _tables(requests: Sequence[_Request]) -> Iterator[tuple[str, pa.Table]]:
    """The reads by service, versions and types, which are the same in nearly all."""
    versions = {id(request.versions): request.versions for request in requests}
    reads: dict[tuple[str, int, tuple[str, ...]], list[tuple[_Request, _Read]]] = {}
    for request in requests:
        for read in request.reads:
            if read.service in request.versions.schemas and len(read.frame):
                keys = tuple(key for key in KEYS if key in read.frame)
                place = (read.service, id(request.versions), keys)
                reads.setdefault(place, []).append((request, read))
    groups: dict[tuple[str, int, pa.Schema], list[pa.Table]] = {}
    for (service, of, keys), those in reads.items():
        together = _together(versions[of].schemas[service], keys, those)
        tables = [_table(*one) for one in those] if together is None else [together]
        for table in tables:
            groups.setdefault((service, of, table.schema), []).append(table)
    for (service, of, _), tables in groups.items():
        whole = pa.concat_tables(tables)
        meta = {
            "service": service,
            "schema_hash": versions[of].schema_hashes[service],
            "release": versions[of].release,
            "online_moment": versions[of].moment.isoformat(),
            "materialized_at": {
                view: at.isoformat() for view, at in versions[of].materialized_at.items()
            },
        }
        yield service, whole.replace_schema_metadata({_META: json.dumps(meta)})


def _together(
    schema: pa.Schema, keys: tuple[str, ...], reads: Sequence[tuple[_Request, _Read]]
) -> pa.Table | None:
    """Reads of one service as one table, column by column: to make one of each read takes ten times as long. None if
    they are no arrays, or a value does not fit what is declared, so that each read must be looked at."""
    frames = [read.frame for _, read in reads]
    if not all(isinstance(frame, Columns) for frame in frames):
        return None
    sizes = [len(frame) for frame in frames]

    def repeated(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        places = np.repeat(np.arange(len(values)), sizes)
        return pa.array(values, kind).take(pa.array(places))

    columns = {
        REQUEST: repeated([request.id for request, _ in reads], pa.string()),
        MOMENT: repeated([read.moment for _, read in reads], CLOCK),
        SERVED_AT: repeated([read.served_at for _, read in reads], CLOCK),
    }
    for key in keys:
        texts = np.concatenate([np.asarray(frame[key], dtype=object) for frame in frames])
        columns[key] = pa.array([None if pd.isna(value) else str(value) for value in texts])
        columns[key] = columns[key].cast(pa.string())
    for declared in schema:
        parts = [np.asarray(frame[declared.name]) for frame in frames]
        if len({part.dtype for part in parts}) > 1:
            return None
        values = _typed(np.concatenate(parts), declared.type)
        if values.type != declared.type:
            return None
        columns[declared.name] = values
    return pa.table(columns)


def _table(request: _Request, read: _Read) -> pa.Table:
    frame = read.frame
    columns = {
        REQUEST: pa.array([request.id] * len(frame)),
        MOMENT: pa.array([read.moment] * len(frame), CLOCK),
        SERVED_AT: pa.array([read.served_at] * len(frame), CLOCK),
    }
    for key in KEYS:
        if key in frame:
            texts = [None if pd.isna(value) else str(value) for value in frame[key]]
            columns[key] = pa.array(texts, pa.string())
    for declared in request.versions.schemas[read.service]:
        columns[declared.name] = _typed(frame[declared.name], declared.type)
    return pa.table(columns)


def _typed(values: pd.Series | np.ndarray, declared: pa.DataType) -> pa.Array:
    """In the declared type; as they are if they do not fit it, for that is what parity is to find."""
    try:
        # Arrow would cut 1.5 to 1 if it were told a type at once.
        found = pa.Array.from_pandas(values)
    except (pa.ArrowException, ValueError, TypeError):
        return pa.array([None if value is None else repr(value) for value in values])
    if _akin(found.type, declared):
        with suppress(pa.ArrowException):
            return found.cast(declared)
    return found


def _akin(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether a value of one type, where it fits, means the same in the other."""
    types = pa.types
    if types.is_list(one) and types.is_list(other):
        return _akin(one.value_type, other.value_type)

    def kind(given: pa.DataType) -> str:
        if types.is_integer(given) or types.is_floating(given):
            return "number"
        if types.is_timestamp(given):
            return "moment"
        if types.is_string(given) or types.is_large_string(given):
            return "text"
        return str(given)

    return types.is_null(one) or kind(one) == kind(other)


# Reading


@dataclass(frozen=True)
class Logged:
    """Some rows of one file: request, moment, served_at, keys, and features as they were served."""

    service: str
    schema_hash: str
    release: str
    materialized_at: dict[str, datetime]
    rows: pa.Table


def logged(
    service: str | None,
    since: datetime | None,
    unreadable: Callable[[str, str], None],
    at: Path | None = None,
) -> Iterator[Logged]:
    """What was served, oldest files first and some thousand rows at a time.

    Args:
        service: only reads of this feature service.
        since: only what was served from this time on.
        unreadable: is told the name of each file that cannot be read, and why.
        at: the log's folder; that of this home if None.
    """
    for file in _files(at or folder()):
        try:
            # What stands in a file is not younger than the file.
            if since and file.stat().st_mtime < since.timestamp():
                continue
            yield from _read(file, service, since)
        except FileNotFoundError:
            continue  # the service has made room meanwhile
        except _UNREADABLE as error:
            unreadable(file.name, str(error).splitlines()[0] if str(error) else repr(error))


def materializations() -> dict[str, list[datetime]]:
    """When, by the clock, each view was brought online, as far as the log knows; in order."""
    found: dict[str, set[datetime]] = {}
    for file in _files(folder()):
        with suppress(*_UNREADABLE), _opened(file) as (_, said):
            for view, at in said.materialized_at.items():
                found.setdefault(view, set()).add(at)
    return {view: sorted(times) for view, times in found.items()}


_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException)


def _files(at: Path) -> list[Path]:
    return sorted(at.iterdir()) if at.is_dir() else []


@contextmanager
def _opened(file: Path) -> Iterator[tuple[pq.ParquetFile, Logged]]:
    """A file and what it says of its rows, without them."""
    if file.suffix != ".parquet":
        raise ValueError("not finished by the process that wrote it")
    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        meta: dict[str, Any] = json.loads((parquet.schema_arrow.metadata or {}).get(_META, b"null"))
        if meta is None:
            raise ValueError("not a log of what was served")
        views = meta["materialized_at"].items()
        materialized = {view: datetime.fromisoformat(at) for view, at in views}
        none = parquet.schema_arrow.remove_metadata().empty_table()
        yield (
            parquet,
            Logged(meta["service"], meta["schema_hash"], meta["release"], materialized, none),
        )


def _read(file: Path, service: str | None, since: datetime | None) -> Iterator[Logged]:
    with _opened(file) as (parquet, said):
        if service in (None, said.service):
            for batch in parquet.iter_batches(MOST_ROWS_READ):
                rows = pa.Table.from_batches([batch]).replace_schema_metadata(None)
                if since:
                    rows = rows.filter(pc.field(SERVED_AT) >= pa.scalar(since, CLOCK))
                yield replace(said, rows=rows)
