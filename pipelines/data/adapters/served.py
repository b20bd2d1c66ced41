"""What the service remembers of its answers and of what customers did with them, as interactions.

A folder holds files of two kinds, `UTC-answers-PID-RANDOM.jsonl` and `UTC-events-PID-RANDOM.jsonl`, a JSON object
in each line: `pipelines.monitoring.answer_log` writes them.

**Impressions.** Where a page reported what was seen of an answer, that are the impressions. Of an answer of which
nothing was reported within `REPORTED_WITHIN`, every article that was shown counts as one, at the time at which it was
asked; what is reported later is set aside. Until then the answer waits for a later load. Of a batch only what is
reported counts as seen: it is asked for e-mails and the like, which few open.

**Events** get from their answer what they lack: position, surface (of a carousel `home/CAROUSEL`), variant
(`experiment=variant`, sorted, with commas; none where it was chosen by hand, for nobody was dealt it), and the
propensity of that position.

So what is loaded of a line never depends on when it is loaded, and loading again adds nothing, also when files have
grown. When the log makes room, a mark says up to when something was deleted: answers from before it are
not counted as seen, for what was reported of them may be gone, and events are set aside whose answer may be. For a minute an
event waits for an answer that is not there yet, as answers are written behind those who get them.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from feature_repo import places
from pipelines.data.adapters import CHUNK, LoadError, Source, SourceFile, literal

ANSWERS, EVENTS = "answers", "events"
BATCH = "batch"
"""The surface of answers for several customers at once: nobody says when each was looked at, if ever."""
FORGOTTEN = "forgotten"
TIME = "%Y%m%dT%H%M%S.%f"
"""Of the names of files, in UTC, so that they sort by it."""

REPORTED_WITHIN = timedelta(minutes=10)
WRITTEN_WITHIN = timedelta(minutes=1)
"""No event is written later after it was received, and no answer after it was given."""
JOINED_WITHIN = timedelta(days=7)
"""An event that comes later after an answer is not one of its events."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SHAPES = {
    ANSWERS: {
        "request_id": "VARCHAR",
        "served_at": "VARCHAR",
        "asked_at": "VARCHAR",
        "customer_id": "VARCHAR",
        "surface": "VARCHAR",
        "forced": "BOOLEAN",
        "variants": "MAP(VARCHAR, VARCHAR)",
        "article_id": "VARCHAR[]",
        "position": "INTEGER[]",
        "carousel": "VARCHAR[]",
        "propensity": "DOUBLE[]",
    },
    EVENTS: {
        "received_at": "VARCHAR",
        "event_time": "VARCHAR",
        "customer_id": "VARCHAR",
        "article_id": "VARCHAR",
        "kind": "VARCHAR",
        "request_id": "VARCHAR",
        "position": "VARCHAR",
        "surface": "VARCHAR",
    },
}
"""What is read of a line."""
_NEEDED = {ANSWERS: ("request_id", "served_at", "asked_at", "article_id"), EVENTS: ("received_at",)}
_TIMES = {ANSWERS: "served_at", EVENTS: "received_at"}

NOT_WHOLE = "the line is not whole"
WAITS = "shown less than {} minutes ago: a later load knows whether it was reported what was seen"
FORGOTTEN_ANSWER = (
    "shown before what the log still remembers: it may have been reported what was seen"
)
TOO_LATE = "reported more than {} minutes after it was shown: all of that answer counts as seen"
ON_ITS_WAY = (
    "received just now, and its answer may still be on its way to the disk: a later load knows"
)
FORGOTTEN_EVENT = "its answer is not remembered any more"


def folder() -> Path:
    """Where the log of this home is."""
    return places.home() / "answers"


def files(at: Path, kind: str) -> list[Path]:
    """Those of one kind, the oldest first."""
    return sorted(at.glob(f"*-{kind}-*.jsonl"))


