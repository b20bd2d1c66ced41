"""The warehouse: one DuckDB file with the schemas raw, staging and features."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from feature_repo import places
from feature_repo.stores.connection import (
    DEFAULT_MEMORY_LIMIT,
    WarehouseError,
    connect,
    identifier,
)

__all__ = ["WarehouseError", "identifier", "reading", "transaction", "writing"]

SCHEMAS = ("raw", "staging", "features")


@contextmanager
def reading() -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection; many may be open at once.

    Raises:
        WarehouseError: nothing has been loaded yet, or a writer holds the file.
    """
    con = connect(places.warehouse_file(), read_only=True)
    try:
        yield con
    finally:
        con.close()


@contextmanager
def writing(
    memory_limit: str = DEFAULT_MEMORY_LIMIT, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The only writer, with the schemas in place.

    Raises:
        WarehouseError: another process reads or writes the file.
    """
    con = connect(
        places.warehouse_file(), read_only=False, memory_limit=memory_limit, threads=threads
    )
    try:
        for schema in SCHEMAS:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
        yield con
    finally:
        con.close()


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing: an error inside leaves the warehouse as it was."""
    con.execute("BEGIN")
    try:
        yield
    except BaseException:
        con.execute("ROLLBACK")
        raise
    con.execute("COMMIT")


def has_table(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> bool:
    found = con.execute(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
        [schema, table],
    )
    return found.fetchone() is not None
