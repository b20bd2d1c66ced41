"""The SQL of a point-in-time join: every history as intervals, then one hash join for each view.

A view with validity intervals is joined as it is, on its keys and `from <= moment < until`. The
rows of a view without them are made into intervals first, each until the next row of its keys;
rows that another one of the same moment replaces have empty intervals and match nothing. So every
rule about what was known (ties, created times) is a rule about intervals, an entity row matches at
most one row of a view, and the time to live is looked at after that match: a row older than it
is missing, and never replaced by one older still.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df

from feature_repo.errors import InputError
from feature_repo.stores.connection import HALF_BUILT, WarehouseError, identifier
from feature_repo.stores.duckdb_source import DuckDBSource

MOMENT = "event_timestamp"
BAD_MOMENT = "Entity row "
"""How the message begins when an entity row's moment is missing or no moment."""
_ENTITIES = "entity_rows"
_KEPT = "kept_entity_rows"
_ASKED = "asked_entity_rows"
ROWS_JOINED = 1_000_000
ROWS_AT_A_TIME = 125_000
"""Entity rows that are joined to histories, and of these what is handed on, at a time."""
_FOREVER = "TIMESTAMP 'infinity'"
_DEEP = 1000
"""Rows for each key beyond which a join that sorts beats one that compares them all."""


@dataclass(frozen=True)
class Known:
    """What counts as known at an entity row's moment, beyond the row's own timestamp."""

    strict: bool = False
    """Only what was known before the moment, not what became known at it."""
    embargo: timedelta = timedelta(0)
    """Only what had been known for at least this long."""
    by_created: bool = False
    """Only rows that had been written by the moment (Feast's filter_by_created_timestamp)."""
    created_until: datetime | None = None
    """Only rows that had been written by this time, so that a training set can be made again."""

    def __post_init__(self) -> None:
        if self.embargo < timedelta(0):
            raise ValueError(f"An embargo cannot be negative: {self.embargo}.")


