"""Loading: raw files through an adapter into the schema `raw` of the warehouse.

**Checks.** Every row is held against `feature_repo.raw_tables`. A row that fails in its key or in a
required column goes to `raw.quarantine` with its reason, file and line. A value that fails in any
other column (an age of 999) is unknown from then on: the row stays, and the quarantine tells so
(`row_kept`). A whole file that cannot be right stops the load, and the warehouse is as it was.

**Transactions** have no key, and an exact duplicate is a quantity. So loading is a multiset union
by maximum: of each identical (t_dat, customer_id, article_id, price, sales_channel_id, quantity)
the warehouse holds max(count before, count in this load) rows afterwards. The same file under
another name adds nothing, and a longer export adds what is new. The price of this rule: where two
files split the duplicates of one day between them (one piece in each), the second is taken for the
first; export whole days. The quarantine follows the same rule on (table, reason, row).

**Interactions** have no key either, but no quantity: an event is all its columns, and an exact
duplicate is the same event, within a file and across loads.

**Articles and customers** are one row for each key. Within a load the first row of a key stays, a
later one with other values is quarantined. Across loads the newest values win, of the columns that
the source has. Keys known only from transactions or interactions are rows with null attributes and
`from_transactions`, until a file brings them.
"""

import fcntl
import hashlib
import importlib
import importlib.util
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from feature_repo import places, raw_tables
from feature_repo.raw_tables import INTERACTIONS, RAW_TABLES, Column, RawTable
from feature_repo.stores.connection import DEFAULT_MEMORY_LIMIT, connect
from pipelines.data import adapters
from pipelines.data.adapters import (
    BLANKS,
    LoadError,
    RecordPlaces,
    Source,
    SourceFile,
    literal,
    open_quote,
    record_places,
    served,
)
from pipelines.warehouse import (
    WarehouseError,
    has_table,
    identifier,
    reading,
    transaction,
    writing,
)

__all__ = ["LoadError", "LoadReport", "TableReport", "load"]

FIRST_DAY = date(1900, 1, 1)
"""A date before this was written in another order: DuckDB reads 18-09-20 as the year 18."""

FORMS = {
    "DATE": ("date YYYY-MM-DD", r"\d{4}-\d{2}-\d{2}"),
    "TIMESTAMP": (
        "time YYYY-MM-DD HH:MM:SS",
        r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}(:?\d{2})?)?",
    ),
}
"""How a day and a moment may be written: in words, and exactly. Without a zone it is UTC."""

ROWS_AT_A_TIME = 2_000_000
"""Events merged in one statement: what bounds the memory of a load."""

SUPPLIED_BY_SHOP = ("quantity",)
"""The columns of ours that an adapter may bring."""

SERVED = "served"
"""The adapter of what the service remembers, which is of whatever shop it answers for."""

Adapter = Callable[[Source], dict[str, str]]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class TableReport:
    """What became of the rows of one table: `read` is the sum of loaded, updated, already there,
    set aside and quarantined. All counts are rows."""

    read: int = 0
    loaded: int = 0
    updated: int = 0
    already_there: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    values_left_unknown: dict[str, int] = field(default_factory=dict)
    """Rows that stayed, with a value that could not be right left null, by reason."""
    from_transactions: int = 0
    """Rows added because transactions name a key that no file describes."""
    from_interactions: int = 0
    """The same of interactions: keys that transactions do not name either."""
    unchanged: bool = False
    """These files were loaded before and not read again; the counts are then zero."""


@dataclass(frozen=True)
class LoadReport:
    source: str
    loaded_at: datetime
    tables: dict[str, TableReport]

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "loaded_at": self.loaded_at.isoformat(),
            "tables": {name: asdict(table) for name, table in self.tables.items()},
        }

    def __str__(self) -> str:
        lines = []
        for name, table in self.tables.items():
            if table.unchanged:
                lines.append(f"{name}: these files were loaded before, nothing to do")
            else:
                counts = {
                    "loaded": table.loaded,
                    "updated": table.updated,
                    "already there": table.already_there,
                    "set aside": sum(table.set_aside.values()),
                    "quarantined": sum(table.quarantined.values()),
                }
                said = [f"{n:,} {what}" for what, n in counts.items() if n or what == "loaded"]
                lines.append(f"{name}: {table.read:,} rows read, {', '.join(said)}")
            if table.from_transactions:
                lines.append(f"  {table.from_transactions:,} known from transactions only")
            if table.from_interactions:
                lines.append(f"  {table.from_interactions:,} known from interactions only")
            for what, reasons in (
                ("set aside", table.set_aside),
                ("quarantined", table.quarantined),
                ("value left unknown", table.values_left_unknown),
            ):
                lines += [f"  {what}: {n:,} rows, {reason}" for reason, n in reasons.items()]
        return "\n".join(lines)


