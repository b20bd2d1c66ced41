"""What was served is logged and compared with the warehouse: real stores, real clocks, no mocks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.data_source import PushMode

from feature_repo import feature_sql, moment_features, places
from feature_repo.errors import InputError
from feature_repo.raw_tables import RAW_TABLES
from pipelines import feature_tables, features
from pipelines.data.load import load
from pipelines.features import OnlineFeatures
from pipelines.monitoring import parity, served_log
from pipelines.monitoring.parity import ParityError, check
from pipelines.monitoring.served_log import ServedLog, Settings, Versions
from pipelines.online import materialize, materialized_at, online_moment
from pipelines.warehouse import reading
from services.answers import Answers
from tests.conftest import Serve, until
from tests.test_cli import lookbook, one_sentence
from tests.test_online_store import Shop, everyone, pairs
from tests.test_service import post

EVERYTHING = Settings(sample=1)


def serve(
    rows: Iterable[pd.DataFrame],
    moments: Iterable[datetime],
    service: str = "everything",
    settings: Settings = EVERYTHING,
) -> ServedLog:
    """A request for each moment, answered from the online store and logged."""
    versions = Versions.now("release:test", online_moment(refresh=True))
    log = ServedLog(settings)
    for asked, moment in zip(rows, moments, strict=True):
        with log.request(OnlineFeatures(moment), versions) as online:
            online.read(asked, service)
    log.close()
    return log


def once(rows: pd.DataFrame, service: str = "everything", **after: float) -> ServedLog:
    """One request, some time after the online store was brought up to date."""
    moment = online_moment(refresh=True) + timedelta(**(after or {"hours": 7, "microseconds": 1}))
    return serve([rows], [moment], service)


def features_that(report: parity.Report, how: str) -> set[str]:
    return {
        name
        for counts in report.services.values()
        for name, count in counts.items()
        if getattr(count, how)
    }


def as_json(*words: str, status: int = 0) -> dict[str, Any]:
    done = lookbook("parity", *words, "--json")
    assert done.exit_code == status, done.output
    return json.loads(done.stdout.splitlines()[-1])


# Everything is equal


def load_late(files: Path, folder: Path) -> None:
    """Purchases of the shop that come in weeks after their day."""
    folder.mkdir()
    for table in ("articles", "customers"):
        (folder / RAW_TABLES[table].file).symlink_to(files / RAW_TABLES[table].file)
    bought = pd.read_csv(files / "transactions_train.csv", dtype=str)
    late = bought[bought["t_dat"].between("2020-08-01", "2020-08-20")].iloc[::5]
    late.assign(t_dat="2020-08-27").to_csv(folder / "transactions_train.csv", index=False)
    load(str(folder))


def as_they_act(
    rows: Iterable[pd.DataFrame], moments: Sequence[datetime]
) -> Iterator[pd.DataFrame]:
    """The rows; before each, what its customer has done on the day is pushed online, as a shop does."""
    with reading() as con:
        actions = con.execute(
            "SELECT customer_id, [article_id] AS session_articles, [kind] AS session_kinds, "
            "[epoch_us(event_time)] AS session_moments, event_time AS valid_from, known_at AS created_at "
            "FROM staging.actions WHERE event_time >= ? AND event_time <= ?",
            [moments[0].date(), moments[-1].replace(tzinfo=None)],
        ).df()
    for row, moment in zip(rows, moments, strict=True):
        mine = actions["customer_id"].eq(row["customer_id"].iloc[0])
        told = mine & actions["valid_from"].le(pd.Timestamp(moment).tz_localize(None))
        if told.any():
            features.feature_store().push("interactions", actions[told], to=PushMode.ONLINE)
            actions = actions[~told]
        yield row


def test_a_thousand_moments_of_many_days_are_equal(
    own_shop: Path, built_shop: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    rows = pairs()

    def a_day(through: date, requests: int) -> None:
        feature_tables.build(through)
        materialize(through)
        start = features.moment_of(through + timedelta(days=1))
        ticks = sorted(rng.integers(86_400_000_000, size=requests).tolist())
        moments = [start + timedelta(microseconds=tick) for tick in ticks]
        chosen = [rows.iloc[[row]] for row in rng.integers(len(rows), size=requests)]
        serve(as_they_act(chosen, moments), moments)

    a_day(date(2020, 9, 8), 280)
    a_day(date(2020, 9, 9), 280)
    report = check()
    assert report.holds
    assert report.total.equal == report.total.compared
    assert report.moments == report.rows == 560

    # Purchases come late: what was served before knew less, and what is served now is right again.
    load_late(built_shop.parent / "files", tmp_path / "late")
    later = datetime.now(UTC)
    a_day(date(2020, 9, 10), 280)
    a_day(date(2020, 9, 14), 160)
    report = check(since=later)
    assert report.total.equal == report.total.compared
    assert report.moments == 440
    report = check()
    assert report.holds
    assert report.total.late > 0
    assert report.moments == report.requests == 1000
    assert report.total.compared >= 100_000
    assert set(report.services["everything"]) == set(features.service_fields("everything"))

    # Another process says the same.
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "parity", "--json"],
        cwd=places.PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(report.to_dict(), default=str))


def test_what_the_service_answers_is_equal_also_when_late_purchases_come_online(
    own_shop: Path, built_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_SERVED_SAMPLE", "1")
    answers = Answers()

    def ask() -> None:
        for found in answers.sample_customers()[:3]:
            answers.recommend(found.customer_id, 12)
            answers.customer(found.customer_id)
        answers.recommend("somebody new", 3)

    ask()
    load_late(built_shop.parent / "files", tmp_path / "late")
    materialize(feature_tables.build().through)
    brought = materialized_at()
    answers.follow(every=timedelta(milliseconds=50))
    until(lambda: answers._served.versions.materialized_at == brought)
    since = datetime.now(UTC)
    ask()
    answers.stop()
    report = check(since=since)
    assert report.total.equal == report.total.compared
    assert set(report.services) == {"customer_state", "ranking", "article_display"}
    assert report.requests == 7
    assert report.rows > 300
    report = check()
    assert report.holds
    assert report.total.late > 0
    assert report.requests == 14
    assert not report.skipped


def test_a_service_that_is_ended_has_written_its_log(
    own_shop: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_SERVED_SAMPLE", "1")
    monkeypatch.setenv("LOOKBOOK_SERVED_SECONDS", "600")
    with serve(own_shop) as address:
        assert post(f"{address}/recommend", {"customer_id": "nobody", "k": 2})[0] == 200
    report = check()
    assert report.holds
    assert report.requests == 1


# What differs is found


def test_a_function_that_is_another_when_serving_is_named(
    shop: Path, own_shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recency = moment_features.recency

    def off_by_a_bit(inputs: moment_features.Inputs) -> moment_features.Outputs:
        found = recency(inputs)
        return found | {"overdue": np.nextafter(found["overdue"], np.inf)}

    rows = pairs(40)
    once(rows, "article_display")
    with monkeypatch.context() as serving:
        serving.setattr(moment_features, "recency", off_by_a_bit)
        once(rows, "ranking")
    report = check(examples=2)
    assert not report.holds
    assert features_that(report, "different") == {"recency__overdue"}
    assert report.total.late == 0
    assert len(report.differences) == 2
    example = report.differences[0]
    assert example.served == np.nextafter(example.offline, np.inf)
    assert example.keys["customer_id"] in set(rows["customer_id"])
    assert example.moment == online_moment() + timedelta(hours=7, microseconds=1)
    assert example.release == "release:test"

    assert check(service="article_display").holds
    found = as_json("--examples", "1", status=1)
    assert found["different"] == report.total.different
    assert [one["feature"] for one in found["differences"]] == ["recency__overdue"]
    said = lookbook("parity")
    assert said.exit_code == 1
    assert "recency__overdue" in said.stdout
    assert "recency__days_since_last_purchase" not in said.stdout
    assert "recency__days_since_last_purchase" in lookbook("parity", "--all").stdout


def tamper(customer: str, **values: object) -> None:
    """Give a customer's activity other values online, behind the back of the warehouse."""
    with reading() as con:
        row = con.execute(
            "SELECT * EXCLUDE (valid_to) FROM features.customer_activity "
            "WHERE customer_id = ? AND valid_to IS NULL",
            [customer],
        ).df()
    newer = row["valid_from"] + pd.Timedelta(seconds=1)
    row = row.assign(valid_from=newer, created_at=pd.Timestamp.now(), **values)
    features.feature_store().write_to_online_store("customer_activity", row)