def utc(moment: datetime) -> datetime:
    """UTC without zone, as the warehouse keeps time; a moment without zone is taken as UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def literal(moment: datetime) -> str:
    return f"TIMESTAMP '{utc(moment).isoformat(sep=' ')}'"


def microseconds(table: pa.Table) -> pa.Table:
    """DuckDB cannot compare zoned nanoseconds, which is what pandas writes."""
    schema = pa.schema(
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type)
        else field
        for field in table.schema
    )
    return table.cast(schema, safe=False)


def source_of(view: FeatureView) -> DuckDBSource:
    """The view's source.

    Raises:
        ValueError: it is not a DuckDBSource.
    """
    source = view.batch_source
    if not isinstance(source, DuckDBSource):
        raise ValueError(
            f"Feature view {view.name!r}: its source is a {type(source).__name__}, but this "
            "offline store reads DuckDBSource only."
        )
    return source


class EntityRows:
    """The rows to join to, in whichever form they came, as something DuckDB can select from.

    Args:
        given: pandas, Arrow, a SELECT over the warehouse, or the path of a Parquet file.

    Raises:
        InputError: a pandas column holds values of several kinds; the text names it.
    """

    def __init__(self, given: pd.DataFrame | pa.Table | str | Path) -> None:
        self._table: pa.Table | None = None
        self.sql = _ENTITIES
        if isinstance(given, pd.DataFrame):
            try:
                self._table = microseconds(pa.Table.from_pandas(given, preserve_index=False))
            except (pa.ArrowException, ValueError) as error:
                reason = "; ".join(map(str, error.args))
                raise InputError(f"The entity rows cannot be read: {reason}.") from error
        elif isinstance(given, pa.Table):
            self._table = microseconds(given)
        elif isinstance(given, Path) or given.endswith(".parquet"):
            quoted = str(given).replace("'", "''")
            self.sql = f"read_parquet('{quoted}')"
        else:
            # On lines of its own, as it may end in a comment.
            self.sql = f"(\n{given.rstrip().rstrip(';')}\n) AS {_ENTITIES}"

    @staticmethod
    def of_range(views: Sequence[FeatureView], start: datetime, end: datetime) -> "EntityRows":
        """Every moment in [start, end] at which a row of a view begins, with the keys it is for.

        Keys that a view does not have are null there, and find nothing in the other views.
        """
        given_keys = list(dict.fromkeys(key for view in views for key in _keys(view).values()))
        selects = []
        for view in views:
            source = source_of(view)
            raw = {given: source.raw(key) for key, given in _keys(view).items()}
            history = source.get_table_query_string()
            moment = f"CAST({identifier(source.raw(source.timestamp_field))} AS TIMESTAMP)"
            if source.as_of:
                history, moment = f"({source.as_of})", "moment"
            columns = [
                (identifier(raw[key]) if key in raw else "NULL") + f" AS {identifier(key)}"
                for key in given_keys
            ]
            selects.append(
                f"SELECT DISTINCT {', '.join([*columns, f'{moment} AS {MOMENT}'])} "
                f"FROM {history} AS history WHERE {moment} BETWEEN {literal(start)} AND {literal(end)}"
            )
        order = ", ".join([MOMENT, *map(identifier, given_keys)])
        return EntityRows(f"SELECT * FROM ({' UNION '.join(selects)}) ORDER BY {order}")

    def register(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let `sql` be selected from on this connection."""
        if self._table is not None:
            con.register(_ENTITIES, self._table)

    def columns(self, con: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """{name: DuckDB's type}.

        Raises:
            InputError: the SQL or the file cannot be read, or a name stands twice.
        """
        self.register(con)
        try:
            described = con.sql(f"SELECT * FROM {self.sql} LIMIT 0")
        except duckdb.Error as error:
            raise InputError(f"The entity rows cannot be read: {error}") from error
        names = described.columns if self._table is None else self._table.column_names
        # DuckDB tells no capitals apart.
        lower = [name.lower() for name in names]
        twice = [name for name in names if lower.count(name.lower()) > 1]
        if twice:
            raise InputError(f"The entity rows have two columns {min(twice)!r}: rename one.")
        ours = [name for name in names if name.lower() in ("__row", "__moment", "__asked")]
        if ours:
            raise InputError(
                f"The entity rows' column {ours[0]!r} has a name that joins use: rename it."
            )
        return dict(zip(names, map(str, described.types), strict=True))


def moment_column(columns: Mapping[str, str]) -> str:
    """The entity rows' moment: `event_timestamp`, or their only timestamp column.

    Raises:
        InputError: it holds neither moments nor text.
    """
    dtypes = {
        name: pd.Series(dtype="datetime64[ns, UTC]" if "TIMESTAMP" in type_ else "object").dtype
        for name, type_ in columns.items()
    }
    name = str(infer_event_timestamp_from_entity_df(dtypes))
    kind = columns[name]
    if kind not in ("VARCHAR", "DATE", '"NULL"') and "TIMESTAMP" not in kind:
        raise InputError(
            f"The entity rows' column {name!r} is {kind}, and must hold moments: a timestamp, or "
            "text like 2020-09-16 12:00:00."
        )
    return name


def _as_utc(name: str, duckdb_type: str) -> str:
    """An expression for the moment as UTC without zone, whatever the column's type; null if none."""
    if duckdb_type == "VARCHAR":
        return f"CAST(TRY_CAST({name} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS TIMESTAMP)"
    if duckdb_type == "TIMESTAMP WITH TIME ZONE":
        return f"({name} AT TIME ZONE 'UTC')"
    if duckdb_type.endswith("_NS"):
        # A cast, where there is one, rounds to the next microsecond: a look into the future.
        return f"make_timestamp(epoch_ns({name}) // 1000)"
    return f"CAST({name} AS TIMESTAMP)"


def moments_sql(columns: Mapping[str, str]) -> str:
    """The entity rows' moment in UTC; the query fails at the first row without one, naming it."""
    name = moment_column(columns)
    column = identifier(name)
    said = name.replace("{", "{{").replace("}", "}}").replace("'", "''")
    return (
        f"coalesce({_as_utc(column, columns[name])}, error(format("
        f"'{BAD_MOMENT}{{}}: {said} is {{}}; give every row a moment like 2020-09-16 12:00:00.', "
        f"__row, coalesce('''' || CAST({column} AS VARCHAR) || '''', 'null'))))"
    )


def numbered(entities: EntityRows) -> str:
    """The entity rows with their number, from 1."""
    return f"SELECT row_number() OVER () AS __row, * FROM {entities.sql}"


def _with_moments(rows: str, columns: Mapping[str, str], known: Known) -> str:
    """Numbered entity rows with their moment, and the moment up to which something is known to them."""
    asked = "__moment"
    if known.embargo:
        asked = f"__moment - {_interval(known.embargo)}"
    moments = f"SELECT *, {moments_sql(columns)} AS __moment FROM ({rows}) AS numbered"
    return f"SELECT *, {asked} AS __asked FROM ({moments}) AS moments"


def refuse_what_cannot_be_joined(
    con: duckdb.DuckDBPyConnection,
    columns: Mapping[str, str],
    views: Sequence[tuple[FeatureView, Mapping[str, str]]],
) -> None:
    """Raise as `query` does, before it is made.

    Args:
        columns: {column of the entity rows: its type}.
    """
    _refuse_double_names(columns, views)
    for view, named in views:
        _checked_types(con, view, list(named), columns)


def query(
    con: duckdb.DuckDBPyConnection,
    entities: EntityRows,
    views: Sequence[tuple[FeatureView, Mapping[str, str]]],
    known: Known,
) -> str:
    """The SELECT that gives every entity row, in their order, the features known at its moment.

    Args:
        con: the warehouse, asked only for columns and types.
        views: each with {feature: the name of its column in the result}.

    Raises:
        InputError: a key is missing or of another type than the view's, a feature's table or
            column is not there, or two columns of the result would have one name; the text names
            the view and the column.
    """
    columns = entities.columns(con)
    _refuse_double_names(columns, views)
    joins, selected = [], [f"asked.{identifier(name)}" for name in columns]
    for number, (view, named) in enumerate(views):
        alias = f"view_{number}"
        joins.append(_left_join(con, view, list(named), columns, known, alias))
        selected += [
            f"{alias}.{identifier(name)} AS {identifier(shown)}" for name, shown in named.items()
        ]
    return (
        f"WITH asked AS MATERIALIZED ({_with_moments(numbered(entities), columns, known)})\n"
        f"SELECT {', '.join(selected)}\nFROM asked\n" + "\n".join(joins) + "\nORDER BY asked.__row"
    )


def pieces(
    con: duckdb.DuckDBPyConnection,
    entities: EntityRows,
    views: Sequence[tuple[FeatureView, Mapping[str, str]]],
    known: Known,
) -> Iterator[pa.Table]:
    """What `query` gives, in the same order, piece by piece, at least one.

    DuckDB finds which row of a view each entity row gets; putting these columns beside each other in
    order is quicker outside of it than by joining and sorting wide rows, and bounded in memory.

    Raises:
        InputError: as `query`; also, an entity row has no moment.
        WarehouseError: two rows of a view hold at one moment.
    """
    columns = entities.columns(con)
    _refuse_double_names(columns, views)
    refuse_what_is_not_built(con, [source_of(view) for view, _ in views])
    con.execute(f"CREATE OR REPLACE TEMP TABLE {_KEPT} AS {numbered(entities)}")
    [(count,)] = con.execute(f"SELECT count(*) FROM {_KEPT}").fetchall()

    def columns_of(
        view: FeatureView, named: Mapping[str, str], first: int, size: int
    ) -> dict[str, pa.ChunkedArray]:
        """Of so many entity rows from the first (of 0, 1, ...) on."""
        chosen = (f"history.{identifier(name)} AS {identifier(s)}" for name, s in named.items())
        join = _left_join(con, view, list(named), columns, known, "history")
        within = f"SELECT * FROM {_ASKED} WHERE __row BETWEEN {first + 1} AND {first + size}"
        found = con.sql(
            f"WITH asked AS ({within}) SELECT {', '.join(chosen)} FROM asked {join} "
            "ORDER BY asked.__row"
        ).to_arrow_table()
        if found.num_rows > size:
            raise WarehouseError(
                f"Feature view {view.name!r}: two of its rows hold at the moment of one entity row: "
                "intervals of one key may not overlap."
            )
        return dict(zip(found.column_names, found.columns, strict=True))

    # Histories are read whole, so that many rows are joined to them at once. What is asked for moments
    # gives lists, which take more memory than all else.
    read: list[tuple[FeatureView, Mapping[str, str]]] = []
    asked: list[tuple[FeatureView, Mapping[str, str]]] = []
    for view, named in views:
        (asked if source_of(view).as_of else read).append((view, named))
    names = [*columns, *(shown for _, named in views for shown in named.values())]
    for start in range(0, max(count, 1), ROWS_JOINED):
        rows = f"SELECT * FROM {_KEPT} WHERE __row BETWEEN {start + 1} AND {start + ROWS_JOINED}"
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {_ASKED} AS {_with_moments(rows, columns, known)}"
        )
        size = min(ROWS_JOINED, count - start)
        joined: dict[str, pa.ChunkedArray] = {}
        for view, named in read:
            joined |= columns_of(view, named, start, size)
        for first in range(start, max(start + size, 1), ROWS_AT_A_TIME):
            some = min(ROWS_AT_A_TIME, start + size - first)
            within = f"__row BETWEEN {first + 1} AND {first + some}"
            piece = con.sql(f"SELECT * FROM {_KEPT} WHERE {within} ORDER BY __row").to_arrow_table()
            found = {name: column.slice(first - start, some) for name, column in joined.items()}
            for view, named in asked:
                found |= columns_of(view, named, first, some)
            for name, column in found.items():
                piece = piece.append_column(name, column)
            yield piece.select(names)


