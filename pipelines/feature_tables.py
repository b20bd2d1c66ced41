"""Compute the feature tables: staging and every view with a table, through a chosen day.

The first time every table is computed whole. After that a build adds days: the keys that change are
found (`_scope`), only their rows from the first changed day on are computed (the same SQL, rendered
`scoped`), and what is equal to the row that was there keeps its time of creation. A purchase that
arrives late is a change on an old day, and repairs what it touches in the same way.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb

from feature_repo import analyst_sql
from feature_repo.feature_sql import (
    HISTORIES,
    PROFILES,
    TABLES,
    VIEW_KEYS,
    Table,
    meaning,
    render,
    table_sql,
)
from feature_repo.raw_tables import RAW_TABLES, READ_TABLES
from feature_repo.stores.connection import HALF_BUILT
from pipelines.warehouse import (
    WarehouseError,
    has_table,
    identifier,
    reading,
    transaction,
    writing,
)

_CREATE_BUILDS = """
CREATE TABLE IF NOT EXISTS features.builds (
    table_name VARCHAR PRIMARY KEY,
    through DATE,
    sql_hash VARCHAR,
    data_hash VARCHAR,
    row_count BIGINT,
    built_at TIMESTAMP
);
ALTER TABLE features.builds ADD COLUMN IF NOT EXISTS loaded_at TIMESTAMP
"""

DAYS_AT_A_TIME = 7
"""Days that are added in one transaction."""
MOST_DAYS_ADDED = 90
MOST_ROWS_ADDED = 0.2
"""Days, and share of all purchases, above which computing everything anew is quicker."""

PURCHASES_AT_A_TIME = 1_500_000
KEYS_AT_A_TIME = 1_000
"""Purchases, about, and at least keys, of which a table is computed at a time."""

_EVENTS = {
    "purchases": ("raw.transactions", "day"),
    "actions": ("(FROM raw.interactions WHERE kind <> 'impression')", "event_time"),
}
"""Staging tables of what customers did: what each is made of, and its order within a customer."""
_DAWN = date(1900, 1, 1)
"""Before every purchase: what has changed on all days."""


@dataclass(frozen=True)
class Build:
    """What a build left: the last day used, the data it came from, and rows per table."""

    through: date
    data_hash: str
    rows: dict[str, int]
    reused: tuple[str, ...]
    """Tables in which nothing had to be done."""

    @property
    def end(self) -> date:
        """The first day after: at its start everything in the tables is known."""
        return self.through + timedelta(days=1)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "through": self.through.isoformat()}


@dataclass(frozen=True)
class _State:
    """What all tables now hold, if they hold the same."""

    through: date
    data_hash: str
    loaded_at: datetime
    """When the last purchases that they know of were loaded."""


def data_hash(con: duckdb.DuckDBPyConnection) -> str:
    """A fingerprint of the data: what each load that changed something read and did, in order,
    for the newest attributes win. The same loads in the same order give the same in another home."""
    loads = con.execute(
        "SELECT table_name, sha256, loaded, updated FROM raw.loads WHERE loaded + updated > 0 "
        "ORDER BY loaded_at, table_name, sha256"
    ).fetchall()
    return hashlib.sha256(repr(loads).encode()).hexdigest()[:16]


def last_day(con: duckdb.DuckDBPyConnection) -> date:
    """The last day with a purchase.

    Raises:
        WarehouseError: nothing has been loaded.
    """
    day = None
    if has_table(con, "raw", "transactions"):
        (day,) = _row(con, "SELECT max(t_dat) FROM raw.transactions")
    if day is None:
        raise WarehouseError(
            "The warehouse holds no purchases: load a shop first, for example `lookbook data load DIR`."
        )
    return day


def build(
    through: date | None = None, progress: Callable[[str], None] = lambda text: None
) -> Build:
    """Bring staging and all feature tables to a day, forwards or back, and make the macros for analysts.

    A killed build leaves the tables as they were after its last step, and the next one goes on from
    there. However days and purchases came in, the tables end the same.

    Args:
        through: the last day whose purchases are used; the last day loaded if None.

    Raises:
        WarehouseError: nothing is loaded, or `through` is before the first purchase.
    """
    with writing() as con:
        built = bring(con, through, progress)
        with transaction(con):
            for statement in analyst_sql.statements():
                con.execute(statement)
        return built


def bring(
    con: duckdb.DuckDBPyConnection,
    through: date | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Build:
    """`build` on a connection that may write."""
    newest = last_day(con)
    first, loaded_at = _row(con, "SELECT min(t_dat), max(known_at) FROM raw.transactions")
    through = through or newest
    if through < first:
        raise WarehouseError(
            f"No purchases through {through}: the first is on {first}; give a later day."
        )
    if through > newest:
        raise WarehouseError(
            f"Purchases are loaded only up to {newest}: features cannot be built through {through}."
        )
    con.execute(_CREATE_BUILDS)
    for name in ("interactions", "article_content"):
        con.execute(READ_TABLES[name].create)
    wanted = _State(through, data_hash(con), loaded_at)
    hashes = _sql_hashes()
    state = _state(con, hashes)
    reused = []
    if state == wanted:
        reused = [f"{schema}.{name}" for schema, name in TABLES]
    elif state is None or _is_much(con, state, wanted):
        reused = _compute_all(con, wanted, hashes, progress)
    else:
        _extend_to(con, state, wanted, hashes, progress)
    rows = dict(con.execute("SELECT table_name, row_count FROM features.builds").fetchall())
    return Build(through, wanted.data_hash, rows, tuple(reused))


def latest_build() -> Build:
    """What the feature tables now hold.

    Raises:
        WarehouseError: they have not been built, or a build was killed half-way.
    """
    with reading() as con:
        found = (
            con.execute(
                "SELECT table_name, through, data_hash, row_count FROM features.builds"
            ).fetchall()
            if has_table(con, "features", "builds")
            else []
        )
    if not found:
        raise WarehouseError("No features are built: run `lookbook features build`.")
    if len(found) < len(TABLES) or len({row[1:3] for row in found}) > 1:
        raise WarehouseError(HALF_BUILT)
    return Build(found[0][1], found[0][2], {row[0]: row[3] for row in found}, ())


def _row(con: duckdb.DuckDBPyConnection, sql: str, values: object = None) -> tuple[Any, ...]:
    """The one row that the query gives."""
    row = con.execute(sql, values).fetchone()
    assert row is not None
    return row


def _sql_hashes() -> dict[str, str]:
    """Of each table, a fingerprint of its SQL and that of all before it, which it may read."""
    hashes, so_far = {}, hashlib.sha256()
    for schema, name in TABLES:
        so_far.update(meaning(render(schema, name, _DAWN)).encode())
        hashes[f"{schema}.{name}"] = so_far.hexdigest()[:16]
    return hashes


def _state(con: duckdb.DuckDBPyConnection, hashes: dict[str, str]) -> _State | None:
    """None if tables are missing, differ in what they hold, or were made by other SQL."""
    found = con.execute(
        "SELECT table_name, sql_hash, through, data_hash, loaded_at FROM features.builds"
    ).fetchall()
    states = {row[2:] for row in found}
    whole = {row[0]: row[1] for row in found} == hashes and len(states) == 1
    there = whole and all(has_table(con, schema, name) for schema, name in TABLES)
    return _State(*states.pop()) if there and found[0][4] is not None else None


def _is_much(con: duckdb.DuckDBPyConnection, state: _State, wanted: _State) -> bool:
    """Whether computing everything is quicker than adding what is new."""
    if wanted.through - state.through > timedelta(days=MOST_DAYS_ADDED):
        return True
    new, all_rows = _row(
        con,
        "SELECT count(*) FILTER (WHERE t_dat > $start OR known_at > $loaded), count(*) "
        "FROM raw.transactions WHERE t_dat <= $end",
        {"start": state.through, "loaded": state.loaded_at, "end": wanted.through},
    )
    return bool(new > MOST_ROWS_ADDED * all_rows)


# Everything anew


def _compute_all(
    con: duckdb.DuckDBPyConnection,
    wanted: _State,
    hashes: dict[str, str],
    progress: Callable[[str], None],
) -> list[str]:
    """Replace each table whole, in a transaction of its own; those that a killed build has left as
    they should be stay, and are returned."""
    reused = []
    for (name,) in con.execute("SELECT table_name FROM features.builds").fetchall():
        if name not in hashes:
            with transaction(con):
                con.execute(f"DROP TABLE IF EXISTS {identifier(*name.split('.'))}")
                con.execute("DELETE FROM features.builds WHERE table_name = ?", [name])
    for number, (schema, name) in enumerate(TABLES, start=1):
        full_name = f"{schema}.{name}"
        done = con.execute(
            "SELECT 1 FROM features.builds WHERE table_name = ? AND sql_hash = ? AND through = ? "
            "AND data_hash = ? AND loaded_at = ?",
            [full_name, hashes[full_name], wanted.through, wanted.data_hash, wanted.loaded_at],
        ).fetchone()
        if done and has_table(con, schema, name):
            reused.append(full_name)
            continue
        step = f"{number}/{len(TABLES)} {full_name}"

        def told(text: str, step: str = step) -> None:
            progress(f"{step}: {text}")

        with transaction(con):
            compute(con, schema, name, wanted.through, told)
            rows = _record(con, full_name, hashes[full_name], wanted)
        told(f"{rows:,} rows")
    return reused


def compute(
    con: duckdb.DuckDBPyConnection,
    schema: str,
    name: str,
    through: date,
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Replace one table by what its SQL gives of all purchases through a day, in order of its keys.

    A large table is computed some keys at a time: what is sorted and counted then fits into memory.
    """
    table = identifier(schema, name)
    order = f" ORDER BY {', '.join(VIEW_KEYS[name])}, valid_from" if schema == "features" else ""
    if schema == "staging" and name in _EVENTS:
        order = f" ORDER BY customer_id, {_EVENTS[name][1]}"
    parts = _parts(con, schema, name)
    for number, (part, values) in enumerate(parts):
        into = f"INSERT INTO {table}" if number else f"CREATE OR REPLACE TABLE {table} AS"
        con.execute(f"{into} {table_sql(schema, name, through, part)}{order}", values)
        quarters = (number + 1) * 4 // len(parts)
        if number * 4 // len(parts) < quarters < 4:
            progress(f"{quarters * 25}%")


