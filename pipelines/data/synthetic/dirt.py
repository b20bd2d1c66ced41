"""Dirt: the defects that real files have, planted in a clean made-up shop and listed.

`plant` rewrites the CSV files of a freshly made shop and writes `dirt.json`, the manifest. What the
manifest expects follows from what was planted, so that a load can be held against it: it must set
aside the listed lines for the listed reasons, and no others.

A quote that is opened and never closed is not planted: it swallows the rest of the file, so loading
stops there and names the line.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.raw_tables import RAW_TABLES, RawTable
from pipelines.data.synthetic.files import ShopError
from pipelines.reports.words import many

__all__ = ["MANIFEST", "DirtError", "plant"]

MANIFEST = "dirt.json"
CHUNK = 1 << 22
ROWS_FOR_EACH = 100_000
"""A kind is planted twice, and once more for every so many rows from the third on."""

QUARANTINED, UNKNOWN, KEPT = "quarantined", "value left unknown", "kept"

Row = dict[str, str | bytes]
"""The values of a line by column; bytes are written as they are, a text is quoted if it must be."""
Change = Callable[[Row, np.random.Generator], list[bytes]]
"""From a clean row to the lines that take its place, without line ends."""


class DirtError(ShopError):
    """Dirt cannot be planted in this folder; the text says why."""


@dataclass(frozen=True)
class _Defect:
    """One way in which a line is wrong, or odd, and what loading must make of it."""

    kind: str
    done: str
    change: Change
    expected: str
    reason: str | None = None
    at: int | None = 0
    """Which of the lines written is the defect; None if there is none."""
    rows: int = 0
    """By how many rows the loaded table differs from the clean one."""
    loses_key: bool = False
    """The row of a key is gone: it is planted only where transactions name the key."""
    names_key_of: str = ""
    """The table whose keys do not have what the line names."""


# What is done to a row


def _join(values: Iterable[str | bytes]) -> bytes:
    return b",".join(v if isinstance(v, bytes) else _quoted(v) for v in values)


def _quoted(text: str) -> bytes:
    if any(c in text for c in ',"\r\n'):
        text = '"' + text.replace('"', '""') + '"'
    return text.encode()


def _edit(column: str, change: Callable[[str], str | bytes]) -> Change:
    return lambda row, _: [_join((row | {column: change(str(row[column]))}).values())]


def _whole(change: Callable[[list[str | bytes]], list[str | bytes]]) -> Change:
    return lambda row, _: [_join(change(list(row.values())))]


def _twice(column: str = "", change: Callable[[str], str] = str) -> Change:
    """The row, and below it once more, with one value changed if a column is named."""

    def lines(row: Row, _: np.random.Generator) -> list[bytes]:
        again = row | {column: change(str(row[column]))} if column else row
        return [_join(row.values()), _join(again.values())]

    return lines


def _random_key(column: str) -> Change:
    """A key that no clean file has: articles of a made-up shop begin with 0."""

    def lines(row: Row, rng: np.random.Generator) -> list[bytes]:
        article = f"9{rng.integers(10**9):09}"
        key = article if column == "article_id" else rng.bytes(32).hex()
        return [_join((row | {column: key}).values())]

    return lines


def _elsewhere(text: str) -> str:
    """The same moment, as a clock two hours ahead of UTC shows it."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(timezone(timedelta(hours=2))).isoformat()


# The catalogue of defects


def _lost(table: RawTable, kind: str, done: str, change: Change, reason: str) -> _Defect:
    """A row that goes to quarantine, and its key with it."""
    keyed = bool(table.key)
    return _Defect(kind, done, change, QUARANTINED, reason, rows=-1, loses_key=keyed)


def _values(
    table: RawTable, kind: str, column: str, reason: str, *texts: str | bytes
) -> list[_Defect]:
    """A value is replaced: by what loses the row if the column is required, else by what leaves the
    value unknown."""
    (required,) = (c.required for c in table.columns if c.name == column)
    reason = f"{column} {reason}"
    defects = []
    for text in texts:
        shown = text if isinstance(text, str) else text.decode("latin-1")
        done = f"{column} is {shown!r}" if shown else f"{column} is empty"
        change = _edit(column, lambda _, text=text: text)  # type: ignore[misc]
        if required:
            defects.append(_lost(table, kind, done, change, reason))
        else:
            defects.append(_Defect(kind, done, change, UNKNOWN, reason))
    return defects


