"""What the warehouse is to Feast: a source of features (a table or query, with validity intervals),
a place for saved data sets, and one for logged features."""

import json
from collections.abc import Callable, Iterable
from functools import cached_property

from feast.data_source import DataSource
from feast.feature_logging import LOG_TIMESTAMP_FIELD, LoggingDestination
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.protos.feast.core.FeatureService_pb2 import LoggingConfig as LoggingConfigProto
from feast.protos.feast.core.SavedDataset_pb2 import SavedDatasetStorage as StorageProto
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from feast.value_type import ValueType

from feature_repo import places
from feature_repo.stores.connection import connect, identifier

_CLASS = "feature_repo.stores.duckdb_source.DuckDBSource"

ASKED = "asked_for"
"""In the query of a source with `as_of`, the relation with the keys and moments."""
PUSHED = "pushed_rows"
"""In the statements of a source with `append`, the relation with the rows that were pushed."""

_SCALARS = {
    "BOOLEAN": ValueType.BOOL,
    "TINYINT": ValueType.INT32,
    "SMALLINT": ValueType.INT32,
    "INTEGER": ValueType.INT32,
    "BIGINT": ValueType.INT64,
    "FLOAT": ValueType.FLOAT,
    "DOUBLE": ValueType.DOUBLE,
    "VARCHAR": ValueType.STRING,
    "BLOB": ValueType.BYTES,
    "JSON": ValueType.JSON,
    "UUID": ValueType.UUID,
    "DATE": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP_NS": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": ValueType.UNIX_TIMESTAMP,
}


def value_type(duckdb_type: str) -> ValueType:
    """Feast's type of a DuckDB type.

    Raises:
        ValueError: Feast has no type for it; cast the column in the view's SQL.
    """
    name = duckdb_type.upper()
    if name.endswith("[]"):
        return ValueType[f"{value_type(name[:-2]).name}_LIST"]
    if name.startswith("DECIMAL"):
        return ValueType.DOUBLE
    if name.startswith("STRUCT("):
        return ValueType.STRUCT
    if name.startswith("MAP("):
        return ValueType.MAP
    if name not in _SCALARS:
        raise ValueError(f"Feast has no type for DuckDB's {duckdb_type}: cast the column.")
    return _SCALARS[name]