def test_a_row_that_is_another_online_is_named_also_days_later(own_shop: Path) -> None:
    feature_tables.build(date(2020, 9, 18))
    materialize(date(2020, 9, 18))
    with reading() as con:
        # A busy customer, whose history goes on in the days that follow.
        (customer,) = con.execute(
            "SELECT customer_id FROM raw.transactions WHERE t_dat > DATE '2020-09-18' AND customer_id IN "
            "(FROM (SELECT customer_id FROM staging.purchases)) GROUP BY ALL ORDER BY count(*) DESC, 1"
        ).fetchone()
    tamper(customer, t_transactions_30d=77)
    others = pairs(30).query("customer_id != @customer")
    own = others.iloc[:2].assign(customer_id=customer)
    once(pd.concat([others, own]), microseconds=1)
    for through in (None, date(2020, 9, 20), date(2020, 9, 22)):
        if through:
            feature_tables.build(through)
            materialize(through)
        report = check()
        assert features_that(report, "different") == {"customer_activity__t_transactions_30d"}
        assert report.total.different == 2
        assert {found.keys["customer_id"] for found in report.differences} == {customer}
        assert {found.served for found in report.differences} == {77}
        assert report.total.late == 0


@pytest.fixture
def growing(home: Path, tmp_path: Path) -> Shop:
    """Three customers, built and materialised through 2020-01-05."""
    shop = Shop(tmp_path / "shop")
    shop.sell("2020-01-01", ("anna", "1"), ("anna", "1"), ("bert", "1"))
    shop.sell("2020-01-05", ("anna", "2"))
    features.apply()
    materialize(feature_tables.build().through)
    return shop


