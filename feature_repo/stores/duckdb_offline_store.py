"""Feast's offline store over the warehouse: point-in-time joins in one pass (see `point_in_time`).

Differences from Feast's own DuckDB store: the order of the entity rows is kept; entity frames may
be pandas, Arrow, SQL or the path of a Parquet file, or none but a range of time; what counts as
known can be narrowed (`strict`, `embargo`, `created_until`), for all in `feature_store.yaml` or for
one question:

    store.get_historical_features(...).with_options(strict=True).to_df()

Results can be streamed to Parquet; saved data sets and logged features are tables of the warehouse.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import (
    RequestDataNotFoundInEntityDfException,
    SavedDatasetLocationAlreadyExists,
)
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import (
    OfflineStore,
    RetrievalJob,
    RetrievalMetadata,
)
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from feast.transformation.pandas_transformation import PandasTransformation
from feast.type_map import feast_value_type_to_pa
from feast.utils import compute_non_entity_date_range

from feature_repo import places
from feature_repo.errors import InputError
from feature_repo.stores.connection import (
    DEFAULT_MEMORY_LIMIT,
    WarehouseError,
    connect,
    identifier,
)
from feature_repo.stores.duckdb_source import (
    PUSHED,
    DuckDBLoggingDestination,
    DuckDBSource,
    SavedDatasetDuckDBStorage,
)
from feature_repo.stores.point_in_time import (
    BAD_MOMENT,
    EntityRows,
    Known,
    literal,
    microseconds,
    moment_column,
    moments_sql,
    numbered,
    pieces,
    query,
    refuse_what_cannot_be_joined,
    refuse_what_is_not_built,
    source_of,
)

_GIVEN = "given"
_BATCH = 25_000


class DuckDBOfflineStoreConfig(FeastConfigBaseModel):
    """Settings of the store in `feature_store.yaml`."""

    type: Literal["feature_repo.stores.duckdb_offline_store.DuckDBOfflineStore"] = (
        "feature_repo.stores.duckdb_offline_store.DuckDBOfflineStore"
    )
    path: str = "warehouse.duckdb"
    """The warehouse file; a relative path is below LOOKBOOK_HOME."""
    memory_limit: str = DEFAULT_MEMORY_LIMIT
    """DuckDB's notation; beyond it DuckDB spills to disk."""
    threads: int | None = None
    """None: one for each core."""
    strict: bool = False
    """Only what was known before an entity row's moment, not what became known at it."""
    embargo: timedelta = timedelta(0)
    """Only what had been known for at least this long: seconds, or "1 12:00:00", or "P1DT12H"."""
    created_until: datetime | None = None
    """Only rows written by this time, where the source has a created timestamp."""