def load(
    source: str,
    *,
    add: bool = False,
    progress: Progress = lambda _: None,
    memory_limit: str = DEFAULT_MEMORY_LIMIT,
) -> LoadReport:
    """Load raw files into the warehouse: all of them, or nothing at all.

    Args:
        source: a folder in the Kaggle layout, `ADAPTER:PATH` with a module of
            `pipelines.data.adapters` (`online-retail:FILE`), or `path/to/my_shop.py:PATH` with an
            adapter file of your own, which is run as your own code. `served` alone is what the
            service of this home remembers; a folder of that name is `./served`.
        add: also if what is there came through another adapter, which is mostly another shop.
        progress: called with one line of text at each step.
        memory_limit: in DuckDB's notation; more than this goes to disk.

    Raises:
        LoadError: a file as a whole, or the adapter, cannot be right, or the warehouse holds
            another shop.
        WarehouseError: another load is running, or another process holds the warehouse.
    """
    read, path, rules = _adapter(source)
    recorded = ":".join(_split(source))
    with _scratch_file() as scratch:
        # One load at a time: the order of these times is the order in which the rows came in.
        loaded_at = datetime.now(UTC).replace(tzinfo=None)
        with closing(connect(scratch, read_only=False, memory_limit=memory_limit)) as con:
            staged = _stage(con, read, path, rules, loaded_at.date(), progress)
        if all(table.unchanged for table in staged.values()):
            reports = {name: TableReport(unchanged=True) for name in staged}
            return LoadReport(source, loaded_at, reports)
        with writing(memory_limit=memory_limit) as con:
            if not add:
                _require_same_shop(con, recorded)
            con.execute(f"ATTACH {literal(str(scratch))} AS scratch (READ_ONLY)")
            with transaction(con):
                reports = _merge(con, staged, loaded_at, progress)
                _record(con, recorded, staged, reports, rules, loaded_at)
            progress("done")
    return LoadReport(source, loaded_at, reports)


def _require_same_shop(con: duckdb.DuckDBPyConnection, source: str) -> None:
    """Two shops in one warehouse cannot be told apart again."""
    if not has_table(con, "raw", "loads") or _adapter_name(source) == SERVED:
        return
    for (before,) in con.execute(
        "SELECT DISTINCT source FROM raw.loads ORDER BY source"
    ).fetchall():
        if _adapter_name(before) not in (_adapter_name(source), SERVED):
            raise LoadError(
                f"The warehouse in {places.home()} holds {before}, and {source} would be mixed with "
                "it: set LOOKBOOK_HOME to another folder, or give --add if it is the same shop."
            )


def _adapter_name(source: str) -> str:
    return Path(source.partition(":")[0]).name


