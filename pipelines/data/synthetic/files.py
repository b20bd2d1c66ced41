"""Writing a shop's files: whole or not at all, streamed, as Parquet or as Kaggle's CSV."""

import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.errors import LookbookError
from feature_repo.raw_tables import RawTable

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""

ROWS_AT_A_TIME = 500_000
"""Rows of a Parquet row group, about; what waits in memory to be written is twice that."""

_TWO_DIGITS = "colour_group_code"
"""Kaggle writes it with a leading zero."""


class ShopError(LookbookError, ValueError):
    """A shop that cannot be made: a bad size, or a folder that cannot be written."""


class TableFile:
    """One raw table's file, written in the background in the order in which rows are given."""

    def __init__(self, folder: Path, table: RawTable, *, csv: bool) -> None:
        name = table.file if csv else f"{Path(table.file).stem}.parquet"
        self._path, self._csv, self._columns = folder / name, csv, table.column_names
        self._writer: pq.ParquetWriter | _CsvWriter | None = None
        self._waiting: list[pa.Table] = []
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        self.rows = 0

    def write(self, rows: pa.Table) -> None:
        self.rows += len(rows)
        self._waiting.append(rows.select(self._columns))
        if sum(map(len, self._waiting)) >= ROWS_AT_A_TIME:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._last is not None:
            self._last.result()
        group = pa.concat_tables(self._waiting).unify_dictionaries()
        self._waiting = []
        self._last = self._pool.submit(self._put, group)

    def _put(self, group: pa.Table) -> None:
        if self._writer is None:
            self._writer = (
                _CsvWriter(self._path, group.column_names)
                if self._csv
                else pq.ParquetWriter(
                    self._path,
                    group.schema,
                    compression="zstd",
                    store_schema=False,
                    dictionary_pagesize_limit=1 << 26,
                )
            )
        self._writer.write(group)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                if self._waiting:
                    self._hand_over()
                if self._last is not None:
                    self._last.result()
        finally:
            self._pool.shutdown()
            if self._writer is not None:
                # What stopped the writing is the error to tell, not that the file has no end.
                with suppress(OSError) if kind is not None else nullcontext():
                    self._writer.close()


def write_table(folder: Path, table: RawTable, rows: pa.Table, *, csv: bool) -> None:
    with TableFile(folder, table, csv=csv) as file:
        file.write(rows)


class _CsvWriter:
    """Kaggle's CSV: quotes only where they are needed, which pyarrow's own writer cannot do."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._file = path.open("wb")
        self._file.write((",".join(columns) + "\n").encode())

    def write(self, rows: pa.Table) -> None:
        if not len(rows):
            return
        values = [
            _as_text(name, column.combine_chunks())
            for name, column in zip(rows.column_names, rows.columns, strict=True)
        ]
        lines = pc.binary_join_element_wise(
            *values, ",", null_handling="replace", null_replacement=""
        )
        whole = pa.ListArray.from_arrays([0, len(lines)], lines)
        self._file.write(pc.binary_join(whole, "\n")[0].as_buffer())
        self._file.write(b"\n")

    def close(self) -> None:
        self._file.close()


def _as_text(name: str, values: pa.Array) -> pa.Array:
    """A column as Kaggle writes it: empty for unknown, 1.0 for a flag, 09 for a colour."""
    if name in ("FN", "Active"):
        return pc.if_else(pc.is_valid(values), "1.0", None)
    text = values.cast(pa.string())
    if name == _TWO_DIGITS:
        return pc.if_else(
            pc.greater_equal(values, 0), pc.utf8_lpad(text, width=2, padding="0"), text
        )
    if pa.types.is_timestamp(values.type):
        return pc.binary_join_element_wise(pc.replace_substring(text, " ", "T"), "Z", "")
    special = pc.match_substring_regex(text, '[",\r\n]')
    if pc.any(special).as_py():
        quoted = pc.replace_substring(text, '"', '""')
        quoted = pc.binary_join_element_wise('"', quoted, '"', "")
        return pc.if_else(special, quoted, text)
    return text


def _clear_leftovers(out: Path) -> None:
    """Remove what killed runs for the same folder left behind."""
    for leftover in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        process = leftover.name.removeprefix(f".{out.name}.").partition("-")[0]
        if (
            process.isdigit()
            and not Path(f"/proc/{process}").exists()
            and Path("/proc/self").exists()
        ):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its place at the end, or disappears.

    Raises:
        ShopError: `out` is not empty, or the place cannot be written.
    """
    out = out.absolute()
    made: list[Path] = []
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ShopError(f"{out} already exists and is not an empty folder.")
        if out.is_mount():
            raise ShopError(f"{out} is where a disk is mounted: name a new folder in it.")
        out = out.resolve()
        _clear_leftovers(out)
        for parent in [p for p in reversed(out.parents) if not p.exists()]:
            parent.mkdir()
            made.append(parent)
        partial = out.parent / f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}.partial"
        partial.mkdir()
        made.append(partial)
        yield partial
        partial.rename(out)
    except BaseException as error:
        for folder in reversed(made):
            # Only what is ours: a parent in which somebody else has written by now stays.
            if folder.name.endswith(".partial"):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, OSError):
            # pyarrow says what it was doing in place of the system's words.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ShopError(f"The shop cannot be written to {out}: {reason}.") from error
        raise
