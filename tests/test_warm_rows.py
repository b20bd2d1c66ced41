"""What is held of articles in memory is what the store would give, always: it never outlives a write."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_repo import places
from feature_repo.stores.lmdb_online_store import online_rows
from pipelines import online
from pipelines.columns import Coded, Columns, texts
from pipelines.features import OnlineFeatures, feature_store, stored_reads, warm_up
from pipelines.online import materialize, online_moment, push
from pipelines.warehouse import reading
from pipelines.warm_rows import WarmRows
from services.answers import Answers

SERVICES = ("article_display", "ranking", "article_content", "article_sales")
VIEW = "article_activity"
FEATURE = f"{VIEW}__u_customers_7d"


def articles() -> list[str]:
    with reading() as con:
        found = con.execute("SELECT article_id FROM staging.articles ORDER BY 1").fetchall()
    return [article for (article,) in found]


def warmed(ids: list[str], services: tuple[str, ...] = SERVICES) -> WarmRows:
    warm = WarmRows(texts(*ids, None))
    warm_up(warm, services)
    return warm


def asked(ids: list[str]) -> Columns:
    """Rows with every key that a service may want."""
    state = OnlineFeatures(online_moment()).read(
        pd.DataFrame({"customer_id": ["nobody"]}, dtype=object), "customer_state"
    )
    assert len(state) == 1
    size = len(ids)
    return Columns(
        {
            "customer_id": Coded.one(customer(), size),
            "article_id": texts(*ids),
            "postal_code": Coded.one(None, size),
        }
    )


def customer() -> str:
    with reading() as con:
        row = con.execute("SELECT max(customer_id) FROM staging.purchases").fetchone()
    assert row is not None
    return str(row[0])


def values_of(table: Any) -> dict[str, list[str]]:
    return {name: [repr(v) for v in np.asarray(table[name]).tolist()] for name in table.columns}


@pytest.mark.parametrize("service", SERVICES)
def test_warm_reads_are_cold_reads(shop: Path, service: str) -> None:
    ids, moment = articles(), online_moment()
    warm = warmed(ids)
    rng = np.random.default_rng(3)
    for chosen in (ids[:1], [ids[n] for n in rng.integers(len(ids), size=90)], []):
        rows = asked(chosen)
        cold = OnlineFeatures(moment).read(rows, service)
        for given in (rows, rows.assign(article_id=by_number(warm, ids, chosen))):
            found = OnlineFeatures(moment, warm).read(given, service)
            assert values_of(found) == values_of(cold)
            for name in cold.columns:
                assert found[name].dtype == cold[name].dtype, name
    frame = pd.DataFrame({name: np.asarray(rows[name]) for name in rows.columns}, dtype=object)
    one = pd.DataFrame({"article_id": ids, "customer_id": customer()}, dtype=object)
    one["postal_code"] = None
    pd.testing.assert_frame_equal(
        OnlineFeatures(moment, warm).read(one, service), OnlineFeatures(moment).read(one, service)
    )
    assert OnlineFeatures(moment, warm).read(frame, service).empty


def test_what_several_services_read_is_held_whichever_came_first(shop: Path) -> None:
    ids = articles()
    for order in (SERVICES, SERVICES[::-1], (*SERVICES, *SERVICES)):
        warm = warmed(ids, order)
        with online_rows(feature_store().config).reading() as snapshot:
            for service in SERVICES:
                for view, stored, numbers, others in stored_reads(service):
                    held = warm.read(snapshot, stored, numbers, others, np.arange(len(ids)))
                    assert held is not None, (service, view)
                    assert (len(held[0]), set(held[1])) == (len(numbers), {*others})


def by_number(warm: WarmRows, ids: list[str], chosen: list[str]) -> Coded:
    place = {article: number for number, article in enumerate(ids)}
    return Coded(warm.names, np.array([place[a] for a in chosen], dtype=np.intp))


def test_articles_that_are_not_held_are_read_from_the_store(shop: Path) -> None:
    ids, moment = articles(), online_moment()
    warm = warmed(ids[10:])
    rows = asked([ids[3], ids[20], "0999999999"])
    assert warm.places(rows) is None
    found = OnlineFeatures(moment, warm).read(rows, "article_display")
    assert values_of(found) == values_of(OnlineFeatures(moment).read(rows, "article_display"))
    name = np.asarray(found["article_profile__prod_name"])
    assert [value is None for value in name] == [False, False, True]


def is_warm(warm: WarmRows, view: str = VIEW) -> bool:
    """Whether memory says that it is what the store has now."""
    with_name = {name: stored for name, stored, *_ in stored_reads("article_display")}
    stored = with_name[view]
    numbers = next(n for name, _, n, _ in stored_reads("article_display") if name == view)
    with online_rows(feature_store().config).reading(stored) as snapshot:
        return warm.read(snapshot, stored, numbers[:1], (), np.array([0])) is not None


def price(warm: WarmRows | None, article: str) -> float:
    rows = Columns({"article_id": texts(article)})
    found = OnlineFeatures(online_moment(), warm).read(rows, "article_display")
    return float(found["article_activity__latest_price"][0])


def by_push(article: str) -> None:
    """Feast's own way to write a row of a view."""
    view = feature_store().get_feature_view(VIEW)
    names = {field.name: str(field.dtype) for field in view.features}
    row: dict[str, Any] = {"article_id": [article]}
    for name, kind in names.items():
        row[name] = [7.0 if kind == "Float64" else 7 if kind == "Int64" else None]
        if kind == "UnixTimestamp":
            row[name] = pd.to_datetime(["2020-09-01"], utc=True)
    row[view.batch_source.timestamp_field] = pd.to_datetime(["2021-01-01"], utc=True)
    if created := view.batch_source.created_timestamp_column:
        row[created] = pd.to_datetime([datetime.now(UTC)])
    feature_store().write_to_online_store(VIEW, pd.DataFrame(row))