class DuckDBSource(DataSource):
    """Rows of a warehouse table or query.

    With `valid_to_field`, each row holds from its timestamp until `valid_to` (null: still), rows of
    a key do not overlap, and a point-in-time join needs neither sorting nor de-duplication.

    With `as_of`, nothing is stored: the query is asked for keys and moments. It selects them, as
    the columns of the keys and `moment`, from the relation ASKED, and adds what was known then.

    With `append`, rows may be pushed to what the query is made of: these statements take what is new in
    them into the tables. What is there they must not add again, as a push may come twice.

    Args:
        name: unique in the project.
        table: "schema.table" in the warehouse; give this or `query`.
        query: a SELECT in DuckDB's SQL.
        as_of: a SELECT of all keys, and as `moment` all moments at which something changes; each may
            come more than once.
        append: statements, divided by semicolons, that read pushed rows from the relation PUSHED.
        timestamp_field: the moment from which a row is known (UTC).
        created_timestamp_column: when the row was written; among rows of one key and moment the
            newest counts.
        valid_to_field: the moment at which the row stops being true, not included.

    Raises:
        ValueError: neither or both of `table` and `query`, `as_of` with a query that does not ask, or
            `append` of something else than what is pushed.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        table: str | None = None,
        query: str | None = None,
        as_of: str = "",
        append: str = "",
        timestamp_field: str = "",
        created_timestamp_column: str = "",
        valid_to_field: str = "",
        field_mapping: dict[str, str] | None = None,
        description: str = "",
        tags: dict[str, str] | None = None,
        owner: str = "",
    ) -> None:
        if (table is None) == (query is None):
            raise ValueError(f"DuckDBSource {name or ''!r}: give either a table or a query.")
        if as_of and ASKED not in (query or ""):
            raise ValueError(f"DuckDBSource {name or ''!r}: its query must select from {ASKED}.")
        if append and PUSHED not in append:
            raise ValueError(f"DuckDBSource {name or ''!r}: appending must select from {PUSHED}.")
        self.table = table
        self.query = query
        self.as_of = as_of
        self.append = append
        self.valid_to_field = valid_to_field
        super().__init__(
            name=name or table or "",
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping,
            description=description,
            tags=tags,
            owner=owner,
        )

    def __hash__(self) -> int:
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DuckDBSource)
            and super().__eq__(other)
            and self._options() == other._options()
        )

    def _options(self) -> dict[str, str | None]:
        """What a DuckDBSource has beside what every source of Feast has."""
        return {
            "table": self.table,
            "query": self.query,
            "as_of": self.as_of,
            "append": self.append,
            "valid_to_field": self.valid_to_field,
        }

    def source_type(self) -> DataSourceProto.SourceType.ValueType:
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> "DuckDBSource":
        return DuckDBSource(
            name=data_source.name,
            **json.loads(data_source.custom_options.configuration),
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> DataSourceProto:
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS,
            field_mapping=self.field_mapping,
            custom_options=DataSourceProto.CustomSourceOptions(
                configuration=json.dumps(self._options()).encode()
            ),
            description=self.description,
            tags=self.tags,
            owner=self.owner,
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
        )

    def validate(self, config: RepoConfig) -> None:
        """Nothing to check: a view may be declared before its table is built."""

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        return value_type

    @property
    def is_state(self) -> bool:
        """Whether it says what holds at a moment, and not only what happened until then."""
        return bool(self.as_of or self.valid_to_field)

    def raw(self, name: str) -> str:
        """The source's own name of what views call `name`."""
        return self._raw_names.get(name, name)

    @cached_property
    def _raw_names(self) -> dict[str, str]:
        return {ours: theirs for theirs, ours in self.field_mapping.items()}

    def get_table_query_string(self) -> str:
        """What stands after FROM: the quoted table, or the query in brackets."""
        if self.table is not None:
            return identifier(*self.table.split("."))
        if self.as_of:
            return self.asked(f"SELECT DISTINCT * FROM ({self.as_of}) AS changes")
        return f"({self.query})"

    def asked(self, keys_and_moments: str) -> str:
        """What stands after FROM to ask for the keys and moments that this SELECT gives."""
        assert self.query is not None
        return f"({self.query.replace(ASKED, f'({keys_and_moments})')})"

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        with connect(places.resolve(config.offline_store.path)) as con:
            described = con.sql(f"SELECT * FROM {self.get_table_query_string()} AS source LIMIT 0")
            return [
                (name, str(type_))
                for name, type_ in zip(described.columns, described.types, strict=True)
                # It is when somebody asks, and no column of what is known.
                if not (self.as_of and name == "moment")
            ]


class SavedDatasetDuckDBStorage(SavedDatasetStorage):
    """A table of the warehouse for a saved data set.

    Args:
        table: "schema.table"; the schema is made if it is not there.
    """

    _proto_attr_name = "custom_storage"

    def __init__(self, table: str) -> None:
        self.table = table

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SavedDatasetDuckDBStorage) and self.table == other.table

    def __hash__(self) -> int:
        return hash(self.table)

    @staticmethod
    def from_proto(storage_proto: StorageProto) -> "SavedDatasetDuckDBStorage":
        return SavedDatasetDuckDBStorage(
            json.loads(storage_proto.custom_storage.configuration)["table"]
        )

    def to_proto(self) -> StorageProto:
        options = json.dumps({"table": self.table}).encode()
        return self._custom_storage_proto(
            DataSourceProto.CustomSourceOptions(configuration=options)
        )

    def to_data_source(self) -> DuckDBSource:
        return DuckDBSource(name=self.table, table=self.table, timestamp_field="event_timestamp")


class DuckDBLoggingDestination(LoggingDestination):
    """A table of the warehouse for the features that a feature service gave when serving.

    Args:
        table: "schema.table"; both are made when the first logs are written.
    """

    _proto_kind = "duckdb"

    def __init__(self, *, table: str) -> None:
        self.table = table

    @classmethod
    def from_proto(cls, config_proto: LoggingConfigProto) -> "DuckDBLoggingDestination":
        return cls(table=config_proto.custom_destination.config["table"])

    def to_proto(self) -> LoggingConfigProto:
        return LoggingConfigProto(
            custom_destination=LoggingConfigProto.CustomDestination(
                kind=self._proto_kind, config={"table": self.table}
            )
        )

    def to_data_source(self) -> DuckDBSource:
        return DuckDBSource(name=self.table, table=self.table, timestamp_field=LOG_TIMESTAMP_FIELD)