def _parts(
    con: duckdb.DuckDBPyConnection, schema: str, name: str
) -> list[tuple[str, dict[str, str]]]:
    """Conditions on a table's first key that share out evenly what it is made of, each with its values."""
    counted = "raw.transactions"
    if schema == "staging" and name in _EVENTS:
        key, keyed = "customer_id", _EVENTS[name][0]
        counted = keyed
    elif name in HISTORIES and schema == "features":
        table = HISTORIES[name]
        key, keyed = table.keys[0], "staging.purchases"
        if key == table.attribute_key:
            keyed = f"(SELECT {table.attribute} AS {key} FROM staging.{table.attributes})"
    else:
        return [("", {})]
    (purchases,) = _row(con, f"SELECT count(*) FROM {counted} AS counted")
    (keys,) = _row(con, f"SELECT approx_count_distinct({key}) FROM {keyed} AS keyed")
    count = min(purchases // PURCHASES_AT_A_TIME, keys // KEYS_AT_A_TIME) + 1
    (bounds,) = _row(
        con,
        f"SELECT quantile_disc({key}, $shares) FROM (SELECT {key} FROM {keyed} AS keyed "
        f"WHERE {key} IS NOT NULL USING SAMPLE reservoir(100_000 ROWS) REPEATABLE (1))",
        {"shares": [number / count for number in range(1, count)]},
    )
    parts = []
    for low, high in pairwise([None, *sorted(set(bounds or ())), None]):
        values = {"low": low, "high": high}
        limits = {"low": f"{key} >= $low", "high": f"{key} < $high"}
        given = {side: value for side, value in values.items() if value is not None}
        parts.append((" AND ".join(limits[side] for side in given), given))
    return parts


def _record(con: duckdb.DuckDBPyConnection, name: str, sql_hash: str, state: _State) -> int:
    """Returns the number of rows."""
    (rows,) = _row(
        con,
        f"INSERT OR REPLACE INTO features.builds SELECT $name, $through, $sql, $data, count(*), "
        f"now() AT TIME ZONE 'UTC', $loaded FROM {identifier(*name.split('.'))} RETURNING row_count",
        {
            "name": name,
            "through": state.through,
            "sql": sql_hash,
            "data": state.data_hash,
            "loaded": state.loaded_at,
        },
    )
    return int(rows)


# Only what changed


def _extend_to(
    con: duckdb.DuckDBPyConnection,
    state: _State,
    wanted: _State,
    hashes: dict[str, str],
    progress: Callable[[str], None],
) -> None:
    """From one state to another, some days at a time; each is a transaction."""
    while state != wanted:
        step = timedelta(days=DAYS_AT_A_TIME)
        end = min(wanted.through, state.through + step)
        after = _State(end, wanted.data_hash, wanted.loaded_at)
        with transaction(con):
            if end < state.through:
                progress(f"taking off what became known after {end}")
                _go_back(con, end)
            changed = _extend(con, min(state.through, end), end, state.loaded_at)
            for name, sql_hash in hashes.items():
                _record(con, name, sql_hash, after)
        progress(f"through {end}: {', '.join(f'{n} {rows:,}' for n, rows in changed.items())}")
        state = after


def _go_back(con: duckdb.DuckDBPyConnection, through: date) -> None:
    """Take off what became known after a day."""
    end = datetime.combine(through + timedelta(days=1), datetime.min.time())
    for name in HISTORIES:
        table = identifier("features", name)
        con.execute(f"DELETE FROM {table} WHERE valid_from > ?", [end])
        con.execute(f"UPDATE {table} SET valid_to = NULL WHERE valid_to > ?", [end])
    # Actions are known at their own moment, so those that are loaded are there whatever the day.
    for name in ("purchases", "prices"):
        con.execute(f"DELETE FROM staging.{name} WHERE day > ?", [through])


def _extend(
    con: duckdb.DuckDBPyConnection, start: date, end: date, loaded_at: datetime
) -> dict[str, int]:
    """Bring all tables from `start` to `end`, both last days, in the transaction that is open.

    Args:
        loaded_at: the tables know purchases that were loaded up to then; later ones on days
            through `start` have come late.

    Returns:
        the new rows of each feature table.
    """
    temporary = _Temporary(con)
    with temporary.all_gone():
        for name in PROFILES.values():
            _replace_attributes(con, temporary, name, end)
        late_from = _replace_purchases(con, temporary, start, end, loaded_at)
        _replace_prices(con, temporary, late_from, end)
        con.execute(
            f"INSERT INTO staging.actions BY NAME {render('staging', 'actions', end, scoped=True)} "
            "ORDER BY customer_id, event_time"
        )
        changed = {}
        for view, attributes in PROFILES.items():
            (key,) = VIEW_KEYS[view]
            temporary.create(
                "scope", f"SELECT {key}, $since AS since FROM changed_{attributes}", since=_DAWN
            )
            changed[view] = _replace_rows(con, temporary, view, render("features", view, end))
        for view, table in HISTORIES.items():
            temporary.create("scope", _scope(table), start=start, end=end, dawn=_DAWN)
            (since,) = _row(con, "SELECT min(since) FROM scope")
            sql = render("features", view, end, scoped=True, since=since or end)
            changed[view] = _replace_rows(con, temporary, view, sql)
    return changed


class _Temporary:
    """Temporary tables of one connection, none of which outlives its use."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._names: dict[str, None] = {}

    def create(self, name: str, sql: str, **values: object) -> None:
        """Make it, or make it anew."""
        self._names[name] = None
        used = {key: value for key, value in values.items() if f"${key}" in sql}
        self._con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}", used)

    @contextmanager
    def all_gone(self) -> Iterator[None]:
        yield
        for name in self._names:
            self._con.execute(f"DROP TABLE {name}")


def _replace_attributes(
    con: duckdb.DuckDBPyConnection, temporary: _Temporary, name: str, end: date
) -> None:
    """Bring staging customers or articles up to date. Leaves `changed_NAME` with the keys that are
    new or differ, and `old_NAME` with what was said of them before."""
    table, (key,) = identifier("staging", name), RAW_TABLES[name].key
    temporary.create("arriving", render("staging", name, end))
    temporary.create(
        f"changed_{name}",
        f"SELECT {key} FROM (SELECT * FROM arriving EXCEPT SELECT * FROM {table}) AS differing",
    )
    temporary.create(f"old_{name}", f"SELECT * FROM {table} SEMI JOIN changed_{name} USING ({key})")
    con.execute(f"DELETE FROM {table} USING changed_{name} AS c WHERE {name}.{key} = c.{key}")
    con.execute(
        f"INSERT INTO {table} BY NAME SELECT * FROM arriving SEMI JOIN changed_{name} USING ({key})"
    )


def _replace_purchases(
    con: duckdb.DuckDBPyConnection,
    temporary: _Temporary,
    start: date,
    end: date,
    loaded_at: datetime,
) -> date:
    """Leaves `changed`: customer, article and day of all new purchases.

    Returns:
        the first day on which there is one.
    """
    temporary.create(
        "changed",
        "SELECT DISTINCT customer_id, article_id, t_dat AS day FROM raw.transactions "
        "WHERE t_dat <= $end AND (t_dat > $start OR known_at > $loaded)",
        start=start,
        end=end,
        loaded=loaded_at,
    )
    con.execute(
        "DELETE FROM staging.purchases USING changed WHERE changed.day <= $start "
        "AND purchases.customer_id = changed.customer_id "
        "AND purchases.article_id = changed.article_id AND purchases.day = changed.day",
        {"start": start},
    )
    con.execute(
        f"INSERT INTO staging.purchases BY NAME {render('staging', 'purchases', end, scoped=True)}"
    )
    (first,) = _row(con, "SELECT min(day) FROM changed")
    return first or end + timedelta(days=1)


def _replace_prices(
    con: duckdb.DuckDBPyConnection, temporary: _Temporary, since: date, end: date
) -> None:
    """Leaves `changed_prices`: article and day of all prices that are new or differ."""
    (moved,) = _row(
        con,
        "SELECT count(*) FROM old_articles INNER JOIN staging.articles AS new USING (article_id) "
        "WHERE old_articles.product_group_name IS DISTINCT FROM new.product_group_name",
    )
    since = _DAWN if moved else since
    temporary.create("arriving", render("staging", "prices", end, scoped=True, since=since))
    temporary.create(
        "changed_prices",
        "SELECT article_id, day FROM (SELECT * FROM arriving EXCEPT SELECT * FROM staging.prices) "
        "AS differing",
    )
    con.execute("DELETE FROM staging.prices WHERE day >= ?", [since])
    con.execute("INSERT INTO staging.prices BY NAME SELECT * FROM arriving")


def _scope(table: Table) -> str:
    """The keys that change, and from which day on (macros.sql)."""
    keys = ", ".join(table.keys)
    keyed = ""
    parts = []
    if table.attributes:
        (own,) = RAW_TABLES[table.attributes].key
        if key := table.attribute_key:
            # Which key a purchase counts for may have changed: both are computed anew.
            named = f"SELECT {own}, {table.attribute} AS {key} FROM"
            keyed = (
                f" INNER JOIN ({named} staging.{table.attributes} UNION "
                f"{named} old_{table.attributes}) AS attributes USING ({own})"
            )
        parts.append(
            f"SELECT {keys}, $dawn AS since, true AS touched FROM staging.purchases{keyed} SEMI JOIN "
            f"(SELECT {own} FROM old_{table.attributes} AS old INNER JOIN "
            f"staging.{table.attributes} AS new USING ({own}) "
            f"WHERE old.{table.attribute} IS DISTINCT FROM new.{table.attribute}) AS moved USING ({own})"
        )
    parts.append(f"SELECT {keys}, day + 1 AS since, true AS touched FROM changed{keyed}")
    if table.by_price:
        parts.append(
            f"SELECT {keys}, day + 1, true FROM staging.purchases "
            "SEMI JOIN changed_prices USING (article_id, day)"
        )
    ends = [
        f"day BETWEEN CAST($start AS DATE) + {1 - w.days} AND CAST($end AS DATE) - {w.days}"
        for w in table.windows
        if w.days
    ]
    if ends:
        parts.append(
            f"SELECT {keys}, CAST($start AS DATE) + 2, false "
            f"FROM (SELECT * FROM staging.purchases WHERE {' OR '.join(ends)}) AS ending{keyed}"
        )
    return (
        f"SELECT {keys}, min(since) AS since, bool_or(touched) AS touched "
        f"FROM ({' UNION ALL '.join(parts)}) AS changes "
        f"WHERE {' AND '.join(f'{key} IS NOT NULL' for key in table.keys)} GROUP BY {keys}"
    )


def _held(view: str) -> str:
    """The rows that hold on the day before a key in `scope` changes (macros.sql)."""
    keys = ", ".join(VIEW_KEYS[view])
    return (
        f"SELECT old.*, old.rowid AS place, since FROM features.{view} AS old INNER JOIN scope USING "
        f"({keys}) WHERE valid_from < since AND (valid_to IS NULL OR valid_to >= since)"
    )


def _replace_rows(
    con: duckdb.DuckDBPyConnection, temporary: _Temporary, view: str, sql: str
) -> int:
    """Put what the SQL gives for the keys in `scope`, from `since` on, in place of what was there.

    Returns:
        the number of new rows.
    """
    table, keys = identifier("features", view), VIEW_KEYS[view]
    temporary.create("held", _held(view))
    using = ", ".join(keys)
    same_key = " AND ".join(f"{identifier(view)}.{key} = s.{key}" for key in keys)
    temporary.create(
        "fresh",
        f"SELECT fresh.* FROM ({sql}) AS fresh INNER JOIN scope USING ({using}) "
        "WHERE valid_from >= since",
    )
    temporary.create(
        "stale",
        f"SELECT old.* FROM {table} AS old INNER JOIN scope USING ({using}) WHERE valid_from >= since",
    )
    con.execute(f"DELETE FROM {table} USING scope AS s WHERE {same_key} AND valid_from >= since")
    con.execute(
        f"UPDATE {table} SET valid_to = next FROM (SELECT place, min(fresh.valid_from) AS next "
        f"FROM held LEFT JOIN fresh USING ({using}) GROUP BY place) AS ended "
        f"WHERE {identifier(view)}.rowid = place"
    )
    values = [
        column[0]
        for column in con.execute("SELECT * FROM fresh LIMIT 0").description or ()
        if column[0] not in (*keys, "valid_from")
    ]
    fresh, stale = (", ".join(f"{t}.{identifier(v)}" for v in values) for t in ("fresh", "stale"))
    con.execute(
        f"INSERT INTO {table} BY NAME SELECT fresh.*, "
        f"lead(valid_from) OVER (PARTITION BY {using} ORDER BY valid_from) AS valid_to, "
        f"CASE WHEN row({fresh}) IS NOT DISTINCT FROM row({stale}) AND stale.created_at IS NOT NULL "
        "THEN stale.created_at ELSE CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP) END AS created_at "
        f"FROM fresh LEFT JOIN stale USING ({using}, valid_from) ORDER BY {using}, valid_from"
    )
    (rows,) = _row(con, "SELECT count(*) FROM fresh")
    return int(rows)