def forgotten(at: Path) -> datetime | None:
    """Up to when (by the clock, UTC) something was deleted to make room; None if nothing was.

    Raises:
        LoadError: a mark was renamed.
    """
    marks = sorted(at.glob(f"*-{FORGOTTEN}"))
    if not marks:
        return None
    text = marks[-1].name.partition("-")[0]
    try:
        return datetime.strptime(text, TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise LoadError(f"{marks[-1]} names no time: give it its name back.") from error


def lines(file: Path) -> Iterator[list[bytes]]:
    """The lines of a file with their ends, a piece at a time; the last may be without one, if it is being
    written, or its writer was killed.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK) + stream.readline():
            yield chunk.splitlines(keepends=True)


def read(source: Source) -> dict[str, str]:
    """Interactions of all the files of a folder.

    Raises:
        LoadError: there is no such folder, or a file cannot be read.
    """
    if not source.path.is_dir():
        raise LoadError(
            f"{source.path} is missing: the service makes it with its first answer; or name another folder "
            "(served:FOLDER)."
        )
    # The order matters: the clock first, since all that was written by now is read; answers after the events that name
    # them; and last what was deleted meanwhile.
    now = datetime.now(UTC)
    read_events = _read(source, EVENTS)
    read_answers = _read(source, ANSWERS)
    mark = forgotten(source.path)
    waiting = _settle(source, now)
    fresh = []
    for file in (*read_events, *read_answers):
        if still := waiting.get(file.path.name):
            # The same bytes give more rows when these have waited long enough.
            content = hashlib.sha256(f"{file.sha256} {still}".encode()).hexdigest()
            file = SourceFile(file.path, file.bytes, content)
        source.files[f"lookbook_file_{len(source.files)}_"] = file
        if file.sha256 not in source.loaded:
            fresh.append(file.path.name)
    source.con.execute(
        "CREATE TEMP TABLE served_fresh AS SELECT unnest(?::TEXT[]) AS _file", [fresh]
    )
    _tell(source, mark, now)
    return {"interactions": "SELECT * FROM served_interactions"}


def _read(source: Source, kind: str) -> list[SourceFile]:
    """Fill a table of a kind's lines, parsed; returns what was read, to the byte."""
    shape = ", ".join(f'"{name}": "{kind}"' for name, kind in _SHAPES[kind].items())
    source.con.execute(
        f"CREATE TEMP TABLE served_lines_{kind} (_file TEXT, _line BIGINT, line TEXT)"
    )
    found = []
    for file in files(source.path, kind):
        digest, size, count = hashlib.sha256(), 0, 0
        try:
            for some in lines(file):
                digest.update(b"".join(some))
                size += sum(map(len, some))
                # What is written is ASCII, so all else is damage, and so is a line without its end.
                texts = [
                    line.decode("ascii") if line.isascii() and line.endswith(b"\n") else ""
                    for line in some
                ]
                numbers = range(count + 1, count + len(some) + 1)
                rows = pa.table({"_line": pa.array(numbers, pa.int64()), "line": pa.array(texts)})
                source.con.register("served_some", rows)
                source.con.execute(
                    f"INSERT INTO served_lines_{kind} SELECT ?, _line, line FROM served_some",
                    [file.name],
                )
                count += len(some)
        except FileNotFoundError:
            continue  # the service has made room meanwhile
        except OSError as error:
            raise LoadError(f"{file} cannot be read: {error.strerror}.") from error
        found.append(SourceFile(file, size, digest.hexdigest()))
    needed = " AND ".join(f"found.{name} IS NOT NULL" for name in _NEEDED[kind])
    moment = f"epoch_us(TRY_CAST(found.{_TIMES[kind]} AS TIMESTAMPTZ))"
    source.con.execute(
        f"""CREATE TEMP TABLE served_{kind} AS
        SELECT _file, _line, found.*, {moment} AS clock,
            coalesce({needed} AND {moment} IS NOT NULL, false) AS whole
        FROM (SELECT _file, _line,
            CASE WHEN json_valid(line) THEN json_transform(line, '{{{shape}}}') END AS found
            FROM served_lines_{kind})"""
    )
    source.con.execute(f"DROP TABLE served_lines_{kind}")
    return found


def _settle(source: Source, now: datetime) -> dict[str, int]:
    """Find what events are of, and of which answers it was reported what was seen; returns of how many lines of each
    file that may still change."""
    con = source.con
    con.execute(
        """CREATE TEMP TABLE served_requests AS
        SELECT *, row_number() OVER () AS number, CASE WHEN NOT coalesce(forced, false) THEN nullif(
                array_to_string(
                    list_transform(list_sort(map_keys(variants)), lambda name: name || '=' || variants[name]), ','
                ), '') END AS variant
        FROM served_answers WHERE whole
        QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY clock, _file, _line) = 1"""
    )
    # `of` is the answer that an event is of, `named` what it names, which may be another customer's.
    con.execute(
        """CREATE TEMP TABLE served_known AS
        SELECT e.*, r.number AS named, CASE WHEN r.customer_id = e.customer_id THEN r.number END AS "of",
            r.clock AS served_clock
        FROM served_events e LEFT JOIN served_requests r
            ON e.request_id = r.request_id AND e.clock <= r.clock + ?
        WHERE e.whole""",
        [_microseconds(JOINED_WITHIN)],
    )
    con.execute(
        """CREATE TEMP TABLE served_reported AS
        SELECT DISTINCT "of" AS number FROM served_known
        WHERE "of" IS NOT NULL AND kind = 'impression' AND clock < served_clock + ?""",
        [_microseconds(REPORTED_WITHIN)],
    )
    con.execute(
        """CREATE TEMP TABLE served_waiting AS
        SELECT number, _file FROM served_requests ANTI JOIN served_reported USING (number)
        WHERE clock + ? > ?""",
        [_microseconds(REPORTED_WITHIN + WRITTEN_WITHIN), _microseconds(now - EPOCH)],
    )
    return dict(
        con.execute(
            """SELECT _file, count(*) FROM (
                SELECT _file FROM served_waiting
                UNION ALL
                SELECT e._file FROM served_known e ANTI JOIN served_reported r ON e."of" = r.number
                WHERE e.kind = 'impression' AND e."of" IS NOT NULL AND e.clock + $written > $now
                UNION ALL
                SELECT _file FROM served_known
                WHERE request_id IS NOT NULL AND named IS NULL AND clock + $written > $now)
            GROUP BY 1""",
            {"written": _microseconds(WRITTEN_WITHIN), "now": _microseconds(now - EPOCH)},
        ).fetchall()
    )


def _tell(source: Source, mark: datetime | None, now: datetime) -> None:
    """Fill `served_interactions` with the rows of the lines in fresh files."""
    source.con.execute(
        """CREATE TEMP TABLE served_shown AS
        SELECT number, place, article_id, position, propensity,
            surface || coalesce('/' || carousel, '') AS surface
        FROM (SELECT number, surface, unnest(range(len(article_id))) AS place, unnest(article_id) AS article_id,
                unnest(position) AS position, unnest(carousel) AS carousel, unnest(propensity) AS propensity
            FROM served_requests
            WHERE _file IN (FROM served_fresh)
                OR number IN (SELECT "of" FROM served_known WHERE _file IN (FROM served_fresh)))
        WHERE article_id IS NOT NULL"""
    )
    minutes = REPORTED_WITHIN // timedelta(minutes=1)
    source.con.execute(
        f"""CREATE TEMP TABLE served_interactions AS
        WITH first_place AS (
            SELECT * FROM served_shown
            QUALIFY row_number() OVER (PARTITION BY number, article_id ORDER BY place) = 1),
        told AS (
            SELECT e.event_time, e.customer_id, e.article_id, e.kind,
                CASE WHEN e."of" IS NOT NULL OR e.named IS NULL THEN e.request_id END AS request_id,
                coalesce(e.position, CAST(s.position AS VARCHAR)) AS position,
                coalesce(e.surface, s.surface) AS surface,
                r.variant,
                CASE WHEN e.position IS NULL OR TRY_CAST(e.position AS INTEGER) = s.position
                    THEN s.propensity END AS propensity,
                CASE WHEN e.request_id IS NOT NULL AND e.named IS NULL AND e.clock + $written > $now
                        THEN {literal(ON_ITS_WAY)}
                    WHEN e.kind = 'impression' AND e."of" IS NOT NULL AND seen.number IS NULL
                        THEN {literal(TOO_LATE.format(minutes))}
                    WHEN e.request_id IS NOT NULL AND e.named IS NULL AND e.clock <= $mark + $joined
                        THEN {literal(FORGOTTEN_EVENT)} END AS _set_aside,
                e._file, e._line
            FROM served_known e
            LEFT JOIN served_requests r ON r.number = e."of"
            LEFT JOIN first_place s ON s.number = e."of" AND s.article_id = e.article_id
            LEFT JOIN served_reported seen ON seen.number = e."of"),
        shown AS (
            SELECT r.asked_at AS event_time, r.customer_id, s.article_id, 'impression' AS kind,
                r.request_id, CAST(s.position AS VARCHAR) AS position, s.surface, r.variant, s.propensity,
                CASE WHEN r.clock <= $mark THEN {literal(FORGOTTEN_ANSWER)}
                    WHEN w.number IS NOT NULL THEN {literal(WAITS.format(minutes))} END AS _set_aside,
                r._file, r._line
            FROM served_requests r JOIN served_shown s USING (number)
            ANTI JOIN served_reported USING (number)
            LEFT JOIN served_waiting w USING (number)
            WHERE r.surface IS DISTINCT FROM {literal(BATCH)}),
        torn AS (
            SELECT {literal(NOT_WHOLE)} AS _set_aside, _file, _line FROM served_events WHERE NOT whole
            UNION ALL
            SELECT {literal(NOT_WHOLE)}, _file, _line FROM served_answers WHERE NOT whole)
        SELECT * FROM (FROM told UNION ALL BY NAME FROM shown UNION ALL BY NAME FROM torn)
        WHERE _file IN (FROM served_fresh)""",
        {
            "mark": None if mark is None else _microseconds(mark - EPOCH),
            "joined": _microseconds(JOINED_WITHIN),
            "written": _microseconds(WRITTEN_WITHIN),
            "now": _microseconds(now - EPOCH),
        },
    )


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
