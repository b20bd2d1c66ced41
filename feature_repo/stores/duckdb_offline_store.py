"""Feast's offline store over the warehouse: point-in-time joins in one pass.

A view with validity intervals is joined by one hash join on its keys with
`valid_from <= moment < valid_to`: no sort and no de-duplication. A source without intervals is
joined by DuckDB's ASOF join, after rows of one key and moment are reduced to the newest created.
Either way the time to live is applied after the match: a feature row older than that is missing,
and never replaced by one older still.

Differences from Feast's own DuckDB store: the order of the entity rows is kept, entity frames may
be pandas, Arrow, SQL or the path of a Parquet file, and results can be streamed to Parquet.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import (
    OfflineStore,
    RetrievalJob,
    RetrievalMetadata,
)
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage

from feature_repo import places
from feature_repo.errors import InputError
from feature_repo.stores.connection import DEFAULT_MEMORY_LIMIT, connect, identifier
from feature_repo.stores.duckdb_source import DuckDBSource

_ENTITIES = "entity_rows"
_ROW = "__row"
_MOMENT = "__moment"


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


def _open(config: RepoConfig, *, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    settings = config.offline_store
    return connect(
        places.resolve(settings.path),
        read_only=read_only,
        memory_limit=settings.memory_limit,
        threads=settings.threads,
    )


def _utc(moment: datetime) -> datetime:
    """UTC without zone, as the warehouse keeps time; a moment without zone is taken as UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _source(view: FeatureView) -> DuckDBSource:
    source = view.batch_source
    if not isinstance(source, DuckDBSource):
        raise ValueError(
            f"Feature view {view.name!r}: its source is a {type(source).__name__}, but this "
            "offline store reads DuckDBSource only."
        )
    return source


