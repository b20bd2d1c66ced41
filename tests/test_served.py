"""`data load served`: what the service remembers, as interactions."""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.stores.connection import connect
from pipelines.data.adapters import Source, served
from pipelines.data.load import LoadError, LoadReport, load
from pipelines.monitoring import answer_log
from pipelines.monitoring.answer_log import AnswerLog, Event, Settings, Shown
from tests.test_load import SHIRT as KAGGLE_SHIRT
from tests.test_load import Shop, ask

ASKED = datetime(2020, 9, 22, 18, 30, tzinfo=UTC)
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
SHIRT, SCARF, SHOES = "0000000001", "0000000002", "0000000003"
COLUMNS = (
    "event_time, customer_id, article_id, kind, request_id, position, surface, variant, propensity"
)
SHOWN = [Shown(SHIRT, 1, None, "ease", 0.9, 0.75), Shown(SCARF, 2, "for_you", "ease", 0.8, 0.5)]


@pytest.fixture
def log(home: Path) -> AnswerLog:
    return AnswerLog(Settings())


def answer(log: AnswerLog, request_id: str, **more: Any) -> None:
    said = {
        "customer_id": "anna",
        "surface": "home",
        "asked_at": ASKED,
        "moment": ASKED,
        "release": "release:kq3v",
        "shown": SHOWN,
        "served_at": LONG_AGO,
    }
    log.answered(request_id=request_id, **said | more)


def event(kind: str, article_id: str = SHIRT, minute: int = 1, **more: Any) -> Event:
    customer_id = more.pop("customer_id", "anna")
    return Event(ASKED + timedelta(minutes=minute), customer_id, article_id, kind, **more)


def interactions(columns: str = COLUMNS) -> list[tuple[Any, ...]]:
    return ask(f"SELECT {columns} FROM raw.interactions ORDER BY ALL")


def counts(report: LoadReport) -> tuple[int, int, int]:
    found = report.tables["interactions"]
    return found.loaded, found.already_there, sum(found.set_aside.values())


def test_a_page_that_reports_nothing_has_shown_everything(log: AnswerLog) -> None:
    answer(log, "r1", variants={"b-2": "y", "b": "x"})
    answer(log, "r2", variants={"b": "x"}, forced=True, surface="recommend", shown=SHOWN[:1])
    answer(log, "r3", shown=[])
    report = load("served")
    asked = ASKED.replace(tzinfo=None)
    assert interactions() == [
        (asked, "anna", SHIRT, "impression", "r1", 1, "home", "b=x,b-2=y", 0.75),
        (asked, "anna", SHIRT, "impression", "r2", 1, "recommend", None, 0.75),
        (asked, "anna", SCARF, "impression", "r1", 2, "home/for_you", "b=x,b-2=y", 0.5),
    ]
    assert counts(report) == (3, 0, 0)
    assert report.tables["customers"].from_interactions == 1
    assert report.tables["articles"].from_interactions == 2
    assert "  2 known from interactions only" in str(report)
    assert load("served").tables["interactions"].unchanged


