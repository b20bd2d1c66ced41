"""Online equals offline: what is served is what training would have seen at the same moment."""

import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from feature_repo import feature_sql, places
from feature_repo.errors import InputError
from feature_repo.raw_tables import RAW_TABLES
from feature_repo.stores.connection import WarehouseError
from feature_repo.stores.lmdb_environment import OnlineStoreError
from feature_repo.stores.lmdb_online_store import online_rows
from feature_repo.stores.lmdb_rows import OnlineRows
from feature_repo.stores.materialization_engine import _Bringing
from feature_repo.stores.packed_rows import PRESENT
from pipelines import feature_tables, features, online
from pipelines.data.load import load
from pipelines.features import FeatureError, OfflineFeatures, OnlineFeatures, service_fields
from pipelines.online import materialize, online_moment
from pipelines.warehouse import reading

SERVICES = (
    "customer_state",
    "ranking",
    "article_content",
    "article_display",
    "article_sales",
    "everything",
)
NOBODY = "nobody known"


def ask(sql: str) -> list[Any]:
    with reading() as con:
        return [row[0] for row in con.execute(sql).fetchall()]


def pairs(count: int = 1500) -> pd.DataFrame:
    """All customers and articles, paired in rows: bought and not, known and unknown, in no order."""
    with reading() as con:
        bought = con.execute(
            f"""SELECT DISTINCT customer_id, article_id, postal_code
            FROM staging.purchases JOIN staging.customers USING (customer_id)
            ORDER BY hash(customer_id || article_id) LIMIT {count}"""
        ).df()
        any_pair = con.execute(
            """SELECT customer_id, article_id, postal_code FROM
                (SELECT *, row_number() OVER (ORDER BY customer_id) % 150 + 1 AS n FROM staging.customers)
                JOIN (SELECT article_id, row_number() OVER (ORDER BY article_id) AS n FROM staging.articles)
                USING (n)"""
        ).df()
        articles = con.execute(
            "SELECT article_id, product_code AS product, product_group_name AS product_group "
            "FROM staging.articles"
        ).df()
    assert any_pair.customer_id.nunique() >= 10
    strange = pd.DataFrame(
        [
            (NOBODY, bought.article_id[0], bought.postal_code[0]),
            (bought.customer_id[0], "0000000000", NOBODY),
            (bought.customer_id[1], bought.article_id[1], None),
            (NOBODY, "", None),
        ],
        columns=bought.columns,
    )
    rows = pd.concat([bought, any_pair, articles[["article_id"]], strange], ignore_index=True)
    rows = rows.merge(articles, on="article_id", how="left")
    # Feast has no null keys online: a row without a customer asks for one that nobody is.
    return rows.fillna({"customer_id": NOBODY}).reset_index(drop=True)