def by_materialize(article: str) -> None:
    materialize(date(2020, 8, 20))


def by_rebuild(article: str) -> None:
    online.rebuild()


WRITES = [by_push, by_materialize, by_rebuild]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_after_any_write_the_old_memory_is_not_used(
    own_shop: Path, write: Callable[[str], None]
) -> None:
    ids = articles()
    warm = warmed(ids)
    assert is_warm(warm)
    article = next(a for a in ids if price(warm, a) > 0)
    before = {a: price(warm, a) for a in [*ids[:40], article]}
    write(article)
    assert not is_warm(warm)
    now = {a: price(None, a) for a in before}
    assert repr({a: price(warm, a) for a in before}) == repr(now)
    if write is by_push:
        assert now[article] == 7.0 != before[article]
    if write is by_materialize:
        assert repr(now) != repr(before)
    # What was is still remembered, for an answer without a store.
    warm_up(warm, SERVICES)
    assert is_warm(warm)
    assert repr({a: price(warm, a) for a in before}) == repr(now)


def test_what_customers_do_costs_no_memory(own_shop: Path) -> None:
    ids = articles()
    warm = warmed(ids)
    held = dict(warm._held)
    event = {"event_time": datetime(2020, 9, 22, 12, tzinfo=UTC), "customer_id": "x"}
    push(pd.DataFrame([event | {"article_id": ids[0], "kind": "view"}]))
    assert is_warm(warm)
    warm_up(warm, SERVICES)
    assert all(warm._held[view] is held[view] for view in held)


def test_a_snapshot_from_before_a_write_does_not_take_what_came_after(own_shop: Path) -> None:
    ids = articles()
    by_push(ids[1])  # from now on the store is open for writing here
    warm = warmed(ids)
    _, stored, numbers, _ = next(r for r in stored_reads("article_display") if r[0] == VIEW)
    rows = online_rows(feature_store().config)
    with rows.reading(stored) as before:
        with ThreadPoolExecutor(1) as another:
            another.submit(by_push, ids[0]).result()
            another.submit(warm_up, warm, SERVICES).result()
        assert warm.read(before, stored, numbers[:1], (), np.array([0])) is None
    with rows.reading(stored) as after:
        assert warm.read(after, stored, numbers[:1], (), np.array([0])) is not None


def test_a_service_serves_what_was_written_at_once(own_shop: Path) -> None:
    answers = Answers()
    who = answers.sample_customers()[0].customer_id
    first = answers.recommend(who, 1).recommendations[0]
    by_push(first.article_id)
    shown = {row.article_id: row.price for row in answers.recommend(who, 40).recommendations}
    assert shown[first.article_id] == 7.0


def test_memory_stays_for_answers_when_the_store_is_gone(own_shop: Path) -> None:
    answers = Answers()
    served = answers._served
    article = served.popular[0]
    name = served.remembered([article])[article]["name"]
    (places.home() / "online").rename(places.home() / "aside")
    with online_rows(feature_store().config).reading("anything") as nothing:
        for _, stored, numbers, others in served.display:
            served.warm.fill(nothing, stored, numbers, others)
    shown = served.remembered([article, "0999999999"])
    assert shown[article]["name"] == name is not None
    assert set(shown["0999999999"].values()) == {None}


def test_a_view_that_goes_out_of_date_by_itself_is_not_held(own_shop: Path) -> None:
    warm = WarmRows(texts(*articles(), None))
    _, stored, numbers, others = next(r for r in stored_reads("article_display") if r[0] == VIEW)
    rows = online_rows(feature_store().config)

    def declare(store: Any) -> None:
        known = store.view(stored)
        store.declare(stored, known.keys, known.schema.features, timedelta(days=36_500))

    rows.write(declare)
    with rows.reading(stored) as snapshot:
        warm.fill(snapshot, stored, numbers, others)
        assert warm.read(snapshot, stored, numbers, others, np.array([0])) is None


@pytest.fixture
def others(own_shop: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that serves the same home."""
    code = (
        "import sys, json\n"
        "from services.answers import Answers\n"
        "from tests.test_warm_rows import by_push\n"
        "answers = Answers()\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    by_push(asked['push']) if 'push' in asked else None\n"
        "    found = answers.recommend(asked['who'], 40)\n"
        "    print(json.dumps({row.article_id: row.price for row in found.recommendations}), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=places.PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


def test_another_process_knows_at_once_too(others: "subprocess.Popen[str]") -> None:
    assert others.stdin is not None
    assert others.stdout is not None
    who = Answers().sample_customers()[0].customer_id
    assert others.stdout.readline() == "ready\n"

    def ask(**asked: str) -> dict[str, float]:
        assert others.stdin is not None
        assert others.stdout is not None
        others.stdin.write(json.dumps({"who": who} | asked) + "\n")
        others.stdin.flush()
        found: dict[str, float] = json.loads(others.stdout.readline())
        return found

    mine, other, *_ = ask()
    by_push(mine)
    started = time.perf_counter()
    assert ask()[mine] == 7.0
    assert time.perf_counter() - started < 5
    # And what it writes is no longer what is held here.
    warm = warmed(articles())
    assert is_warm(warm)
    assert price(warm, other) != 7.0
    ask(push=other)
    assert not is_warm(warm)
    assert price(warm, other) == 7.0
