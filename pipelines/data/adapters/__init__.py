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
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import duckdb
import numpy as np

from feature_repo.errors import LookbookError
from pipelines.warehouse import identifier

CHUNK = 1 << 18

BLANKS = "' ' || chr(9) || chr(160)"
"""SQL for the characters that are cut from both ends of ids, dates and numbers."""


class LoadError(LookbookError, ValueError):
    """Raw files cannot be loaded; the text names file and field and says what to do."""


def literal(text: str) -> str:
    """Quote a text for SQL where DuckDB takes no bound value: in views and options of a reader."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class SourceFile:
    """A file that an adapter reads. `sha256` is of the content without compression, so the same
    data is recognised under another name and zipped or not; `bytes` is the size on disk;
    `delimiter` is None if it is no CSV."""

    path: Path
    bytes: int
    sha256: str
    delimiter: str | None = None


@dataclass
class Source:
    """What an adapter reads from: `path` as the user gave it, `rows()` to open the files there.

    `con` is a scratch DuckDB database, never the warehouse.
    """

    con: duckdb.DuckDBPyConnection
    path: Path
    files: dict[str, SourceFile] = field(default_factory=dict)
    """The files opened so far, by the name of their view."""
    loaded: frozenset[str] = frozenset()
    """`sha256` of the files whose interactions this adapter, as it is, has brought into the warehouse already."""

    def rows(
        self, file: str | Path = "", *, columns: Sequence[str] | None = None, delimiter: str = ","
    ) -> str:
        """Open one CSV (also .gz) or Parquet file; returns the name to use after FROM.

        CSV values are text, an empty value is null; Parquet keeps its types. `_file` and `_line`
        are added: the line counts records, with a CSV's header as line 1. What goes to quarantine
        gets the line of the file, as an editor counts it.

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
        split = None if path.suffix == ".parquet" else delimiter
        self.files[view] = SourceFile(path, path.stat().st_size, content, split)
        return view

    def _csv(self, path: Path, delimiter: str) -> tuple[list[str], str]:
        try:
            with _bytes(path) as stream:
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
        # A window without order numbers the rows as they stream by, in the order of the file. Read in
        # parallel (which would not be faster here), DuckDB 2.0 loses all that follows a bad line at
        # the start of the last piece of a file.
        return header, (
            f"SELECT *, {literal(path.name)} AS _file, row_number() OVER () + 1 AS _line "
            f"FROM read_csv({literal(_one_file(path))}, columns = {{{columns}}}, auto_detect = false, "
            f"header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
            "store_rejects = true, parallel = false)"
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


def open_quote(file_name: str, line: int) -> LoadError:
    return LoadError(
        f"{file_name}, line {line}: a quote is opened and never closed, so the lines after it cannot "
        "be told apart: close it, or double it if it is part of the text."
    )


@dataclass
class RecordPlaces:
    """Where the records of a CSV stand in its file; the first record after the header is 1.

    From record `first[i]` on, and before `first[i + 1]`, the file has `ahead[i]` lines more than
    records: the header, blank lines, and line breaks inside values. `records`, `lines` and `texts`
    belong to the bytes that were asked for: their record, and the number and text of its first line.
    """

    first: list[int] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    count: int = 0
    """The records after the header."""


def record_places(file: SourceFile, offsets: Sequence[int]) -> RecordPlaces:
    """Find the lines of a CSV's records, as DuckDB tells the records apart.

    Args:
        file: a CSV.
        offsets: of bytes in the content without compression, ascending; a line end belongs to the
            line that it ends.

    Raises:
        LoadError: a quote is never closed. DuckDB then ends without a word.
    """
    places, record, asked = RecordPlaces(), 0, 0
    for lines, at, end, line, several in _records(file):
        if not places.ahead or line - record != places.ahead[-1]:
            places.first.append(record)
            places.ahead.append(line - record)
        while asked < len(offsets) and offsets[asked] < end:
            here = offsets[asked] - at if several else 0
            before = lines.count(b"\n", 0, here)
            stop = lines.find(b"\n", here)
            text = lines[lines.rfind(b"\n", 0, here) + 1 : stop if stop >= 0 else None]
            places.records.append(record + before)
            places.lines.append(line + before)
            places.texts.append(text.rstrip(b"\r").decode(errors="replace"))
            asked += 1
        record += _line_count(lines) if several else 1
    places.count = record - 1
    return places


def _records(file: SourceFile) -> Iterator[tuple[bytes, int, int, int, bool]]:
    """(lines, offset of their first byte and of the next line's, number of the first line, whether
    they are several records of one line each); else they are the first line of one record. The last
    end is behind the end of a file without a last line end. Blank lines are left out."""
    delimiter = (file.delimiter or ",").encode()
    end, line, inside = 0, 1, False
    with _bytes(file.path) as stream:
        while chunk := stream.read(CHUNK) + stream.readline():
            if not inside and _is_plain(chunk, delimiter):
                at, end = end, end + len(chunk) + (not chunk.endswith(b"\n"))
                yield chunk, at, end, line, True
                line += _line_count(chunk)
                continue
            for text in io.BytesIO(chunk):
                if not inside:
                    first, at, begun = text, end, line
                blank = not inside and not text.strip(b"\r\n")
                inside = _goes_on(text, inside, delimiter)
                end, line = end + len(text), line + 1
                if not (inside or blank):
                    yield first, at, end + (not text.endswith(b"\n")), begun, False
    if inside:
        raise open_quote(file.path.name, begun)


def _line_count(lines: bytes) -> int:
    return lines.count(b"\n") + (not lines.endswith(b"\n"))


def _is_plain(lines: bytes, delimiter: bytes) -> bool:
    """Whether each of these lines is a record, by a quick test that may say no to some that are."""
    blank = b"\n\n" in lines or b"\n\r\n" in lines or lines.startswith((b"\n", b"\r\n"))
    return not blank and (b'"' not in lines or _quotes_are_plain(lines, delimiter))


def _quotes_are_plain(lines: bytes, delimiter: bytes) -> bool:
    """Whether each quote plainly opens a value or closes one in the same line."""
    if len(delimiter) != 1:
        return False
    text = np.frombuffer(b"\n" + lines + b"\n", dtype=np.uint8)
    quotes, breaks = np.flatnonzero(text == ord('"')), np.flatnonzero(text == ord("\n"))
    opens = np.isin(text[quotes - 1], [ord(delimiter), ord("\n")])
    closes = np.isin(text[quotes + 1], [ord(delimiter), ord("\n"), ord("\r")])
    if len(quotes) % 2 or not (opens != closes).all() or not (opens[::2] & closes[1::2]).all():
        return False
    line = np.searchsorted(breaks, quotes)
    return bool((line[::2] == line[1::2]).all())


def _goes_on(line: bytes, inside: bool, delimiter: bytes) -> bool:
    """Whether a quoted value that a line holds goes on in the next line; `inside` says whether the
    line begins in one. What follows a closing quote spoils only its own line."""
    here = 0
    while True:
        if not inside:
            value = here
            while line[value : value + 1] == b" ":
                value += 1
            if line[value : value + 1] != b'"':
                end = line.find(delimiter, here)
                if end < 0:
                    return False
                here = end + len(delimiter)
                continue
            here = value + 1
        quote = line.find(b'"', here)
        if quote < 0:
            return True
        if line[quote + 1 : quote + 2] == b'"':
            inside, here = True, quote + 2
            continue
        rest = line[quote + 1 :].lstrip(b" ")
        if not rest.startswith(delimiter):
            return False
        inside, here = False, len(line) - len(rest) + len(delimiter)


def _bytes(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _one_file(path: Path) -> str:
    """DuckDB expands *, ? and [ in paths; a bracket round each makes it mean itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _fingerprint(path: Path) -> str:
    """SHA-256 of the content; reading it to the end also proves that a gzip file is whole."""
    digest = hashlib.sha256()
    try:
        with _bytes(path) as stream:
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