def refuse_what_is_not_built(
    con: duckdb.DuckDBPyConnection, sources: Sequence[DuckDBSource], moment: datetime | None = None
) -> None:
    """Refuse feature tables that a build has left half-way, and of different days: they must not be
    read as if they told of one.

    Args:
        moment: refuse also tables that do not reach it: windows would stand still.

    Raises:
        WarehouseError: so it is.
    """
    recorded = con.execute(
        "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'features' AND table_name = 'builds'"
    )
    if not recorded.fetchone():
        return
    found = con.execute(
        "SELECT count(DISTINCT (through, data_hash)), min(through) FROM features.builds "
        "HAVING $asked OR list_has_any(list(table_name), $tables)",
        {
            "asked": any(source.as_of for source in sources),
            "tables": [source.table for source in sources if source.table],
        },
    ).fetchone()
    if found and found[0] > 1:
        raise WarehouseError(HALF_BUILT)
    if found and moment and utc(moment).date() > found[1] + timedelta(days=1):
        raise WarehouseError(
            f"Features are built through {found[1]}, and {utc(moment):%Y-%m-%d %H:%M} is later: end at "
            f"{found[1] + timedelta(days=1)}, or load later purchases and run `lookbook features build`."
        )


def _refuse_double_names(
    columns: Mapping[str, str], views: Sequence[tuple[FeatureView, Mapping[str, str]]]
) -> None:
    taken = {name.lower(): f"the entity rows' column {name!r}" for name in columns}
    for view, named in views:
        for feature, shown in named.items():
            reference = f"feature {view.projection.name_to_use()}:{feature}"
            other = taken.setdefault(shown.lower(), reference)
            if other != reference:
                raise InputError(
                    f"{other[0].upper()}{other[1:]} and {reference} would both be called "
                    f"{shown!r}: rename the column (or, where names are short, ask with full_feature_names=True)."
                )


