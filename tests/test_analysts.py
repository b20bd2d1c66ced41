"""SQL for analysts: the macros give what the offline store gives, and docs/analysts.md runs."""

import random
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from feature_repo import analyst_sql, places
from feature_repo.feature_sql import AS_OF, VIEW_KEYS
from feature_repo.stores import point_in_time
from pipelines import feature_tables, features
from pipelines.cli import main
from pipelines.data.load import load
from pipelines.data.synthetic import synthesize
from pipelines.features import MOMENT, OfflineFeatures, declared_features, moment_of

PAGE = (places.PROJECT / "docs" / "analysts.md").read_text()
QUESTIONS = dict(re.findall(r"^### (\d+\. .*?)$.*?```sql\n(.*?)```", PAGE, flags=re.S | re.M))
END = date(2020, 9, 23)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of a shop of more than a year, built and applied; its folder is the home."""
    folder = tmp_path_factory.mktemp("analysts")
    synthesize(folder / "files", customers=600, articles=150, days=400, interactions=250, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(folder / "home"))
        load(str(folder / "files"))
        assert feature_tables.build().end == END
        features.apply()
        yield places.warehouse_file()


@pytest.fixture
def con(warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """As an analyst has it: none of our settings, a time zone far from UTC, and no right to write."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        con.execute("SET TimeZone = 'Asia/Tokyo'")
        yield con


