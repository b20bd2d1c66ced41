"""Building features: whole, by days, late, back, killed: the tables end the same."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import feature_sql
from feature_repo.raw_tables import RAW_TABLES
from pipelines import feature_tables, features
from pipelines.data.load import load
from pipelines.features import OfflineFeatures
from pipelines.warehouse import WarehouseError, reading, writing
from tests.feature_worlds import (
    ANNA,
    BERT,
    CARA,
    SCARF,
    SHIRT,
    Customer,
    Fresh,
    Purchase,
    Tables,
    a_busy_shop,
    customers_of_a_shop,
    day,
    events_of_a_shop,
    midnight,
    purchases_of_a_shop,
)

# Growing by days, late purchases and newer attributes


arrivals = st.lists(
    st.tuples(
        st.lists(st.integers(0, 30), max_size=6),
        st.dictionaries(
            st.sampled_from([ANNA, BERT, CARA]),
            st.builds(
                Customer,
                age=st.sampled_from([None, 18, 40]),
                postal_code=st.sampled_from([None, "north", "south"]),
            ),
            max_size=1,
        ),
        st.dictionaries(
            st.sampled_from([SHIRT, SCARF]),
            st.sampled_from([{}, {"product_group_name": "Upper body", "product_code": "1"}, {"product_group_name": "Shoes"}]),
            max_size=1,
        ),
        st.none() | st.integers(0, 10),
        events_of_a_shop,
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@settings(max_examples=6, deadline=None, derandomize=True)
@given(purchases_of_a_shop, purchases_of_a_shop, customers_of_a_shop, arrivals, st.booleans())
def test_however_days_and_purchases_come_in_the_tables_end_the_same(
    first, rest, customers, batches, always_add
):
    with pytest.MonkeyPatch.context() as patched:
        if always_add:  # also where computing everything would be quicker
            patched.setattr(feature_tables, "MOST_ROWS_ADDED", 2.0)
            patched.setattr(feature_tables, "MOST_DAYS_ADDED", 10_000)
        tables = Tables(first, customers)
        rest = list(rest)
        for picked, people, articles, back, events in batches:
            days = sorted({p.day for p in tables.purchases})
            through = None if back is None else days[-1 - back % len(days)]
            arriving = [rest[n] for n in picked if n < len(rest)]
            told_again = tables.events[:3]
            tables.grow(arriving, people, through, articles, [*events, *told_again])
        fresh = Fresh(
            tables.purchases, tables.customers, tables.through, tables.articles, tables.events
        )
        assert tables.history == fresh.history


def test_a_late_purchase_repairs_what_it_touches_and_its_rows_say_when_they_became_known():
    tables = Tables([Purchase(day(n), who) for n in (0, 10, 20, 30) for who in (ANNA, BERT)])
    select = (
        "SELECT customer_id, valid_from, created_at FROM features.customer_activity ORDER BY ALL"
    )
    before = tables.con.execute(select).fetchall()

    tables.grow([Purchase(day(15), ANNA)])

    after = tables.con.execute(select).fetchall()
    kept = set(before) & set(after)
    # Bert's rows, and Anna's from before the late purchase, are those that were there.
    assert kept >= {row for row in before if row[0] == BERT or row[1] <= midnight(15)}
    repaired = [row for row in after if row not in kept]
    assert {row[0] for row in repaired} == {ANNA}
    assert min(row[1] for row in repaired) == midnight(16)
    assert min(row[2] for row in repaired) > max(row[2] for row in before)


def test_one_more_day_touches_only_what_changes_that_day(monkeypatch):
    monkeypatch.setattr(feature_tables, "MOST_ROWS_ADDED", 2.0)
    shop = a_busy_shop()
    tables = Tables([p for p in shop.purchases if p.day < day(250)], shop.customers)
    select = "SELECT customer_id, valid_from, created_at FROM features.customer_activity"
    before = set(tables.con.execute(select).fetchall())

    tables.grow([p for p in shop.purchases if p.day == day(250)])

    new = set(tables.con.execute(select).fetchall()) - before
    assert new
    assert {row[1] for row in new} == {midnight(251)}
    assert before <= set(tables.con.execute(select).fetchall())


# Building a home


@dataclass(frozen=True)
class Shop:
    """A folder in the Kaggle layout that grows, loaded into the test's home."""

    folder: Path

    def load(self, *purchases: Purchase, customers: dict[str, Customer] | None = None) -> None:
        self.folder.mkdir(exist_ok=True)
        people = {p.customer: Customer() for p in purchases} | (customers or {})
        rows = {
            "articles": [{"article_id": a} for a in sorted({p.article for p in purchases})],
            "customers": [
                {"customer_id": c, "age": who.age, "postal_code": who.postal_code}
                for c, who in people.items()
            ],
            "transactions": [
                {"t_dat": p.day, "customer_id": p.customer, "article_id": p.article,
                 "price": p.price, "sales_channel_id": p.channel}
                for p in purchases for _ in range(p.quantity)
            ],
        }  # fmt: skip
        for name, values in rows.items():
            table = RAW_TABLES[name]
            frame = pd.DataFrame(values).reindex(columns=table.column_names)
            frame.convert_dtypes().to_csv(self.folder / table.file, index=False)
        load(str(self.folder))