def _lines(table: RawTable) -> list[_Defect]:
    """What can be wrong with a line of any file."""
    key, last = table.columns[0].name, table.columns[-1].name
    who = "customer_id" if "customer_id" in table.column_names else "product_code"
    return [
        _lost(
            table,
            "missing field",
            f"the line ends before {last}",
            _whole(lambda values: values[:-1]),
            "the line has too few values",
        ),
        _lost(
            table,
            "extra field",
            "a value 'surplus' follows the last one",
            _whole(lambda values: [*values, "surplus"]),
            "the line has too many values",
        ),
        _lost(
            table,
            "unbalanced quote",
            f"{who} is quoted and has one quote inside",
            _edit(who, lambda text: f'"{text[:3]}"{text[3:]}"'.encode()),
            "a quote in the line is not closed",
        ),
        _lost(
            table,
            "invalid UTF-8",
            f"{who} holds the bytes FF FE",
            _edit(who, lambda text: text[:3].encode() + b"\xff\xfe" + text[3:].encode()),
            "the line is not UTF-8",
        ),
        _Defect(
            "blank line",
            "an empty line is put before the row",
            lambda row, _: [b"", _join(row.values())],
            KEPT,
        ),
        _Defect(
            "trailing comma",
            "a comma follows the last value",
            _whole(lambda values: [*values, b""]),
            KEPT,
        ),
        _Defect(
            "quoted value", f"{key} is in quotes", _edit(key, lambda t: f'"{t}"'.encode()), KEPT
        ),
    ]


def _ids(table: RawTable) -> list[_Defect]:
    """What can be wrong with the ids that a table has."""
    found: list[_Defect] = []
    if "customer_id" in table.column_names:
        found += _values(table, "missing customer_id", "customer_id", "is missing", "")
        found += [
            _lost(
                table,
                "NUL character",
                "customer_id holds a NUL character",
                _edit("customer_id", lambda text: f"{text[:3]}\0{text[3:]}"),
                "customer_id holds a NUL character",
            ),
            _Defect(
                "swallowed line",
                "a row is added whose customer_id is quoted and runs over two lines",
                lambda row, _: [
                    _join(row.values()),
                    *_join((row | {"customer_id": "two\nlines"}).values()).split(b"\n"),
                ],
                QUARANTINED,
                "customer_id holds a line break",
                at=1,
            ),
        ]
    if "article_id" in table.column_names:
        unlike = r"does not match \d{10}"
        found += _values(table, "missing article_id", "article_id", "is missing", "")
        found += _values(table, "bad article_id", "article_id", unlike, "1.08775E+08")
        found += [
            _lost(
                table, "bad article_id", done, _edit("article_id", change), f"article_id {unlike}"
            )
            for done, change in (
                ("article_id has an eleventh digit", lambda text: f"{text}0"),
                ("article_id has a letter", lambda text: f"{text[:4]}A{text[5:]}"),
            )
        ]
        found += [
            _Defect("article_id read as a number", done, _edit("article_id", change), KEPT)
            for done, change in (
                ("article_id has lost its leading zeros", lambda text: text.lstrip("0")),
                ("article_id is a float", lambda text: f"{text.lstrip('0')}.0"),
            )
        ]
    for column in [c for c in ("customer_id", "article_id") if c in table.column_names]:
        found += [
            _Defect(
                "blanks around an id", f"{column} has {name} around it", _edit(column, change), KEPT
            )
            for name, change in (
                ("blanks", lambda text: f"  {text} "),
                ("a tab and a no-break space", lambda text: f"\t{text}\u00a0"),
            )
        ]
    if table.key:
        other = "prod_name" if table.name == "articles" else "club_member_status"
        found += [
            _Defect(
                "repeated key",
                f"the row is there twice, the second time with another {other}",
                _twice(other, lambda text: f"{text} again"),
                QUARANTINED,
                f"another row has the same {table.key[0]} and other values; the first stays",
                at=1,
            ),
            _Defect("repeated row", "the row is there twice", _twice(), KEPT, at=1),
            _Defect(
                "removed row",
                f"the row is gone; transactions name its {table.key[0]}",
                lambda row, _: [],
                KEPT,
                at=None,
                rows=-1,
                loses_key=True,
            ),
        ]
    found += [
        _Defect(
            f"{column} that no file describes",
            f"{column} is one that {other} does not have",
            _random_key(column),
            KEPT,
            names_key_of=other,
        )
        for column, other in table.references.items()
    ]
    return found


