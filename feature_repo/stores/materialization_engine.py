"""Feast's compute engine that brings features from the warehouse online: `feast materialize` and
`materialize-incremental` with the DuckDB offline and the LMDB online store.

Rows go from DuckDB to packed rows as Arrow, some keys at a time and in their order, and only those that
differ from what is there are written. A view with validity intervals is brought as its state at END:
the rows that hold then replace whatever is of an earlier moment, and keys that have none lose theirs.
Of any other view the newest rows from START to END are brought; one that goes on from the last END also
brings the rows that were created since, however old their event: late rows. A run that was killed goes on
where it was, if the warehouse is still the same.

Views with transformations or aggregations are left to Feast's own local engine.
"""

import hashlib
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from feature_repo import places
from feature_repo.stores.connection import WarehouseError, identifier
from feature_repo.stores.duckdb_offline_store import (
    as_of_keys,
    latest_sql,
    open_warehouse,
)
from feature_repo.stores.duckdb_source import DuckDBSource
from feature_repo.stores.lmdb_environment import OnlineStoreError
from feature_repo.stores.lmdb_online_store import (
    LMDBOnlineStore,
    appended,
    declare,
    events_of,
    online_rows,
    view_name,
)
from feature_repo.stores.lmdb_rows import (
    Transaction,
    View,
    encode_keys,
    microseconds_now,
    newer,
    newest_first,
    not_after,
)
from feature_repo.stores.packed_rows import (
    NO_TIME,
    from_microseconds,
    is_message,
    pack,
    to_microseconds,
)
from feature_repo.stores.point_in_time import refuse_what_is_not_built

ROWS_AT_A_TIME = 50_000
_SAMPLED = 100_000
_LONGEST_BOUND = 100
_KEYS = "keys_to_bring"


class MaterializationEngineConfig(FeastConfigBaseModel):
    """Settings of the engine in `feature_store.yaml`."""

    type: Literal["feature_repo.stores.materialization_engine.MaterializationEngine"] = (
        "feature_repo.stores.materialization_engine.MaterializationEngine"
    )
    rows_at_a_time: int = ROWS_AT_A_TIME
    """Rows that are read, packed and written in one transaction, about."""


class MaterializationEngine(LocalComputeEngine):
    """See the module."""

    def __init__(
        self, *, type: str = "", rows_at_a_time: int = ROWS_AT_A_TIME, **given: Any
    ) -> None:
        super().__init__(**given)
        self._rows_at_a_time = rows_at_a_time

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        view = task.feature_view
        plain = type(view) is FeatureView and isinstance(view.batch_source, DuckDBSource)
        if not plain or view.offline or not isinstance(self.online_store, LMDBOnlineStore):
            return super()._materialize_one(registry, task, **kwargs)
        if view.online:
            try:
                _Bringing(self.repo_config, task, self._rows_at_a_time).run()
            except duckdb.CatalogException as error:
                raise WarehouseError(
                    f"Feature view {view.name!r}: the warehouse lacks what it reads. Run `lookbook features "
                    f"build` (or create it, if it is yours). {str(error).splitlines()[0]}"
                ) from error
        return LocalMaterializationJob(
            job_id=f"{view.name}-{task.start_time}-{task.end_time}",
            status=MaterializationJobStatus.SUCCEEDED,
        )


@dataclass(frozen=True)
class _Part:
    """Rows of some keys: those whose first key is in [low, high), where None is no bound."""

    low: Any
    high: Any

    def condition(self, key: str) -> str:
        """In SQL, of the first key."""
        bounds = [
            f"{key} {side} {_literal(bound)}"
            for side, bound in ((">=", self.low), ("<", self.high))
            if bound is not None
        ]
        return " AND ".join(bounds) or "true"


def _can_part(key: Any) -> bool:
    """Whether the store has its keys on either side of this one in the same order as DuckDB: it cuts
    long texts, and of other types than texts and whole numbers nobody knows."""
    return isinstance(key, int) or (isinstance(key, str) and len(key) <= _LONGEST_BOUND)


def _literal(value: Any) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