@contextmanager
def _scratch_file() -> Iterator[Path]:
    """Where this load's scratch database goes, in a folder of its own that is gone afterwards.

    One load at a time has it. The lock ends with its process, also a killed one, so a folder found
    by who holds the lock is nobody's any more.
    """
    home = places.home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "loading.lock").open("w")
    except OSError as error:
        raise WarehouseError(
            f"{home} cannot be written ({error.strerror}): set LOOKBOOK_HOME to a folder of yours."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WarehouseError(
                f"The warehouse in {home} is in use by another load: wait for it to end, then try again."
            ) from error
        for leftover in home.glob("loading-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="loading-", dir=home) as folder:
            yield Path(folder) / "scratch.duckdb"


# Adapters


def _adapter(source: str) -> tuple[Adapter, Path, str]:
    """The adapter's function, the path to read, and a hash of all that decides what is read."""
    name, path = _split(source)
    if name.endswith(".py"):
        file = Path(name).expanduser()
        spec = importlib.util.spec_from_file_location(file.stem, file)
        if not file.is_file() or spec is None or spec.loader is None:
            raise LoadError(f"The adapter {file} is missing: check its path.")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise LoadError(f"The adapter {file} cannot be imported: {error!r}.") from error
    else:
        file = Path(__file__).parent / "adapters" / f"{name.replace('-', '_')}.py"
        known = sorted(f.stem.replace("_", "-") for f in file.parent.glob("[a-z]*.py"))
        if name not in known:
            raise LoadError(
                f"There is no adapter {name!r}: use one of {', '.join(known)}, or my_shop.py:PATH."
            )
        module = importlib.import_module(f"pipelines.data.adapters.{file.stem}")
    read = getattr(module, "read", None)
    if not callable(read):
        raise LoadError(f"The adapter {file} has no function read(source).")
    code: list[str | Path] = [file, __file__, adapters.__file__, raw_tables.__file__]
    rules = hashlib.sha256(b"".join(Path(part).read_bytes() for part in code)).hexdigest()
    return read, Path(path).expanduser(), rules


def _split(source: str) -> tuple[str, str]:
    if source == SERVED:
        return SERVED, str(served.folder())
    if Path(source).expanduser().exists():
        return "kaggle", source
    if ".py:" in source:
        name, path = source.split(".py:", 1)
        return f"{name}.py", path
    name, colon, path = source.partition(":")
    if not colon or not name or "/" in name:
        raise LoadError(f"{source} is missing: name a folder, or ADAPTER:PATH.")
    return name, path


# Staging: files into checked, typed tables of a scratch database


@dataclass(frozen=True)
class _Staged:
    """One checked table in the scratch database, and what is already known about its rows."""

    table: RawTable
    given: tuple[str, ...] = ()
    """The raw columns that the source has."""
    files: tuple[SourceFile, ...] = ()
    read: int = 0
    repeats: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    values_left_unknown: dict[str, int] = field(default_factory=dict)
    unchanged: bool = False


def _stage(
    con: duckdb.DuckDBPyConnection,
    read: Adapter,
    path: Path,
    rules: str,
    today: date,
    progress: Progress,
) -> dict[str, _Staged]:
    # Chunks are sorted when they are merged, so no earlier step needs to keep an order.
    con.execute("SET preserve_insertion_order = false")
    progress(f"opening {path}")
    source = Source(con, path, loaded=frozenset(_hashes(INTERACTIONS, rules)))
    with _explained(path):
        selects = read(source)
    made = con.execute("SELECT lower(table_name) FROM information_schema.tables").fetchall()
    own = {str(name) for (name,) in made} - set(source.files)
    con.execute(
        "CREATE OR REPLACE TABLE rejected (file VARCHAR, number BIGINT, place BIGINT, line BIGINT, "
        "table_name VARCHAR, reason VARCHAR, row VARCHAR, faults BIGINT)"
    )
    if unknown := sorted(set(selects) - set(RAW_TABLES)):
        raise LoadError(
            f"The adapter gives {', '.join(unknown)}: the raw tables are {', '.join(RAW_TABLES)}."
        )
    for file in source.files.values():
        progress(f"{file.path.name}: {file.bytes / 1e6:,.1f} MB, complete")
    staged: dict[str, _Staged] = {}
    for name, table in RAW_TABLES.items():
        if name not in selects:
            continue
        files = _files_of(selects[name], source.files, own)
        if _loaded_before(table, files, rules):
            progress(f"{name}: the same content was loaded before")
            staged[name] = _Staged(table, files=files, unchanged=True)
            continue
        progress(f"{name}: reading and checking")
        with _explained(path):
            given = _check(con, table, selects[name], today)
            repeats = _settle_repeats(con, table)
            _collect_rejected(con, name, files)
        where = ", ".join(file.path.name for file in files) or str(path)
        _stop_if_hopeless(con, table, where)
        staged[name] = _counted(con, table, given, files, repeats)
        if staged[name].read == 0 and not table.optional:
            raise LoadError(f"{where} holds no {name}, not one row: export it again.")
        progress(f"{name}: {staged[name].read:,} rows read")
    return staged


def _files_of(select: str, opened: dict[str, SourceFile], own: set[str]) -> tuple[SourceFile, ...]:
    """The files whose views a SELECT names. If it names none, or a table or view that the adapter
    made of its own, the rows may come from any."""
    named = tuple(file for view, file in opened.items() if view in select)
    if named and not any(name in select.lower() for name in own):
        return named
    return tuple(opened.values())


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """DuckDB's errors about a file or an adapter's SQL, as one sentence."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        if "state machine reached an invalid state" in text:
            file = re.search(r"^ *file = (.+)$", text, re.M)
            raise LoadError(
                f"{file[1] if file else path} mixes line ends (LF, CR LF, or a CR within a line): "
                "save it with one of them."
            ) from error
        raise LoadError(
            f"{path} cannot be read with this adapter: {text.splitlines()[0]}"
        ) from error


def _loaded_before(table: RawTable, files: tuple[SourceFile, ...], rules: str) -> bool:
    """Whether reading these files again could change nothing. Transactions only ever grow; for
    the others a newer file may have replaced values, so only the latest load counts."""
    if not files:
        return False
    wanted, found = {file.sha256 for file in files}, _hashes(table, rules)
    return wanted == found if table.key else wanted <= found


def _hashes(table: RawTable, rules: str) -> set[str]:
    """Of the files of which a table was loaded with these rules; if it has a key, in the latest load of it."""
    if not places.warehouse_file().exists():
        return set()
    with reading() as con:
        if not has_table(con, "raw", "loads"):
            return set()
        latest = (
            "AND loaded_at = (SELECT max(loaded_at) FROM raw.loads WHERE table_name = ?)"
            if table.key
            else "AND ? IS NOT NULL"
        )
        known = con.execute(
            f"SELECT sha256 FROM raw.loads WHERE table_name = ? AND rules = ? {latest}",
            [table.name, rules, table.name],
        ).fetchall()
    return {row[0] for row in known}


def _check(
    con: duckdb.DuckDBPyConnection, table: RawTable, select: str, today: date
) -> tuple[str, ...]:
    """Fill scratch table `table.name` with typed values, and for rows that fail the reasons and
    their values as text. Returns the raw columns that the source has."""
    columns = _columns(table)
    present = {
        str(name): str(kind) for name, kind, *_ in con.execute(f"DESCRIBE {select}").fetchall()
    }
    given = tuple(c.name for c in columns if c.name in present)
    extra = set(present) - {c.name for c in columns} - {"_file", "_line", "_set_aside"}
    missing = [c.name for c in columns if c.required and c.name not in present]
    if extra or missing:
        raise LoadError(
            f"The adapter's {table.name} "
            + " and ".join(
                [f"lack the required {', '.join(missing)}"] * bool(missing)
                + [f"have the unknown {', '.join(sorted(extra))}"] * bool(extra)
            )
            + ": see feature_repo/raw_tables.py."
        )
    texts = [
        f"nullif({_text(c, present[c.name])}, '') AS {identifier(c.name)}"
        if c.name in given
        else f"CAST(NULL AS VARCHAR) AS {identifier(c.name)}"
        for c in columns
    ]
    texts += [
        f"CAST({name} AS {kind}) AS {name}"
        if name in present
        else f"CAST(NULL AS {kind}) AS {name}"
        for name, kind in (("_file", "VARCHAR"), ("_line", "BIGINT"), ("_set_aside", "VARCHAR"))
    ]
    wrong = [_fault(c, today) for c in columns if _essential(c)]
    unknown = [_fault(c, today) for c in columns if not _essential(c)]
    values = ", ".join(
        f"{_typed(c)} AS {identifier(c.name)}"
        if _essential(c)
        else f"CASE WHEN _unknown IS NULL OR ({_fault(c, today)}) IS NULL THEN {_typed(c)} END "
        f"AS {identifier(c.name)}"
        for c in columns
    )
    row = ", ".join(f"{identifier(name)} := {identifier(name)}" for name in given)
    con.execute(
        f"""
        CREATE OR REPLACE TABLE {identifier(table.name)} AS
        WITH given AS (SELECT {", ".join(texts)} FROM ({select})),
        judged AS (
            SELECT *,
                CASE WHEN _set_aside IS NULL THEN {_joined(wrong)} END AS _wrong,
                CASE WHEN _set_aside IS NULL THEN {_joined(unknown)} END AS _unknown
            FROM given)
        SELECT {values}, _file, _line, _set_aside, _wrong, _unknown,
            CASE WHEN _wrong IS NOT NULL OR _unknown IS NOT NULL
                THEN CAST(to_json(struct_pack({row})) AS VARCHAR) END AS _row
        FROM judged"""
    )
    return given


def _columns(table: RawTable) -> list[Column]:
    return [*table.columns, *(c for c in table.ours if c.name in SUPPLIED_BY_SHOP)]


def _essential(column: Column) -> bool:
    """Without this value the row means nothing; a quantity, if given, decides what was bought."""
    return column.required or column.name in SUPPLIED_BY_SHOP


def _joined(faults: list[str]) -> str:
    return f"nullif(concat_ws('; ', {', '.join(faults)}), '')" if faults else "NULL"


def _text(column: Column, kind: str) -> str:
    """A value as the text that is checked. A timestamp is cut to its day where a day is wanted; a
    text is not: what stands after the day may mean another one."""
    name = identifier(column.name)
    if column.type == "DATE" and kind.startswith("TIMESTAMP"):
        name = f"CAST({name} AS DATE)"
    text = f"CAST({name} AS VARCHAR)"
    return f"trim({text}, {BLANKS})" if column.required and kind == "VARCHAR" else text


def _typed(column: Column) -> str:
    name = identifier(column.name)
    if column.type in ("INTEGER", "TINYINT"):
        value = f"TRY_CAST(TRY_CAST({name} AS DOUBLE) AS {column.type})"
        return f"coalesce({value}, 1)" if column.name == "quantity" else value
    if column.type == "TIMESTAMP":
        # Only a cast by way of TIMESTAMPTZ heeds an offset; it takes four times as long.
        return (
            f"CASE WHEN regexp_matches(substr({name}, 20), '[+-]') "
            f"THEN CAST(TRY_CAST({name} AS TIMESTAMPTZ) AS TIMESTAMP) "
            f"ELSE TRY_CAST({name} AS TIMESTAMP) END"
        )
    return name if column.type == "VARCHAR" else f"TRY_CAST({name} AS {column.type})"


def _unreadable(column: Column) -> str:
    """The fault of a text that is no value of the column's type: enough of these, and the whole
    column is wrong."""
    if column.type in FORMS:
        return f"{column.name} is not a {FORMS[column.type][0]}"
    if column.values:
        return f"{column.name} is not one of {', '.join(column.values)}"
    if column.pattern:
        return f"{column.name} does not match {column.pattern}"
    kind = "whole number" if column.type in ("INTEGER", "TINYINT") else "number"
    return f"{column.name} is not a {kind}"


def _fault(column: Column, today: date) -> str:
    """SQL for what is wrong with a column's text: null if nothing is."""
    name, typed = identifier(column.name), _typed(column)
    cases = []
    if column.required:
        cases.append((f"{name} IS NULL", f"{column.name} is missing"))
    if column.pattern:
        cases.append(
            (f"NOT regexp_full_match({name}, {literal(column.pattern)})", _unreadable(column))
        )
    elif column.values:
        allowed = ", ".join(literal(value) for value in column.values)
        cases.append((f"{name} NOT IN ({allowed})", _unreadable(column)))
    elif column.type == "VARCHAR":
        cases.append((f"contains({name}, chr(0))", f"{column.name} holds a NUL character"))
        if column.required:
            # A quote left open and closed lines later is good CSV, and swallows the lines between.
            cases.append((f"contains({name}, chr(10))", f"{column.name} holds a line break"))
    if column.type in FORMS:
        cases.append(
            (
                f"NOT regexp_full_match({name}, {literal(FORMS[column.type][1])}) "
                f"OR {name} IS NOT NULL AND coalesce({typed} < DATE '{FIRST_DAY}', true)",
                _unreadable(column),
            )
        )
        tomorrow = today + timedelta(days=1)
        cases.append((f"{typed} >= DATE '{tomorrow}'", f"{column.name} is in the future"))
    elif column.type != "VARCHAR":
        number = f"TRY_CAST({name} AS DOUBLE)"
        readable = (
            f"isfinite({number})"
            if column.type == "DOUBLE"
            else f"{number} = TRY_CAST({number} AS {column.type})"
        )
        cases.append(
            (f"{name} IS NOT NULL AND NOT coalesce({readable}, false)", _unreadable(column))
        )
        if column.above is not None:
            cases.append(
                (f"{number} <= {column.above}", f"{column.name} is not above {_said(column.above)}")
            )
        if column.minimum is not None:
            cases.append(
                (f"{number} < {column.minimum}", f"{column.name} is below {_said(column.minimum)}")
            )
        if column.maximum is not None:
            cases.append(
                (f"{number} > {column.maximum}", f"{column.name} is above {_said(column.maximum)}")
            )
    whens = " ".join(f"WHEN {condition} THEN {literal(reason)}" for condition, reason in cases)
    return f"CASE {whens} END" if whens else "CAST(NULL AS VARCHAR)"


def _said(number: float) -> str:
    return f"{number:,.15g}"


def _collect_rejected(
    con: duckdb.DuckDBPyConnection, name: str, files: tuple[SourceFile, ...]
) -> None:
    """Copy the lines that are no CSV into `rejected`, and set the lines of the rows that go to
    quarantine. A rejected line belongs to the last table that reads its file."""
    csvs = {file.path.name: file for file in files if file.delimiter}
    if con.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchone():
        con.execute("DELETE FROM rejected WHERE list_contains(?, file)", [list(csvs)])
        # DuckDB's `line` counts blank lines; its `byte_position` is always inside the line.
        con.execute(
            """
            INSERT INTO rejected
            SELECT file, number, min(place), NULL, $1, arg_min(reason, (place, reason)),
                arg_min(row, (place, reason)), count(*) FROM (
                SELECT DISTINCT parse_filename(s.file_path) AS file, e.line AS number,
                    e.byte_position - 1 AS place, trim(e.csv_line, chr(10) || chr(13)) AS row,
                    CASE e.error_type
                        WHEN 'MISSING COLUMNS' THEN 'the line has too few values'
                        WHEN 'TOO MANY COLUMNS' THEN 'the line has too many values'
                        WHEN 'INVALID ENCODING' THEN 'the line is not UTF-8'
                        WHEN 'UNQUOTED VALUE' THEN 'a quote in the line is not closed'
                        ELSE 'the line is no CSV: ' || lower(CAST(e.error_type AS VARCHAR)) END AS reason
                FROM reject_errors e JOIN reject_scans s USING (scan_id, file_id)
                WHERE list_contains($2, parse_filename(s.file_path)))
            GROUP BY file, number""",
            [name, list(csvs)],
        )
    for file_name, file in csvs.items():
        bad, reason = con.execute(
            "SELECT count(*), mode(reason) FROM rejected WHERE file = ?", [file_name]
        ).fetchall()[0]
        places = record_places(file, [])
        if places.count >= 10 and bad > 0.9 * places.count:
            raise LoadError(
                f"{file_name}: {bad:,} of {places.count:,} lines do not fit the header, most often "
                f"because {reason}: export it again."
            )
        numbers: list[int] = []
        if bad:
            found = con.execute(
                "SELECT number, place FROM rejected WHERE file = ? ORDER BY place", [file_name]
            ).fetchall()
            numbers = [number for number, _ in found]
            places = record_places(file, [place for _, place in found])
        _set_lines(con, name, file_name, numbers, places)


def _set_lines(
    con: duckdb.DuckDBPyConnection,
    name: str,
    file_name: str,
    numbers: list[int],
    places: RecordPlaces,
) -> None:
    """Turn the number of a row, which counts what DuckDB accepted, into its line in the file."""
    # Where a line has several faults, what DuckDB shows of it may be a part, or the line before.
    con.execute(
        """
        UPDATE rejected SET line = found.line,
            row = CASE WHEN faults = 1 OR starts_with(row, text) THEN row ELSE text END
        FROM (SELECT unnest($2::BIGINT[]) AS number, unnest($3::BIGINT[]) AS line,
                unnest($4::VARCHAR[]) AS text) AS found
        WHERE file = $1 AND rejected.number = found.number""",
        [file_name, numbers, places.lines, places.texts],
    )
    # The parser swallows all lines up to the next quote, so they would be lost without a word.
    swallowing = con.execute(
        """SELECT line FROM rejected WHERE file = ? AND contains(row, chr(10))
        AND reason IN ('a quote in the line is not closed', 'the line is no CSV: line size over maximum')
        ORDER BY line LIMIT 1""",
        [file_name],
    ).fetchone()
    if swallowing:
        raise open_quote(file_name, swallowing[0])
    # An accepted row comes after the rejected record r, the jth, if its number is r - j or more.
    rejected = np.array(places.records, dtype=np.int64)
    after = rejected - np.arange(len(rejected))
    first, ahead = np.array(places.first), np.array(places.ahead)
    steps = np.unique(np.concatenate([first - np.searchsorted(rejected, first), after]))
    records = steps + np.searchsorted(after, steps, side="right")
    shifts = records - steps + ahead[np.searchsorted(first, records, side="right") - 1]
    con.execute(
        f"""
        UPDATE {identifier(name)} AS t SET _line = bad.number + bad.shift
        FROM (
            SELECT id, number, shift FROM
                (SELECT rowid AS id, _line - 1 AS number FROM {identifier(name)}
                 WHERE _row IS NOT NULL AND _file = $1) AS named
            ASOF JOIN (SELECT unnest($2::BIGINT[]) AS step, unnest($3::BIGINT[]) AS shift)
            ON named.number >= step) AS bad
        WHERE t.rowid = bad.id""",
        [file_name, steps.tolist(), shifts.tolist()],
    )


def _stop_if_hopeless(con: duckdb.DuckDBPyConnection, table: RawTable, where: str) -> None:
    """Tell a wrong column from a few wrong values: a date or time column stops the load if more than
    half is none, any other required column if more than nine in ten (of ten or more) are unreadable."""
    name = identifier(table.name)
    for column in table.columns:
        form = column.type != "VARCHAR" or column.pattern or column.values
        if not (column.required and form):
            continue
        fault = _unreadable(column)
        lost = f"contains(_wrong, {literal(fault)}) OR contains(_wrong, {literal(column.name + ' is missing')})"
        rows, bad, line, example = con.execute(
            f"""SELECT count(*) FILTER (_set_aside IS NULL), count(*) FILTER ({lost}),
                min(_line) FILTER ({lost}), arg_min(json_extract_string(_row, ?), _line) FILTER ({lost})
            FROM {name}""",
            [f"$.{column.name}"],
        ).fetchall()[0]
        enough = bad > rows / 2 if column.type in FORMS else rows >= 10 and bad > 0.9 * rows
        if enough:
            raise LoadError(
                f"{where}: in {bad:,} of {rows:,} rows {fault}, for example {example!r} in line "
                f"{line}: write the column {column.name} in that form and load again."
            )


def _settle_repeats(con: duckdb.DuckDBPyConnection, table: RawTable) -> int:
    """Of the rows with one key keep the first; returns the number of equal ones, which are
    deleted. Those with other values are marked for the quarantine."""
    if not table.key:
        return 0
    name, key = identifier(table.name), ", ".join(identifier(k) for k in table.key)
    values = ", ".join(f"{identifier(c)} := {identifier(c)}" for c in table.column_names)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE repeats AS
        SELECT id, row = first_row AS same, row FROM (
            SELECT rowid AS id, CAST(to_json(struct_pack({values})) AS VARCHAR) AS row,
                first_value(row) OVER first AS first_row, row_number() OVER first AS nth
            FROM {name}
            WHERE _wrong IS NULL AND _set_aside IS NULL AND ({key}) IN (
                SELECT {"(" + key + ")" if len(table.key) > 1 else key} FROM {name}
                WHERE _wrong IS NULL AND _set_aside IS NULL GROUP BY {key} HAVING count(*) > 1)
            WINDOW first AS (PARTITION BY {key} ORDER BY _file, _line, rowid))
        WHERE nth > 1"""
    )
    con.execute(
        f"""UPDATE {name} SET _row = coalesce(_row, row), _unknown = NULL, _wrong = ?
        FROM repeats WHERE {name}.rowid = id AND NOT same""",
        [f"another row has the same {' and '.join(table.key)} and other values; the first stays"],
    )
    con.execute(f"DELETE FROM {name} USING repeats WHERE {name}.rowid = id AND same")
    found = con.execute("SELECT count(*) FROM repeats WHERE same").fetchone()
    return int(found[0]) if found else 0


def _counted(
    con: duckdb.DuckDBPyConnection,
    table: RawTable,
    given: tuple[str, ...],
    files: tuple[SourceFile, ...],
    repeats: int,
) -> _Staged:
    def by(reason: str, relation: str) -> dict[str, int]:
        return dict(
            con.execute(
                f"SELECT {reason}, count(*) FROM {relation} GROUP BY 1 ORDER BY 2 DESC, 1"
            ).fetchall()
        )

    name = identifier(table.name)
    lines = by("reason", f"rejected WHERE table_name = {literal(table.name)}")
    rows = con.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
    return _Staged(
        table,
        given,
        files,
        read=rows + repeats + sum(lines.values()),
        repeats=repeats,
        set_aside=by("_set_aside", f"{name} WHERE _set_aside IS NOT NULL"),
        quarantined=by("_wrong", f"{name} WHERE _wrong IS NOT NULL") | lines,
        values_left_unknown=by("_unknown", f"{name} WHERE _wrong IS NULL AND _unknown IS NOT NULL"),
    )


# Merging: checked tables into the warehouse, in one transaction


def _merge(
    con: duckdb.DuckDBPyConnection,
    staged: dict[str, _Staged],
    loaded_at: datetime,
    progress: Progress,
) -> dict[str, TableReport]:
    _create_tables(con)
    reports: dict[str, TableReport] = {}
    for name, part in staged.items():
        if part.unchanged:
            reports[name] = TableReport(unchanged=True)
            continue
        progress(f"{name}: merging into the warehouse")
        if part.table.key:
            loaded, updated = _merge_keyed(con, part)
        else:
            loaded, updated = _merge_events(con, part.table, loaded_at, progress), 0
        lost = sum(part.set_aside.values()) + sum(part.quarantined.values())
        reports[name] = TableReport(
            read=part.read,
            loaded=loaded,
            updated=updated,
            already_there=part.read - lost - loaded - updated,
            set_aside=part.set_aside,
            quarantined=part.quarantined,
            values_left_unknown=part.values_left_unknown,
        )
        _merge_quarantine(con, part, loaded_at)
        progress(f"{name}: {loaded:,} new rows")
    for part in staged.values():
        if not part.unchanged:
            _add_named_keys(con, part.table, reports)
    return {name: reports[name] for name in RAW_TABLES if name in reports}


def _add_named_keys(
    con: duckdb.DuckDBPyConnection, events: RawTable, reports: dict[str, TableReport]
) -> None:
    """Rows for the keys that events name and no table has yet."""
    for column, name in events.references.items():
        added = _count(
            con.execute(
                f"""INSERT INTO {identifier("raw", name)} BY NAME
                SELECT DISTINCT {identifier(column)}, true AS from_transactions
                FROM {identifier("scratch", events.name)} ANTI JOIN {identifier("raw", name)}
                    USING ({identifier(column)})
                WHERE _wrong IS NULL AND _set_aside IS NULL ORDER BY 1"""
            )
        )
        known = asdict(reports.get(name, TableReport()))
        reports[name] = TableReport(**(known | {f"from_{events.name}": added}))


def _create_tables(con: duckdb.DuckDBPyConnection) -> None:
    for table in RAW_TABLES.values():
        con.execute(table.create)
    con.execute(
        "CREATE TABLE IF NOT EXISTS raw.quarantine (loaded_at TIMESTAMP, file VARCHAR, line BIGINT, "
        "table_name VARCHAR, reason VARCHAR, row VARCHAR, row_kept BOOLEAN)"
    )
    # One row for each file and table of a load, or for the table if its adapter opened no file; the
    # counts are those of the table in that load.
    con.execute(
        "CREATE TABLE IF NOT EXISTS raw.loads (loaded_at TIMESTAMP, source VARCHAR, file VARCHAR, "
        "bytes BIGINT, sha256 VARCHAR, rules VARCHAR, table_name VARCHAR, rows_read BIGINT, "
        "loaded BIGINT, updated BIGINT, already_there BIGINT, set_aside BIGINT, quarantined BIGINT, "
        "report VARCHAR)"
    )


def _count(result: duckdb.DuckDBPyConnection) -> int:
    """The rows that an INSERT or UPDATE changed."""
    return int(result.fetchall()[0][0])


def _merge_keyed(con: duckdb.DuckDBPyConnection, part: _Staged) -> tuple[int, int]:
    """New keys in, changed values over; returns the rows of each."""
    table, keys = part.table, [identifier(k) for k in part.table.key]
    target, arriving = identifier("raw", table.name), identifier("scratch", table.name)
    good = "_wrong IS NULL AND _set_aside IS NULL"
    given = [identifier(c) for c in part.given]
    values = [c for c in given if c not in keys]
    differs = " OR ".join(
        ["t.from_transactions", *(f"t.{c} IS DISTINCT FROM s.{c}" for c in values)]
    )
    updated = _count(
        con.execute(
            f"""UPDATE {target} AS t
            SET {", ".join([*(f"{c} = s.{c}" for c in values), "from_transactions = false"])}
            FROM (SELECT * FROM {arriving} WHERE {good}) AS s
            WHERE {" AND ".join(f"t.{k} = s.{k}" for k in keys)} AND ({differs})"""
        )
    )
    loaded = _count(
        con.execute(
            f"""INSERT INTO {target} BY NAME
            SELECT {", ".join(given)}, false AS from_transactions
            FROM {arriving} ANTI JOIN {target} USING ({", ".join(keys)})
            WHERE {good} ORDER BY {", ".join(keys)}"""
        )
    )
    return loaded, updated


def _merge_events(
    con: duckdb.DuckDBPyConnection, table: RawTable, loaded_at: datetime, progress: Progress
) -> int:
    """The multiset union by maximum, or the union of sets if the table has no quantities, a run of
    whole days at a time; returns the rows added."""
    identity = ", ".join(identifier(c.name) for c in _columns(table))
    target, moment = identifier("raw", table.name), identifier(table.moment)
    good = f"FROM {identifier('scratch', table.name)} WHERE _wrong IS NULL AND _set_aside IS NULL"
    days = con.execute(
        f"SELECT CAST({moment} AS DATE), count(*) {good} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    [(newest,)] = con.execute(f"SELECT max(known_at) FROM {target}").fetchall()
    # What comes in now is later than all that is there, also where a clock has gone back.
    known_at = max(loaded_at, newest + timedelta(microseconds=1)) if newest else loaded_at
    added = 0
    while days:
        rows, last = 0, 0
        while last < len(days) and (last == 0 or rows + days[last][1] <= ROWS_AT_A_TIME):
            rows, last = rows + days[last][1], last + 1
        span = [days[0][0], days[last - 1][0] + timedelta(days=1)]
        within = f"{moment} >= $1 AND {moment} < $2"
        arriving = f"SELECT {identity} {good} AND {within}"
        known = f"SELECT {identity} FROM {target} WHERE {within}"
        if not table.quantities:
            arriving = f"{arriving} EXCEPT {known}"
        elif con.execute(f"{known} LIMIT 1", span).fetchone():
            arriving = f"""
                WITH arriving AS (
                    SELECT *, count(*) AS pieces FROM ({arriving}) GROUP BY ALL),
                known AS (
                    SELECT *, count(*) AS pieces FROM ({known}) GROUP BY ALL)
                SELECT {identity}, unnest(range(arriving.pieces - coalesce(known.pieces, 0)))
                FROM arriving LEFT JOIN known USING ({identity})"""
        added += _count(
            con.execute(
                f"""INSERT INTO {target} BY NAME
                SELECT {identity}, CAST($3 AS TIMESTAMP) AS known_at FROM ({arriving})
                ORDER BY {moment}, customer_id, article_id""",
                [*span, known_at],
            )
        )
        progress(f"{table.name}: {added:,} new rows, through {days[last - 1][0]}")
        days = days[last:]
    return added


def _merge_quarantine(con: duckdb.DuckDBPyConnection, part: _Staged, loaded_at: datetime) -> None:
    con.execute(
        f"""
        INSERT INTO raw.quarantine BY NAME
        WITH arriving AS (
            SELECT _file AS file, _line AS line, coalesce(_wrong, _unknown) AS reason, _row AS row,
                _wrong IS NULL AS row_kept
            FROM {identifier("scratch", part.table.name)} WHERE _row IS NOT NULL
            UNION ALL
            SELECT file, line, reason, row, false FROM scratch.rejected WHERE table_name = $1),
        numbered AS (
            SELECT *, row_number() OVER (PARTITION BY reason, row ORDER BY file, line) AS nth
            FROM arriving),
        known AS (
            SELECT reason, row, count(*) AS pieces FROM raw.quarantine WHERE table_name = $1
            GROUP BY ALL)
        SELECT CAST($2 AS TIMESTAMP) AS loaded_at, file, line, $1 AS table_name, reason, row, row_kept
        FROM numbered LEFT JOIN known USING (reason, row)
        WHERE nth > coalesce(pieces, 0) ORDER BY file, line""",
        [part.table.name, loaded_at],
    )


def _record(
    con: duckdb.DuckDBPyConnection,
    source: str,
    staged: dict[str, _Staged],
    reports: dict[str, TableReport],
    rules: str,
    loaded_at: datetime,
) -> None:
    for name, part in staged.items():
        if part.unchanged:
            continue
        report = reports[name]
        for file in part.files or (None,):
            con.execute(
                f"INSERT INTO raw.loads VALUES ({', '.join('?' * 14)})",
                [
                    loaded_at,
                    source,
                    str(file.path) if file else None,
                    file.bytes if file else None,
                    file.sha256 if file else None,
                    rules,
                    name,
                    report.read,
                    report.loaded,
                    report.updated,
                    report.already_there,
                    sum(report.set_aside.values()),
                    sum(report.quarantined.values()),
                    json.dumps(asdict(report)),
                ],
            )