def _articles(t: RawTable) -> list[_Defect]:
    return [
        *_values(t, "bad code", "product_type_no", "is not a whole number", "n/a", "2.5"),
        *_values(t, "bad code", "perceived_colour_value_id", "is below -1", "-2"),
        *_values(t, "bad code", "department_no", "is below 0", "-5"),
        *_values(t, "NUL character", "prod_name", "holds a NUL character", "Top\0"),
        _Defect(
            "empty attribute", "section_name is empty", _edit("section_name", lambda _: ""), KEPT
        ),
        _Defect(
            "line break in a text",
            "detail_desc has quotes, a comma and line breaks",
            _edit("detail_desc", lambda text: f'{text}\n\n"Soft", and\nlong.'),
            KEPT,
        ),
        _Defect(
            "quote in a text",
            "prod_name has a quote inside and is not quoted",
            _edit("prod_name", lambda text: f'{text.replace(",", "")} 5" wide'.encode()),
            KEPT,
        ),
    ]


def _customers(t: RawTable) -> list[_Defect]:
    return [
        *_values(t, "bad age", "age", "is above 130", "999"),
        *_values(t, "bad age", "age", "is below 0", "-1"),
        *_values(t, "bad age", "age", "is not a whole number", "young", "31.5"),
        *_values(t, "bad flag", "FN", "is above 1", "2"),
        *_values(t, "bad flag", "FN", "is not a number", "yes"),
        *_values(t, "bad flag", "Active", "is below 0", "-1"),
        *_values(t, "NUL character", "postal_code", "holds a NUL character", "\0"),
        _Defect("age as a float", "age is '31.0'", _edit("age", lambda _: "31.0"), KEPT),
        _Defect(
            "line break in a text",
            "postal_code runs over two lines",
            _edit("postal_code", lambda text: f"{text}\n"),
            KEPT,
        ),
    ]


def _transactions(t: RawTable) -> list[_Defect]:
    days = "18-09-20", "22/09/2020", "2020-02-30", "20200922", "2020-09-22 14:03:05", "soon"
    return [
        *_values(t, "bad date", "t_dat", "is not a date YYYY-MM-DD", *days),
        *_values(t, "bad date", "t_dat", "is in the future", "2200-01-01"),
        *_values(t, "missing t_dat", "t_dat", "is missing", "", "  "),
        *_values(t, "missing price", "price", "is missing", ""),
        *_values(t, "bad price", "price", "is not above 0", "0", "-0.05"),
        *_values(t, "bad price", "price", "is not a number", "free", "NaN", "inf", "0,05"),
        *_values(t, "bad price", "price", "is above 999,999,999", "1e12"),
        *_values(t, "missing sales_channel_id", "sales_channel_id", "is missing", ""),
        *_values(t, "bad sales_channel_id", "sales_channel_id", "is above 2", "3"),
        *_values(t, "bad sales_channel_id", "sales_channel_id", "is below 1", "0"),
        *_values(
            t, "bad sales_channel_id", "sales_channel_id", "is not a whole number", "online", "1.5"
        ),
        _lost(
            t,
            "decimal comma",
            "price has a comma and is not quoted",
            _edit("price", lambda text: text.replace(".", ",").encode()),
            "the line has too many values",
        ),
        _Defect(
            "repeated row",
            "the row is there twice: a quantity of two",
            _twice(),
            KEPT,
            at=1,
            rows=1,
        ),
    ]