def plain(value: Any) -> Any:
    """A value as Python's own: None if missing, a list, a UTC moment, a number or a text."""
    if value is None or value is pd.NaT:
        return None
    if hasattr(value, "tolist") and getattr(value, "ndim", 0):
        return value.tolist()
    if isinstance(value, list):
        return value
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def assert_same(rows: pd.DataFrame, service: str, moment: datetime) -> pd.DataFrame:
    """Every feature of the service, bit for bit; returns the values."""
    offline = OfflineFeatures(moment).read(rows, service)
    online = OnlineFeatures(moment).read(rows, service)
    fields = service_fields(service)
    assert list(online.columns) == [*rows.columns, *fields]
    assert set(fields) <= set(offline.columns)
    assert online.index.equals(rows.index)
    assert offline.index.equals(rows.index)
    for name in fields:
        left = [plain(value) for value in offline[name]]
        right = [plain(value) for value in online[name]]
        different = [n for n, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
        assert not different, (
            f"{service}, {name}: {len(different)} of {len(left)} differ, the first is "
            f"{left[different[0]]!r} offline and {right[different[0]]!r} online for "
            f"{rows.iloc[different[0]].to_dict()}"
        )
    return offline


@pytest.mark.parametrize("service", SERVICES)
def test_every_feature_is_the_same_online_and_offline(shop, service):
    moment = online_moment()
    asked_at = moment + timedelta(hours=7, minutes=11, microseconds=123_457)
    values = assert_same(pairs(), service, asked_at)

    # The comparison means something: each feature is there for some rows. The shop has no pictures;
    # of those tests/test_content.py.
    none = ("detail_desc", "image_embedding", "visual_cluster", "visual_cluster_share")
    none += ("visual_clusters", "visual_cluster_shares")
    empty = [
        name
        for name in service_fields(service)
        if values[name].isna().all() and not name.endswith(none)
    ]
    assert not empty
    unknown = values[values.customer_id == NOBODY]
    if service != "article_display":
        of_customers = [n for n in service_fields(service) if n.startswith("customer_")]
        assert unknown[of_customers].isna().all(axis=None)


def test_every_feature_view_is_in_a_service(shop):
    store = features.feature_store()
    served = {
        projection.name
        for service in store.list_feature_services()
        for projection in service.feature_view_projections
    }
    assert {service.name for service in store.list_feature_services()} == set(SERVICES)
    assert served == {view.name for view in store.list_all_feature_views()}


def test_the_online_store_holds_every_open_row(shop):
    with online_rows(features.feature_store().config).reading(
        *(f"lookbook/{view}" for view in feature_sql.VIEW_KEYS)
    ) as snapshot:
        for name, keys in feature_sql.VIEW_KEYS.items():
            table = f"features.{name}"
            if name in feature_sql.AS_OF:
                table = f"({feature_sql.whole_history(name)})"
            open_rows = ask(f"SELECT count(*) FROM {table} WHERE valid_to IS NULL")
            with reading() as warehouse:
                columns = warehouse.sql(f"FROM {table}").columns
            view = snapshot.view(f"lookbook/{name}")
            stored = (snapshot.entries(view), len(view.schema.features))
            assert stored == (open_rows[0], len(columns) - len(keys) - 3), name


def test_rows_keep_their_order_their_index_and_their_other_columns(shop):
    rows = pairs(50).sample(frac=1, random_state=1)
    rows = rows.assign(source="test", score=range(len(rows)))

    for read in (OfflineFeatures(online_moment()), OnlineFeatures(online_moment())):
        found = read.read(rows, "ranking")
        assert found.index.equals(rows.index)
        assert found["score"].tolist() == rows["score"].tolist()
        assert found["customer_id"].tolist() == rows["customer_id"].tolist()
        assert read.read(rows.iloc[:0], "ranking").empty


# A home of its own, that grows


class Shop:
    """Three customers, one without postal code, and a day more whenever asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.write("articles", {"article_id": "0000000001", "product_code": "7", "product_group_name": "Shirts"}, {"article_id": "0000000002"})  # fmt: skip
        self.write(
            "customers",
            {"customer_id": "anna", "age": "24", "postal_code": "north"},
            {"customer_id": "bert"},
            {"customer_id": "cara", "age": "60", "postal_code": "north"},
        )
        self.purchases: list[dict[str, str]] = []

    def write(self, table: str, *rows: dict[str, str]) -> None:
        names = RAW_TABLES[table].column_names
        lines = [names, *([row.get(name, "") for name in names] for row in rows)]
        (self.folder / RAW_TABLES[table].file).write_text(
            "".join(",".join(line) + "\n" for line in lines)
        )

    def sell(self, day: str, *sold: tuple[str, str]) -> None:
        self.purchases += [
            {
                "t_dat": day,
                "customer_id": customer,
                "article_id": f"000000000{article}",
                "price": "0.1",
                "sales_channel_id": "2",
            }
            for customer, article in sold
        ]
        self.write("transactions", *self.purchases)
        load(str(self.folder))


@pytest.fixture
def growing(home: Path, tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop")
    shop.sell("2020-01-01", ("anna", "1"), ("anna", "1"), ("bert", "1"))
    shop.sell("2020-01-05", ("anna", "2"))
    return shop


def everyone() -> pd.DataFrame:
    home_of = {"anna": "north", "bert": None, "cara": "north", "dora": "south", NOBODY: None}
    product_of = {"1": ("7", "Shirts"), "2": (None, None), "3": (None, None)}
    return pd.DataFrame(
        [
            (c, f"000000000{a}", code, product, group)
            for c, code in home_of.items()
            for a, (product, group) in product_of.items()
        ],
        columns=["customer_id", "article_id", "postal_code", "product", "product_group"],
    )


def test_the_stores_agree_again_after_each_later_day(growing):
    features.apply()
    for day, sold in (
        ("2020-01-05", []),
        ("2020-01-09", [("bert", "2"), ("anna", "1")]),
        ("2020-03-20", [("dora", "3")]),
    ):
        if sold:
            growing.sell(day, *sold)
        built = feature_tables.build()
        assert built.through == date.fromisoformat(day)
        materialize(built.through)

        moment = online_moment(refresh=True)
        assert moment == datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
        assert_same(everyone(), "everything", moment + timedelta(seconds=1, microseconds=7))
    # Online too, a purchase has left the window on a day on which its customer bought nothing.
    ranking = OnlineFeatures(moment).read(everyone(), "ranking").set_index(["customer_id", "article_id"])  # fmt: skip
    anna = ranking.loc[("anna", "0000000001")]
    assert anna["customer_activity__t_transactions_30d"] == 0
    assert anna["customer_activity__t_transactions_lifetime"] == 4
    assert ranking.loc[("dora", "0000000003")]["customer_article__times_bought"] == 1


# Feast's own command


def feast(folder: Path, *words: str, home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "LOOKBOOK_HOME"}
    return subprocess.run(
        [sys.executable, "-m", "feast.cli.cli", "-c", str(folder), *words],
        env=environment | {"LOOKBOOK_HOME": str(home), "FEAST_USAGE": "False"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def files_below(folder: Path) -> set[str]:
    return {
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_feast_apply_and_materialize_read_definitions_only_and_write_in_the_home_only(
    growing, home, tmp_path
):
    feature_tables.build()
    # A copy of the folder, with a file in every place that ends the process if it is imported.
    repo = tmp_path / "elsewhere" / "feature_repo"
    shutil.copytree(places.PROJECT / "feature_repo", repo)
    read = tmp_path / "read.txt"
    for place in (
        "poison.py",
        "data.py",
        "views/deep.py",
        "stores/poison.py",
        "sql/definitions.py",
    ):
        (repo / place).write_text("raise SystemExit('poison was read')\n")
    for file in repo.rglob("*.py"):
        file.write_text(
            f"open({str(read)!r}, 'a').write({str(file.relative_to(repo))!r} + '\\n')\n"
            + file.read_text()
        )
    outside = tmp_path / "cwd"
    outside.mkdir()
    before = files_below(repo), files_below(places.PROJECT / "feature_repo")

    applied = feast(repo, "apply", home=home, cwd=outside)
    assert applied.returncode == 0, applied.stderr
    assert set(read.read_text().split()) == {"definitions.py"}

    materialized = feast(
        repo, "materialize", "2019-12-01T00:00:00", "2020-01-06T00:00:00", home=home, cwd=outside
    )
    assert materialized.returncode == 0, materialized.stderr
    assert "poison" not in applied.stdout + applied.stderr + materialized.stdout
    assert (files_below(repo), files_below(places.PROJECT / "feature_repo")) == before
    assert files_below(outside) == set()
    assert {"registry.db", "online/data.mdb", "warehouse.duckdb"} <= files_below(home)

    features._open_store.cache_clear()
    moment = online_moment()
    assert moment == datetime(2020, 1, 6, tzinfo=UTC)
    assert_same(everyone(), "ranking", moment)


# Events that are pushed, and the store made anew


def events(*happened: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(happened, columns=list(online.EVENT_COLUMNS))


def session(customer: str, moment: datetime) -> list[tuple[Any, ...]]:
    found = OnlineFeatures(moment).read(pd.DataFrame({"customer_id": [customer]}), "customer_state")
    lists = [found[f"customer_session__session_{name}"][0] for name in ("kinds", "articles")]
    return [] if lists[0] is None else list(zip(*map(list, lists), strict=True))


def test_a_pushed_event_is_there_for_the_next_request_and_in_training(growing):
    features.apply()
    materialize(feature_tables.build().through)
    moment = online_moment()
    assert session("anna", moment) == []
    one, two = "0000000001", "0000000002"

    pushed = events(
        ("2020-01-06T00:00:01.000001", "anna", one, "view"),
        ("2020-01-06T00:00:02", "anna", one, "cart"),
        ("2020-01-06T00:00:02", "anna", two, "impression"),
        ("2020-01-06T00:00:03", "nobody before", two, "view"),
    )
    assert online.push(pushed) == 3
    assert session("anna", moment) == [("cart", one), ("view", one)]
    # What comes late goes where it belongs, and what comes twice is there once.
    late = events(("2020-01-06T00:00:01.5", "anna", two, "dismiss"))
    online.push(pd.concat([pushed, late]))
    assert session("anna", moment) == [("cart", one), ("dismiss", two), ("view", one)]
    assert session("nobody before", moment) == [("view", two)]

    # Training sees them when the warehouse has them, exactly as they were served.
    rows = pd.DataFrame({"customer_id": ["anna", "nobody before"]})
    later = moment + timedelta(minutes=5)
    assert OfflineFeatures(later).read(rows, "customer_state").filter(like="session").isna().all(axis=None)  # fmt: skip
    online.push(pd.concat([pushed, late]), warehouse=True)
    assert_same(rows, "customer_state", later)
    materialize(date(2020, 1, 5))
    assert_same(rows, "customer_state", later)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (("yesterday", "anna", "0000000001", "view"), "Event 2: event_time is 'yesterday'"),
        (("2999-01-01", "anna", "0000000001", "view"), "Event 2: event_time is '2999-01-01'"),
        (("2020-01-06", None, "0000000001", "view"), "Event 2: customer_id is None"),
        (("2020-01-06", "anna", "1", "view"), "Event 2: article_id is '1', and must be ten digits"),
        (
            ("2020-01-06", "anna", "0000000001", "look"),
            "Event 2: kind is 'look', and must be one of",
        ),
    ],
)
def test_an_event_that_cannot_be_is_refused_with_its_row(event, says):
    fine = ("2020-01-06", "anna", "0000000001", "view")
    with pytest.raises(InputError, match=says):
        online.push(events(fine, event))
    with pytest.raises(InputError, match="no column kind: they need event_time, customer_id"):
        online.push(events(fine).drop(columns="kind"))


def test_late_purchases_reach_the_online_store_incrementally(growing):
    """Feast's `materialize-incremental`, to the same END and to a later one."""
    features.apply()
    materialize(feature_tables.build().through)
    store = features.feature_store()
    moment = online_moment()

    growing.sell("2020-01-02", ("bert", "2"), ("dora", "2"))
    feature_tables.build()
    before = OnlineFeatures(moment).read(everyone(), "everything")
    store.materialize_incremental(end_date=moment)
    after = assert_same(everyone(), "everything", moment)
    lines = "customer_activity__t_transactions_lifetime"
    assert before.set_index("customer_id").loc["bert", lines].tolist() == [1.0] * 3
    assert after.set_index("customer_id").loc["bert", lines].tolist() == [2.0] * 3

    growing.sell("2020-01-07", ("anna", "2"))
    growing.sell("2020-01-03", ("cara", "2"))
    built = feature_tables.build()
    store.materialize_incremental(end_date=features.moment_of(built.end))
    assert_same(everyone(), "everything", online_moment(refresh=True))


def test_the_store_is_shown_and_made_anew(growing, home):
    features.apply()
    materialize(feature_tables.build().through)
    before = online.state()
    assert before["customer_activity"].rows == 2
    assert (
        before["customer_activity"].through == online_moment() == datetime(2020, 1, 6, tzinfo=UTC)
    )

    file = home / "online" / "data.mdb"
    with file.open("r+b") as store:
        store.truncate(file.stat().st_size // 2)
    with pytest.raises(OnlineStoreError, match="lookbook features online --rebuild"):
        online.state()
    said: list[str] = []
    online.rebuild(progress=said.append)
    after = online.state()
    assert {name: view.rows for name, view in after.items()} == {
        name: view.rows for name, view in before.items()
    }
    assert_same(everyone(), "everything", online_moment())
    (aside,) = home.glob("online.old-*")
    assert str(aside) in said[0]

    # One that is whole is made anew as well, can be read all the while, and leaves nothing aside.
    ended, rows = threading.Event(), OnlineRows(home / "online")
    trouble: list[object] = []

    def read() -> None:
        while not ended.is_set():
            try:
                matrix = rows.read_matrix("lookbook/customer_activity", ["anna", "bert"])
                assert matrix.status.tolist() == [PRESENT] * 2
            except Exception as error:
                trouble.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    online.rebuild()
    ended.set()
    reader.join()
    assert not trouble
    assert_same(everyone(), "everything", online_moment())
    assert sorted(home.glob("online*")) == [home / "online", aside]


def test_a_request_is_never_earlier_than_an_event_that_it_has_seen(growing):
    """So what was served after a click can be computed again as of a moment after it."""
    features.apply()
    materialize(feature_tables.build().through)
    moment = online_moment()
    online.push(events(("2020-01-06T03:00", "anna", "0000000002", "cart")), warehouse=True)
    clicked = moment + timedelta(hours=3)
    rows = everyone()
    for customer, seen in (("anna", clicked), ("bert", moment)):
        asked = OnlineFeatures(moment)
        found = asked.read(rows[rows.customer_id == customer], "everything")
        assert asked.moment == seen
        days = found["recency__days_since_last_purchase"].iloc[0]
        assert days % 1 == (seen - moment) / timedelta(days=1)
    assert_same(rows[rows.customer_id == "anna"].reset_index(drop=True), "everything", clicked)


def test_an_online_store_of_feasts_own_gives_the_same(growing, home, monkeypatch):
    """As Redis would, for many machines; here SQLite."""
    import yaml
    from feast import FeatureStore, RepoConfig

    from feature_repo import definitions

    through = feature_tables.build().through
    settings = yaml.safe_load((features.REPO / "feature_store.yaml").read_text())
    del settings["batch_engine"]
    settings["online_store"] = {"type": "sqlite", "path": str(home / "online.db")}
    store = FeatureStore(config=RepoConfig(**settings, repo_path=features.REPO))
    store.apply([getattr(definitions, name) for name in definitions.__all__])
    monkeypatch.setattr(features, "_open_store", lambda home: store)
    materialize(through)

    assert not (home / "online").exists()
    assert online_moment() == datetime(2020, 1, 6, tzinfo=UTC)
    assert set(online.materialized_at()) == {view.name for view in store.list_feature_views()}
    assert_same(everyone(), "everything", online_moment() + timedelta(hours=1))
    with pytest.raises(FeatureError, match="The online store is sqlite, which has its own tools"):
        online.state()


def test_an_end_that_is_not_built_changes_nothing(growing):
    """`feast materialize-incremental $(date)`, and a shop whose features end earlier."""
    features.apply()
    store, built = features.feature_store(), feature_tables.build()
    for _ in range(2):
        with pytest.raises(WarehouseError, match="Features are built through 2020-01-05"):
            store.materialize_incremental(end_date=datetime(2030, 1, 1, tzinfo=UTC))
        materialize(built.through)
        assert_same(everyone(), "everything", online_moment())
        assert all(view.through == online_moment() for view in online.state().values())


@pytest.mark.parametrize("how", ["some views", "killed"])
def test_going_back_leaves_no_view_at_a_later_moment(growing, how, monkeypatch):
    features.apply()
    growing.sell("2020-01-09", ("bert", "1"))
    feature_tables.build()
    materialize(date(2020, 1, 5))
    ends = features.moment_of(date(2020, 1, 10))
    store = features.feature_store()
    if how == "some views":
        store.materialize(
            datetime(1970, 1, 1, tzinfo=UTC), ends, feature_views=["customer_activity"]
        )
    else:
        with monkeypatch.context() as patched:
            patched.setattr(_Bringing, "_end_well", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                store.materialize(datetime(1970, 1, 1, tzinfo=UTC), ends)
    materialize(date(2020, 1, 6))
    assert online_moment() == datetime(2020, 1, 7, tzinfo=UTC)
    assert_same(everyone(), "everything", online_moment())


def test_whoever_reads_the_registry_meanwhile_finds_it_whole(growing, home):
    from feast.protos.feast.core.Registry_pb2 import Registry

    features.apply()
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            features.feature_store().registry.commit()

    writer = threading.Thread(target=write)
    writer.start()
    views = [
        len(Registry.FromString((home / "registry.db").read_bytes()).feature_views)
        for _ in range(300)
    ]
    ended.set()
    writer.join()
    assert set(views) == {len(feature_sql.VIEW_KEYS)}


def test_what_the_warehouse_refuses_is_not_online_either(growing):
    pushed = events(("2020-01-06T00:00:01", "anna", "0000000001", "view"))
    with pytest.raises(FeatureError, match="run `feast -c feature_repo apply`"):
        online.push(pushed)
    features.apply()
    materialize(feature_tables.build().through)
    with reading(), pytest.raises(WarehouseError, match="in use by another process"):
        online.push(pushed, warehouse=True)
    assert session("anna", online_moment()) == []
