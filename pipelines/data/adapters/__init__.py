"""Adapters: one small module for each shop, with one function `read(source) -> {table: SELECT}`.

Each SELECT gives the columns of that raw table (see `feature_repo.raw_tables`) which the shop has;
the others are null. Three more columns are understood: `_file` and `_line` say where a row came
from, and `_set_aside` holds the reason if a row is not a purchase (a return, say), else null. A
table that the shop lacks is left out. The loader does everything else: types, ranges, keys,
quarantine and merging. `docs/bring-your-shop.md` shows a complete adapter.
"""

import csv
import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from feature_repo.errors import LookbookError
from pipelines.warehouse import identifier

CHUNK = 1 << 22


class LoadError(LookbookError, ValueError):
    """Raw files cannot be loaded; the text names file and field and says what to do."""


def literal(text: str) -> str:
    """Quote a text for SQL where DuckDB takes no bound value: in views and options of a reader."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class SourceFile:
    """A file that an adapter reads. `sha256` is of the content without compression, so the same
    data is recognised under another name and zipped or not; `bytes` is the size on disk."""

    path: Path
    bytes: int
    sha256: str


@dataclass
class Source:
    """What an adapter reads from: `path` as the user gave it, `rows()` to open the files there.

    `con` is a scratch DuckDB database, never the warehouse.
    """

    con: duckdb.DuckDBPyConnection
    path: Path
    files: dict[str, SourceFile] = field(default_factory=dict)
    """The files opened so far, by the name of their view."""

    def rows(
        self, file: str | Path = "", *, columns: Sequence[str] | None = None, delimiter: str = ","
    ) -> str:
        """Open one CSV (also .gz) or Parquet file; returns the name to use after FROM.

        CSV values are text, an empty value is null; Parquet keeps its types. `_file` and `_line`
        are added: the line counts records, with a CSV's header as line 1.

        Args:
            file: relative to `path`; nothing if `path` is the file itself.
            columns: the exact columns the file must have, in any order; None takes any.
            delimiter: what separates the values of a CSV.

        Raises:
            LoadError: the file is missing, empty, truncated, no CSV or Parquet, or has the wrong
                columns.
        """
        path = self.path / file if str(file) else self.path
        if not path.is_file():
            raise LoadError(f"{path} is missing: check the folder, or the name of the file.")
        if path.stat().st_size == 0:
            raise LoadError(f"{path} is empty: export it again.")
        content = _fingerprint(path)
        if path.suffix == ".parquet":
            header, reader = self._parquet(path)
        else:
            header, reader = self._csv(path, delimiter)
        _check_columns(path, header, columns)
        view = f"lookbook_file_{len(self.files)}_"
        try:
            self.con.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {reader}")
        except duckdb.Error as error:
            raise LoadError(f"{path} cannot be read: {_first_line(error)}") from error
        self.files[view] = SourceFile(path, path.stat().st_size, content)
        return view

    def _csv(self, path: Path, delimiter: str) -> tuple[list[str], str]:
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rb") as stream:
                line = stream.readline().decode("utf-8-sig")
            header = next(csv.reader([line], delimiter=delimiter), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise LoadError(
                f"{path} has no readable header: save it as CSV in UTF-8 ({error})."
            ) from error
        if len(set(header)) < len(header) or not all(header):
            raise LoadError(
                f"{path} has an empty or repeated column name in its header: {', '.join(header)}."
            )
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
        # A window without order numbers the rows as they stream by, in the order of the file.
        return header, (
            f"SELECT *, {literal(path.name)} AS _file, row_number() OVER () + 1 AS _line "
            f"FROM read_csv({literal(_one_file(path))}, columns = {{{columns}}}, auto_detect = false, "
            f"header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
            "store_rejects = true)"
        )

    def _parquet(self, path: Path) -> tuple[list[str], str]:
        reader = f"read_parquet({literal(_one_file(path))}, file_row_number = true)"
        try:
            found = self.con.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
        except duckdb.Error as error:
            raise LoadError(
                f"{path} is not a complete Parquet file: export or copy it again ({_first_line(error)})."
            ) from error
        header = [str(row[0]) for row in found if row[0] != "file_row_number"]
        values = ", ".join(identifier(name) for name in header)
        return header, (
            f"SELECT {values}, {literal(path.name)} AS _file, file_row_number + 1 AS _line "
            f"FROM {reader}"
        )


def _one_file(path: Path) -> str:
    """DuckDB expands *, ? and [ in paths; a bracket round each makes it mean itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _fingerprint(path: Path) -> str:
    """SHA-256 of the content; reading it to the end also proves that a gzip file is whole."""
    digest = hashlib.sha256()
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LoadError(
            f"{path} is not a complete gzip file: download or copy it again ({error})."
        ) from error
    return digest.hexdigest()


def _check_columns(path: Path, header: list[str], columns: Sequence[str] | None) -> None:
    if columns is None or set(header) == set(columns):
        return
    missing = [name for name in columns if name not in header]
    extra = [name for name in header if name not in columns]
    found = [f"lacks {', '.join(missing)}"] if missing else []
    found += [f"has the unknown {', '.join(extra)}"] if extra else []
    raise LoadError(
        f"{path} has the wrong columns: it {' and '.join(found)}; "
        f"its header must be {','.join(columns)}."
    )