@pytest.fixture
def raw(con: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """All purchases as the files have them, for answers found without features."""
    return con.sql("SELECT * FROM raw.transactions").df()


def ask(con: duckdb.DuckDBPyConnection, number: int) -> pd.DataFrame:
    (sql,) = (sql for title, sql in QUESTIONS.items() if title.startswith(f"{number}. "))
    return con.sql(sql).df()


def entity_rows(con: duckdb.DuckDBPyConnection, count: int) -> pd.DataFrame:
    """Keys of every view at moments of all kinds: on an edge, a microsecond beside it, before all,
    with keys that are unknown or null, and the same row twice."""
    rng = random.Random(7)
    known = {
        key: [value for (value,) in con.execute(f"SELECT DISTINCT {name} FROM staging.{table} ORDER BY 1").fetchall()]
        for key, name, table in (
            ("customer_id", "customer_id", "customers"),
            ("article_id", "article_id", "articles"),
            ("postal_code", "postal_code", "customers"),
            ("product", "product_code", "articles"),
            ("product_group", "product_group_name", "articles"),
        )
    }  # fmt: skip
    pairs = con.execute("SELECT customer_id, article_id FROM staging.purchases").fetchall()
    edges = [
        timedelta(0),
        timedelta(microseconds=1),
        timedelta(microseconds=-1),
        timedelta(hours=7),
    ]
    rows = []
    for _ in range(count):
        row = {key: rng.choice([*values, None, "unknown"]) for key, values in known.items()}
        if rng.random() < 0.5:
            row["customer_id"], row["article_id"] = rng.choice(pairs)
        day = datetime(2019, 8, 15) + timedelta(rng.randrange(405))
        rows.append(row | {MOMENT: min(day, datetime(2020, 9, 23)) + rng.choice(edges)})
    rows.append(rows[0])
    return pd.DataFrame(rows).astype({MOMENT: "datetime64[us]"})


def of_view(view: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A view's columns by name, as plain values: lists compare, and a missing value is None."""

    def plain(value: object) -> object:
        if isinstance(value, list | tuple | np.ndarray):
            return [plain(item) for item in value]
        if pd.isna(value):  # type: ignore[call-overload]
            return None
        return value.tz_localize(None) if isinstance(value, pd.Timestamp) and value.tz else value

    chosen = frame[sorted(name for name in frame if str(name).startswith(f"{view}__"))]
    return chosen.astype(object).map(plain).reset_index(drop=True)


@pytest.fixture(scope="module")
def from_store(warehouse: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows, and every feature that the offline store gives them."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        rows = entity_rows(con, 3000)
    with pytest.MonkeyPatch.context() as patched:
        # Some rows at a time, as of many.
        patched.setattr(point_in_time, "ROWS_JOINED", 1100)
        patched.setattr(point_in_time, "ROWS_AT_A_TIME", 400)
        asked = rows.assign(**{MOMENT: rows[MOMENT].dt.tz_localize(UTC)})
        return rows, OfflineFeatures().read(asked, "everything")


@pytest.mark.parametrize("view", VIEW_KEYS)
def test_a_join_gives_what_the_store_gives(
    con: duckdb.DuckDBPyConnection, from_store: tuple[pd.DataFrame, pd.DataFrame], view: str
) -> None:
    rows, stored = from_store
    found = con.sql(f"FROM features_at('{view}', rows)").df()
    pd.testing.assert_frame_equal(found[[*rows]], rows, check_dtype=False)
    expected = of_view(view, stored)
    assert sorted(found.columns[rows.shape[1] :]) == list(expected)
    assert {f"{view}__{name}" for name in declared_features()[view]} == set(expected)
    assert expected.notna().any(axis=None)
    pd.testing.assert_frame_equal(of_view(view, found), expected, check_exact=True)


@pytest.mark.parametrize("view", VIEW_KEYS)
@pytest.mark.parametrize("day", [date(2020, 3, 1), END])
def test_all_keys_at_a_moment_are_what_the_store_gives(
    con: duckdb.DuckDBPyConnection, view: str, day: date
) -> None:
    keys = list(VIEW_KEYS[view])
    found = con.sql(f"FROM features.{view}_at('{day}') ORDER BY {', '.join(keys)}").df()
    assert set(found) == {*keys, *declared_features()[view]}
    # Nobody whom the history knows by then is left out, and nobody is there twice.
    history = f"({AS_OF[view].changes})" if view in AS_OF else f"features.{view}"
    since = "moment" if view in AS_OF else "valid_from"
    distinct = f"SELECT count(DISTINCT ({', '.join(keys)})) FROM {history} WHERE {since} <= '{day}'"
    assert con.execute(distinct).fetchone() == (len(found),)
    con.close()  # the store opens the file with settings of its own
    rows = found[keys].assign(**{key: None for key in features.KEYS if key not in keys})
    stored = OfflineFeatures(moment_of(day)).read(rows, "everything")
    found = found.drop(columns=keys).add_prefix(f"{view}__")
    pd.testing.assert_frame_equal(of_view(view, found), of_view(view, stored), check_exact=True)


@pytest.mark.parametrize("view", VIEW_KEYS)
def test_now_is_after_the_last_day_built(con: duckdb.DuckDBPyConnection, view: str) -> None:
    order = ", ".join(VIEW_KEYS[view])
    now = con.sql(f"FROM features.{view}_now ORDER BY {order}").fetchall()
    assert now
    assert now == con.sql(f"FROM features.{view}_at('{END}') ORDER BY {order}").fetchall()


def test_a_join_gives_what_the_command_gives(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rows = entity_rows(con, 300).dropna()
    rows.to_csv(tmp_path / "my rows.csv", index=False)
    con.close()
    words = [
        "features",
        "join",
        "--entities",
        str(tmp_path / "my rows.csv"),
        "--service",
        "ranking",
    ]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out.parquet")])
    assert done.exit_code == 0, done.output
    joined = pd.read_parquet(tmp_path / "out.parquet")
    with duckdb.connect(str(places.warehouse_file()), read_only=True) as again:
        found = again.execute(
            "WITH mine AS (FROM read_csv(?, all_varchar = true)), "
            "priced AS (FROM features_at('customer_price', mine)) "
            "FROM features_at('article_activity', priced)",
            [str(tmp_path / "my rows.csv")],
        ).df()
    for view in ("customer_price", "article_activity"):
        pd.testing.assert_frame_equal(of_view(view, found), of_view(view, joined), check_exact=True)


@pytest.mark.parametrize(
    "moment",
    [
        "DATE '2020-06-02'",
        "'2020-06-02'",
        "TIMESTAMP '2020-06-02 00:00:00'",
        "'2020-06-02T00:00:00Z'",
        "'2020-06-01 19:00:00-05'",
        "TIMESTAMPTZ '2020-06-01 19:00:00-05'",
        "TIMESTAMP_NS '2020-06-02 00:00:00'",
    ],
)
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_a_moment_is_utc_in_every_type(
    con: duckdb.DuckDBPyConnection, moment: str, zone: str
) -> None:
    """The moment is the first of a row; read in the zone it would be before it in one of the two."""
    con.execute(f"SET TimeZone = '{zone}'")
    edge = "SELECT min(customer_id) AS customer_id FROM features.customer_price WHERE valid_from = '2020-06-02'"
    (customer,) = con.execute(edge).fetchone() or (None,)
    assert customer is not None
    expected = con.execute(
        "SELECT typical_price FROM features.customer_price WHERE customer_id = ? "
        "AND valid_from = '2020-06-02'", [customer]
    ).fetchall()  # fmt: skip
    mine = f"WITH mine AS (SELECT '{customer}' AS customer_id, {moment} AS event_timestamp)"
    joined = f"{mine} SELECT customer_price__typical_price FROM features_at('customer_price', mine)"
    assert con.execute(joined).fetchall() == expected
    at = f"SELECT typical_price FROM features.customer_price_at({moment}) WHERE customer_id = ?"
    assert con.execute(at, [customer]).fetchall() == expected


def test_a_nanosecond_before_is_before(con: duckdb.DuckDBPyConnection) -> None:
    (count,) = con.execute("SELECT count(*) FROM features.customer_price_at('2020-06-01 23:59:59.999999')").fetchone() or ()  # fmt: skip
    asked = "TIMESTAMP_NS '2020-06-01 23:59:59.999999999'"
    assert con.execute(f"SELECT count(*) FROM features.customer_price_at({asked})").fetchone() == (count,)  # fmt: skip
    assert con.execute("SELECT count(*) > ? FROM features.customer_price_at('2020-06-02')", [count]).fetchone() == (True,)  # fmt: skip


@pytest.mark.parametrize("view", ["customer_activity", "customer_taste"])
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("'a' AS customer_id, DATE '2020-09-24' AS event_timestamp", "built through 2020-09-22"),
        ("'a' AS customer_id, NULL AS event_timestamp", "no moment"),
        ("7 AS customer_id, DATE '2020-09-01' AS event_timestamp", "leading zeros"),
        ("'a' AS customer_id", "event_timestamp"),
        ("DATE '2020-09-01' AS event_timestamp", "customer_id"),
    ],
)
def test_what_cannot_be_answered_is_an_error(
    con: duckdb.DuckDBPyConnection, view: str, row: str, said: str
) -> None:
    with pytest.raises(duckdb.Error, match=said):
        con.execute(f"WITH mine AS (SELECT {row}) FROM features_at('{view}', mine)").fetchall()


@pytest.mark.parametrize("view", VIEW_KEYS)
def test_no_view_is_asked_about_the_future(con: duckdb.DuckDBPyConnection, view: str) -> None:
    assert con.execute(f"FROM features.{view}_at('2020-09-23 23:59') LIMIT 1").fetchall()
    with pytest.raises(duckdb.Error, match="built through 2020-09-22, and 2020-09-24"):
        con.execute(f"FROM features.{view}_at('2020-09-24')").fetchall()


def test_rows_may_be_named_like_anything_inside(con: duckdb.DuckDBPyConnection) -> None:
    for name in ("asked", "bought", "final", "moments", "history", '"My rows"', "view", "rows"):
        con.execute(f"CREATE TEMP TABLE {name} AS SELECT min(customer_id) AS customer_id, DATE '2020-09-01' AS event_timestamp, 1 AS moment, 2 AS valid_from FROM staging.customers")  # fmt: skip
        for view in ("customer_activity", "customer_taste"):
            found = con.execute(f"FROM features_at('{view}', {name})").fetchall()
            assert [row[2:4] for row in found] == [(1, 2)], name


def test_results_can_be_kept_in_a_file_of_ones_own(warehouse: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "own.duckdb")) as own:
        own.execute(f"ATTACH '{warehouse}' AS warehouse (READ_ONLY); CREATE TABLE mine AS SELECT customer_id, DATE '2020-06-01' AS event_timestamp FROM warehouse.staging.customers")  # fmt: skip
        own.execute("USE warehouse")
        own.execute("CREATE TABLE own.main.kept AS FROM features_at('customer_taste', own.main.mine)")  # fmt: skip
        own.execute("CREATE TABLE own.main.all_of AS FROM features.customer_activity_at('2020-06-01')")  # fmt: skip
        assert own.execute("SELECT count(*) FROM own.main.kept").fetchone() == (600,)


def test_every_build_makes_them(home: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "files", customers=40, articles=60, days=60)
    load(str(tmp_path / "files"))
    for through in (date(2020, 8, 20), date(2020, 9, 10), date(2020, 8, 10)):
        feature_tables.build(through)
        with duckdb.connect(str(places.warehouse_file())) as con:
            end = through + timedelta(1)
            assert con.execute("SELECT count(*) > 0 FROM features.customer_activity_now").fetchone() == (True,)  # fmt: skip
            assert con.execute(f"SELECT max(last_purchase) < '{end}' FROM features.customer_activity_at('{end}')").fetchone() == (True,)  # fmt: skip
            with pytest.raises(duckdb.Error, match="is later"):
                con.execute(f"FROM features.customer_activity_at('{end + timedelta(1)}')")
            con.execute("DROP MACRO TABLE features_at; DROP VIEW features.customer_activity_now")
    feature_tables.build(through)
    with duckdb.connect(str(places.warehouse_file()), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM duckdb_views() WHERE schema_name = 'features'").fetchone() == (len(VIEW_KEYS),)  # fmt: skip
        made = con.execute("SELECT count(*) FROM duckdb_functions() WHERE function_type = 'table_macro' AND NOT internal").fetchone()  # fmt: skip
        assert made == (2 * len(VIEW_KEYS) + 1,)


def test_a_build_that_cannot_make_them_says_so(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or none: a warehouse never has the macros of two versions."""
    synthesize(tmp_path / "files", customers=40, articles=60, days=30)
    load(str(tmp_path / "files"))
    monkeypatch.setattr(analyst_sql, "statements", lambda: ["CREATE VIEW features.one AS SELECT 1", "nonsense"])  # fmt: skip
    with pytest.raises(duckdb.ParserException):
        feature_tables.build()
    with duckdb.connect(str(places.warehouse_file()), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = 'one'").fetchone() == (0,)  # fmt: skip


# The page


def test_the_page_has_ten_questions() -> None:
    assert [title.split(".")[0] for title in QUESTIONS] == [str(n) for n in range(1, 11)]
    assert len(re.findall("```sql", PAGE)) == 10


@pytest.mark.parametrize("title", QUESTIONS)
def test_each_question_has_an_answer(con: duckdb.DuckDBPyConnection, title: str) -> None:
    found = con.sql(QUESTIONS[title]).df()
    assert len(found) >= 3
    assert found.notna().any().all(), "a column has nothing"


def test_the_python_of_the_page_runs(warehouse: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    assert block.count(".lookbook/warehouse.duckdb") == 1
    said: dict[str, object] = {}
    exec(block.replace(".lookbook/warehouse.duckdb", str(warehouse)), said)
    said["con"].close()
    assert len(said["found"]) == 1
    assert "customer_activity__t_price_30d" in said["found"]


def between(raw: pd.DataFrame, first: str, end: str) -> pd.DataFrame:
    """Purchases from a day until before another."""
    return raw[(raw.t_dat >= first) & (raw.t_dat < end)]


def test_1_spend_per_postal_code(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    homes = con.sql("SELECT customer_id, postal_code FROM raw.customers").df()
    bought = raw.merge(homes, on="customer_id")
    found = ask(con, 1).set_index("postal_code")
    assert set(found.index) == set(between(bought, "2000-01-01", "2020-07-01").postal_code.dropna())
    for column, first, end in (
        ("spend_before", "2020-05-02", "2020-06-01"),
        ("spend_after", "2020-06-01", "2020-07-01"),
    ):
        spend = between(bought, first, end).groupby("postal_code").price.sum()
        expected = spend.reindex(found.index, fill_value=0.0)
        np.testing.assert_allclose(found[column], expected, atol=1e-7)
        assert expected.gt(0).any()
    np.testing.assert_allclose(found.change, found.spend_after - found.spend_before)


def test_2_price_sensitivity_by_age(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    """The share bought marked down, from the raw rows: a mean price of the day at least 1% below the
    highest of 90 days."""
    ages = con.sql("SELECT customer_id, age FROM raw.customers").df().dropna()
    days = raw.groupby(["article_id", "t_dat"]).price.mean().reset_index()
    highest = [
        days[(days.article_id == d.article_id) & (days.t_dat <= d.t_dat) & (days.t_dat > d.t_dat - pd.Timedelta(90, "D"))].price.max()
        for d in days.itertuples()
    ]  # fmt: skip
    known = between(raw, "2000-01-01", "2020-09-01").merge(
        days.assign(highest=highest)[["article_id", "t_dat", "highest"]]
    )
    known["down"] = known.price <= 0.99 * known.highest
    share = known.groupby("customer_id").down.mean().reset_index().merge(ages)
    share["bucket"] = pd.cut(share.age, [-1, 19, 24, 29, 39, 49, 59, 200])
    expected = share.groupby("bucket", observed=True).down.agg(["size", "mean"])
    found = ask(con, 2)
    assert found.customers.tolist() == expected["size"].tolist()
    np.testing.assert_allclose(found.discount_share, expected["mean"], rtol=1e-9)


def test_3_a_customer_on_the_day(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    found = ask(con, 3)
    distinct = raw.drop_duplicates(["customer_id", "article_id", "t_dat", "price", "sales_channel_id"])  # fmt: skip
    assert len(found) == len(between(distinct, "2020-08-01", "2020-09-01"))
    new = 0
    for row in found.itertuples():
        before = raw[(raw.customer_id == row.customer_id) & (raw.t_dat < row.day)]
        if before.empty:
            assert pd.isna(row.days_with_a_purchase)
            new += 1
            continue
        assert row.days_with_a_purchase == before.t_dat.nunique()
        assert row.last_purchase == before.t_dat.max()
        recent = before[before.t_dat >= row.day - pd.Timedelta(90, "D")].price.sum()
        assert row.spend_90d == pytest.approx(recent, abs=1e-7)
    assert 0 < new < len(found)


def test_4_trend_before_a_markdown(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    """Counted from raw rows of the days before each article's first markdown."""
    words, sold = [], []
    for _, rows in raw.groupby("article_id"):
        prices = rows.groupby("t_dat").price.mean()
        highest = prices.rolling("90D").max()
        # A price that is exactly a fifth down may fall on either side in the last bit.
        down = prices.index[prices <= 0.8 * highest + 1e-12]
        if len(down) == 0:
            continue
        past = rows[rows.t_dat < down[0]]
        week = (past.t_dat >= down[0] - pd.Timedelta(7, "D")).sum()
        month = (past.t_dat >= down[0] - pd.Timedelta(30, "D")).sum()
        trend = (week / 7) / (month / 30) if month else None
        words.append("no sales in 30 days" if trend is None else "falling" if trend < 0.8 else "steady" if trend <= 1.2 else "rising")  # fmt: skip
        sold.append(month if len(past) else np.nan)
    expected = pd.DataFrame({"word": words, "sold": sold}).groupby("word").sold.agg(["size", "mean"])  # fmt: skip
    found = ask(con, 4).set_index("before_the_markdown").sort_index()
    assert found.articles.to_dict() == expected["size"].to_dict()
    np.testing.assert_allclose(found.sold_in_30_days, expected["mean"])


def test_5_tastes_are_shares_of_a_customer(con: duckdb.DuckDBPyConnection) -> None:
    found = ask(con, 5)
    assert found.heavy_discount_buyers.sum() == pytest.approx(1)
    assert found.others.sum() == pytest.approx(1)


def test_6_repurchase_time(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    kinds = con.sql("SELECT article_id, product_type_name FROM raw.articles").df()
    days = raw.merge(kinds)[["customer_id", "product_type_name", "t_dat"]].drop_duplicates()
    days = days.sort_values("t_dat")
    days["gap"] = days.groupby(["customer_id", "product_type_name"]).t_dat.diff().dt.days
    gaps = days.groupby("product_type_name").gap.agg(["count", "median"])
    expected = gaps[gaps["count"] >= 10]
    found = ask(con, 6).set_index("product_type_name")
    assert found.repurchases.to_dict() == expected["count"].to_dict()
    assert found.median_days.to_dict() == expected["median"].to_dict()


def test_7_cohorts(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    first = raw.groupby("customer_id").t_dat.min().rename("first")
    first = first[first + pd.Timedelta(90, "D") <= pd.Timestamp(END)]
    bought = raw.merge(first, on="customer_id")
    bought = bought[bought.t_dat < bought["first"] + pd.Timedelta(90, "D")]
    worth = bought.groupby("customer_id").agg(spend=("price", "sum"), days=("t_dat", "nunique"))
    worth["cohort"] = first.dt.to_period("M").dt.to_timestamp()
    expected = worth.groupby("cohort").agg(
        customers=("spend", "size"),
        spend=("spend", "mean"),
        back=("days", lambda d: (d > 1).mean()),
    )
    found = ask(con, 7)
    assert pd.to_datetime(found.cohort).tolist() == expected.index.tolist()
    assert found.customers.tolist() == expected.customers.tolist()
    np.testing.assert_allclose(found.spend_in_90_days, expected.spend, atol=1e-7)
    np.testing.assert_allclose(found.came_back, expected.back)


def test_8_articles_on_the_rise(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    def sold(first: str, end: str) -> pd.Series:
        return between(raw, first, end).groupby("article_id").size()

    month, week = sold("2020-06-01", "2020-07-01"), sold("2020-06-24", "2020-07-01")
    after = sold("2020-07-01", "2020-07-08")
    seen = pd.DataFrame({"month": month[month >= 5]})
    seen["week"] = week.reindex(seen.index, fill_value=0)
    seen["trend"] = (seen.week / 7) / (seen.month / 30)
    chosen = seen.reset_index().sort_values(["trend", "article_id"], ascending=[False, True])[:20]
    found = ask(con, 8)
    assert found.article_id.tolist() == chosen.article_id.tolist()
    assert found.sold_the_week_before.tolist() == chosen.week.tolist()
    expected = after.reindex(chosen.article_id, fill_value=0).tolist()
    assert found.sold_the_week_after.tolist() == expected
    assert sum(expected)


def test_9_churn_candidates(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    known = between(raw, "2000-01-01", "2020-07-01")
    later = set(between(raw, "2020-07-01", "2030-01-01").customer_id)
    expected = {}
    for customer, rows in known.groupby("customer_id"):
        days = rows.t_dat.drop_duplicates().sort_values()
        quiet = (pd.Timestamp("2020-07-01") - days.max()).days
        if len(days) >= 3 and quiet > 3 * days.diff().dt.days.median():
            expected[customer] = customer in later
    found = ask(con, 9)
    assert dict(zip(found.customer_id, found.came_back, strict=True)) == expected
    assert found.t_price_365d.is_monotonic_decreasing
    assert set(expected.values()) == {True, False}


def test_10_channels(con: duckdb.DuckDBPyConnection, raw: pd.DataFrame) -> None:
    spring = between(raw, "2020-01-01", "2020-07-01")
    counts = spring.groupby([spring.t_dat.dt.month, "sales_channel_id"]).size().unstack()
    found = ask(con, 10)
    assert found.in_stores.tolist() == counts[1].tolist()
    assert found.online.tolist() == counts[2].tolist()
    np.testing.assert_allclose(found.online_share, counts[2] / counts.sum(axis=1))