class _Bringing:
    """One view's rows on their way online."""

    def __init__(self, config: RepoConfig, task: MaterializationTask, rows_at_a_time: int) -> None:
        self._config = config
        self._feast_view: FeatureView = task.feature_view
        source = task.feature_view.batch_source
        assert isinstance(source, DuckDBSource)
        self._source = source
        self._task = task
        self._rows_at_a_time = rows_at_a_time
        self._rows = online_rows(config)
        self._name = view_name(config.project, task.feature_view.name)
        self._end = to_microseconds(task.end_time)
        self._events = events_of(task.feature_view)
        self._newest_created = int(NO_TIME)
        self._run = secrets.token_hex(8)

    def run(self) -> None:
        """
        Raises:
            WarehouseError: the warehouse does not know the view through END; nothing was changed.
            OnlineStoreError: the store cannot be written, or another run has taken the view over.
        """
        with open_warehouse(self._config) as con:
            refuse_what_is_not_built(con, [self._source], self._task.end_time)
            view = self._rows.write(
                lambda store: declare(store, self._config.project, self._feast_view)
            )
            if self._source.is_state and self._end < (view.brought_to or self._end):
                there = from_microseconds(view.brought_to or 0)
                print(
                    f"  {self._feast_view.name} is online as of {there:%Y-%m-%d %H:%M}, a later moment "
                    "that an earlier one does not replace: it stays as it is."
                )
                return
            if self._source.is_state and self._end < (view.bringing_to or self._end):
                # A run to a later moment was killed: nobody knows which of its rows are of that moment.
                self._rows.write(lambda store: store.clear(self._name))
                view = replace(view, brought_to=None, bringing_to=None)
            late_since = self._late_since(view)
            of = self._fingerprint(view, late_since)
            resumed = None
            if (view.bringing_to, view.bringing_data) == (self._end, of):
                resumed = view.done_until
            with self._rows.reading(self._name) as snapshot:
                was_empty = not snapshot.entries(view)
            parts, total = self._parts(con, resumed, late_since)
            # A bar is for people; a log gets a line.
            watched = self._task.tqdm_builder is not None and sys.stderr.isatty()
            bar = self._task.tqdm_builder(total) if watched else None
            rows = 0
            for part, table in self._tables(con, parts, late_since):
                if part is parts[0]:
                    # Not before there is something: a run that fails at once has changed nothing.
                    self._begin(of, resumed)
                self._write(part, table, was_empty)
                rows += table.num_rows
                if bar is not None:
                    bar.update(table.num_rows)
            if bar is not None:
                bar.close()
            else:
                print(f"  {self._feast_view.name}: {rows:,} rows")
        self._end_well()

    def _fingerprint(self, view: View, late_since: datetime | None) -> str:
        """Of what a run reads: another one that goes on where it was killed must read the same."""
        file = places.resolve(self._config.offline_store.path)
        stats = [
            (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            for path in (file, file.with_name(f"{file.name}.wal"))
            if path.exists()
            for stat in [path.stat()]
        ]
        what = (stats, view.schema.number, self._sql("true", late_since))
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]

    def _begin(self, of: str, resumed: Any) -> None:
        def change(store: Transaction) -> None:
            began = replace(
                store.view(self._name),
                bringing_to=self._end,
                bringing_data=of,
                done_until=resumed,
                brought_at=microseconds_now(),
                bringing=self._run,
            )
            store.keep(began)

        self._rows.write(change)

    def _end_well(self) -> None:
        def change(store: Transaction) -> None:
            view = self._own(store)
            newest = max(view.newest_created or NO_TIME, self._newest_created)
            store.keep(
                replace(
                    view,
                    brought_to=max(self._end, view.brought_to or self._end),
                    bringing_to=None,
                    bringing_data="",
                    done_until=None,
                    bringing="",
                    # Not before the end: what goes on after a kill must look for late rows from the same time.
                    newest_created=None if newest == NO_TIME else newest,
                )
            )

        self._rows.write(change)

    def _own(self, store: Transaction) -> View:
        """The view, if this run still brings it."""
        view = store.view(self._name)
        if view.bringing != self._run:
            raise OnlineStoreError(
                f"Another run brings {self._feast_view.name} online: this one ends here, and that one goes on."
            )
        return view

    # From the warehouse

    @property
    def _keys(self) -> list[str]:
        """The join keys as the source names them, in the order of the store's keys."""
        return [self._source.raw(c.name) for c in self._feast_view.entity_columns]

    @property
    def _first_key(self) -> str:
        """In SQL; as text if it is one, for the store has words in the order of texts."""
        kind = self._feast_view.entity_columns[0].dtype.to_value_type()
        name = identifier(self._keys[0])
        return f"CAST({name} AS VARCHAR)" if kind == ValueType.STRING else name

    def _late_since(self, view: View) -> datetime | None:
        """The created time from which on rows may be late, if this run goes on from the last one."""
        goes_on = view.brought_to is not None and view.brought_to == to_microseconds(
            self._task.start_time
        )
        if self._source.is_state or not goes_on or not self._source.created_timestamp_column:
            return None
        assert view.brought_to is not None
        return from_microseconds(min(view.brought_to, view.newest_created or view.brought_to))

    def _sql(self, only: str, late_since: datetime | None = None) -> str:
        source, view = self._source, self._feast_view
        return latest_sql(
            source,
            [key for key in self._keys if key != DUMMY_ENTITY_ID],
            [source.raw(field.name) for field in view.features],
            source.raw(source.timestamp_field),
            source.created_timestamp_column and source.raw(source.created_timestamp_column),
            self._task.start_time,
            self._task.end_time,
            only=only,
            keys_from=_KEYS if source.as_of else "",
            late_since=late_since,
        )

    def _parts(
        self, con: duckdb.DuckDBPyConnection, resumed: Any, late_since: datetime | None
    ) -> tuple[list[_Part], int]:
        """The rows in parts of about equal size, and how many there are, about."""
        source, key = self._source, self._first_key
        if self._keys[0] == DUMMY_ENTITY_ID:
            return [_Part(None, None)], 1
        if source.as_of:
            # Found once, for looking for them takes longer than reading a part.
            asked = as_of_keys(source, self._keys, self._task.end_time)
            con.execute(f"CREATE TEMP TABLE {_KEYS} AS SELECT * FROM {asked}")
            history = counted = _KEYS
        else:
            history = f"{source.get_table_query_string()} AS history"
            counted = f"({self._sql('true', late_since)}) AS pulled"
        rest = f"WHERE {_Part(resumed, None).condition(key)} AND {key} IS NOT NULL"
        ((total,),) = con.execute(f"SELECT count(*) FROM {counted} {rest}").fetchall()
        count = total // self._rows_at_a_time + 1
        shares = [number / count for number in range(1, count)]
        ((bounds,),) = con.execute(
            f"SELECT quantile_disc(key, $shares) FROM (SELECT {key} AS key FROM {history} "
            f"{rest} USING SAMPLE reservoir({_SAMPLED} ROWS))",
            {"shares": shares},
        ).fetchall()
        between = sorted(bound for bound in {*(bounds or ())} - {resumed} if _can_part(bound))
        return [_Part(low, high) for low, high in pairwise([resumed, *between, None])], total

    def _tables(
        self, con: duckdb.DuckDBPyConnection, parts: list[_Part], late_since: datetime | None
    ) -> Iterator[tuple[_Part, pa.Table]]:
        """Each part's rows. While one is written, DuckDB reads the next."""

        def read(part: _Part) -> pa.Table:
            sql = self._sql(part.condition(self._first_key), late_since)
            return con.sql(sql).to_arrow_table()

        with ThreadPoolExecutor(1) as thread:
            following = [thread.submit(read, parts[0])]
            for number, part in enumerate(parts):
                table = following.pop().result()
                if number + 1 < len(parts):
                    following.append(thread.submit(read, parts[number + 1]))
                yield part, table

    # To the store

    def _write(self, part: _Part, table: pa.Table, was_empty: bool) -> None:
        source = self._source
        events = _times(table[source.raw(source.timestamp_field)])
        created = np.full(len(events), NO_TIME)
        if source.created_timestamp_column:
            created = _times(table[source.raw(source.created_timestamp_column)])
        given = {c.name: table[source.raw(c.name)] for c in self._feast_view.entity_columns}

        def change(store: Transaction) -> None:
            view = self._own(store)
            encoded = encode_keys(
                view, {name: column.to_pylist() for name, column in given.items()}
            )
            columns = {
                name: _column(table[source.raw(name)], kind) for name, kind in view.schema.features
            }
            packed = pack(view.schema, pa.table(columns), events, created)
            # Rows without a key belong to nobody.
            keys = [key for key in encoded if key is not None]
            packed = [row for key, row in zip(encoded, packed, strict=True) if key is not None]
            if len(set(keys)) < len(keys):
                # Intervals that overlap: the newest counts.
                newest = newest_first(keys, packed)
                keys, packed = list(newest), [of_key[0] for of_key in newest.values()]
            if self._events is not None:
                packed = appended(store, view, keys, packed, self._events, self._end)
                store.put(view, keys, packed)
            else:
                store.put(
                    view, keys, packed, not_after(self._end) if self._source.is_state else newer
                )
            if self._source.is_state and not was_empty:
                low, high = self._bound(view, part.low), self._bound(view, part.high)
                stay = store.delete_others(view, keys, low or b"", high, not_after(self._end))
                if self._events is not None and stay:
                    nothing = [view.schema.empty_row] * len(stay)
                    rows = appended(store, view, stay, nothing, self._events, self._end)
                    store.put(view, stay, rows)
            store.keep(replace(view, done_until=part.high))

        self._rows.write(change)
        self._newest_created = max(self._newest_created, int(created.max(initial=NO_TIME)))

    def _bound(self, view: View, value: Any) -> bytes | None:
        """The first encoded key whose first part is the value."""
        if value is None:
            return None
        first = View(view.name, view.keys[:1], view.schemas)
        return encode_keys(first, [value])[0]


def _times(column: pa.ChunkedArray) -> np.ndarray:
    moments = (
        column.cast(pa.timestamp("us"), safe=False)
        if not pa.types.is_timestamp(column.type)
        else column.cast(pa.timestamp("us", column.type.tz), safe=False)
    )
    return moments.cast(pa.int64()).fill_null(int(NO_TIME)).to_numpy()


def _column(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray | pa.Array:
    """A feature's column as it is packed: what is kept as a message becomes one."""
    if not is_message(kind):
        return column
    values = column.to_pylist(maps_as_pydicts="strict")
    protos = python_values_to_proto_values(values, ValueType[kind])
    return pa.array(
        [
            None if value is None else proto.SerializeToString()
            for value, proto in zip(values, protos, strict=True)
        ],
        pa.binary(),
    )