def _keys(view: FeatureView) -> dict[str, str]:
    """{join key: the entity rows' column}; none where the view is the same for everyone."""
    return {
        column.name: view.projection.join_key_map.get(column.name, column.name)
        for column in view.entity_columns
        if column.name != DUMMY_ENTITY_ID
    }


def _interval(span: timedelta) -> str:
    return f"to_microseconds({span // timedelta(microseconds=1)})"


def _left_join(
    con: duckdb.DuckDBPyConnection,
    view: FeatureView,
    features: Sequence[str],
    columns: Mapping[str, str],
    known: Known,
    alias: str,
) -> str:
    """What stands after `FROM asked` to have a view's features, under an alias, or nulls."""
    source = source_of(view)
    types = _checked_types(con, view, features, columns)
    if source.as_of:
        return _asked(view, source, known, alias)
    matches = _matches(con, view, features, types, known)
    return f"LEFT JOIN ({matches}) AS {alias} ON {alias}.__row = asked.__row"


def _matches(
    con: duckdb.DuckDBPyConnection,
    view: FeatureView,
    features: Sequence[str],
    types: Mapping[str, str],
    known: Known,
) -> str:
    """SELECT the number of each entity row that has a row of the view, with its features."""
    keys = _keys(view)
    source = source_of(view)
    conditions = [
        f"history.__key_{number} = asked.{identifier(given)}"
        for number, given in enumerate(keys.values())
    ]
    begun, over = ("<", "<=") if known.strict else ("<=", "<")
    still = [f"asked.__asked {over} history.__until"]
    if view.ttl and view.ttl > timedelta(0):
        still.append(f"history.__known >= asked.__moment - {_interval(view.ttl)}")
    history = _intervals(source, keys, features, types, known)
    chosen = ", ".join(["asked.__row", *(f"history.{identifier(name)}" for name in features)])
    begins = f"history.__from {begun} asked.__asked"
    if _depth(con, source, keys) > _DEEP:
        return (
            f"SELECT {chosen} FROM asked ASOF JOIN "
            f"(SELECT * FROM ({history}) WHERE __from < __until) AS history "
            f"ON {' AND '.join([*conditions, begins])} WHERE {' AND '.join(still)}"
        )
    return (
        f"SELECT {chosen} FROM asked INNER JOIN ({history}) AS history "
        f"ON {' AND '.join([*conditions, begins, *still])}"
    )