def _interactions(t: RawTable) -> list[_Defect]:
    kinds = "is not one of impression, view, cart, purchase, dismiss"
    times = "22/09/2020 14:03:05", "2020-09-22", "2020-13-01 00:00:00", "1600783385"
    return [
        *_values(t, "bad time", "event_time", "is not a time YYYY-MM-DD HH:MM:SS", *times),
        *_values(t, "bad time", "event_time", "is in the future", "2200-01-01T00:00:00Z"),
        *_values(t, "missing event_time", "event_time", "is missing", ""),
        *_values(t, "bad kind", "kind", kinds, "click", "View"),
        *_values(t, "missing kind", "kind", "is missing", ""),
        *_values(t, "bad position", "position", "is below 1", "0"),
        *_values(t, "bad position", "position", "is not a whole number", "first"),
        *_values(t, "bad propensity", "propensity", "is not above 0", "0"),
        *_values(t, "bad propensity", "propensity", "is above 1", "1.5"),
        *_values(t, "bad propensity", "propensity", "is not a number", "NaN"),
        *_values(t, "NUL character", "surface", "holds a NUL character", "home\0"),
        _Defect(
            "time with an offset",
            "event_time is the same moment with +02:00",
            _edit("event_time", _elsewhere),
            KEPT,
        ),
        _Defect(
            "repeated row", "the row is there twice: the same event", _twice(), KEPT, at=1, rows=0
        ),
    ]


_OF_TABLE = {
    "articles": _articles,
    "customers": _customers,
    "transactions": _transactions,
    "interactions": _interactions,
}


