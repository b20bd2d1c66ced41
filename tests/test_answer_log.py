"""The log of answers: what was written is there, whatever happens to its writer."""

import logging
import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from feature_repo import places
from feature_repo.errors import InputError
from pipelines.data.adapters import served
from pipelines.monitoring import answer_log
from pipelines.monitoring.answer_log import (
    DELETED,
    NOT_REMEMBERED,
    Answer,
    AnswerLog,
    AnswerLogError,
    Event,
    Settings,
    Shown,
)

ASKED = datetime(2020, 9, 22, 18, 30, tzinfo=UTC)
SHIRT, SCARF = "0000000001", "0000000002"


def answer(
    log: AnswerLog, request_id: str = "r1", shown: list[Shown] | None = None, **more
) -> None:
    said = {
        "request_id": request_id,
        "customer_id": "anna",
        "surface": "home",
        "asked_at": ASKED,
        "moment": ASKED,
        "release": "release:kq3v",
        "shown": [Shown(SHIRT, 1)] if shown is None else shown,
    }
    log.answered(**said | more)


def event(customer_id: str = "anna", **more) -> Event:
    return Event(ASKED, customer_id, SHIRT, "view", **more)


def answers(at: Path, complaints: list[str] | None = None) -> list[Answer]:
    told: list[str] = [] if complaints is None else complaints
    found = list(answer_log.answers(lambda file, why: told.append(why), at))
    assert complaints is not None or not told
    return found


def events(at: Path, complaints: list[str] | None = None) -> list[Event]:
    told: list[str] = [] if complaints is None else complaints
    found = [said for _, said in answer_log.events(lambda file, why: told.append(why), at)]
    assert complaints is not None or not told
    return found


def run(code: str, at: Path, **more) -> subprocess.CompletedProcess[str]:
    """Another process, to which `log`, `event` and `answer` are known."""
    first = (
        "import os, sys, resource; from pathlib import Path; "
        "from tests.test_answer_log import *; "
        f"log = AnswerLog(Settings(), Path({str(at)!r}))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", first + code],
        cwd=places.PROJECT,
        capture_output=True,
        text=True,
        **more,
    )