def _asked(view: FeatureView, source: DuckDBSource, known: Known, alias: str) -> str:
    """As `_left_join`, of a source that is asked for moments: each key and moment once."""
    moment = "asked.__asked" + (" - to_microseconds(1)" if known.strict else "")
    keys = _keys(view)
    distinct = [f"asked.{identifier(given)} AS {identifier(key)}" for key, given in keys.items()]
    history = source.asked(f"SELECT DISTINCT {', '.join(distinct)}, {moment} AS moment FROM asked")
    conditions = [
        f"{alias}.{identifier(key)} = asked.{identifier(given)}" for key, given in keys.items()
    ]
    conditions.append(f"{alias}.moment = {moment}")
    if view.ttl and view.ttl > timedelta(0):
        began = identifier(source.timestamp_field)
        conditions.append(f"{alias}.{began} >= asked.__moment - {_interval(view.ttl)}")
    created = f"{alias}.{identifier(source.created_timestamp_column)}"
    if source.created_timestamp_column and known.by_created:
        conditions.append(f"{created} <= {moment}")
    if source.created_timestamp_column and known.created_until is not None:
        conditions.append(f"{created} <= {literal(known.created_until)}")
    return f"LEFT JOIN {history} AS {alias} ON {' AND '.join(conditions)}"


def _checked_types(
    con: duckdb.DuckDBPyConnection,
    view: FeatureView,
    features: Sequence[str],
    columns: Mapping[str, str],
) -> dict[str, str]:
    """`_types` of a view's keys and features, where the entity rows have its keys, in such types."""
    keys = _keys(view)
    types = _types(con, view, source_of(view), [*keys, *features])
    for key, given in keys.items():
        _require_key(view, key, types[key], given, columns)
    return types


def _types(
    con: duckdb.DuckDBPyConnection, view: FeatureView, source: DuckDBSource, names: Sequence[str]
) -> dict[str, str]:
    """{name in the view: DuckDB's type in the source} of these and of the source's times."""
    try:
        described = con.sql(f"SELECT * FROM {source.get_table_query_string()} AS history LIMIT 0")
    except duckdb.CatalogException as error:
        raise WarehouseError(
            f"Feature view {view.name!r}: the warehouse lacks what it reads. Run `lookbook features "
            f"build` (or create it, if it is yours). {error}"
        ) from error
    kinds = {
        name.lower(): str(kind)
        for name, kind in zip(described.columns, described.types, strict=True)
    }
    times = (source.timestamp_field, source.created_timestamp_column, source.valid_to_field)
    wanted = [*names, *filter(None, times)]
    for name in wanted:
        if source.raw(name).lower() not in kinds:
            raise InputError(
                f"Feature view {view.name!r}: {source.name} has no column {source.raw(name)!r}. "
                f"It has: {', '.join(described.columns)}."
            )
    return {name: kinds[source.raw(name).lower()] for name in wanted}


def _require_key(
    view: FeatureView, key: str, kind: str, given: str, columns: Mapping[str, str]
) -> None:
    if given not in columns:
        raise InputError(
            f"Feature view {view.name!r} joins on {key!r}, and the entity rows have no column "
            f"{given!r}: add it. They have: {', '.join(columns)}."
        )
    if _family(columns[given]) not in (_family(kind), '"NULL"'):
        raise InputError(
            f"Feature view {view.name!r} joins on {key!r}, which is {kind}, and the entity rows' "
            f"column {given!r} is {columns[given]}: write it as {_family(kind)}."
        )