def test_what_the_warehouse_learned_later_is_late_and_no_fault(growing: Shop) -> None:
    once(everyone())
    assert check().total.late == 0
    growing.sell("2020-01-03", ("bert", "2"))
    feature_tables.build()
    report = check()
    assert report.holds
    late = features_that(report, "late")
    assert {"customer_activity__last_purchase", "recency__days_since_last_purchase"} <= late
    assert {"customer_recent__recent_articles", "article_activity__first_sold"} <= late
    assert not any(name.startswith(("calendar", "article_profile")) for name in late)
    assert lookbook("parity").exit_code == 0

    # The online store learns it too. A value that is wrong in it then is no longer excused.
    materialize(date(2020, 1, 5))
    since = datetime.now(UTC)
    once(everyone())
    assert check(since=since).total.late == 0
    tamper("bert", t_transactions_30d=77)
    once(everyone())
    report = check(since=since)
    assert features_that(report, "different") == {"customer_activity__t_transactions_30d"}


def test_a_push_that_did_not_come_online_is_no_later_knowledge(own_shop: Path) -> None:
    rows = pairs(2)[["customer_id"]].head(1)
    session = {f"customer_session__session_{name}" for name in ("articles", "kinds", "moments")}

    def push(minutes: int, to: PushMode) -> None:
        moment = online_moment() + timedelta(minutes=minutes)
        event = rows.assign(
            session_articles=[["0000000001"]],
            session_kinds=[["view"]],
            session_moments=[[int(moment.timestamp()) * 1_000_000]],
            valid_from=moment,
            created_at=datetime.now(UTC),
        )
        features.feature_store().push("interactions", event, to=to)

    push(10, PushMode.ONLINE_AND_OFFLINE)
    once(rows, "customer_state", hours=1)
    assert check().total.equal == check().total.compared
    push(20, PushMode.OFFLINE)
    report = check()
    assert features_that(report, "late") == session
    assert report.holds
    once(rows, "customer_state", hours=1)
    assert features_that(check(), "different") == session


