"""Parity: whether what was served is what training sees at the same moment, value by value.

Every logged value is computed again from the warehouse, as of the moment for which it was asked, and
compared bit for bit; missing equals missing. A value that differs only since the warehouse has learned
more than the online store knew (a late purchase, a rebuild) is `late`, and no fault of serving.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import LookbookError
from feature_repo.feature_sql import HISTORIES
from feature_repo.stores.connection import identifier
from feature_repo.stores.duckdb_source import DuckDBSource
from pipelines.feature_tables import latest_build
from pipelines.features import (
    KEYS,
    MOMENT,
    FeatureError,
    OfflineFeatures,
    feature_store,
    moment_of,
    schema_hash,
    service_fields,
)
from pipelines.monitoring import served_log
from pipelines.monitoring.served_log import Logged
from pipelines.online import materialized_at
from pipelines.reports.words import many
from pipelines.warehouse import reading

ROWS_AT_A_TIME = 10_000
"""Rows that are computed again at a time."""

_MADE_OF_ATTRIBUTES = {
    **{view: (table.attributes,) for view, table in HISTORIES.items() if table.attribute_key},
    "customer_taste": ("articles", "article_content"),
}
"""Views whose keys or values are attributes, and the raw tables that have these."""

_NEVER_WAS, _NEVER_ENDS = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class ParityError(LookbookError):
    """Nothing was logged that could be compared; the text says what to do."""


@dataclass
class Count:
    """How many values were compared, and how they compared."""

    compared: int = 0
    equal: int = 0
    late: int = 0
    different: int = 0

    def add(self, other: "Count") -> None:
        for name, more in vars(other).items():
            setattr(self, name, getattr(self, name) + more)


@dataclass(frozen=True)
class Difference:
    """A value that was served and is another in the warehouse."""

    service: str
    feature: str
    keys: dict[str, str | None]
    moment: datetime
    served: Any
    offline: Any
    request: str
    served_at: datetime
    release: str

    def __str__(self) -> str:
        keys = "".join(f"{name} {value}, " for name, value in self.keys.items())
        return (
            f"{self.service}, {self.feature}: served {_short(self.served)}, offline "
            f"{_short(self.offline)} ({keys}at {self.moment}, served {self.served_at:%Y-%m-%d %H:%M:%S} "
            f"by {self.release})"
        )


@dataclass
class Report:
    """What was compared, and what came of it."""

    services: dict[str, dict[str, Count]] = field(default_factory=dict)
    """{service: {feature: how its values compared}}."""
    differences: list[Difference] = field(default_factory=list)
    """Some examples of each feature that differs."""
    rows: int = 0
    requests: int = 0
    moments: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    """{why rows could not be compared: how many}."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """{file of the log: why it was not read}."""

    @property
    def total(self) -> Count:
        total = Count()
        for features in self.services.values():
            for count in features.values():
                total.add(count)
        return total

    @property
    def holds(self) -> bool:
        """Whether values were compared, and none is different."""
        return self.total.compared > 0 and not self.total.different

    def to_dict(self) -> dict[str, Any]:
        return {"holds": self.holds, **asdict(self.total), **asdict(self)}

    def __str__(self) -> str:
        total = self.total
        return (
            f"{many(total.compared, 'value')} of {many(self.requests, 'request')} at "
            f"{many(self.moments, 'moment')} compared: {total.equal:,} equal, {total.late:,} late, "
            f"{total.different:,} different; {many(sum(self.skipped.values()), 'row')} skipped."
        )


def check(
    service: str | None = None,
    since: datetime | None = None,
    examples: int = 3,
    progress: Callable[[str], None] = lambda text: None,
    log: Path | None = None,
) -> Report:
    """Compare what was served and logged with the warehouse.

    Args:
        service: only reads of this feature service.
        since: only what was served from this time on, by the clock.
        examples: at most so many of each feature that differs.
        log: the log's folder; that of this home if None.

    Raises:
        ParityError: nothing was logged.
        FeatureError: the service is not registered.
        WarehouseError: no features are built, or another process writes the warehouse.
    """
    if service is not None:
        service_fields(service)
    run = _Run(examples)
    report = run.report
    logged = served_log.logged(service, since, report.unreadable.__setitem__, log)
    for pieces in _gathered(logged, run.accepts):
        run.compare(pieces)
        progress(f"{many(report.rows, 'row')} compared")
    if not report.rows and not report.skipped:
        wanted = f" of the service {service}" * bool(service)
        wanted += f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
        unread = f" {many(len(report.unreadable), 'file')} could not be read." * bool(
            report.unreadable
        )
        raise ParityError(
            f"Nothing served{wanted} is in the log {log or served_log.folder()}: ask the service something, with "
            f"LOOKBOOK_SERVED_SAMPLE above 0, and wait some seconds.{unread}"
        )
    return report


def _gathered(
    pieces: Iterator[Logged], accepted: Callable[[Logged], bool]
) -> Iterator[list[Logged]]:
    """Pieces of the same service and types put together, up to about ROWS_AT_A_TIME."""
    waiting: dict[tuple[str, pa.Schema], list[Logged]] = {}
    for piece in pieces:
        if piece.rows.num_rows and accepted(piece):
            place = (piece.service, piece.rows.schema)
            waiting.setdefault(place, []).append(piece)
            if sum(one.rows.num_rows for one in waiting[place]) >= ROWS_AT_A_TIME:
                yield waiting.pop(place)
    yield from waiting.values()


class _Run:
    """What is registered and built now, and the report as it grows."""

    def __init__(self, examples: int) -> None:
        self.report = Report()
        self._examples = examples
        self._built = moment_of(latest_build().end)
        self._attributes_changed = _attributes_changed()
        self._brought = served_log.materializations()
        for view, at in materialized_at().items():
            self._brought[view] = sorted({at, *self._brought.get(view, [])})
        self._requests: set[str] = set()
        self._moments: set[datetime] = set()
        # Asked for every piece, and the same as long as this runs.
        self._schema_hash = cache(schema_hash)
        self._sources = cache(_sources)

    def accepts(self, piece: Logged) -> bool:
        """Whether the service still means what it meant."""
        try:
            now = self._schema_hash(piece.service)
        except FeatureError:
            self._skip(f"{piece.service} is no longer registered", piece.rows.num_rows)
            return False
        if now != piece.schema_hash:
            why = f"{piece.service} was of schema {piece.schema_hash}, and is now of {now}"
            self._skip(why, piece.rows.num_rows)
        return now == piece.schema_hash

    def _skip(self, why: str, rows: int) -> None:
        if rows:
            self.report.skipped[why] = self.report.skipped.get(why, 0) + rows

    def compare(self, pieces: Sequence[Logged]) -> None:
        """Pieces of one service and the same types."""
        service = pieces[0].service
        rows = pa.concat_tables([piece.rows for piece in pieces])
        of_piece = np.repeat(np.arange(len(pieces)), [piece.rows.num_rows for piece in pieces])
        # From a day after the last one built on, windows stand still: there is no answer to compare.
        end = self._built + timedelta(days=1)
        answered = pc.less(rows[served_log.MOMENT], pa.scalar(end, served_log.CLOCK)).to_numpy()
        why = f"asked for a moment after the features, which are built up to {self._built}"
        self._skip(why, int((~answered).sum()))
        until = pa.array(map(self._settled_until, pieces), served_log.CLOCK).to_numpy()
        settled = rows[served_log.SERVED_AT].to_numpy() < until[of_piece]
        why = "served while the online store was being brought to another state"
        self._skip(why, int((answered & ~settled).sum()))
        rows, of_piece = rows.filter(answered & settled), of_piece[answered & settled]
        if not rows.num_rows:
            return
        self.report.rows += rows.num_rows
        self._requests.update(rows[served_log.REQUEST].unique().to_pylist())
        self._moments.update(rows[served_log.MOMENT].unique().to_pylist())
        self.report.requests, self.report.moments = len(self._requests), len(self._moments)
        asked = rows.select([key for key in KEYS if key in rows.column_names]).to_pandas()
        asked[MOMENT] = rows[served_log.MOMENT].to_pandas()
        offline = OfflineFeatures().read_exactly(asked, service)
        differ = {
            name: np.flatnonzero(~_same(rows[name], offline[name])) for name in offline.column_names
        }
        served_at = rows[served_log.SERVED_AT].to_numpy()
        late = self._late(service, differ, asked, served_at, pieces, of_piece)
        counts = self.report.services.setdefault(service, {})
        for name, places in differ.items():
            wrong = places[~late[name][places]] if len(places) else places
            counts.setdefault(name, Count()).add(
                Count(
                    compared=rows.num_rows,
                    equal=rows.num_rows - len(places),
                    late=len(places) - len(wrong),
                    different=len(wrong),
                )
            )
            shown = self._examples - counts[name].different + len(wrong)
            for place in wrong[: max(shown, 0)].tolist():
                row = rows.slice(place, 1).to_pylist()[0]
                self.report.differences.append(
                    Difference(
                        service,
                        name,
                        {key: row[key] for key in KEYS if key in row},
                        row[served_log.MOMENT],
                        _plain(row[name]),
                        _plain(offline[name][place].as_py()),
                        row[served_log.REQUEST],
                        row[served_log.SERVED_AT],
                        pieces[of_piece[place]].release,
                    )
                )

    def _settled_until(self, piece: Logged) -> datetime:
        """Until when, by the clock, the views behind the service stayed as the piece's versions say."""
        views = {of.view for sources in self._sources(piece.service).values() for of in sources}
        until = _NEVER_ENDS
        for view in views:
            if view not in piece.materialized_at:
                return _NEVER_WAS
            times = self._brought.get(view, [])
            until = min([until, *(at for at in times if at > piece.materialized_at[view])])
        return until

    def _late(
        self,
        service: str,
        differ: dict[str, np.ndarray],
        asked: pd.DataFrame,
        served_at: np.ndarray,
        pieces: Sequence[Logged],
        of_piece: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """For each feature that differs somewhere: in which rows the warehouse has learned more since.

        Args:
            differ: the places of the rows in which each feature differs.
            asked: keys and moment of each row, and when by the clock it was `served_at`.
            of_piece: the piece that each row is from.
        """
        places: dict[tuple[_Source, ...], np.ndarray] = {}
        sources = self._sources(service)
        for name, found in differ.items():
            before = places.get(sources[name], np.array([], dtype=int))
            places[sources[name]] = np.union1d(before, found)
        late = {of: np.zeros(len(asked), dtype=bool) for of in places}
        with reading() as con:
            for of, found in places.items():
                for source in of if len(found) else ():
                    times = [piece.materialized_at.get(source.view) for piece in pieces]
                    brought = pa.array(times, served_log.CLOCK).to_numpy(zero_copy_only=False)
                    # What is pushed is online at once, so what was written before must have been there.
                    brought = served_at[found] if source.pushed else brought[of_piece[found]]
                    late[of][found] |= source.written(con, asked.iloc[found]) > brought
                    for table in _MADE_OF_ATTRIBUTES.get(source.view, ()):
                        if table in self._attributes_changed:
                            late[of][found] |= self._attributes_changed[table] > brought
        return {name: late[sources[name]] for name in differ}


@dataclass(frozen=True)
class _Source:
    """A view that a feature is, or is made of."""

    view: str
    source: DuckDBSource
    keys: tuple[tuple[str, str], ...]
    """Its keys, each with the column of the rows that gives it."""
    pushed: bool

    def written(self, con: duckdb.DuckDBPyConnection, asked: pd.DataFrame) -> np.ndarray:
        """When, by the clock, the history of each row's key up to its moment was last written; the
        whole of it, for what came late may have changed when rows begin and end.

        Args:
            asked: keys and `event_timestamp`.
        """
        names = [name for _, name in self.keys]
        keyed = asked[[*names, MOMENT]].set_axis([*(key for key, _ in self.keys), "moment"], axis=1)
        keyed["moment"] = keyed["moment"].dt.tz_localize(None).astype("datetime64[us]")
        con.register("asked", keyed.assign(place=range(len(keyed))))
        created = f"history.{identifier(self.source.raw(self.source.created_timestamp_column))}"
        same = [
            f"history.{identifier(self.source.raw(key))} = asked.{identifier(key)}"
            for key, _ in self.keys
        ]
        if self.source.as_of:
            columns = ", ".join(identifier(key) for key, _ in self.keys)
            history = self.source.asked(f"SELECT DISTINCT {columns}, moment FROM asked")
            same.append("history.moment = asked.moment")
        else:
            history = self.source.get_table_query_string()
            known = f"history.{identifier(self.source.raw(self.source.timestamp_field))}"
            same.append(f"CAST({known} AS TIMESTAMP) <= asked.moment")
        found = con.execute(
            f"SELECT max(CAST({created} AS TIMESTAMP)) AS written FROM asked LEFT JOIN {history} AS history "
            f"ON {' AND '.join(same)} GROUP BY place ORDER BY place"
        ).df()
        con.unregister("asked")
        return found["written"].to_numpy("datetime64[us]")


def _sources(service: str) -> dict[str, tuple[_Source, ...]]:
    """The views behind each feature that say when they were written."""
    from feast.feature_view import DUMMY_ENTITY_ID

    store = feature_store()
    on_demand = {view.name: view for view in store.list_on_demand_feature_views()}

    def behind(projection: Any) -> _Source | None:
        view = store.get_feature_view(projection.name)
        source = view.batch_source
        if not isinstance(source, DuckDBSource) or not source.created_timestamp_column:
            return None
        keys = tuple(
            (key, projection.join_key_map.get(key, key))
            for key in view.join_keys
            if key != DUMMY_ENTITY_ID
        )
        return _Source(view.name, source, keys, pushed=view.stream_source is not None)

    found = {}
    for projection in store.get_feature_service(service).feature_view_projections:
        view = on_demand.get(projection.name)
        parts = view.source_feature_view_projections.values() if view else [projection]
        sources = tuple(source for source in map(behind, parts) if source)
        for feature in projection.features:
            found[f"{projection.name_to_use()}__{feature.name}"] = sources
    return found


def _attributes_changed() -> dict[str, np.datetime64]:
    """When, by the clock, rows of a raw table were last given other attributes: these have no
    history, and what no longer has a row cannot say when it lost it."""
    with reading() as con:
        found = con.execute(
            "SELECT table_name, max(loaded_at) FROM raw.loads WHERE updated > 0 GROUP BY table_name"
        ).fetchall()
    return {table: np.datetime64(loaded_at, "us") for table, loaded_at in found}


def _same(served: pa.ChunkedArray, offline: pa.ChunkedArray) -> np.ndarray:
    """In which rows two columns hold the same: numbers to the last bit, lists element by element,
    and what is missing, as null or as NaN, on both sides."""
    one, other = (
        column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        for column in (served, offline)
    )
    if one.type != other.type:
        # What was served did not fit the declared type.
        pairs = zip(one.to_pylist(), other.to_pylist(), strict=True)
        return np.array([_plain(a) == _plain(b) for a, b in pairs], dtype=bool)
    if pa.types.is_list(one.type):
        lengths, others = (
            pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
            for lists in (one, other)
        )
        same = lengths == others
        filled = np.flatnonzero(same & (lengths > 0))
        if len(filled):
            elements = _same(*(lists.take(pa.array(filled)).flatten() for lists in (one, other)))
            starts = np.cumsum(lengths[filled]) - lengths[filled]
            same[filled] = np.logical_and.reduceat(elements, starts)
        return same
    if pa.types.is_floating(one.type):
        a, b = (column.to_numpy(zero_copy_only=False) for column in (one, other))
        bits = f"i{a.itemsize}"
        return (a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))
    equal = pc.fill_null(pc.equal(one, other), False)
    missing = pc.and_(pc.is_null(one), pc.is_null(other))
    return pc.or_(equal, missing).to_numpy(zero_copy_only=False)


def _plain(value: Any) -> Any:
    """Without NaN, which JSON does not have either."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