def _family(duckdb_type: str) -> str:
    """Types that compare as one would expect; text and numbers do not: '007' is not 7."""
    if duckdb_type.startswith(("ENUM", "VARCHAR")):
        return "text"
    if duckdb_type.endswith("INT") or duckdb_type.startswith(
        ("INTEGER", "DECIMAL", "DOUBLE", "FLOAT", "UINTEGER")
    ):
        return "numbers"
    return "moments" if duckdb_type.startswith(("TIMESTAMP", "DATE")) else duckdb_type


def _depth(con: duckdb.DuckDBPyConnection, source: DuckDBSource, keys: Mapping[str, str]) -> float:
    """About how many rows a key has in the source, from DuckDB's statistics; many for a query."""
    if source.table is None or not keys:
        return float("inf")
    schema, name = ["main", *source.table.split(".")][-2:]
    sizes = con.execute(
        "SELECT estimated_size FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?",
        [schema, name],
    ).fetchall()
    if not sizes:
        return float("inf")
    sketches = ", ".join(f"stats({identifier(source.raw(key))})" for key in keys)
    found = con.execute(
        f"SELECT {sketches} FROM {source.get_table_query_string()} LIMIT 1"
    ).fetchall()
    counts = [(sketch or {}).get("approx_unique") or 1 for row in found for sketch in row]
    return float(sizes[0][0] / max(counts, default=1))


def _intervals(
    source: DuckDBSource,
    keys: Mapping[str, str],
    features: Sequence[str],
    types: Mapping[str, str],
    known: Known,
) -> str:
    """SELECT the source's keys (__key_0, ...), features, __known (its moment), __from, __until."""

    def raw(name: str) -> str:
        return f"history.{identifier(source.raw(name))}"

    def time(name: str) -> str:
        return _as_utc(raw(name), types[name])

    ends, created = source.valid_to_field, source.created_timestamp_column
    cut = bool(created) and (known.by_created or known.created_until is not None)
    chosen = [f"{raw(key)} AS __key_{number}" for number, key in enumerate(keys)]
    chosen += [f"{raw(name)} AS {identifier(name)}" for name in features]
    chosen += [
        f"{time(source.timestamp_field)} AS __known",
        (f"coalesce({time(ends)}, {_FOREVER})" if ends else _FOREVER) + " AS __end",
        (time(created) if created else "NULL::TIMESTAMP") + " AS __created",
    ]
    rows = f"SELECT {', '.join(chosen)} FROM {source.get_table_query_string()} AS history"
    if ends and not cut:
        return f"SELECT *, __known AS __from, __end AS __until FROM ({rows})"
    if keys:
        # What belongs to other keys need not be sorted.
        same = (f"{raw(key)} = asked.{identifier(given)}" for key, given in keys.items())
        rows += f" SEMI JOIN asked ON {' AND '.join(same)}"
    by_key = "PARTITION BY " + (", ".join(f"__key_{n}" for n in range(len(keys))) or "1")
    if ends:
        # A row ends because the next one begins, and that one may not have been written yet.
        following = f"lead(__known) OVER ({by_key} ORDER BY __known)"
        end = f"CASE WHEN {following} = __end THEN {_FOREVER} ELSE __end END"
        rows = f"SELECT * REPLACE ({end} AS __end) FROM ({rows})"
    if cut and known.created_until is not None:
        rows = f"SELECT * FROM ({rows}) WHERE __created <= {literal(known.created_until)}"
    order = "__from, __known, __created NULLS FIRST"
    if cut and known.by_created:
        # A row counts from when it is both true and written, if no newer one counted before it.
        best = (
            f"max((__known, __created)) OVER ({by_key} ORDER BY {order} ROWS UNBOUNDED PRECEDING)"
        )
        rows = (
            f"SELECT *, greatest(__known, __created) AS __from FROM ({rows}) "
            f"WHERE __created IS NOT NULL QUALIFY (__known, __created) = {best}"
        )
    else:
        rows = f"SELECT *, __known AS __from FROM ({rows})"
    following = f"lead(__from) OVER ({by_key} ORDER BY {order})"
    return f"SELECT *, least(coalesce({following}, {_FOREVER}), __end) AS __until FROM ({rows})"