def test_attributes_without_history_that_change_later_are_late(growing: Shop) -> None:
    once(everyone())
    growing.write(
        "customers",
        {"customer_id": "anna", "age": "24", "postal_code": "south"},
        {"customer_id": "bert"},
        {"customer_id": "cara", "age": "60", "postal_code": "south"},
    )
    load(str(growing.folder))
    feature_tables.build()
    report = check()
    # Nobody is left in the north, so nothing there says when it was written.
    assert {
        "customer_profile__postal_code",
        "postal_code_activity__t_purchases_30d",
    } <= features_that(report, "late")
    assert report.holds


def test_what_cannot_be_compared_is_skipped_with_the_reason(
    own_shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pairs(5).head(7)
    once(rows, "ranking")
    with monkeypatch.context() as changed:
        changed.setattr(feature_sql, "DECAY_DAYS", 7.0)
        report = check()
        assert [*report.skipped.values()] == [7]
        assert "ranking was of schema" in next(iter(report.skipped))
        assert not report.holds
        said = lookbook("parity")
        assert said.exit_code == 1
        assert "Skipped 7 rows: ranking was of schema" in said.stdout
    feature_tables.build(date(2020, 9, 20))
    report = check()
    assert report.skipped == {
        "asked for a moment after the features, which are built up to 2020-09-21 00:00:00+00:00": 7
    }
    assert not report.holds


def test_what_is_served_while_the_online_store_is_brought_on_is_skipped(growing: Shop) -> None:
    before = Versions.now("release:test", online_moment())
    log = ServedLog(EVERYTHING)

    def ask(versions: Versions) -> None:
        with log.request(OnlineFeatures(before.moment), versions) as online:
            online.read(everyone(), "ranking")

    ask(before)
    growing.sell("2020-01-06", ("anna", "1"))
    end = features.moment_of(feature_tables.build().end)
    store = features.feature_store()
    start = datetime(1970, 1, 1, tzinfo=UTC)
    first, *others = (view.name for view in store.list_feature_views())
    store.materialize(start, end, feature_views=[first])
    ask(before)
    half = Versions.now("release:test", online_moment())
    assert half.materialized_at == {}
    ask(half)
    store.materialize(start, end, feature_views=others)
    ask(before)
    log.close()
    report = check()
    assert report.skipped == {
        "served while the online store was being brought to another state": 3 * len(everyone())
    }
    assert report.holds
    assert report.rows == len(everyone())
    once(everyone(), "ranking")
    assert check().rows == 2 * len(everyone())
    assert check().holds


def test_a_check_of_nothing_does_not_pass(home: Path, growing: Shop) -> None:
    assert "Nothing served is in the log" in one_sentence(lookbook("parity"))
    once(everyone(), "ranking")
    assert check().holds
    for words in (("--service", "everything"), ("--since", "2999-01-01")):
        assert "Nothing served" in one_sentence(lookbook("parity", *words))
    assert "'nonsense' is not registered" in one_sentence(
        lookbook("parity", "--service", "nonsense")
    )


# The log


def test_values_are_kept_in_their_declared_types(shop: Path, own_shop: Path) -> None:
    rows = pairs(50)
    log = once(rows)
    (file,) = log.folder.iterdir()
    kept = pq.read_table(file)
    declared = features.service_schema("everything")
    names = [*kept.column_names][3:]
    assert names == ["customer_id", "article_id", "postal_code", "product", "product_group", *declared.names]  # fmt: skip
    assert kept.schema.field("customer_recent__recent_days").type == pa.list_(pa.int64())
    assert [kept.schema.field(name).type for name in declared.names] == declared.types
    assert kept["postal_code"].null_count == rows["postal_code"].isna().sum() > 0
    # The calendar is always there, and the made-up shop has no pictures.
    for name in declared.names:
        if not any(part in name for part in ("calendar", "desc", "visual", "image")):
            assert 0 < kept[name].null_count < kept.num_rows, name


def test_a_value_that_is_not_what_was_declared_is_kept_as_it_is() -> None:
    def kept(values: list[Any], declared: pa.DataType) -> pa.Array:
        return served_log._typed(pd.Series(values, dtype=object), declared)

    big = 2**60 + 1
    assert kept([big, None], pa.int64()).to_pylist() == [big, None]
    assert kept([1.0, None], pa.int64()).type == pa.int64()
    assert kept([1.5, None], pa.int64()).to_pylist() == [1.5, None]
    assert kept([[1, None], None, []], pa.list_(pa.int64())).to_pylist() == [[1, None], None, []]
    assert kept([[1.5]], pa.list_(pa.int64())).to_pylist() == [[1.5]]
    assert kept([7, None], pa.string()).to_pylist() == [7, None]
    assert kept([None, np.nan], pa.string()).type == pa.string()
    assert kept([1, "a"], pa.int64()).to_pylist() == ["1", "'a'"]


def test_values_are_compared_to_the_last_bit() -> None:
    def same(one: list[Any], other: list[Any], of: pa.DataType, than: Any = None) -> list[bool]:
        columns = pa.chunked_array([one], of), pa.chunked_array([other], than or of)
        return parity._same(*columns).tolist()

    tick = np.nextafter(0.1, 1)
    assert same([0.1, 0.1, 0.0], [0.1, tick, -0.0], pa.float64()) == [True, False, False]
    assert same([None, np.nan, np.nan, 1.0], [None, None, np.nan, None], pa.float64()) == [True, True, True, False]  # fmt: skip
    assert same([2**60, None, 1], [2**60 + 1, None, None], pa.int64()) == [False, True, False]
    lists = [[1.0, 2.0], [], None, [0.1], [1.0], [1.0, np.nan], [3.0]]
    others = [[1.0, 2.0], [], None, [tick], [1.0, 2.0], [1.0, np.nan], None]
    assert same(lists, others, pa.list_(pa.float64())) == [True, True, True, False, False, True, False]  # fmt: skip
    texts = pa.list_(pa.string())
    assert same([["a", None], [None]], [["a", None], [""]], texts) == [True, False]
    assert same([1.5, 1.0, None], [1, 1, None], pa.float64(), pa.int64()) == [False, True, True]


def test_requests_are_sampled_whole_and_zero_is_none(
    own_shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = Versions.now("release:test", online_moment())
    asked = pairs(2).head(1)

    def ask(sample: float, requests: int) -> ServedLog:
        log = ServedLog(Settings(sample=sample))
        for _ in range(requests):
            with log.request(OnlineFeatures(online_moment()), versions) as online:
                online.read(asked, "customer_state")
                online.read(asked, "article_display")
        log.close()
        return log

    log = ask(0, 20)
    assert not log.folder.exists()
    ask(0.5, 40)
    found: dict[str, set[str]] = {}
    for piece in served_log.logged(None, None, lambda file, why: pytest.fail(why)):
        for request in piece.rows["request_id"].to_pylist():
            found.setdefault(request, set()).add(piece.service)
    assert 5 < len(found) < 35
    assert all(of == {"customer_state", "article_display"} for of in found.values())


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SAMPLE", "often", "from 0 to 1"),
        ("SAMPLE", "1.5", "from 0 to 1"),
        ("SAMPLE", "nan", "from 0 to 1"),
        ("MEGABYTES", "0", "of at least 1"),
        ("SECONDS", "inf", "of at least 0"),
    ],
)
def test_a_wrong_setting_is_named_when_the_service_starts(
    shop: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"LOOKBOOK_SERVED_{name}", value)
    with pytest.raises(InputError, match=f"LOOKBOOK_SERVED_{name} is '{value}': .*{says}"):
        Answers()