def test_what_was_answered_and_what_came_of_it_is_read_as_it_was(tmp_path: Path) -> None:
    log = AnswerLog(Settings(), tmp_path)
    before = datetime.now(UTC)
    shown = [
        Shown(SCARF, 1, "for_you", "ease", np.float32(0.5), 0.25),
        Shown(SHIRT, np.int64(2), None, None, None),
    ]
    answer(
        log,
        shown=shown,
        variants={"exploration": "epsilon"},
        forced=True,
        fallbacks=["unknown_customer"],
    )
    answer(log, "r2", shown=[], served_at=ASKED, asked_at=datetime(2020, 9, 23))
    viewed = event(request_id="r1", position=1, surface="home/for_you")
    east = timezone(timedelta(hours=2))
    log.happened([viewed, Event(ASKED.astimezone(east), "bért", SCARF, "cart")])
    log.happened([])
    first, second = answers(tmp_path)
    assert before <= first.served_at <= datetime.now(UTC)
    assert first == Answer(
        "r1",
        first.served_at,
        ASKED,
        ASKED,
        "anna",
        "home",
        "release:kq3v",
        {"exploration": "epsilon"},
        True,
        ("unknown_customer",),
        (Shown(SCARF, 1, "for_you", "ease", 0.5, 0.25), Shown(SHIRT, 2, None, None, None, 1.0)),
    )
    assert (second.shown, second.served_at) == ((), ASKED)
    assert second.asked_at == datetime(2020, 9, 23, tzinfo=UTC)
    assert events(tmp_path) == [viewed, Event(ASKED, "bért", SCARF, "cart")]
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"article_id": "12"}, r"events\[1\]\.article_id does not match \\d\{10\}\."),
        ({"article_id": "\u0660" * 10}, r"events\[1\]\.article_id does not match"),
        ({"kind": "click"}, r"events\[1\]\.kind is not one of impression, view"),
        ({"customer_id": ""}, r"events\[1\]\.customer_id is missing"),
        ({"customer_id": "a\0b"}, r"events\[1\]\.customer_id holds a control character"),
        ({"surface": "a\nb"}, r"events\[1\]\.surface holds a control character"),
        ({"position": 0}, r"events\[1\]\.position is below 1"),
        ({"event_time": ASKED.replace(year=2399)}, r"events\[1\]\.event_time is 2399-"),
        ({"event_time": ASKED.replace(year=1820)}, r"events\[1\]\.event_time is 1820-"),
    ],
)
def test_what_could_not_be_loaded_is_refused_with_all_that_came_with_it(
    tmp_path: Path, wrong: dict, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        AnswerLog(Settings(), tmp_path).happened([event(), event()._replace(**wrong)])
    assert events(tmp_path) == []


def test_it_is_in_the_home_and_its_size_in_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(AnswerLog())
    assert len(answers(home / "answers")) == 1
    monkeypatch.setenv("LOOKBOOK_ANSWERS_MEGABYTES", "12.5")
    assert AnswerLog().settings == Settings(12.5)
    for wrong in ("much", "0.5", "inf"):
        monkeypatch.setenv("LOOKBOOK_ANSWERS_MEGABYTES", wrong)
        with pytest.raises(InputError, match=r"_MEGABYTES is .* of at least 1"):
            AnswerLog()


def test_a_killed_process_loses_nothing_that_was_written(tmp_path: Path) -> None:
    code = """
for n in range(1_000_000):
    answer(log, f"r{n}", [Shown(SHIRT, place) for place in range(1, 13)])
    log.happened([event(request_id=f"r{n}")] * 3)
    print(n, flush=True)
"""
    first = (
        "from pathlib import Path; from tests.test_answer_log import *; "
        f"log = AnswerLog(Settings(), Path({str(tmp_path)!r}))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", first + code], cwd=places.PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "300":
            process.kill()
            break
    rest = process.stdout.read().split()
    process.wait()
    last = int(rest[-1]) if rest else 300
    complaints: list[str] = []
    found = [said.request_id for said in answers(tmp_path, complaints)]
    assert found[: last + 1] == [f"r{n}" for n in range(last + 1)]
    assert [said.request_id for said in events(tmp_path, complaints)[::3]][: last + 1] == found[
        : last + 1
    ]
    assert len(found) <= last + 2
    assert len(complaints) <= 2


def test_a_torn_line_is_left_out_and_counted_and_nobody_writes_behind_it(tmp_path: Path) -> None:
    answer(AnswerLog(Settings(), tmp_path))
    (file,) = served.files(tmp_path, "answers")
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:100])
    answer(AnswerLog(Settings(), tmp_path), "r2")
    complaints: list[str] = []
    assert [said.request_id for said in answers(tmp_path, complaints)] == ["r1", "r2"]
    assert complaints == ["line 2 is not whole"]
    damaged = [b"{}\n", b"7\n", b"\n", b"\0\0\0\n", whole.replace(b"anna", b"ann\xff"), whole[:-1]]
    file.write_bytes(b"".join(damaged))
    complaints.clear()
    assert [said.request_id for said in answers(tmp_path, complaints)] == ["r2"]
    assert complaints == [f"line {n} is not whole" for n in range(1, 7)]
    file.unlink()
    file.mkdir()
    complaints.clear()
    assert [said.request_id for said in answers(tmp_path, complaints)] == ["r2"]
    assert complaints == ["Is a directory"]