@pytest.fixture
def tiny(home: Path, tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop")
    shop.load(
        Purchase(day(0), quantity=2),
        Purchase(day(5), BERT, SCARF),
        Purchase(day(9), ANNA, SCARF),
        customers={ANNA: Customer(24, "north"), BERT: Customer(31)},
    )
    return shop


def contents() -> dict[str, list[tuple[Any, ...]]]:
    with reading() as con:
        found = {
            f"staging.{n}": con.execute(f"SELECT * FROM staging.{n} ORDER BY ALL").fetchall()
            for n in feature_sql.STAGING
        }
        for schema, view in feature_sql.TABLES:
            if schema == "features":
                select = f"SELECT * EXCLUDE (created_at) FROM features.{view} ORDER BY ALL"
                found[f"features.{view}"] = con.execute(select).fetchall()
        return found


def contents_anew() -> dict[str, list[tuple[Any, ...]]]:
    """What a build gives that knows of none before it."""
    with writing() as con:
        con.execute("DELETE FROM features.builds")
    assert feature_tables.build().reused == ()
    return contents()


def run_until_killed(script: str) -> None:
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9


def test_building_twice_gives_the_same_tables(tiny, tmp_path, monkeypatch):
    first = feature_tables.build()
    once = contents()
    again = feature_tables.build()
    assert set(again.reused) == set(again.rows) == set(first.rows)
    assert first.reused == ()
    assert again.through == day(9)

    with writing() as con:
        con.execute("DELETE FROM features.builds")
    rebuilt = feature_tables.build()
    assert rebuilt.reused == ()
    assert contents() == once
    assert rebuilt.data_hash == first.data_hash


def test_a_home_that_was_built_through_an_earlier_day_first_is_no_different(tiny):
    feature_tables.build()
    straight = contents()

    feature_tables.build(through=day(5))
    assert contents() != straight
    feature_tables.build()

    assert contents() == straight


def test_a_build_needs_days_that_are_loaded(tiny):
    with pytest.raises(WarehouseError, match="the first is on 2020-01-01"):
        feature_tables.build(through=day(-1))
    with pytest.raises(WarehouseError, match="only up to 2020-01-10"):
        feature_tables.build(through=day(10))


def test_a_killed_build_goes_on_where_it_stopped(tiny):
    feature_tables.build(through=day(5))
    kill = (
        "import os, signal\n"
        "from pipelines import feature_tables\n"
        "def stop(text):\n"
        "    if text.startswith('6/'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "feature_tables.build(progress=stop)\n"
    )
    run_until_killed(kill)
    half = "did not end: run `lookbook features build` again"
    with pytest.raises(WarehouseError, match=half):
        feature_tables.latest_build()
    features.apply()
    with pytest.raises(WarehouseError, match=half):
        OfflineFeatures(features.moment_of(day(6))).read(
            pd.DataFrame({"customer_id": [ANNA]}), "customer_state"
        )
    with pytest.raises(WarehouseError, match=half):
        features.feature_store().materialize(
            features.moment_of(day(0)),
            features.moment_of(day(6)),
            feature_views=["customer_recent"],
        )
    with reading() as con, pytest.raises(duckdb.Error, match=half):
        con.sql("FROM features.customer_recent_at('2020-01-06')").fetchall()

    resumed = feature_tables.build()

    assert len(resumed.reused) == 6
    assert feature_tables.latest_build().rows == resumed.rows
    assert contents() == contents_anew()


def test_days_that_were_being_added_when_a_build_was_killed_are_added_by_the_next(tiny):
    feature_tables.build(through=day(5))
    before = contents()
    kill = (
        "import os, signal\n"
        "from pipelines import feature_tables\n"
        "feature_tables.MOST_ROWS_ADDED = 2.0\n"
        "done, replace = [], feature_tables._replace_rows\n"
        "def stop(*given):\n"
        "    done.append(replace(*given))\n"
        "    if len(done) == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return done[-1]\n"
        "feature_tables._replace_rows = stop\n"
        "feature_tables.build()\n"
    )
    run_until_killed(kill)
    assert contents() == before
    assert feature_tables.latest_build().through == day(5)

    feature_tables.build()

    assert contents() == contents_anew()


def test_a_change_of_staging_sql_rebuilds_what_reads_it(tiny, tmp_path, monkeypatch):
    feature_tables.build()
    sql = tmp_path / "sql"
    for file in feature_sql.SQL_FOLDER.rglob("*.sql"):
        copy = sql / file.relative_to(feature_sql.SQL_FOLDER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text().replace("'20-24'", "'twenty to 24'"))
    monkeypatch.setattr(feature_sql, "SQL_FOLDER", sql)

    feature_tables.build()

    with reading() as con:
        buckets = con.execute("SELECT age_bucket FROM features.customer_profile ORDER BY 1")
        assert buckets.fetchall() == [("30-39",), ("twenty to 24",)]


def test_a_customer_who_moves_and_ages_is_rebuilt_as_last_delivered(tiny):
    first = feature_tables.build()
    tiny.load(
        Purchase(day(0), quantity=2),
        Purchase(day(5), BERT, SCARF),
        Purchase(day(9), ANNA, SCARF),
        customers={ANNA: Customer(25, "south"), BERT: Customer(31)},
    )

    second = feature_tables.build()

    assert second.data_hash != first.data_hash
    with reading() as con:
        assert con.execute("SELECT DISTINCT postal_code FROM features.postal_code_activity").fetchall() == [("south",)]  # fmt: skip
        assert con.execute("SELECT age, age_bucket FROM features.customer_profile WHERE customer_id = 'anna'").fetchall() == [(25, "25-29")]  # fmt: skip


def test_purchases_that_a_clock_gone_back_brings_are_not_missed(tiny):
    feature_tables.build()
    with writing() as con:
        con.execute("UPDATE raw.transactions SET known_at = known_at + INTERVAL 1 YEAR")
        con.execute("UPDATE features.builds SET loaded_at = loaded_at + INTERVAL 1 YEAR")
    tiny.load(Purchase(day(3), BERT, SHIRT))

    feature_tables.build()

    assert contents() == contents_anew()