def test_the_oldest_files_go_when_there_are_too_many(own_shop: Path) -> None:
    rows = pairs(20)
    settings = Settings(sample=1, megabytes=1)
    names: list[str] = []
    for _ in range(8):
        log = serve([rows], [online_moment()], settings=settings)
        names += {file.name for file in log.folder.iterdir()} - set(names)
    left = sorted(file.name for file in log.folder.iterdir())
    assert left == names[-len(left) :]
    assert 1 < len(left) < len(names) == 8
    assert sum(file.stat().st_size for file in log.folder.iterdir()) <= 2**20


def test_what_does_not_fit_is_dropped_and_counted_and_nobody_waits(
    own_shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = pairs(10)
    versions = Versions.now("release:test", online_moment())
    log = ServedLog(Settings(sample=1, seconds=600))
    with log.request(OnlineFeatures(online_moment()), versions) as online:
        online.read(rows, "everything")
        (request,) = [online]
    monkeypatch.setattr(served_log, "MOST_VALUES", 3 * request.values)
    started = time.perf_counter()
    for _ in range(1000):
        log.offer(request)
    assert time.perf_counter() - started < 0.5
    assert log.dropped == 998
    assert [r.message for r in caplog.records] == [
        "more is served than can be logged: 1 requests dropped"
    ]
    log.close()
    log.offer(request)
    assert log.dropped == 999
    report = check()
    assert report.rows == 3 * len(rows)
    assert report.holds


def test_a_folder_that_cannot_be_written_is_said_once_and_the_service_goes_on(
    own_shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOOKBOOK_SERVED_SAMPLE", "1")
    monkeypatch.setenv("LOOKBOOK_SERVED_SECONDS", "0")
    (own_shop / "served").write_text("in the way")
    answers = Answers()
    for number in range(1, 4):
        assert answers.recommend("nobody", 2).recommendations
        until(lambda: answers._log.dropped == number)  # noqa: B023
    assert [record.message for record in caplog.records] == [
        f"what is served cannot be logged in {own_shop / 'served'}: File exists"
    ]
    # It is logged again when it can be.
    (own_shop / "served").unlink()
    answers.recommend("nobody", 2)
    answers.stop()
    assert check().holds


def test_files_that_cannot_be_read_are_named_and_the_others_compared(own_shop: Path) -> None:
    log = once(pairs(20))
    (whole,) = log.folder.iterdir()
    (log.folder / "garbage.parquet").write_text("not Parquet")
    (log.folder / "half.parquet").write_bytes(whole.read_bytes()[:5000])
    (log.folder / ".x.parquet.1-2.partial").write_bytes(whole.read_bytes()[:5000])
    pq.write_table(pa.table({"a": [1]}), log.folder / "other.parquet")
    damaged = bytearray(whole.read_bytes())
    damaged[2000:6000] = bytes(4000)
    (log.folder / "damaged.parquet").write_bytes(damaged)
    report = check()
    bad = {"garbage.parquet", "half.parquet", ".x.parquet.1-2.partial", "other.parquet", "damaged.parquet"}  # fmt: skip
    assert set(report.unreadable) == bad
    assert report.holds
    said = lookbook("parity")
    assert said.exit_code == 0
    assert "Not read: other.parquet: not a log of what was served" in said.stdout
    whole.unlink()
    with pytest.raises(ParityError, match="5 files could not be read"):
        check()


def test_a_killed_process_leaves_what_it_has_written(own_shop: Path) -> None:
    code = """
from tests.test_parity import *
versions = Versions.now("release:test", online_moment())
rows, log = pairs(20), ServedLog(Settings(sample=1, seconds=0))
while True:
    with log.request(OnlineFeatures(online_moment()), versions) as online:
        online.read(rows, "everything")
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=places.PROJECT)
    folder = served_log.folder()
    try:
        until(lambda: folder.exists() and len(list(folder.glob("*.parquet"))) > 3, seconds=60)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    report = check()
    assert report.holds
    assert report.requests > 3
    assert all(file.endswith(".partial") for file in report.unreadable)
