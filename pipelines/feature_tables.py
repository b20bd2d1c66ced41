"""Compute the feature tables: staging and every view, through a chosen day."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import duckdb

from feature_repo.feature_sql import TABLES, VIEW_KEYS, render
from pipelines.warehouse import (
    WarehouseError,
    has_table,
    identifier,
    reading,
    transaction,
    writing,
)

_KEEP_INTERVALS = """
CREATE OR REPLACE TABLE features.{view} AS
SELECT
    *,
    lead(valid_from) OVER (PARTITION BY {keys} ORDER BY valid_from) AS valid_to,
    CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP) AS created_at
FROM ({sql}) AS {view}
ORDER BY {keys}, valid_from
"""

_CREATE_BUILDS = """
CREATE TABLE IF NOT EXISTS features.builds (
    table_name VARCHAR PRIMARY KEY,
    through DATE,
    sql_hash VARCHAR,
    data_hash VARCHAR,
    row_count BIGINT,
    built_at TIMESTAMP
)
"""


@dataclass(frozen=True)
class Build:
    """What a build left: the last day used, the data it came from, and rows per table."""

    through: date
    data_hash: str
    rows: dict[str, int]
    reused: tuple[str, ...]

    @property
    def end(self) -> date:
        """The first day after: at its start everything in the tables is known."""
        return self.through + timedelta(days=1)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "through": self.through.isoformat()}


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
        row = con.execute("SELECT max(t_dat) FROM raw.transactions").fetchone()
        day = row[0] if row else None
    if day is None:
        raise WarehouseError(
            "The warehouse holds no purchases: load a shop first, for example `lookbook data load DIR`."
        )
    return day


def build(
    through: date | None = None, progress: Callable[[str], None] = lambda text: None
) -> Build:
    """Compute staging and all feature tables; each table is replaced whole or not at all.

    A table is kept if the data, the last day, its SQL and that of the tables before it, which it may
    read, have not changed: a build that was killed goes on where it stopped.

    Args:
        through: the last day whose purchases are used; the last day loaded if None.

    Raises:
        WarehouseError: nothing is loaded, or `through` is before the first purchase.
    """
    with writing() as con:
        newest = last_day(con)
        (first,) = con.execute("SELECT min(t_dat) FROM raw.transactions").fetchone() or (None,)
        through = through or newest
        if first is not None and through < first:
            raise WarehouseError(
                f"No purchases through {through}: the first is on {first}; give a later day."
            )
        if through > newest:
            raise WarehouseError(
                f"Purchases are loaded only up to {newest}: features cannot be built through {through}."
            )
        con.execute(_CREATE_BUILDS)
        fingerprint = data_hash(con)
        rows: dict[str, int] = {}
        sql_so_far = hashlib.sha256()
        reused: list[str] = []
        for number, (schema, name) in enumerate(TABLES, start=1):
            sql = render(schema, name, through)
            sql_so_far.update(sql.encode())
            step = (through, sql_so_far.hexdigest()[:16], fingerprint)
            done = con.execute(
                "SELECT row_count FROM features.builds "
                "WHERE table_name = ? AND through = ? AND sql_hash = ? AND data_hash = ?",
                [f"{schema}.{name}", *step],
            ).fetchone()
            if done and has_table(con, schema, name):
                rows[f"{schema}.{name}"] = done[0]
                reused.append(f"{schema}.{name}")
                continue
            rows[f"{schema}.{name}"] = _replace(con, schema, name, sql, step)
            progress(f"{number}/{len(TABLES)} {schema}.{name}: {rows[f'{schema}.{name}']:,} rows")
    return Build(through, fingerprint, rows, tuple(reused))


def _replace(
    con: duckdb.DuckDBPyConnection, schema: str, name: str, sql: str, step: tuple[date, str, str]
) -> int:
    with transaction(con):
        if schema == "staging":
            con.execute(f"CREATE OR REPLACE TABLE staging.{identifier(name)} AS {sql}")
        else:
            keys = ", ".join(identifier(key) for key in VIEW_KEYS[name])
            con.execute(_KEEP_INTERVALS.format(view=identifier(name), keys=keys, sql=sql))
        (count,) = con.execute(f"SELECT count(*) FROM {identifier(schema, name)}").fetchone() or (
            0,
        )
        con.execute(
            "INSERT OR REPLACE INTO features.builds VALUES (?, ?, ?, ?, ?, now() AT TIME ZONE 'UTC')",
            [f"{schema}.{name}", *step, count],
        )
    return int(count)


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
        raise WarehouseError(
            "The last build of features did not end: run `lookbook features build` again."
        )
    return Build(found[0][1], found[0][2], {row[0]: row[3] for row in found}, ())