def defects_of(table: RawTable, rows: int, file: Path | None = None) -> list[_Defect]:
    """What is planted in a table of so many rows.

    Raises:
        DirtError: the table, or the `file` that is it, has too few.
    """
    kinds = [*_lines(table), *_ids(table), *_OF_TABLE[table.name](table)]
    defects = [defect for defect in kinds for _ in range(max(2, rows // ROWS_FOR_EACH))]
    if rows < 2 * len(defects):
        raise DirtError(
            f"{file or table.file} has {many(rows, 'row')}, too few for dirt: make a shop with "
            f"{2 * len(defects):,} {table.name} or more."
        )
    return defects


# Planting


def plant(folder: Path, seed: int) -> dict[str, Any]:
    """Plant every kind of defect in the CSV files of a made-up shop, and list them in `dirt.json`.

    Each kind is planted in a few lines, more in a large file; no line has two, and none changes what
    becomes of another line. Two files get a byte order mark, two get CRLF line ends. New files are
    written beside the old ones, which they replace when all are whole.

    Returns:
        The manifest, as in `dirt.json`. `defects` is a list of {file, line, table, kind, done,
        expected, reason}; the line is the file's, as an editor counts it, or null if the row is gone;
        `expected` is "quarantined" or "value left unknown", both for the reason given, or "kept".
        `counts[table]` has the number of lines by reason, and by kind for what is kept. `rows[table]`
        are the rows that loading leaves from the file, and `known_from_transactions[table]` and
        `known_from_interactions[table]` the rows for keys that only those name.

    Raises:
        DirtError: the folder has no clean CSV files (only CSV can carry dirt), is too small, or
            cannot be written. The files are then as they were.
    """
    files = _files(folder)
    rng = np.random.default_rng([seed, int.from_bytes(b"dirt")])
    rows = {name: _count_lines(file) - 1 for name, file in files.items()}
    planted = {name: defects_of(RAW_TABLES[name], rows[name], files[name]) for name in files}
    chosen = _choose(files, rows, planted, rng)
    marked, windows = (set(rng.permutation(sorted(files))[:2].tolist()) for _ in range(2))
    entries: list[dict[str, Any]] = []
    temporary = {name: file.with_name(f".{file.name}.partial") for name, file in files.items()}
    listed = folder / f".{MANIFEST}.partial"
    with ExitStack() as cleared:
        for partial in (*temporary.values(), listed):
            cleared.callback(_remove, partial)
        try:
            for name, file in files.items():
                clean = _lines_at(file, sorted(chosen[name]))
                edits = {
                    line: defect.change(_row(RAW_TABLES[name], file, line, clean[line]), rng)
                    for line, defect in sorted(chosen[name].items())
                }
                bom = b"\xef\xbb\xbf" if name in marked else b""
                end = b"\r\n" if name in windows else b"\n"
                written = _rewrite(file, temporary[name], edits, bom, end)
                odd = [("byte order mark", "the file begins with EF BB BF")] * bool(bom)
                odd += [("CRLF line ends", "lines end with CR LF")] * (end == b"\r\n")
                for kind, done in odd:
                    entries.append(_entry(name, 1, kind, done, KEPT, None))
                for line, d in sorted(chosen[name].items()):
                    at = None if d.at is None else _line_of(edits[line], written[line], d.at)
                    entries.append(_entry(name, at, d.kind, d.done, d.expected, d.reason))
            manifest = _manifest(seed, entries, rows, planted)
            listed.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
            for name, partial in temporary.items():
                partial.replace(files[name])
            listed.replace(folder / MANIFEST)
        except OSError as error:
            raise DirtError(
                f"Dirt cannot be written to {folder}: {error.strerror or error}."
            ) from error
    return manifest


def _remove(file: Path) -> None:
    with suppress(OSError):
        file.unlink()


def _files(folder: Path) -> dict[str, Path]:
    """The clean CSV of each table."""
    if (folder / MANIFEST).exists():
        raise DirtError(f"{folder} is dirty already, see {MANIFEST}: make a new shop.")
    files = {}
    for name, table in RAW_TABLES.items():
        file = folder / table.file
        if file.is_file():
            with file.open("rb") as stream:
                header = stream.readline()
            if header != ",".join(table.column_names).encode() + b"\n":
                raise DirtError(f"{file} is not as a made-up shop is written: make a new one.")
            files[name] = file
        elif other := [f.name for f in sorted(folder.glob(f"{file.stem}.*"))]:
            raise DirtError(
                f"{folder} has {other[0]} and no {file.name}: only CSV can carry dirt, "
                "make the shop with CSV files."
            )
        elif not table.optional:
            raise DirtError(f"{file} is missing: dirt goes into a made-up shop.")
    return files


def _choose(
    files: dict[str, Path],
    rows: dict[str, int],
    planted: dict[str, list[_Defect]],
    rng: np.random.Generator,
) -> dict[str, dict[int, _Defect]]:
    """For each table a line for each defect. Keys are lost only where a transaction that stays as
    it is names them."""
    lost = {name: [d for d in planted[name] if d.loses_key] for name in planted}
    others = {name: [d for d in planted[name] if not d.loses_key] for name in planted}

    def draw(name: str, more: int) -> list[int]:
        """Lines of a file, enough for its other defects and some more, in any order."""
        size = min(rows[name], len(others[name]) + more)
        return (2 + rng.choice(rows[name], size, replace=False)).tolist()

    events = "transactions"
    drawn = draw(events, 1000 + 100 * sum(map(len, lost.values())))
    witnesses = drawn[len(others[events]) :]
    chosen = {events: dict(zip(drawn, others[events], strict=False))}
    texts = _lines_at(files[events], sorted(witnesses))
    named = [_row(RAW_TABLES[events], files[events], line, texts[line]) for line in witnesses]
    for name in (name for name in files if name != events):
        keys = [column for column, t in RAW_TABLES[events].references.items() if t == name]
        wanted = {str(row[column]).encode() for column in keys for row in named}
        lines = _lines_of_keys(files[name], wanted) if keys else []
        gone = rng.permutation(lines)[: len(lost[name])].tolist()
        if len(gone) < len(lost[name]):
            raise DirtError(
                f"{files[events]} names {len(lines):,} {name}, too few for dirt: make a larger shop."
            )
        free = [line for line in draw(name, len(gone)) if line not in gone]
        chosen[name] = dict(zip(gone, lost[name], strict=True))
        chosen[name] |= dict(zip(free, others[name], strict=False))
    return chosen


def _lines_of_keys(file: Path, keys: set[bytes]) -> list[int]:
    with file.open("rb") as stream:
        return [
            number
            for number, line in enumerate(stream, start=1)
            if line.partition(b",")[0].strip(b'"') in keys
        ]


def _row(table: RawTable, file: Path, line: int, text: bytes) -> Row:
    (values,) = csv.reader([text.decode()])
    if len(values) != len(table.columns):
        raise DirtError(f"{file}, line {line} is not clean: dirt goes into a freshly made shop.")
    return dict(zip(table.column_names, values, strict=True))


def _entry(
    name: str, line: int | None, kind: str, done: str, expected: str, reason: str | None
) -> dict[str, Any]:
    return {
        "file": RAW_TABLES[name].file,
        "line": line,
        "table": name,
        "kind": kind,
        "done": done,
        "expected": expected,
        "reason": reason,
    }


def _line_of(lines: list[bytes], first: int, at: int) -> int:
    return first + sum(1 + line.count(b"\n") for line in lines[:at])


def _manifest(
    seed: int,
    entries: list[dict[str, Any]],
    rows: dict[str, int],
    planted: dict[str, list[_Defect]],
) -> dict[str, Any]:
    def counted(name: str, expected: str) -> dict[str, int]:
        found = [e for e in entries if (e["table"], e["expected"]) == (name, expected)]
        return dict(sorted(Counter(e["reason"] or e["kind"] for e in found).items()))

    def named_by(events: str) -> Counter[str]:
        return Counter(d.names_key_of for d in planted.get(events, []) if d.names_key_of)

    gone = Counter(name for name, defects in planted.items() for d in defects if d.loses_key)
    return {
        "seed": seed,
        "rows": {name: rows[name] + sum(d.rows for d in planted[name]) for name in planted},
        "known_from_transactions": dict(gone + named_by("transactions")),
        "known_from_interactions": dict(named_by("interactions")),
        "counts": {
            name: {expected: counted(name, expected) for expected in (QUARANTINED, UNKNOWN, KEPT)}
            for name in planted
        },
        "defects": entries,
    }


# Files, a chunk of whole lines at a time


def _chunks(file: Path) -> Iterator[tuple[int, int, bytes]]:
    """(number of the first line, number of the line after the last, their bytes)."""
    first = 1
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK) + stream.readline():
            after = first + chunk.count(b"\n") + (not chunk.endswith(b"\n"))
            yield first, after, chunk
            first = after


def _count_lines(file: Path) -> int:
    return max((after for _, after, _ in _chunks(file)), default=1) - 1


def _lines_at(file: Path, numbers: list[int]) -> dict[int, bytes]:
    """The lines with these ascending numbers, without line ends."""
    found, wanted = {}, iter(numbers)
    number = next(wanted, None)
    for first, after, chunk in _chunks(file):
        if number is None:
            break
        if number < after:
            lines = chunk.split(b"\n")
            while number is not None and number < after:
                found[number] = lines[number - first]
                number = next(wanted, None)
    return found


def _rewrite(
    file: Path, out: Path, edits: dict[int, list[bytes]], bom: bytes, end: bytes
) -> dict[int, int]:
    """Copy a file with lines replaced; returns where the first of each replacement stands."""
    stands, ahead = {}, 0
    todo = iter(sorted(edits))
    number = next(todo, None)
    with out.open("wb") as stream:
        stream.write(bom)
        for first, after, chunk in _chunks(file):
            if number is not None and number < after:
                lines = [line + b"\n" for line in chunk.removesuffix(b"\n").split(b"\n")]
                while number is not None and number < after:
                    stands[number] = number + ahead
                    new = b"".join(line + b"\n" for line in edits[number])
                    lines[number - first] = new
                    ahead += new.count(b"\n") - 1
                    number = next(todo, None)
                chunk = b"".join(lines)
            stream.write(chunk if end == b"\n" else chunk.replace(b"\n", end))
    return stands