def test_events_get_from_their_answer_what_they_lack(
    log: AnswerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(log, "r1", variants={"exploration": "epsilon"}, served_at=None)
    log.happened(
        [
            event("impression", request_id="r1"),
            event("view", request_id="r1", minute=2),
            event("view", SCARF, request_id="r1", minute=2),
            event("cart", request_id="r1", position=4, surface="search", minute=3),
            event("view", SHOES, request_id="r1", minute=4),
            event("purchase", request_id="r1", minute=5),
            event("purchase", minute=6),
            event("view", request_id="r9", minute=7, position=3),
            event("dismiss", customer_id="bert", request_id="r1", minute=8),
        ]
    )
    at(monkeypatch, datetime.now(UTC) + timedelta(minutes=2))
    report = load("served")
    assert [(row[0].minute - 30, *row[2:]) for row in interactions()] == [
        (1, SHIRT, "impression", "r1", 1, "home", "exploration=epsilon", 0.75),
        (2, SHIRT, "view", "r1", 1, "home", "exploration=epsilon", 0.75),
        (2, SCARF, "view", "r1", 2, "home/for_you", "exploration=epsilon", 0.5),
        # Where it stood somewhere else, its chance there is not known.
        (3, SHIRT, "cart", "r1", 4, "search", "exploration=epsilon", None),
        # What the answer did not show has no place, but belongs to its experiment.
        (4, SHOES, "view", "r1", None, None, "exploration=epsilon", None),
        (5, SHIRT, "purchase", "r1", 1, "home", "exploration=epsilon", 0.75),
        (6, SHIRT, "purchase", None, None, None, None, None),
        # An answer of which nothing is known.
        (7, SHIRT, "view", "r9", 3, None, None, None),
        # Bert was not asked about by r1.
        (8, SHIRT, "dismiss", None, None, None, None, None),
    ]
    assert counts(report) == (9, 0, 0)
    assert ask("SELECT count(*) FROM raw.transactions") == [(0,)]


def test_what_was_not_seen_of_an_answer_is_no_impression(log: AnswerLog) -> None:
    answer(log, "r1", served_at=None)
    log.happened([event("impression", SCARF, request_id="r1", position=2, surface="home/for_you")])
    load("served")
    assert interactions("article_id, position, surface, propensity") == [
        (SCARF, 2, "home/for_you", 0.5)
    ]


def test_an_answer_waits_for_what_its_page_reports(log: AnswerLog) -> None:
    answer(log, "young", served_at=datetime.now(UTC) - timedelta(minutes=9))
    answer(log, "old")
    log.happened([event("impression", request_id="old"), event("view", request_id="old", minute=9)])
    report = load("served")
    assert counts(report) == (3, 0, 3)
    assert report.tables["interactions"].set_aside == {
        "shown less than 10 minutes ago: a later load knows whether it was reported what was seen": 2,
        "reported more than 10 minutes after it was shown: all of that answer counts as seen": 1,
    }
    assert interactions("request_id, kind, article_id") == [
        ("old", "impression", SHIRT),
        ("old", "impression", SCARF),
        ("old", "view", SHIRT),
    ]


def test_a_report_that_was_written_a_moment_later_than_received_still_counts(
    log: AnswerLog,
) -> None:
    now = datetime.now(UTC)
    answer(log, "r1", served_at=now - timedelta(minutes=10, seconds=30))
    log.happened([event("impression", request_id="r1")])
    assert counts(load("served")) == (0, 0, 3)
    (file,) = served.files(log.folder, "events")
    line = json.loads(file.read_text()) | {"article_id": SCARF}
    line["received_at"] = (now - timedelta(seconds=40)).isoformat()
    file.with_name(file.name.replace("-events-", "-events-2-")).write_text(f"{json.dumps(line)}\n")
    assert counts(load("served")) == (2, 0, 0)
    assert interactions("kind, article_id") == [("impression", SHIRT), ("impression", SCARF)]


def test_time_that_passes_brings_what_waited_out_of_files_that_did_not_change(
    log: AnswerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(log, "r1", served_at=datetime.now(UTC))
    assert counts(load("served")) == (0, 0, 2)
    assert load("served").tables["interactions"].unchanged
    at(monkeypatch, datetime.now(UTC) + timedelta(minutes=12))
    assert counts(load("served")) == (2, 0, 0)
    assert load("served").tables["interactions"].unchanged


def test_files_that_have_grown_bring_what_is_new(log: AnswerLog, home: Path) -> None:
    answer(log, "r1")
    log.happened([event("view")])
    assert counts(load("served")) == (3, 0, 0)
    answer(log, "r2")
    log.happened([event("cart")])
    assert counts(load("served")) == (3, 3, 0)
    assert load(f"served:{home / 'answers'}").tables["interactions"].unchanged
    # Files that are as they were are read only for what new ones name. The same event told twice is one.
    other = AnswerLog(Settings())
    other.happened([event("cart"), event("view", SCARF, request_id="r1")])
    assert counts(load("served")) == (1, 1, 0)
    assert (SCARF, "view", "home/for_you") in interactions("article_id, kind, surface")


def test_a_service_that_goes_on_writing_loses_nothing_and_doubles_nothing(log: AnswerLog) -> None:
    """An event is never read without the answer that it is of."""
    done, written = threading.Event(), []

    def serve() -> None:
        while not done.is_set():
            request_id = f"r{len(written)}"
            answer(log, request_id, variants={"e": "x"})
            log.happened([event("view", request_id=request_id, minute=len(written))])
            written.append(request_id)
            time.sleep(0.003)

    service = threading.Thread(target=serve)
    service.start()
    loaded = [counts(load("served"))[0] for _ in range(3)]
    done.set()
    service.join()
    loaded.append(counts(load("served"))[0])
    assert min(loaded) > 0
    assert sum(loaded) == 3 * len(written)
    assert ask(
        "SELECT kind, count(*), count(DISTINCT request_id), count(propensity), count(variant) "
        "FROM raw.interactions GROUP BY kind ORDER BY kind"
    ) == [
        ("impression", *[2 * len(written), len(written), 2 * len(written), 2 * len(written)]),
        ("view", *[len(written)] * 4),
    ]


def test_lines_that_are_not_whole_are_counted_and_those_of_no_event_quarantined(
    log: AnswerLog,
) -> None:
    answer(log, "r1")
    log.happened([event("view")])
    answers, events = (served.files(log.folder, kind)[0] for kind in ("answers", "events"))
    with answers.open("ab") as file:
        file.write(b"\0\0\n7\n{}\n[]\n" + answers.read_bytes()[:-1])
    line = json.loads(events.read_text())
    wrong = [{"article_id": "12"}, {"kind": "wave"}, {"customer_id": "a\0b"}]
    with events.open("ab") as file:
        file.write("".join(json.dumps(line | one) + "\n" for one in wrong).encode())
        file.write(b'{"received_at":"yesterday"}\n{"received_at":"2020-09-')
    report = load("served")
    assert counts(report) == (3, 0, 7)
    assert report.tables["interactions"].set_aside == {"the line is not whole": 7}
    assert ask("SELECT file, line, reason FROM raw.quarantine ORDER BY line") == [
        (events.name, 2, r"article_id does not match \d{10}"),
        (events.name, 3, "kind is not one of impression, view, cart, purchase, dismiss"),
        (events.name, 4, "customer_id holds a NUL character"),
    ]


def test_it_goes_with_any_shop_and_a_folder_of_that_name_is_one(
    log: AnswerLog, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(log, "r1", shown=[Shown(KAGGLE_SHIRT, 1)])
    shop = Shop(tmp_path / "served")
    monkeypatch.chdir(tmp_path)
    load("./served")
    report = load("served")
    assert counts(report) == (1, 0, 0)
    assert report.tables["articles"].from_interactions == 0
    shop.write("customers", "a,,,,,,p1")
    assert load(str(shop.folder)).tables["customers"].loaded == 1
    (tmp_path / "till.csv").write_text("x\n")
    with pytest.raises(LoadError, match="holds kaggle:"):
        load(f"{own_adapter(tmp_path)}:{tmp_path}")


def own_adapter(folder: Path) -> Path:
    file = folder / "my_shop.py"
    file.write_text(
        "def read(source):\n    return {'articles': \"SELECT '0000000009' AS article_id\"}\n"
    )
    return file


def test_a_folder_that_is_not_there(home: Path) -> None:
    with pytest.raises(LoadError, match="answers is missing: the service makes it"):
        load("served")
    with pytest.raises(LoadError, match="elsewhere is missing"):
        load(f"served:{home / 'elsewhere'}")
    (home / "answers").mkdir()
    assert counts(load("served")) == (0, 0, 0)


def test_an_event_waits_for_an_answer_that_is_written_behind_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, now = AnswerLog(Settings()), datetime.now(UTC)
    log.happened([event("purchase", request_id="r1")])
    report = load("served")
    why = report.tables["interactions"].set_aside
    assert (interactions(), list(why)) == ([], [served.ON_ITS_WAY])
    answer(log, "r1", served_at=now)
    at(monkeypatch, now + timedelta(minutes=15))
    load("served")
    bought = [row for row in interactions() if row[3] == "purchase"]
    assert [(row[4], row[5]) for row in bought] == [("r1", 1)]
    # One that never comes is not waited for.
    log.happened([event("view", request_id="never")])
    at(monkeypatch, datetime.now(UTC) + timedelta(minutes=2))
    load("served")
    assert [row[4] for row in interactions() if row[3] == "view"] == ["never"]


def test_of_a_batch_only_what_is_reported_was_seen(home: Path) -> None:
    log = AnswerLog(Settings())
    answer(log, "r1", surface="batch")
    answer(log, "r2", surface="batch")
    log.happened([event("view", request_id="r2", position=1)])
    load("served")
    assert [row[3] for row in interactions()] == ["view"]


def test_neither_answers_nor_events_push_out_what_is_the_others(home: Path) -> None:
    log = AnswerLog(Settings(1))
    log.happened([event("view", SHOES, request_id=None)])
    for n in range(9_000):
        answer(log, f"r{n}", surface="batch")
    assert served.forgotten(log.folder) is not None
    assert len(served.files(log.folder, "events")) == 1
    sizes = [file.stat().st_size for file in log.folder.iterdir()]
    assert sum(sizes) < 1.2 * 2**20
    load("served")
    assert [row[3] for row in interactions()] == ["view"]


def test_what_was_deleted_to_make_room_changes_nothing_that_was_loaded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AnswerLog(Settings(1))
    served_at = datetime.now(UTC) - timedelta(minutes=30)
    for n in range(700):
        answer(log, f"r{n}", served_at=served_at)
        log.happened([event("view", SCARF, minute=n, request_id=f"r{n}", position=2)])
    before = load("served")
    assert counts(before) == (2100, 0, 0)
    loaded = interactions()
    log.happened([event("view", SHOES, position=9, surface="search")])
    while served.forgotten(log.folder) is None:
        answer(log, "of a batch", served_at=served_at, surface="batch")
    log.happened([event("dismiss", request_id="r1")])
    at(monkeypatch, datetime.now(UTC) + timedelta(minutes=2))
    report = load("served")
    again = interactions()
    assert set(loaded) < set(again)
    assert {row[2:7] for row in set(again) - set(loaded)} == {(SHOES, "view", None, 9, "search")}
    why = report.tables["interactions"].set_aside
    assert why["its answer is not remembered any more"] == 1


# The twin: every line, at whatever time it was loaded and whatever was deleted meanwhile


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return moment

    monkeypatch.setattr(served, "datetime", Clock)


DAY = 1440
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Asked(NamedTuple):
    minute: int
    customer: str
    articles: tuple[str, ...]
    forced: bool


class Told(NamedTuple):
    request: int | None
    """Which of the answers it names; -1 for one that never was."""
    after: int
    own: bool
    """Whether the customer is the one whom the answer was for."""
    article: str
    kind: str
    position: int | None


ANSWERED = st.builds(
    Asked,
    st.sampled_from([0, 3, 12, DAY, 3 * DAY, 9 * DAY]),
    st.sampled_from(["anna", "bert"]),
    st.lists(st.sampled_from([SHIRT, SCARF]), max_size=2).map(tuple),
    st.booleans(),
)
HAPPENED = st.builds(
    Told,
    st.sampled_from([None, -1, 0, 0, 1, 1, 2]),
    st.sampled_from([0, 1, 1, 9, 9, 10, 11, 30, DAY, 7 * DAY, 7 * DAY + 1, 12 * DAY]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([SHIRT, SCARF, SHOES]),
    st.sampled_from(["impression", "impression", "view"]),
    st.sampled_from([None, None, 1, 2]),
)
Row = tuple[Any, ...]


@dataclass
class World:
    """Answers and events on a line of time, in files of a day."""

    asked: list[Asked]
    told: list[Told]

    def lines(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """(minute, kind, line), in order of time; an event comes after the answer that it names."""
        found = []
        for n, one in enumerate(self.asked):
            size = len(one.articles)
            line = {
                "request_id": f"r{n}",
                "served_at": self.clock(one.minute),
                "asked_at": self.shop(one.minute),
                "customer_id": one.customer,
                "surface": "home",
                "variants": {"e": "x"},
                "forced": one.forced,
                "article_id": one.articles,
                "position": list(range(1, size + 1)),
                "carousel": [None] * size,
                "propensity": [0.5] * size,
            }
            found.append((one.minute, "answers", line))
        for n, one in enumerate(self.told):
            line = {
                "event_time": self.event_time(n),
                "received_at": self.clock(self.minute(one)),
                "customer_id": self.customer(one),
                "article_id": one.article,
                "kind": one.kind,
                "request_id": self.name(one),
                "position": one.position,
                "surface": None,
            }
            found.append((self.minute(one), "events", line))
        return iter(sorted(found, key=lambda entry: (entry[0], entry[1])))

    def minute(self, one: Told) -> int:
        base = self.answer(one)
        return one.after + (0 if base is None else base.minute)

    def answer(self, one: Told) -> Asked | None:
        known = one.request is not None and 0 <= one.request < len(self.asked)
        return self.asked[one.request] if known else None  # type: ignore[index]

    def customer(self, one: Told) -> str:
        base = self.answer(one)
        return base.customer if one.own and base else "cara"

    def name(self, one: Told) -> str | None:
        return None if one.request is None else f"r{one.request}"

    def clock(self, minute: int) -> str:
        return f"{(BEGIN + timedelta(minutes=minute)).isoformat()}"

    def shop(self, minute: int) -> str:
        return f"{(ASKED + timedelta(minutes=minute)).replace(tzinfo=None).isoformat()}Z"

    def event_time(self, n: int) -> str:
        """Of each event another, so that rows can be told apart."""
        return f"{(ASKED + timedelta(days=1, seconds=n)).replace(tzinfo=None).isoformat()}Z"

    def rows(self) -> set[Row]:
        """What is to be loaded in the end, by the words of the module."""
        found: set[Row] = set()
        reported = {
            one.request
            for one in self.told
            if one.kind == "impression" and self.answer(one) and one.own and one.after < 10
        }
        for n, one in enumerate(self.asked):
            variant = None if one.forced else "e=x"
            for place, article in enumerate(one.articles if n not in reported else (), 1):
                when = self.shop(one.minute)
                row = (when, one.customer, article, "impression", f"r{n}", place, "home")
                found.add((*row, variant, 0.5))
        for n, one in enumerate(self.told):
            base = self.answer(one)
            if one.after > 7 * DAY:
                base = None
            row = (self.event_time(n), self.customer(one), one.article, one.kind)
            name = self.name(one)
            if base is None or not one.own:
                name = name if base is None else None
                found.add((*row, name, one.position, None, None, None))
                continue
            if one.kind == "impression" and one.request not in reported:
                continue
            variant = None if base.forced else "e=x"
            if one.article in base.articles:
                place = base.articles.index(one.article) + 1
                chance = 0.5 if one.position in (None, place) else None
                found.add((*row, name, one.position or place, "home", variant, chance))
            else:
                found.add((*row, name, one.position, None, variant, None))
        return found


SCRATCH = connect(Path(":memory:"), read_only=False)
"""Its cursors have temporary tables of their own."""


class Folder:
    """The files as the log would have them at a time."""

    def __init__(self, at: Path) -> None:
        self.at = at
        self.begun: dict[str, tuple[int, Path]] = {}
        self.written: dict[Path, int] = {}
        self.loaded: set[str] = set()

    def write(self, minute: int, kind: str, line: dict[str, Any]) -> None:
        began, file = self.begun.get(kind, (-2 * DAY, self.at))
        if minute >= began + DAY or file not in self.written:
            file = self.at / f"{minute:09}-{kind}-1-{len(self.written)}.jsonl"
            self.begun[kind] = (minute, file)
        self.written[file] = minute
        with file.open("a") as stream:
            stream.write(answer_log._json(line) + "\n")

    def delete_oldest(self) -> None:
        if self.written:
            file = min(self.written, key=lambda one: (self.written[one], one.name))
            until = BEGIN + timedelta(minutes=self.written.pop(file), seconds=1)
            (self.at / f"{until.strftime(served.TIME)}-forgotten").touch()
            file.unlink()

    def rows(self, monkeypatch: pytest.MonkeyPatch, minute: int) -> set[Row]:
        """What a load at that time would bring."""
        at(monkeypatch, BEGIN + timedelta(minutes=minute))
        with SCRATCH.cursor() as con:
            source = Source(con, self.at, loaded=frozenset(self.loaded))
            selects = served.read(source)
            rows = con.execute(
                f"SELECT {COLUMNS} FROM ({selects['interactions']}) WHERE _set_aside IS NULL"
            ).fetchall()
        self.loaded |= {file.sha256 for file in source.files.values()}
        return {(*row[:5], None if row[5] is None else int(row[5]), *row[6:]) for row in rows}


FIRST = Asked(0, "anna", (SHIRT,), False)
SEEN = Told(0, 1, True, SHIRT, "impression", None)


@settings(max_examples=15, deadline=None)
# What was reported of an answer is gone before it.
@example([FIRST, FIRST._replace(minute=3)], [SEEN], [], [DAY])
# An answer is gone before what comes of it, which had been loaded with it.
@example([FIRST], [SEEN, SEEN._replace(kind="view", after=30)], [DAY], [DAY])
# It was loaded before it was reported what was seen, and after.
@example([FIRST], [SEEN._replace(after=9)], [5, 11], [])
# Files did not change, and time has passed, or a new file names them.
@example([FIRST], [], [5], [])
@example([FIRST], [SEEN._replace(kind="view", after=30)], [11], [])
@example([FIRST], [SEEN._replace(after=10), SEEN._replace(after=7 * DAY + 1)], [11], [DAY])
@given(
    st.lists(ANSWERED, max_size=3),
    st.lists(HAPPENED, max_size=5),
    st.lists(st.sampled_from([0, 5, 11, 14, 23, DAY, 3 * DAY, 8 * DAY, 13 * DAY]), max_size=5),
    st.lists(st.sampled_from([1, DAY, 4 * DAY, 9 * DAY, 11 * DAY]), max_size=3),
)
def test_when_it_is_loaded_and_what_is_deleted_changes_no_row(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[Asked],
    told: list[Told],
    loads: list[int],
    deletions: list[int],
) -> None:
    world = World(asked, told)
    end = 60 * DAY
    for forgets in ([], deletions):
        folder = Folder(tmp_path_factory.mktemp("log"))
        steps: list[tuple[int, int, Any]] = [(m, 0, (k, line)) for m, k, line in world.lines()]
        steps += [(minute, 1, None) for minute in forgets]
        steps += [(minute, 2, None) for minute in (*loads, end)]
        loaded: set[Row] = set()
        with pytest.MonkeyPatch.context() as monkeypatch:
            for minute, what, said in sorted(steps, key=lambda step: step[:2]):
                if what == 0:
                    folder.write(minute, *said)
                elif what == 1:
                    folder.delete_oldest()
                else:
                    loaded |= folder.rows(monkeypatch, minute)
        if forgets:
            assert loaded <= world.rows()
        else:
            assert loaded == world.rows()


def test_the_home_is_asked_for_at_each_call(home: Path) -> None:
    assert served.folder() == home / "answers"
    assert os.environ["LOOKBOOK_HOME"] == str(home)