def open_warehouse(config: RepoConfig, *, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """The warehouse of a Feast configuration, with its limits."""
    settings = config.offline_store
    return connect(
        places.resolve(settings.path),
        read_only=read_only,
        memory_limit=settings.memory_limit,
        threads=settings.threads,
    )


@dataclass(frozen=True)
class _Question:
    """A point-in-time join: what is asked, of whom and by which rules."""

    config: RepoConfig
    entities: EntityRows
    columns: dict[str, str]
    views: list[tuple[FeatureView, dict[str, str]]]
    known: Known
    span: tuple[datetime, datetime] | None
    """The range that was asked for, where no entity rows were given."""

    def sql(self) -> str:
        with open_warehouse(self.config) as con:
            self.entities.register(con)
            return query(con, self.entities, self.views, self.known)

    def find_span(self) -> tuple[datetime | None, datetime | None]:
        """The first and the last moment asked for."""
        if self.span:
            return self.span
        moment = moments_sql(self.columns)
        with open_warehouse(self.config) as con, _named_rows():
            self.entities.register(con)
            found = con.execute(
                f"SELECT min(m), max(m) FROM (SELECT {moment} AS m FROM ({numbered(self.entities)}))"
            ).fetchone()
        return found or (None, None)


@contextmanager
def _named_rows() -> Iterator[None]:
    """An entity row without a moment is the asker's mistake, not DuckDB's."""
    try:
        yield
    except duckdb.Error as error:
        before, found, text = str(error).partition(BAD_MOMENT)
        if found and before in ("", "Invalid Input Error: "):
            raise InputError(found + text.splitlines()[0]) from None
        raise


class _Metadata(RetrievalMetadata):
    """Feast's metadata, whose moments are looked for only when they are asked for."""

    def __init__(self, features: list[str], question: _Question) -> None:
        self.features = features
        moment = moment_column(question.columns)
        self.keys = [name for name in question.columns if name != moment]
        self._question = question

    @cached_property
    def _span(self) -> tuple[datetime | None, datetime | None]:
        return self._question.find_span()

    @property
    def min_event_timestamp(self) -> datetime | None:
        return self._span[0]

    @property
    def max_event_timestamp(self) -> datetime | None:
        return self._span[1]


class DuckDBRetrievalJob(RetrievalJob):
    """A query, or a question, that is answered when its result is asked for, on a read-only connection
    of its own."""

    def __init__(
        self,
        config: RepoConfig,
        asked: "str | _Question",
        *,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._config = config
        self._asked = asked
        self._question = asked if isinstance(asked, _Question) else None
        named = [named.values() for _, named in self._question.views] if self._question else []
        features = frozenset(chain.from_iterable(named))
        self._on_demand: list[Any] = [
            view if isinstance(view, _Narrow) else _Narrow(view, features)
            for view in on_demand_feature_views or []
        ]
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def with_options(
        self,
        *,
        strict: bool | None = None,
        embargo: timedelta | None = None,
        created_until: datetime | None = None,
    ) -> "DuckDBRetrievalJob":
        """The same question under other rules of what was known; None leaves the store's setting.

        Args:
            strict: only what was known before an entity row's moment, not what became known at it.
            embargo: only what had been known for at least this long.
            created_until: only rows written by this time (UTC if it has no zone), where the source
                has a created timestamp: the training set as it would have been made then.

        Raises:
            ValueError: the job is no point-in-time join, or the embargo is negative.
        """
        if self._question is None:
            raise ValueError("Only get_historical_features asks what was known: no other options.")
        given = {"strict": strict, "embargo": embargo, "created_until": created_until}
        changed: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None
        }
        question = replace(self._question, known=replace(self._question.known, **changed))
        return DuckDBRetrievalJob(
            self._config,
            question,
            on_demand_feature_views=self._on_demand,
            full_feature_names=self._full_feature_names,
            metadata=self._metadata,
        )

    def to_sql(self) -> str:
        """The query; an entity frame that is not SQL stands in it as the table `entity_rows`."""
        return self._asked if isinstance(self._asked, str) else self._asked.sql()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with open_warehouse(self._config) as con, _named_rows():
            return _zoned(pa.concat_tables(self._pieces(con)))

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()

    def _batches(self) -> Generator[pa.Table]:
        """The result piece by piece, at least one, with what on-demand views make of it. While one
        piece is worked on, DuckDB makes the next."""
        with open_warehouse(self._config) as con, _named_rows(), ThreadPoolExecutor(1) as thread:
            made = self._pieces(con)
            try:
                following = thread.submit(next, made, None)
                while (piece := following.result()) is not None:
                    following = thread.submit(next, made, None)
                    for first in range(0, max(piece.num_rows, 1), _BATCH):
                        yield self._finished(piece.slice(first, _BATCH))
                    piece = None
            finally:
                while not following.done():
                    con.interrupt()
                    wait([following], timeout=0.1)

    def _pieces(self, con: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
        asked = self._asked
        if isinstance(asked, _Question):
            yield from pieces(con, asked.entities, asked.views, asked.known)
        else:
            reader = con.sql(asked).to_arrow_reader(_BATCH)
            yield reader.schema.empty_table()
            yield from (pa.Table.from_batches([batch]) for batch in reader)

    def _finished(self, batch: pa.Table) -> pa.Table:
        if not self._on_demand:
            return _zoned(batch)
        made = {
            name: feast_value_type_to_pa(field.dtype.to_value_type())
            for view in self._on_demand
            for field in view.features
            for name in (field.name, f"{view.projection.name_to_use()}__{field.name}")
        }
        result = _Held(_zoned(batch), self).to_arrow()
        # A function may give nulls only, or whole numbers, in one piece and others in the next.
        return result.cast(
            pa.schema(
                field.with_type(made[field.name])
                if field.name in made and field.name not in batch.column_names
                else field
                for field in result.schema
            )
        )

    def to_parquet(self, path: Path, columns: Sequence[str] | None = None) -> int:
        """Stream the result to a Parquet file, without holding it in memory.

        On-demand views are computed piece by piece: their functions see some rows at a time.

        Args:
            columns: those to write, in this order; all if None.

        Returns:
            the number of rows.

        Raises:
            InputError: an entity row has no moment; the text has its number.
        """
        rows = 0
        with closing(self._batches()) as batches, places.whole_file(path) as partial:
            chosen = (batch.select(columns) if columns else batch for batch in batches)
            first = next(chosen)
            with pq.ParquetWriter(partial, first.schema) as writer:
                for batch in chain([first], chosen):
                    writer.write_table(batch)
                    rows += batch.num_rows
        return rows

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Stream the result to a Parquet file or into a table of the warehouse.

        Args:
            storage: `SavedDatasetFileStorage(path)` or `SavedDatasetDuckDBStorage(table)`.

        Raises:
            SavedDatasetLocationAlreadyExists: it is there and may not be overwritten.
            WarehouseError: another process is using the warehouse.
        """
        if isinstance(storage, SavedDatasetDuckDBStorage):
            self._to_table(storage.table, allow_overwrite)
        elif isinstance(storage, SavedDatasetFileStorage):
            path = Path(storage.file_options.uri)
            if path.exists() and not allow_overwrite:
                raise SavedDatasetLocationAlreadyExists(location=str(path))
            self.to_parquet(path)
        else:
            raise ValueError(
                "Saved data sets go to SavedDatasetFileStorage or SavedDatasetDuckDBStorage, not "
                f"{type(storage).__name__}."
            )

    def _to_table(self, table: str, allow_overwrite: bool) -> None:
        name = identifier(*table.split("."))
        with TemporaryDirectory() as folder:
            # What makes these rows must not read the warehouse that it is writing.
            file = Path(folder, "rows.parquet")
            self.to_parquet(file)
            with open_warehouse(self._config, read_only=False) as con:
                _create_schema(con, table)
                create = "CREATE OR REPLACE TABLE" if allow_overwrite else "CREATE TABLE"
                try:
                    con.execute(f"{create} {name} AS SELECT * FROM read_parquet('{file}')")
                except duckdb.CatalogException as error:
                    if "already exists" not in str(error):
                        raise
                    raise SavedDatasetLocationAlreadyExists(location=table) from error


class _Narrow:
    """An on-demand view that is not handed the features of other views, and each of its own turned
    into pandas once: Feast turns all columns of the result into pandas for each view, and those that
    a view reads twice.

    Everything else is the view's.
    """

    def __init__(self, view: OnDemandFeatureView, features: frozenset[str]) -> None:
        """`features` are the columns that views gave, not the entity rows."""
        self._view = view
        self._features = features
        self._inputs = {
            f"{projection.name_to_use()}__{feature.name}": feature.name
            for projection in view.source_feature_view_projections.values()
            for feature in projection.features
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def transform_arrow(self, table: pa.Table, full_feature_names: bool = False) -> pa.Table:
        there = [name for name in table.column_names if name not in self._features]
        columns = {name: table[name] for name in there}
        for full_name, name in self._inputs.items():
            columns[full_name] = table[full_name if full_name in table.column_names else name]
        inputs = pa.table(columns)
        transformation = self._view.feature_transformation
        if not isinstance(transformation, PandasTransformation):
            return self._view.transform_arrow(inputs, full_feature_names)
        frame = inputs.to_pandas()
        # A function may use either name.
        short = {name: frame[full_name] for full_name, name in self._inputs.items()}
        frame = pd.concat([frame, pd.DataFrame(short, index=frame.index)], axis=1)
        made = pa.Table.from_pandas(transformation.udf(frame))
        shown = {
            field.name: self._view._get_projected_feature_name(field.name)
            for field in self._view.features
        }
        if not full_feature_names:
            shown = {full_name: name for name, full_name in shown.items()}
        return made.rename_columns([shown.get(name, name) for name in made.column_names])


class _Held(RetrievalJob):
    """A piece of a result, for Feast to compute on-demand views on."""

    def __init__(self, table: pa.Table, whole: DuckDBRetrievalJob) -> None:
        self._table = table
        self._whole = whole

    @property
    def full_feature_names(self) -> bool:
        return self._whole.full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._whole.on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._whole.metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._table


def _create_schema(con: duckdb.DuckDBPyConnection, table: str) -> None:
    *schema, _ = table.split(".")
    if schema:
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(*schema)}")


def _zoned(table: pa.Table) -> pa.Table:
    """Timestamps in (whole) microseconds, marked as the UTC they are."""
    schema = pa.schema(
        field.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(field.type) else field
        for field in table.schema
    )
    return table.cast(schema, safe=False)


class DuckDBOfflineStore(OfflineStore):
    """See the module."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | Path | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        *,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        filter_by_created_timestamp: bool = False,
    ) -> DuckDBRetrievalJob:
        """Each view's features as they were known at each entity row's moment.

        Args:
            entity_df: pandas, Arrow, a SELECT over the warehouse, or the path of a Parquet file,
                with the join keys and `event_timestamp`. None: every moment of the range at which
                a row of one of the views begins, with that row's keys.
            start_date: the range's first moment; without it, as long before the last as the
                longest time to live, or 30 days.
            end_date: the range's last moment; without it, now.
            filter_by_created_timestamp: only rows that had also been written by the moment.

        Raises:
            InputError: a key is missing or of another type, two columns would have one name, or
                (when the result is asked for) a row has no moment; the text names view, column and
                row.
            WarehouseError: the warehouse or a view's table is not there.
        """
        settings = config.offline_store
        span = None
        if entity_df is None:
            span = compute_non_entity_date_range(feature_views, start_date, end_date)
            entities = EntityRows.of_range(feature_views, *span)
        else:
            entities = EntityRows(entity_df)
        views = [(view, _named(view, feature_refs, full_feature_names)) for view in feature_views]
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        with open_warehouse(config) as con:
            columns = entities.columns(con)
            for computed in on_demand:
                for name in computed.get_request_data_schema():
                    if name not in columns:
                        raise RequestDataNotFoundInEntityDfException(name, computed.name)
            refuse_what_cannot_be_joined(con, columns, views)
        known = Known(
            strict=settings.strict,
            embargo=settings.embargo,
            by_created=filter_by_created_timestamp,
            created_until=settings.created_until,
        )
        question = _Question(config, entities, columns, views, known, span)
        return DuckDBRetrievalJob(
            config,
            question,
            on_demand_feature_views=on_demand,
            full_feature_names=full_feature_names,
            metadata=_Metadata(feature_refs, question),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key with a moment in [start_date, end_date]; with validity
        intervals the row that holds at end_date, however long it has held: attributes without
        dates and late purchases change rows that began before start_date."""
        assert isinstance(data_source, DuckDBSource)
        with open_warehouse(config) as con:
            refuse_what_is_not_built(con, [data_source], end_date)
        columns = join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column
        return DuckDBRetrievalJob(config, latest_sql(data_source, *columns, start_date, end_date))

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row with a moment in [start_date, end_date]."""
        columns = join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column
        return DuckDBRetrievalJob(config, _range_sql(data_source, *columns, start_date, end_date))

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows (a push) to the view's table, or as its source says.

        Raises:
            InputError: the source refuses a row, or lacks a column; nothing was written.
            ValueError: the source is a query that says nothing of pushes, or keeps validity intervals, which only
                `lookbook features build` may write; or the columns are not the table's.
            WarehouseError: another process is using the warehouse, or features are not built.
        """
        source = source_of(feature_view)
        if source.append:
            with open_warehouse(config, read_only=False) as con:
                _push(con, feature_view, source, table)
            if progress:
                progress(table.num_rows)
            return
        if source.table is None:
            raise ValueError(
                f"Feature view {feature_view.name!r} reads a query, which cannot be written to: "
                "push to it online only, and write the rows to the tables it reads."
            )
        if source.valid_to_field:
            raise ValueError(
                f"Feature view {feature_view.name!r} keeps intervals that are computed from "
                f"purchases: a row pushed into {source.table} would overlap the one that holds "
                "there, and be gone with the next build. Push to it online only, and let `lookbook "
                "features build` write its history."
            )
        with open_warehouse(config, read_only=False) as con:
            _append(con, source.table, table.rename_columns([*map(source.raw, table.column_names)]))
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Append logs to the destination's table, which is made, and widened, as needed.

        Args:
            data: the logs, or a folder of Parquet files with them.

        Raises:
            ValueError: the destination is not a DuckDBLoggingDestination.
            WarehouseError: another process is using the warehouse; nothing was written.
        """
        destination = logging_config.destination
        if not isinstance(destination, DuckDBLoggingDestination):
            raise ValueError(
                "Logged features go to DuckDBLoggingDestination(table=...), not "
                f"{type(destination).__name__}."
            )
        logs = pq.read_table(data) if isinstance(data, Path) else data
        name = identifier(*destination.table.split("."))
        with open_warehouse(config, read_only=False) as con:
            _create_schema(con, destination.table)
            con.register(_GIVEN, microseconds(source.get_schema(registry).empty_table()))
            con.execute(f"CREATE TABLE IF NOT EXISTS {name} AS SELECT * FROM {_GIVEN}")
            described = con.sql(f"SELECT * FROM {_GIVEN}")
            for column, kind in zip(described.columns, described.types, strict=True):
                con.execute(
                    f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {identifier(column)} {kind}"
                )
            _append(con, destination.table, logs)


def _named(view: FeatureView, references: list[str], full_names: bool) -> dict[str, str]:
    """{feature: its column in the result} of a view's features among the references."""
    asked_as = view.projection.name_to_use()
    shown = view.projection.name_alias or view.name
    parted = (reference.split(":", 1) for reference in references)
    return {
        feature: f"{shown}__{feature}" if full_names else feature
        for prefix, feature in parted
        if prefix == asked_as
    }


def latest_sql(
    source: DuckDBSource,
    keys: list[str],
    features: list[str],
    timestamp: str,
    created: str | None,
    start: datetime,
    end: datetime,
    *,
    only: str = "true",
    keys_from: str = "",
    late_since: datetime | None = None,
) -> str:
    """What `pull_latest_from_table_or_query` asks.

    Args:
        only: a condition on the first key.
        keys_from: of a source with `as_of`, a relation of the keys that had something by `end`;
            looked for if empty.
        late_since: also rows with an earlier moment that were created since then.
    """
    if source.as_of:
        named = ", ".join(map(identifier, keys))
        known = keys_from or as_of_keys(source, keys, end)
        asked = f"SELECT {named}, {literal(end)} AS moment FROM {known} WHERE {only}"
        wanted = [*keys, *features, *filter(None, [timestamp, created])]
        selected = ", ".join(identifier(name) for name in dict.fromkeys(wanted))
        return f"SELECT {selected} FROM {source.asked(asked)} AS history"
    if source.valid_to_field:
        since = ""
        until = identifier(source.valid_to_field)
        newest = f" AND ({until} IS NULL OR {until} > {literal(end)})"
    else:
        begins = f"{identifier(timestamp)} >= {literal(start)}"
        if late_since is not None:
            assert created
            begins += f" OR {identifier(created)} >= {literal(late_since)}"
        since = f" AND ({begins})"
        named = ", ".join(map(identifier, keys)) or "1"
        order = ", ".join(f"{identifier(name)} DESC" for name in filter(None, [timestamp, created]))
        newest = f" QUALIFY row_number() OVER (PARTITION BY {named} ORDER BY {order}) = 1"
    in_range = _range_sql(source, keys, features, timestamp, created, None, end)
    return f"{in_range} AND {only}{since}{newest}"


def _range_sql(
    source: DataSource,
    keys: list[str],
    features: list[str],
    timestamp: str,
    created: str | None,
    start: datetime | None,
    end: datetime | None,
) -> str:
    wanted = [*keys, *features, *filter(None, [timestamp, created])]
    selected = ", ".join(identifier(name) for name in dict.fromkeys(wanted))
    if not keys:
        # Feast keeps what is true of everyone online under a key of its own.
        selected += f", '{DUMMY_ENTITY_VAL}' AS {identifier(DUMMY_ENTITY_ID)}"
    bounds = ["true"]
    if start is not None:
        bounds.append(f"{identifier(timestamp)} >= {literal(start)}")
    if end is not None:
        bounds.append(f"{identifier(timestamp)} <= {literal(end)}")
    return f"SELECT {selected} FROM {_rows_of(source)} AS history WHERE {' AND '.join(bounds)}"


def as_of_keys(source: DuckDBSource, keys: Sequence[str], moment: datetime) -> str:
    """What stands after FROM to give the keys that had something of the source by a moment."""
    named = ", ".join(map(identifier, keys))
    return (
        f"(SELECT DISTINCT {named} FROM ({source.as_of}) AS known "
        f"WHERE moment <= {literal(moment)}) AS asked_keys"
    )


def _rows_of(source: DataSource) -> str:
    """What stands after FROM: a DuckDBSource, or the Parquet file of a saved data set."""
    if isinstance(source, FileSource):
        quoted = source.path.replace("'", "''")
        return f"read_parquet('{quoted}')"
    assert isinstance(source, DuckDBSource)
    return source.get_table_query_string()


def _push(
    con: duckdb.DuckDBPyConnection, view: FeatureView, source: DuckDBSource, rows: pa.Table
) -> None:
    con.register(PUSHED, microseconds(rows))
    try:
        # All or nothing: what fails is rolled back with the connection.
        con.execute(f"BEGIN; {source.append}; COMMIT")
    except duckdb.CatalogException as error:
        raise WarehouseError(
            f"Feature view {view.name!r}: the warehouse lacks what is pushed to. Run `lookbook features "
            f"build` (or create it, if it is yours). {error}"
        ) from error
    except (
        duckdb.BinderException,
        duckdb.ConversionException,
        duckdb.InvalidInputException,
    ) as error:
        said = str(error).splitlines()[0].partition(": ")[2]
        raise InputError(f"Rows cannot be pushed to {view.name!r}: {said}") from error


def _append(con: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    con.register(_GIVEN, microseconds(rows))
    try:
        con.execute(f"INSERT INTO {identifier(*table.split('.'))} BY NAME SELECT * FROM {_GIVEN}")
    except (duckdb.BinderException, duckdb.ConversionException) as error:
        raise InputError(f"These rows do not fit the table {table}: {error}") from error
