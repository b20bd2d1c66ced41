"""The one way to open DuckDB, so that every connection agrees on time zone, limits and extensions."""

from pathlib import Path

import duckdb

from feature_repo.errors import LookbookError

DEFAULT_MEMORY_LIMIT = "60%"
"""Of the machine's memory: the rest is for what is made of the results."""


class WarehouseError(LookbookError):
    """The warehouse cannot be opened or lacks what was asked for; the text says what to do."""


HALF_BUILT = "The last build of features did not end: run `lookbook features build` again."
"""What is said of feature tables that a killed build has left at different days."""


def connect(
    path: Path,
    *,
    read_only: bool = True,
    memory_limit: str = DEFAULT_MEMORY_LIMIT,
    threads: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open the warehouse file with UTC time, a memory limit and no way to fetch extensions.

    Args:
        path: the DuckDB file; a reader needs it to exist, a writer creates it.
        read_only: many readers may share the file; a writer must be alone.
        memory_limit: DuckDB's notation, "8GB" or "60%"; beyond it DuckDB spills to disk.
        threads: worker threads; None leaves DuckDB's default, one for each core.

    Raises:
        WarehouseError: the file is missing (reading) or another process holds it.
    """
    if read_only and not path.exists():
        raise WarehouseError(
            f"No warehouse at {path}: load a shop first, for example `lookbook data load DIR`."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # DuckDB's own extension repository must never be asked at run time. Limits are set afterwards:
    # connections of one process to one file must agree on what they are opened with.
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "temp_directory": str(path.with_suffix(".tmp")),
    }
    try:
        con = duckdb.connect(str(path), read_only=read_only, config=config)
    except duckdb.Error as error:
        text = str(error).lower()
        if "different configuration" in text or "lock" in text:
            raise WarehouseError(
                f"The warehouse {path} is in use by another process (loading and building need it "
                "alone): wait for that to end, or end it, then try again."
            ) from error
        raise WarehouseError(f"The warehouse {path} cannot be opened: {error}") from error
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET memory_limit = ?", [memory_limit])
    if threads is not None:
        con.execute("SET threads = ?", [threads])
    return con


def scratch() -> duckdb.DuckDBPyConnection:
    """An empty database in memory, to read files with; it cannot fetch extensions either."""
    return duckdb.connect(config={"autoinstall_known_extensions": False})


def identifier(*parts: str) -> str:
    """Quote a (dotted) SQL identifier; values are bound, never quoted."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)