class DuckDBRetrievalJob(RetrievalJob):
    """A query that runs when its result is asked for, on a read-only connection of its own."""

    def __init__(
        self,
        config: RepoConfig,
        sql: str,
        *,
        prepare: Callable[[duckdb.DuckDBPyConnection], None] = lambda con: None,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._config = config
        self._sql = sql
        self._prepare = prepare
        self._on_demand = on_demand_feature_views or []
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

    def to_sql(self) -> str:
        """The query; an entity frame that is not SQL stands in it as the table `entity_rows`."""
        return self._sql

    @contextmanager
    def _relation(self) -> Iterator[duckdb.DuckDBPyRelation]:
        con = _open(self._config)
        try:
            self._prepare(con)
            yield con.sql(self._sql)
        finally:
            con.close()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with self._relation() as relation:
            return _zoned(relation.to_arrow_table())

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()

    def to_parquet(self, path: Path) -> int:
        """Stream the result to a Parquet file, without holding it in memory.

        Returns:
            the number of rows.

        Raises:
            ValueError: an on-demand view is asked for; those need `to_arrow`.
        """
        if self._on_demand:
            names = ", ".join(view.name for view in self._on_demand)
            raise ValueError(f"Streaming cannot compute the on-demand views {names}: use to_arrow.")
        rows = 0
        partial = path.with_name(path.name + ".partial")
        with self._relation() as relation:
            reader = relation.to_arrow_reader(100_000)
            schema = _zoned(reader.schema.empty_table()).schema
            with pq.ParquetWriter(partial, schema) as writer:
                for batch in reader:
                    writer.write_table(_zoned(pa.Table.from_batches([batch])))
                    rows += batch.num_rows
        partial.replace(path)
        return rows

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Write the result to a Parquet file: `SavedDatasetFileStorage(path)`."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise ValueError(
                f"Saved data sets go to SavedDatasetFileStorage, not {type(storage).__name__}."
            )
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        pq.write_table(self.to_arrow(), path)


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
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **options: Any,
    ) -> RetrievalJob:
        """Each view's features as they were known at each entity row's moment.

        Args:
            entity_df: pandas, Arrow, a SELECT over the warehouse, or the path of a Parquet file,
                with the join keys and `event_timestamp`.

        Raises:
            InputError: a key is missing; the text names it.
        """
        if entity_df is None:
            raise ValueError(
                "This offline store needs an entity frame; for all rows of a range use "
                "pull_all_from_table_or_query."
            )
        filter_by_created = options.pop("filter_by_created_timestamp", False)
        if options:
            raise ValueError(f"This offline store does not know: {', '.join(sorted(options))}.")
        entities = _EntityRows(entity_df)
        with _open(config) as con:
            entities.register(con)
            description = con.sql(f"SELECT * FROM {entities.sql} LIMIT 0")
            columns = dict(zip(description.columns, map(str, description.types), strict=True))
        moment = _moment_column(columns)
        joins, selected = [], [f"{_ROW}.{identifier(name)}" for name in columns]
        for number, view in enumerate(feature_views):
            alias = f"view_{number}"
            prefix = view.projection.name_to_use()
            wanted = [
                ref.split(":", 1)[1] for ref in feature_refs if ref.split(":", 1)[0] == prefix
            ]
            joins.append(_point_in_time_join(view, wanted, columns, alias, filter_by_created))
            shown = view.projection.name_alias or view.name
            selected += [
                f"{alias}.{identifier(name)} AS "
                + identifier(f"{shown}__{name}" if full_feature_names else name)
                for name in wanted
            ]
        sql = (
            f"WITH rows_in AS (SELECT row_number() OVER () AS {_ROW}, * FROM {entities.sql}),\n"
            f"{_ROW} AS (SELECT *, {_as_utc(moment, columns[moment])} AS {_MOMENT} FROM rows_in)\n"
            f"SELECT {', '.join(selected)}\nFROM {_ROW}\n"
            + "\n".join(joins)
            + f"\nORDER BY {_ROW}.{_ROW}"
        )
        return DuckDBRetrievalJob(
            config,
            sql,
            prepare=entities.register,
            on_demand_feature_views=OnDemandFeatureView.get_requested_odfvs(
                feature_refs, project, registry
            ),
            full_feature_names=full_feature_names,
            metadata=RetrievalMetadata(
                features=feature_refs, keys=[name for name in columns if name != moment]
            ),
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
        if data_source.valid_to_field:
            since = None
            until = identifier(data_source.valid_to_field)
            newest = f" AND ({until} IS NULL OR {until} > {_literal(end_date)})"
        else:
            since = start_date
            newer = [timestamp_field, *filter(None, [created_timestamp_column])]
            keys = ", ".join(map(identifier, join_key_columns))
            newest = _newest(keys or "1", *map(identifier, newer))
        in_range = DuckDBOfflineStore.pull_all_from_table_or_query(
            config,
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            since,
            end_date,
        )
        return DuckDBRetrievalJob(config, in_range.to_sql() + newest)

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
        assert isinstance(data_source, DuckDBSource)
        return DuckDBRetrievalJob(
            config,
            _range_query(
                data_source,
                join_key_columns,
                feature_name_columns,
                timestamp_field,
                created_timestamp_column,
                start_date,
                end_date,
            ),
        )

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows (a push) to the view's table.

        Raises:
            ValueError: the source is a query or keeps validity intervals, which only
                `lookbook features build` may write, or a column is missing.
        """
        source = _source(feature_view)
        if source.table is None or source.valid_to_field:
            raise ValueError(
                f"Feature view {feature_view.name!r} is computed from purchases: push to it "
                "online only, and let `lookbook features build` write its history."
            )
        with _open(config, read_only=False) as con:
            con.register(_ENTITIES, table)
            con.execute(
                f"INSERT INTO {source.get_table_query_string()} BY NAME SELECT * FROM {_ENTITIES}"
            )
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
        raise NotImplementedError(
            "Logged features are not written to the warehouse yet; turn feature logging off."
        )


class _EntityRows:
    """The rows to join to, in whichever form they came, as something DuckDB can select from."""

    def __init__(self, given: pd.DataFrame | pa.Table | str) -> None:
        self._table: pa.Table | None = None
        self.sql = _ENTITIES
        if isinstance(given, pd.DataFrame):
            self._table = _microseconds(pa.Table.from_pandas(given, preserve_index=False))
        elif isinstance(given, pa.Table):
            self._table = _microseconds(given)
        elif given.endswith(".parquet"):
            quoted = given.replace("'", "''")
            self.sql = f"read_parquet('{quoted}')"
        else:
            # On lines of its own, as it may end in a comment.
            self.sql = f"(\n{given.rstrip().rstrip(';')}\n) AS {_ENTITIES}"

    def register(self, con: duckdb.DuckDBPyConnection) -> None:
        if self._table is not None:
            con.register(_ENTITIES, self._table)


def _microseconds(table: pa.Table) -> pa.Table:
    """DuckDB cannot compare zoned nanoseconds, which is what pandas writes."""
    schema = pa.schema(
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type)
        else field
        for field in table.schema
    )
    return table.cast(schema, safe=False)


def _moment_column(columns: dict[str, str]) -> str:
    """The entity frame's moment: `event_timestamp`, or its only timestamp column."""
    dtypes = {
        name: pd.Series(dtype="datetime64[ns, UTC]" if "TIMESTAMP" in type_ else "object").dtype
        for name, type_ in columns.items()
    }
    if "event_timestamp" in columns:
        return "event_timestamp"
    return str(infer_event_timestamp_from_entity_df(dtypes))


def _as_utc(column: str, duckdb_type: str) -> str:
    """An expression for the moment as UTC without zone, whatever the column's type."""
    name = identifier(column)
    if duckdb_type == "VARCHAR":
        return f"CAST(CAST({name} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS TIMESTAMP)"
    if duckdb_type == "TIMESTAMP WITH TIME ZONE":
        return f"({name} AT TIME ZONE 'UTC')"
    if duckdb_type.endswith("_NS"):
        # A cast, where there is one, rounds to the next microsecond: a look into the future.
        return f"make_timestamp(epoch_ns({name}) // 1000)"
    return f"CAST({name} AS TIMESTAMP)"


def _literal(moment: datetime) -> str:
    return f"TIMESTAMP '{_utc(moment).isoformat(sep=' ')}'"


def _interval(span: timedelta) -> str:
    return f"to_microseconds({int(span.total_seconds() * 1_000_000)})"


def _point_in_time_join(
    view: FeatureView,
    features: list[str],
    columns: dict[str, str],
    alias: str,
    filter_by_created: bool,
) -> str:
    """The LEFT JOIN that gives each entity row at most one row of the view."""
    source = _source(view)
    key_map = {
        column.name: view.projection.join_key_map.get(column.name, column.name)
        for column in view.entity_columns
    }
    constant = DUMMY_ENTITY_ID in key_map
    if constant:
        key_map.pop(DUMMY_ENTITY_ID)
    for key, given in key_map.items():
        if given not in columns:
            raise InputError(
                f"Feature view {view.name!r} joins on {key!r}, and the entity rows have no column "
                f"{given!r}: add it. They have: {', '.join(columns)}."
            )
    renamed = {ours: theirs for theirs, ours in source.field_mapping.items()}

    def raw(name: str) -> str:
        return f"history.{identifier(renamed.get(name, name))}"

    known = raw(source.timestamp_field)
    created = raw(source.created_timestamp_column) if source.created_timestamp_column else None
    history = f"{source.get_table_query_string()} AS history"
    conditions = [f"{raw(key)} = {_ROW}.{identifier(given)}" for key, given in key_map.items()]
    conditions.append(f"{known} <= {_ROW}.{_MOMENT}")
    newest = ""
    if created and filter_by_created:
        conditions.append(f"{created} <= {_ROW}.{_MOMENT}")
    if source.valid_to_field:
        until = raw(source.valid_to_field)
        conditions.append(f"({until} IS NULL OR {_ROW}.{_MOMENT} < {until})")
        join = f"INNER JOIN {history}"
    elif created and filter_by_created:
        # What was created too late differs from row to row, so ties cannot be cleared beforehand.
        join = f"INNER JOIN {history}"
        newest = _newest(f"{_ROW}.{_ROW}", known, created)
    else:
        keys = ", ".join([*(raw(key) for key in key_map), known])
        once = _newest(keys, created) if created else ""
        join = f"ASOF JOIN (SELECT * FROM {history}{once}) AS history"
    columns_out = [f"{_ROW}.{_ROW}", f"{_ROW}.{_MOMENT}", f"{known} AS __known"]
    columns_out += [f"{raw(name)} AS {identifier(name)}" for name in features]
    inner = (
        f"SELECT {', '.join(columns_out)} FROM {_ROW} {join} ON {' AND '.join(conditions)}{newest}"
    )
    alive = (
        f" AND {alias}.__known >= {alias}.{_MOMENT} - {_interval(view.ttl)}"
        if view.ttl and view.ttl > timedelta(0)
        else ""
    )
    return f"LEFT JOIN ({inner}) AS {alias} ON {alias}.{_ROW} = {_ROW}.{_ROW}{alive}"


def _newest(keys: str, *newer: str) -> str:
    """Keep one row for each of the keys: the newest by these columns."""
    order = ", ".join(f"{column} DESC" for column in newer)
    return f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"


def _range_query(
    source: DuckDBSource,
    keys: list[str],
    features: list[str],
    timestamp_field: str,
    created_timestamp_column: str | None,
    start_date: datetime | None,
    end_date: datetime | None,
) -> str:
    """SELECT the columns and timestamps where the moment lies in [start_date, end_date]."""
    wanted = [*keys, *features, timestamp_field]
    if created_timestamp_column:
        wanted.append(created_timestamp_column)
    selected = ", ".join(identifier(name) for name in dict.fromkeys(wanted))
    if not keys:
        # Feast keeps what is true of everyone online under a key of its own.
        selected += f", '{DUMMY_ENTITY_VAL}' AS {identifier(DUMMY_ENTITY_ID)}"
    moment = identifier(timestamp_field)
    bounds = ["true"]
    if start_date is not None:
        bounds.append(f"{moment} >= {_literal(start_date)}")
    if end_date is not None:
        bounds.append(f"{moment} <= {_literal(end_date)}")
    return (
        f"SELECT {selected} FROM {source.get_table_query_string()} AS history "
        f"WHERE {' AND '.join(bounds)}"
    )