def test_threads_and_forked_processes_do_not_write_into_each_others_lines(tmp_path: Path) -> None:
    log = AnswerLog(Settings(), tmp_path)
    log.happened([event("0")])

    def write(name: str) -> None:
        for _ in range(200):
            log.happened([event(name), event(name)])

    threads = [threading.Thread(target=write, args=(str(n),)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events(tmp_path)) == 1 + 4 * 400
    assert len(served.files(tmp_path, "events")) == 1
    done = run(
        "log.happened([event('parent')])\n"
        "child = os.fork()\n"
        "log.happened([event('after')])\n"
        "child and os.waitpid(child, 0)",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(served.files(tmp_path, "events")) == 3
    assert [said.customer_id for said in events(tmp_path)].count("after") == 2


@pytest.mark.parametrize("metrics", ["own", "shared"])
def test_a_full_disk_takes_no_part_of_a_line_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: str
) -> None:
    """The limit of a file's size stands for it: the kernel writes what still fits. BentoML's processes share their
    metrics by way of files."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    if metrics == "shared":
        (tmp_path / "metrics").mkdir()
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    code = """
def most(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
log.happened([event()])
(file,) = served.files(log.folder, "events")
size = file.stat().st_size
most(size + 30)
for n in range(3):
    try:
        log.happened([event("lost")] * 5)
    except AnswerLogError as error:
        print(error)
assert file.stat().st_size == size
answer(log)
answer(log)
print(NOT_REMEMBERED.labels("unwritten")._value.get())
most(resource.RLIM_INFINITY)
log.happened([event("later")])
answer(log, "r2")
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 4
    assert all(line.startswith("Events cannot be written: ") for line in said[:3])
    assert said[3] == "2.0"
    assert done.stderr.count("an answer cannot be remembered") == 1
    assert [said.customer_id for said in events(tmp_path)] == ["anna", "later"]
    assert [said.request_id for said in answers(tmp_path)] == ["r2"]


def test_an_answer_that_cannot_be_written_costs_the_customer_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "answers").write_text("a file where the folder should be")
    log = AnswerLog(Settings(), tmp_path / "answers")
    unwritten = NOT_REMEMBERED.labels("unwritten")._value.get()
    unfit = NOT_REMEMBERED.labels("unfit")._value.get()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            answer(log)
        answer(AnswerLog(Settings(), tmp_path / "other"), variants={"a": object()})
    assert NOT_REMEMBERED.labels("unwritten")._value.get() == unwritten + 3
    assert NOT_REMEMBERED.labels("unfit")._value.get() == unfit + 1
    assert len(caplog.records) == 2
    with pytest.raises(AnswerLogError, match="Events cannot be written: File exists"):
        log.happened([event()])
    other = AnswerLog(Settings(), tmp_path / "scores")
    answer(other, shown=[Shown(SHIRT, 1, score=float("nan"), propensity=float("inf"))])
    (found,) = answers(tmp_path / "scores")
    assert found.shown == (Shown(SHIRT, 1, score=None, propensity=None),)  # type: ignore[arg-type]


def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    log = AnswerLog(Settings(), tmp_path / "answers")
    log.happened([event()])
    shutil.rmtree(tmp_path / "answers")
    log.happened([event("bert")])
    assert [said.customer_id for said in events(tmp_path / "answers")] == ["bert"]


def test_files_are_of_one_stretch_and_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AnswerLog(Settings(1), tmp_path)
    many = [event()] * 100
    size = 0
    while len(served.files(tmp_path, "events")) < 3:
        log.happened(many)
        size += 1
    first, second, _ = served.files(tmp_path, "events")
    assert first.stat().st_size <= 2**20 / 8
    assert second.stat().st_size <= 2**20 / 8
    assert len(events(tmp_path)) == 100 * size
    answer(log)
    monkeypatch.setattr(answer_log, "MOST_SECONDS", 0)
    answer(log)
    assert len(served.files(tmp_path, "answers")) == 2


def test_the_oldest_go_with_a_warning_and_a_mark_and_what_is_written_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    idle = AnswerLog(Settings(1), tmp_path)
    idle.happened([event("idle")])
    (kept,) = served.files(tmp_path, "events")
    killed = run("log.happened([event('killed')] * 50)", tmp_path)
    assert killed.returncode == 0, killed.stderr
    for n, file in enumerate(served.files(tmp_path, "events")):
        os.utime(file, (1_600_000_000 + n, 1_600_000_000 + n))
    log = AnswerLog(Settings(1), tmp_path)
    deleted = DELETED.labels("events")._value.get()
    with caplog.at_level(logging.WARNING):
        for _ in range(60):
            log.happened([event("new")] * 200)
    files = served.files(tmp_path, "events")
    assert sum(file.stat().st_size for file in files) <= 2**20 * (1 + 1 / 8)
    assert DELETED.labels("events")._value.get() > deleted
    assert "files of answers and events were deleted" in caplog.text
    assert kept in files
    found = [said.customer_id for said in events(tmp_path)]
    assert set(found) == {"idle", "new"}
    assert found.count("new") < 60 * 200
    (mark,) = tmp_path.glob("*-forgotten")
    # All that is gone was written before it.
    assert served.forgotten(tmp_path) >= datetime.now(UTC) - timedelta(minutes=2)
    assert served.forgotten(tmp_path) <= datetime.now(UTC) + timedelta(seconds=2)
    # The idle one goes on writing where it was.
    idle.happened([event("idle")])
    assert len(served.files(tmp_path, "events")) == len(files)
    mark.rename(tmp_path / "x-forgotten")
    with pytest.raises(served.LoadError, match="x-forgotten names no time"):
        served.forgotten(tmp_path)


def test_an_answer_of_twelve_costs_less_than_a_tenth_of_a_millisecond(tmp_path: Path) -> None:
    log = AnswerLog(Settings(), tmp_path)
    shown = [Shown(f"{n:010}", n, "for_you", "ease", 0.1 * n, 0.9) for n in range(1, 13)]
    best = 1.0
    for _ in range(40):
        started = perf_counter()
        for _ in range(25):
            answer(log, shown=shown, variants={"exploration": "epsilon", "diverse_page": "diverse"})
        best = min(best, (perf_counter() - started) / 25)
    assert best < 100e-6
    assert len(answers(tmp_path)) == 1000


# Behind those who get the answers


def test_what_waits_is_written_when_the_process_ends(home: Path) -> None:
    code = (
        "from datetime import UTC, datetime\n"
        "from pipelines.monitoring.answer_log import AnswerLog, Shown\n"
        "log, now = AnswerLog(), datetime.now(UTC)\n"
        "for n in range(200):\n"
        "    log.answered_soon(request_id=f'r{n}', customer_id='x', surface='home', asked_at=now, moment=now,\n"
        "        release='r', shown=[Shown('0108775015', 1)])\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=places.PROJECT, check=True)
    assert [line.request_id for line in answers(home / "answers")] == [f"r{n}" for n in range(200)]


def test_who_writes_while_it_is_closed_loses_nothing(tmp_path: Path) -> None:
    log = AnswerLog(Settings(), tmp_path)
    over = threading.Event()

    def closes() -> None:
        while not over.is_set():
            log.close()

    closing = threading.Thread(target=closes)
    closing.start()
    for n in range(500):
        soon(log, f"r{n}")
    over.set()
    closing.join()
    log.close()
    assert sorted(line.request_id for line in answers(tmp_path)) == sorted(
        f"r{n}" for n in range(500)
    )


def test_what_comes_too_late_is_lost_and_counted(tmp_path: Path) -> None:
    def lost() -> float:
        name = "lookbook_answers_not_remembered_total"
        return REGISTRY.get_sample_value(name, {"reason": "behind"}) or 0

    log, before = AnswerLog(Settings(), tmp_path), lost()
    soon(log, "late", served_at=datetime.now(UTC) - timedelta(seconds=40))
    soon(log, "in time", served_at=datetime.now(UTC) - timedelta(seconds=10))
    log.close()
    assert [line.request_id for line in answers(tmp_path)] == ["in time"]
    assert lost() == before + 1


def soon(log: AnswerLog, request_id: str, **more: Any) -> None:
    log.answered_soon(
        request_id=request_id,
        customer_id="x",
        surface="home",
        asked_at=ASKED,
        moment=ASKED,
        release="r",
        shown=[Shown("0108775015", 1)],
        **more,
    )
