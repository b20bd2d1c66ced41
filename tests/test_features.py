"""Features: a handful of purchases in, every column of every view out, at any moment."""

import itertools
import math
import random
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import feature_sql, moment_features
from feature_repo.raw_tables import RAW_TABLES
from feature_repo.windows import DECAY_DAYS, WINDOWS
from pipelines import feature_tables
from pipelines.data.load import load
from pipelines.warehouse import WarehouseError, identifier, reading, writing

Row = dict[str, Any]

ANNA, BERT, CARA = "anna", "bert", "cara"
SHIRT, SCARF, SOCKS = "0000000001", "0000000002", "0000000003"
ARTICLES: dict[str, Row] = {
    SHIRT: {
        "product_group_name": "Upper body",
        "colour_group_name": "Red",
        "index_group_name": "Ladieswear",
    },
    SCARF: {"product_group_name": "Accessories", "colour_group_name": "Red"},
    SOCKS: {
        "product_group_name": "Upper body",
        "colour_group_name": "Blue",
        "index_group_name": "Menswear",
    },
}
"""What is known of the articles; of others nothing."""
START = date(2020, 1, 1)
MICROSECOND = timedelta(microseconds=1)
WITH_HISTORY = [view for view in feature_sql.VIEW_KEYS if not view.endswith("_profile")]


@dataclass(frozen=True)
class Purchase:
    day: date
    customer: str = ANNA
    article: str = SHIRT
    price: str = "10"
    channel: int = 2
    quantity: int = 1

    @property
    def spend(self) -> Decimal:
        return round(Decimal(float(self.price)), 9) * self.quantity


@dataclass(frozen=True)
class Customer:
    age: int | None = None
    postal_code: str | None = None


def day(number: int) -> date:
    return START + timedelta(number)


def midnight(when: date | int) -> datetime:
    """The start of a day, given as such or as a number of days since the first of 2020."""
    when = day(when) if isinstance(when, int) else when
    return datetime(when.year, when.month, when.day)


class Tables:
    """The feature tables, in memory, of these purchases: the project's SQL run by its builder."""

    con = duckdb.connect(config={"threads": 2})

    def __init__(
        self,
        purchases: Iterable[Purchase],
        customers: dict[str, Customer] | None = None,
        through: date | None = None,
        articles: dict[str, Row] = ARTICLES,
    ) -> None:
        self.purchases: list[Purchase] = []
        self.customers: dict[str, Customer] = {}
        self.articles: dict[str, Row] = {}
        self.loads = 0
        for schema in ("raw", "staging", "features"):
            self.con.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
        for name in ("transactions", "customers", "articles"):
            table = RAW_TABLES[name]
            columns = [f"{identifier(c.name)} {c.type}" for c in (*table.columns, *table.ours)]
            self.con.execute(f"CREATE TABLE raw.{name} ({', '.join(columns)})")
        self.con.execute(
            "CREATE TABLE raw.loads (loaded_at TIMESTAMP, table_name VARCHAR, sha256 VARCHAR, "
            "loaded BIGINT, updated BIGINT)"
        )
        self.grow(purchases, customers, through, articles)

    def grow(
        self,
        purchases: Iterable[Purchase] = (),
        customers: dict[str, Customer] | None = None,
        through: date | None = None,
        articles: dict[str, Row] | None = None,
    ) -> feature_tables.Build:
        """Load more purchases and newer attributes, and build through a day as `lookbook` does."""
        arrived = list(purchases)
        self.purchases += arrived
        self.customers |= customers or {}
        self.articles |= articles or {}
        self.loads += 1
        self._load(arrived)
        built = feature_tables.bring(self.con, through)
        self.through = built.through
        self.history = {
            view: self._rows_by_key(view, keys) for view, keys in feature_sql.VIEW_KEYS.items()
        }
        return built

    def _load(self, arrived: list[Purchase]) -> None:
        bought = pd.DataFrame(
            [(p.day, p.customer, p.article, float(p.price), p.channel, p.quantity) for p in arrived],
            columns=["t_dat", "customer_id", "article_id", "price", "sales_channel_id", "quantity"],
        ).assign(known_at=datetime(2021, 1, 1) + timedelta(hours=self.loads))  # fmt: skip
        people = dict.fromkeys([*self.customers, *(p.customer for p in self.purchases)])
        known = [(name, self.customers.get(name, Customer())) for name in people]
        customers = pd.DataFrame(
            {
                "customer_id": [name for name, _ in known],
                "age": pd.array([c.age for _, c in known], dtype="Int64"),
                "postal_code": pd.array([c.postal_code for _, c in known], dtype="string"),
            }
        )
        articles = pd.DataFrame(
            [
                {"article_id": a} | self.articles.get(a, {})
                for a in sorted({p.article for p in self.purchases})
            ]
        )
        self.con.execute("DELETE FROM raw.customers; DELETE FROM raw.articles")
        for name, rows in (
            ("transactions", bought),
            ("customers", customers),
            ("articles", articles),
        ):
            if len(rows):
                self.con.register("given", rows)
                self.con.execute(f"INSERT INTO raw.{name} BY NAME SELECT * FROM given")
        self.con.execute(
            "INSERT INTO raw.loads VALUES (now(), 'transactions', ?, 1, 0)", [f"load {self.loads}"]
        )

    def _rows_by_key(self, view: str, keys: tuple[str, ...]) -> dict[tuple[str, ...], list[Row]]:
        source = f"features.{view}"
        if view in feature_sql.AS_OF:
            source = f"({feature_sql.whole_history(view)})"
        found = self.con.execute(f"SELECT * EXCLUDE (created_at) FROM {source}")
        names = [column[0] for column in found.description or ()]
        rows: dict[tuple[str, ...], list[Row]] = {}
        for values in found.fetchall():
            row = dict(zip(names, values, strict=True))
            rows.setdefault(tuple(row.pop(key) for key in keys), []).append(row)
        return rows

    def at(self, view: str, moment: datetime, *keys: str) -> Row | None:
        """The features that hold at a moment, or nothing."""
        holding = [
            row
            for row in self.history[view].get(keys, [])
            if row["valid_from"] <= moment and (row["valid_to"] is None or moment < row["valid_to"])
        ]
        assert len(holding) <= 1, f"{view} {keys}: two rows hold at {moment}"
        return (
            {n: v for n, v in holding[0].items() if n not in ("valid_from", "valid_to")}
            if holding
            else None
        )

    def known_until(self, moment: datetime) -> dict[str, dict[tuple[str, ...], list[Row]]]:
        """All rows as someone at this moment would have them: later changes have not come."""
        return {
            view: {
                key: [
                    row | {"valid_to": min((t for t in [row["valid_to"]] if t and t <= moment), default=None)}
                    for row in rows
                    if row["valid_from"] <= moment
                ]
                for key, rows in self.history[view].items()
                if rows[0]["valid_from"] <= moment
            }
            for view in self.history
        }  # fmt: skip


# The time rule


@pytest.mark.parametrize(
    ("view", "keys", "column"),
    [
        ("customer_activity", (ANNA,), "t_transactions_7d"),
        ("article_activity", (SHIRT,), "t_purchases_7d"),
        ("postal_code_activity", ("north",), "t_purchases_7d"),
        ("customer_article", (ANNA, SHIRT), "times_bought"),
        ("customer_recent", (ANNA,), "recent_articles"),
    ],
)
def test_a_day_is_known_from_the_next_midnight_and_not_a_microsecond_earlier(view, keys, column):
    tables = Tables([Purchase(day(4))], {ANNA: Customer(postal_code="north")})

    assert tables.at(view, midnight(4) + timedelta(hours=23), *keys) is None
    assert tables.at(view, midnight(5) - MICROSECOND, *keys) is None
    known = tables.at(view, midnight(5), *keys)
    assert known is not None
    assert known[column] in (1, [SHIRT])


def test_a_purchase_leaves_each_window_exactly_when_it_should_though_nobody_buys_that_day():
    # Bert's purchase makes the shop's history long enough for Anna's to leave every window.
    tables = Tables([Purchase(day(0), price="12.5"), Purchase(day(400), BERT)])

    for window in WINDOWS:
        column = f"t_price_{window.name}"
        if window.days is None:
            assert tables.at("customer_activity", midnight(400), ANNA)[column] == 12.5
            continue
        leaves = midnight(1 + window.days)
        assert tables.at("customer_activity", leaves - MICROSECOND, ANNA)[column] == 12.5
        assert tables.at("customer_activity", leaves, ANNA)[column] == 0


@pytest.mark.parametrize("gap", [6, 7, 8])
def test_a_repeated_article_counts_once_at_gaps_around_the_window(gap):
    tables = Tables([Purchase(day(0)), Purchase(day(gap)), Purchase(day(60), BERT, SCARF)])

    distinct = [
        tables.at("customer_activity", midnight(n), ANNA)["u_articles_7d"] for n in range(1, 30)
    ]
    expected = [int(any(n - 7 <= bought < n for bought in (0, gap))) for n in range(1, 30)]
    assert distinct == expected
    assert tables.at("customer_activity", midnight(61), ANNA)["u_articles_lifetime"] == 1


def test_a_row_exists_only_where_something_changed():
    purchases = [Purchase(day(n), customer) for n in (0, 3, 10, 200) for customer in (ANNA, BERT)]
    tables = Tables(purchases, {ANNA: Customer(postal_code="n"), BERT: Customer(postal_code="n")})

    for view, by_key in tables.history.items():
        if view == "customer_price" or view in feature_sql.AS_OF:
            continue  # A row for each day with a purchase.
        for key, rows in by_key.items():
            values = [{n: v for n, v in row.items() if not n.startswith("valid")} for row in rows]
            same = [
                rows[n]["valid_from"] for n in range(1, len(rows)) if values[n] == values[n - 1]
            ]
            assert not same, f"{view} {key}"


class Fresh(Tables):
    """Tables in a database of their own, to compare with."""

    con = duckdb.connect(config={"threads": 2})


# Every column against a recomputation from the raw rows


def recent(purchases: list[Purchase], today: date, days: int | None) -> list[Purchase]:
    return [p for p in purchases if days is None or (today - p.day).days <= days]


def ratio(above: Decimal | float, below: Decimal | float) -> float:
    return float(above) / float(below)


def expected_customer_activity(known: list[Purchase], today: date) -> Row:
    row: Row = {}
    for w in WINDOWS:
        inside = recent(known, today, w.days)
        row[f"t_price_{w.name}"] = float(sum(p.spend for p in inside))
        row[f"t_transactions_{w.name}"] = len(inside)
        row[f"u_articles_{w.name}"] = len({p.article for p in inside})
        row[f"u_active_days_{w.name}"] = len({p.day for p in inside})
        row[f"n_sales_channel_{w.name}"] = len({p.channel for p in inside})
    days = sorted({p.day for p in known})
    gaps = [(b - a).days for a, b in itertools.pairwise(days)]
    lines: dict[tuple[Any, ...], int] = {}
    for p in known:
        line = (p.day, p.article, p.channel, p.price)
        lines[line] = lines.get(line, 0) + p.quantity
    return row | {
        "last_purchase": midnight(days[-1]),
        "median_gap_days": float(statistics.median(gaps)) if gaps else None,
        "basket_size": len(known) / len(days),
        "mean_price_paid": ratio(sum(p.spend for p in known), sum(p.quantity for p in known)),
        "bulk_share": sum(pieces > 1 for pieces in lines.values()) / len(lines),
    }


def expected_article_activity(
    known: list[Purchase], today: date, customers: dict[str, Customer]
) -> Row:
    row: Row = {}
    for w in WINDOWS:
        inside = recent(known, today, w.days)
        row[f"t_purchases_{w.name}"] = len(inside)
        row[f"u_customers_{w.name}"] = len({p.customer for p in inside})
    days = sorted({p.day for p in known})
    price = {
        d: ratio(
            sum(p.spend for p in known if p.day == d), sum(p.quantity for p in known if p.day == d)
        )
        for d in days
    }
    highest = max(price[d] for d in days if (days[-1] - d).days < 90)
    first = {p.customer: min(q.day for q in known if q.customer == p.customer) for p in known}
    ages = [a for c in first if (a := customers.get(c, Customer()).age) is not None]
    month = row["t_purchases_30d"]
    return row | {
        "trend": (row["t_purchases_7d"] / 7) / (month / 30) if month else None,
        "first_sold": midnight(days[0]),
        "last_sold": midnight(days[-1]),
        "article_availability": len(days),
        "latest_price": price[days[-1]],
        "discount": 1 - price[days[-1]] / highest,
        "median_age_buyers": float(statistics.median(ages)) if ages else None,
        "online_share": sum(p.channel == 2 for p in known) / len(known),
        "repurchase_rate": sum(p.day > first[p.customer] for p in known) / len(known),
    }


def expected_postal_code_activity(known: list[Purchase], today: date) -> Row:
    row: Row = {}
    for days in (7, 30):
        inside = recent(known, today, days)
        row[f"t_purchases_{days}d"] = len(inside)
        row[f"t_price_{days}d"] = float(sum(p.spend for p in inside))
    buyers = len({p.customer for p in known})
    spend = sum(p.spend for p in known)
    return row | {"u_customers_lifetime": buyers, "spend_per_customer": ratio(spend, buyers)}


def expected_customer_article(known: list[Purchase], today: date) -> Row:
    days = sorted({p.day for p in known})
    return {
        "times_bought": len(known),
        "days_bought": len(days),
        "first_bought": midnight(days[0]),
        "last_bought": midnight(days[-1]),
        "purchase_weight": math.fsum(math.exp(-(days[-1] - p.day).days / DECAY_DAYS) for p in known),
    }  # fmt: skip


def expected_customer_recent(known: list[Purchase], today: date) -> Row:
    pairs = {
        article: expected_customer_article([p for p in known if p.article == article], today)
        for article in {p.article for p in known}
    }
    newest_first = sorted(
        pairs, key=lambda a: (-pairs[a]["last_bought"].toordinal(), -pairs[a]["purchase_weight"], a)
    )
    return {
        "recent_articles": newest_first,
        "recent_days": [
            pairs[a]["last_bought"].toordinal() - date(1970, 1, 1).toordinal() for a in newest_first
        ],
        "recent_times": [pairs[a]["times_bought"] for a in newest_first],
        "recent_weights": [pairs[a]["purchase_weight"] for a in newest_first],
    }


def expected_product_group_activity(known: list[Purchase], today: date) -> Row:
    week, month = recent(known, today, 7), recent(known, today, 30)
    spend = sum(p.spend for p in month)
    return {
        "t_purchases_7d": len(week),
        "t_purchases_30d": len(month),
        "trend": (len(week) / 7) / (len(month) / 30) if month else None,
        "mean_price_30d": ratio(spend, sum(p.quantity for p in month)) if month else None,
    }


def expected_customer_price(known: list[Purchase], everything: list[Purchase]) -> Row:
    def mean_price(some: list[Purchase]) -> float:
        return ratio(sum(p.spend for p in some), sum(p.quantity for p in some))

    def group(p: Purchase) -> str | None:
        return ARTICLES.get(p.article, {}).get("product_group_name")

    logs, above, discounted = [], [], 0
    for p in known:
        price = float(round(Decimal(float(p.price)), 9))
        logs.append(math.log(price))
        alike = [q for q in everything if group(p) and group(q) == group(p)]
        month = [q for q in alike if 1 <= (p.day - q.day).days <= 30]
        if month:
            above.append(math.log(price / mean_price(month)))
        same = [q for q in everything if q.article == p.article and 0 <= (p.day - q.day).days < 90]
        highest = max(mean_price([q for q in same if q.day == d]) for d in {q.day for q in same})
        discounted += price <= 0.99 * highest
    return {
        "typical_price": math.exp(statistics.fmean(logs)),
        "price_spread": statistics.pstdev(logs),
        "price_to_product_group": math.exp(statistics.fmean(above)) if above else None,
        "discount_share": discounted / len(known),
    }


def expected_customer_taste(known: list[Purchase]) -> Row:
    row: Row = {}
    for name, column in feature_sql.TASTES.items():
        lines = Counter(g for p in known if (g := ARTICLES.get(p.article, {}).get(column)))
        ordered = sorted(lines, key=lambda g: (-lines[g], g))
        row[f"{name}s"] = ordered or None
        row[f"{name}_shares"] = [lines[g] / lines.total() for g in ordered] or None
    return row


def expected(tables: Tables, view: str, moment: datetime, keys: tuple[str, ...]) -> Row | None:
    """The features from nothing but the raw rows and the time rule."""

    def key_of(p: Purchase) -> tuple[str | None, ...]:
        code = tables.customers.get(p.customer, Customer()).postal_code
        values = {
            "customer_id": p.customer,
            "article_id": p.article,
            "postal_code": code,
            "product_group_name": ARTICLES.get(p.article, {}).get("product_group_name"),
        }
        return tuple(values[name] for name in feature_sql.VIEW_KEYS[view])

    known = [
        p
        for p in tables.purchases
        if p.day <= tables.through
        and midnight(p.day) + timedelta(1) <= moment
        and key_of(p) == keys
    ]
    if not known:
        return None
    today = moment.date()
    match view:
        case "customer_activity":
            return expected_customer_activity(known, today)
        case "article_activity":
            return expected_article_activity(known, today, tables.customers)
        case "postal_code_activity":
            return expected_postal_code_activity(known, today)
        case "customer_article":
            return expected_customer_article(known, today)
        case "product_group_activity":
            return expected_product_group_activity(known, today)
        case "customer_price":
            return expected_customer_price(known, tables.purchases)
        case "customer_taste":
            return expected_customer_taste(known)
        case _:
            return expected_customer_recent(known, today)


LOGARITHMS = 2e-6
"""What comes of logarithms that are kept to six decimals."""
SPREAD = 2e-3
"""A difference of nearly equal squares: the root of 1e-6."""


def same(got: Any, want: Any, tolerance: float = 1e-13) -> bool:
    if isinstance(want, list):
        return len(got) == len(want) and all(map(same, got, want))
    if isinstance(want, float) and got is not None:
        return isinstance(got, float) and math.isclose(
            got, want, rel_tol=tolerance, abs_tol=max(1e-15, tolerance if tolerance > 1e-9 else 0)
        )
    return type(got) is type(want) and got == want


def assert_right(tables: Tables, moments: Iterable[datetime]) -> int:
    """Every column of every view with history, for every key; returns how many were compared."""
    compared = 0
    moments = sorted(moments)
    for view in WITH_HISTORY:
        keys: set[tuple[str, ...]] = set(tables.history[view])
        for key in keys | {("nobody",) * len(feature_sql.VIEW_KEYS[view])}:
            for moment in moments:
                got, want = tables.at(view, moment, *key), expected(tables, view, moment, key)
                if want is None:
                    assert got is None, f"{view} {key} at {moment}: {got}"
                    continue
                assert got is not None, f"{view} {key} at {moment}"
                assert list(got) == list(got | want), f"{view}: other columns"
                assert set(got) == set(want), f"{view}: other columns"
                for column, value in want.items():
                    rough = {
                        "price_spread": SPREAD,
                        "typical_price": LOGARITHMS,
                        "price_to_product_group": LOGARITHMS,
                    }
                    assert same(got[column], value, rough.get(column, 1e-13)), (
                        f"{view}.{column} {key} at {moment}: {got[column]!r}, not {value!r}"
                    )
                    compared += 1
    return compared


EDGES = sorted({n + d for w in WINDOWS if w.days for n in (0, w.days) for d in (-1, 0, 1)} - {-1})

purchases_of_a_shop = st.lists(
    st.builds(
        Purchase,
        day=st.builds(day, st.integers(0, 20) | st.sampled_from(EDGES)),
        customer=st.sampled_from([ANNA, BERT, CARA]),
        article=st.sampled_from([SHIRT, SHIRT, SCARF, SOCKS]),
        price=st.sampled_from(["0.1", "0.2", "0.7", "19.99", "0.0508305084745763"]),
        channel=st.sampled_from([1, 2]),
        quantity=st.sampled_from([1, 1, 1, 2, 5]),
    ),
    min_size=1,
    max_size=20,
).filter(lambda purchases: len(purchases) > 3 or len(purchases) == 1)
customers_of_a_shop = st.fixed_dictionaries(
    {
        name: st.builds(
            Customer,
            age=st.sampled_from([None, 18, 25, 40, 71]),
            postal_code=st.sampled_from([None, "north", "south"]),
        )
        for name in (ANNA, BERT, CARA)
    }
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(purchases_of_a_shop, customers_of_a_shop, st.data())
def test_every_column_at_every_moment_of_any_shop(purchases, customers, data):
    # An exact duplicate row is a quantity: some purchases come twice.
    repeats = data.draw(st.lists(st.sampled_from(purchases), max_size=3))
    days = sorted({p.day for p in purchases})
    through = data.draw(st.sampled_from([days[-1], days[-1], days[len(days) // 2]]))
    tables = Tables([*purchases, *repeats], customers, through)

    # Values can change only when a purchase enters or leaves a window: look there, and just before.
    last = midnight(through) + timedelta(1)
    changes = {
        midnight(d) + timedelta(1 + (w.days or 0))
        for d in (*days, data.draw(st.sampled_from(days)) + timedelta(data.draw(st.integers(0, 9))))
        for w in WINDOWS
    }
    moments = {moment for moment in changes if moment <= last} | {last}
    assert assert_right(tables, moments | {moment - MICROSECOND for moment in moments}) > 0


def test_money_is_exact_and_does_not_depend_on_the_order_of_rows():
    bought = [Purchase(day(n % 3), price=p) for n, p in enumerate(["0.1", "0.2", "0.7"] * 40)]
    shuffled = random.Random(1).sample(bought, len(bought))
    late = [Purchase(day(20), BERT)]

    one, other = Tables([*bought, *late]), Tables([*late, *shuffled])

    assert one.history == other.history
    # In binary, 0.1 + 0.2 is not 0.3, and what is added and taken off again does not leave zero.
    assert one.at("customer_activity", midnight(3), ANNA)["t_price_7d"] == 40.0
    assert one.at("customer_activity", midnight(20), ANNA)["t_price_7d"] == 0.0
    small = Tables([Purchase(day(0), price="0.1"), Purchase(day(0), price="0.2")])
    assert small.at("customer_activity", midnight(1), ANNA)["t_price_7d"] == 0.3


def test_the_largest_prices_and_quantities_do_not_overflow():
    most = 2**31 - 1
    bought = [Purchase(day(n), price="999999999", quantity=most) for n in (0, 0, 1, 200)]
    tables = Tables(bought, {ANNA: Customer(postal_code="north")})

    row = tables.at("customer_activity", midnight(201), ANNA)
    assert row["t_price_lifetime"] == float(4 * 999999999 * most)
    assert row["t_price_90d"] == float(999999999 * most)
    assert row["mean_price_paid"] == 999999999.0
    assert tables.at("postal_code_activity", midnight(201), "north")["spend_per_customer"] == float(
        4 * 999999999 * most
    )


def test_a_decayed_weight_does_not_depend_on_other_customers_by_a_single_bit():
    often = [Purchase(day(7 * n + n % 3), "zoe") for n in range(60)]
    others = [Purchase(day(n % 400), f"c{n % 90}", f"{n % 4:010}") for n in range(4000)]

    alone, among_others = Tables(often), Tables([*others, *often])

    key = ("zoe", SHIRT)
    assert alone.history["customer_article"][key] == among_others.history["customer_article"][key]


def test_prices_that_are_equal_to_nine_decimals_are_one_line():
    tables = Tables([Purchase(day(0), price="0.1"), Purchase(day(0), price="0.1000000000001")])

    assert tables.con.execute("SELECT price, line_count FROM staging.purchases").fetchall() == [
        (Decimal("0.100000000"), 2)
    ]
    assert tables.at("customer_activity", midnight(1), ANNA)["bulk_share"] == 1.0


def test_each_buyer_counts_once_in_the_median_age():
    people = {ANNA: Customer(age=20), BERT: Customer(age=40), CARA: Customer(age=60)}
    often = [Purchase(day(n), ANNA) for n in range(5)]
    tables = Tables([*often, Purchase(day(5), BERT), Purchase(day(6), CARA)], people)

    ages = [
        tables.at("article_activity", midnight(n), SHIRT)["median_age_buyers"] for n in range(1, 8)
    ]
    assert ages == [20, 20, 20, 20, 20, 30, 40]


def test_the_discount_is_against_the_highest_price_of_ninety_days():
    full = Purchase(day(0), price="20")
    inside = Tables([full, Purchase(day(89), price="15")])
    outside = Tables([full, Purchase(day(90), price="15")])

    assert inside.at("article_activity", midnight(90), SHIRT)["discount"] == 0.25
    assert outside.at("article_activity", midnight(91), SHIRT)["discount"] == 0.0


def test_customer_recent_keeps_the_newest(monkeypatch):
    monkeypatch.setattr(feature_sql, "RECENT_ARTICLES", 2)
    tables = Tables(
        [Purchase(day(n), article=a) for n, a in enumerate([SHIRT, SCARF, SOCKS, SHIRT])]
    )

    newest = [tables.at("customer_recent", midnight(n), ANNA)["recent_articles"] for n in range(1, 5)]  # fmt: skip
    assert newest == [[SHIRT], [SCARF, SHIRT], [SOCKS, SCARF], [SHIRT, SOCKS]]


def test_missing_attributes_stay_missing():
    tables = Tables([Purchase(day(0))])

    profile = tables.at("customer_profile", midnight(0), ANNA)
    assert set(profile.values()) == {None}
    assert tables.at("article_activity", midnight(1), SHIRT)["median_age_buyers"] is None
    assert tables.history["postal_code_activity"] == {}


# Time never runs backwards


def a_busy_shop(customers: int = 80, purchases: int = 2500, days: int = 300) -> Tables:
    rng = random.Random(5)
    rows = [
        Purchase(
            day(int(days * rng.random() ** 0.5)),
            f"c{int(customers * rng.random() ** 2)}",
            f"{int(30 * rng.random() ** 2):010}",
            rng.choice(["0.1", "7.3", "0.0508305084745763"]),
            rng.choice([1, 2]),
            rng.choice([1, 1, 3]),
        )
        for _ in range(purchases)
    ]
    people = {
        f"c{n}": Customer(20 + n % 50, f"p{n % 7}" if n % 5 else None) for n in range(customers)
    }
    return Tables(rows, people)


def test_a_planted_future_row_changes_nothing_that_was_known_before():
    shop = a_busy_shop()
    now = midnight(250)
    past = [p for p in shop.purchases if midnight(p.day) < now]
    someone = past[0]
    planted = [
        Purchase(day(250), someone.customer, someone.article, "0.01", 1, 99),
        Purchase(day(250), "somebody new", someone.article),
        Purchase(day(251), someone.customer, "9999999999"),
        Purchase(day(299), "somebody new", "9999999999", "500"),
    ]
    before = Tables(past, shop.customers).known_until(now)

    after = Tables([*past, *planted], shop.customers).known_until(now)

    # A profile has no history: a customer or article yet to come is there, and nothing known of it.
    newcomers = [
        after["customer_profile"].pop(("somebody new",)),
        after["article_profile"].pop(("9999999999",)),
    ]
    for row in (rows[0] for rows in newcomers):
        assert {v for name, v in row.items() if not name.startswith("valid")} == {None}
    assert before == after
    assert sum(len(rows) for rows in before["customer_article"].values()) > 1000


def test_a_build_through_an_earlier_day_is_the_full_build_as_it_was_then():
    shop = a_busy_shop()

    for number in (0, 120, 299):
        earlier = Tables(shop.purchases, shop.customers, through=day(number))
        now = midnight(number + 1)
        known = shop.known_until(now)
        assert {v: h for v, h in earlier.history.items() if v in WITH_HISTORY} == {
            v: h for v, h in known.items() if v in WITH_HISTORY
        }


def test_the_intervals_of_a_key_join_up_and_the_last_is_open():
    for view, by_key in a_busy_shop().history.items():
        assert by_key
        for rows in by_key.values():
            assert all(a["valid_to"] == b["valid_from"] for a, b in itertools.pairwise(rows))  # fmt: skip
            assert all(row["valid_from"] < row["valid_to"] for row in rows[:-1]), view
            assert rows[-1]["valid_to"] is None


# Growing by days, late purchases and newer attributes


def stored(history: dict[str, Any]) -> dict[str, Any]:
    return {
        view: {key: rows for key, rows in sorted(keys.items())} for view, keys in history.items()
    }


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
            st.sampled_from([{}, {"product_group_name": "Upper body"}, {"product_group_name": "Shoes"}]),
            max_size=1,
        ),
        st.none() | st.integers(0, 10),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
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
        for picked, people, articles, back in batches:
            days = sorted({p.day for p in tables.purchases})
            through = None if back is None else days[-1 - back % len(days)]
            arriving = [rest[n] for n in picked if n < len(rest)]
            tables.grow(arriving, people, through, articles)
            grown = stored(tables.history)
            said = dict(tables.customers), dict(tables.articles)
            bought = list(tables.purchases)
            own = tables.con
            fresh = Fresh(bought, said[0], tables.through, said[1])
            assert grown == stored(fresh.history)
            assert own is not fresh.con


# SQL and declarations


def test_each_sql_file_is_a_declared_view_and_each_view_has_its_sql():
    from feature_repo import definitions

    files = {file.stem for file in (feature_sql.SQL_FOLDER / "features").glob("*.sql")}
    staging = {file.stem for file in (feature_sql.SQL_FOLDER / "staging").glob("*.sql")}
    views = {
        view.name for view in vars(definitions).values() if type(view).__name__ == "FeatureView"
    }
    assert files == views == set(feature_sql.VIEW_KEYS)
    assert staging == set(feature_sql.STAGING)


def test_sql_gives_exactly_the_declared_fields_keys_and_types():
    from feast.types import Array, Float64, Int64, String, UnixTimestamp

    from feature_repo import definitions

    duckdb_types = {
        Int64: "BIGINT",
        Float64: "DOUBLE",
        String: "VARCHAR",
        UnixTimestamp: "TIMESTAMP",
        Array(String): "VARCHAR[]",
        Array(Int64): "BIGINT[]",
        Array(Float64): "DOUBLE[]",
    }
    con = Tables([Purchase(day(0))]).con
    for name, keys in feature_sql.VIEW_KEYS.items():
        view = getattr(definitions, name)
        declared = {field.name: duckdb_types[field.dtype] for field in view.features}
        described = con.execute(f"DESCRIBE features.{name}").fetchall()
        assert {row[0]: row[1] for row in described} == declared | dict.fromkeys(
            keys, "VARCHAR"
        ) | {
            "valid_from": "TIMESTAMP",
            "valid_to": "TIMESTAMP",
            "created_at": "TIMESTAMP",
        }, name
        assert tuple(column.name for column in view.entity_columns) == keys
        assert view.batch_source.table == f"features.{name}"
        undocumented = [field.name for field in view.features if not field.description]
        assert not undocumented


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
    killed = subprocess.run([sys.executable, "-c", kill], check=False)
    assert killed.returncode == -9
    with pytest.raises(WarehouseError, match="did not end: run `lookbook features build` again"):
        feature_tables.latest_build()

    resumed = feature_tables.build()

    assert len(resumed.reused) == 6
    assert feature_tables.latest_build().rows == resumed.rows
    after = contents()
    with writing() as con:
        con.execute("DELETE FROM features.builds")
    feature_tables.build()
    assert contents() == after


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


# Functions of the moment


def moments(*texts: str | None) -> pd.Series:
    return pd.Series(pd.to_datetime(list(texts), utc=True, format="ISO8601"))


@pytest.mark.parametrize(
    ("moment", "values"),
    [
        ("2020-02-28 23:59:59.999999", (4, 0, 9, 2, 1, "winter")),
        ("2020-02-29 00:00", (5, 1, 9, 2, 0, "winter")),
        ("2021-02-28", (6, 1, 8, 2, 0, "winter")),
        ("2020-12-31", (3, 0, 53, 12, 0, "winter")),
        ("2021-01-01", (4, 0, 53, 1, 30, "winter")),
        ("2021-01-04", (0, 0, 1, 1, 27, "winter")),
        ("2020-03-01", (6, 1, 9, 3, 30, "spring")),
        ("2020-06-01", (0, 0, 23, 6, 29, "summer")),
        ("2020-09-30T23:00-02:00", (3, 0, 40, 10, 30, "autumn")),
    ],
)
def test_calendar(moment, values):
    found = moment_features.calendar(pd.DataFrame({"request_time": moments(moment)}))

    assert list(found.columns) == [
        "weekday",
        "weekend",
        "week_of_year",
        "month",
        "days_to_month_end",
        "season",
    ]
    assert tuple(found.iloc[0]) == values


def test_recency():
    inputs = pd.DataFrame(
        {
            "request_time": moments("2020-03-01 12:00", "2020-03-01"),
            "last_purchase": moments("2020-02-28", None),
            "median_gap_days": [5.0, None],
            "first_sold": moments("2020-02-01", None),
            "last_sold": moments("2020-02-29", "2020-02-29"),
        }
    )

    found = moment_features.recency(inputs)

    assert found.iloc[0].tolist() == [2.5, 0.5, 29.5, 1.5]
    assert found.iloc[1].isna().tolist() == [True, True, True, False]


def pair(**values: Any) -> pd.DataFrame:
    known = {
        "request_time": moments("2020-01-31"),
        "first_bought": moments("2020-01-01"),
        "last_bought": moments("2020-01-21"),
        "days_bought": [3],
        "purchase_weight": [2.0],
        "u_active_days_lifetime": [6],
        "age": [30],
        "median_age_buyers": [42.5],
        "latest_price": [5.0],
        "mean_price_paid": [20.0],
    }
    return pd.DataFrame(known | values)


def test_customer_article_now():
    found = moment_features.customer_article_now(pair()).iloc[0]

    assert found.to_dict() == {
        "days_since_bought": 10.0,
        "purchase_weight_now": 2.0 * math.exp(-10 / 30),
        "gap_ratio": 1.0,
        "share_of_days": 0.5,
        "age_difference": -12.5,
        "price_ratio": 0.25,
    }


@pytest.mark.parametrize(
    ("missing", "unknown"),
    [
        ("last_bought", {"days_since_bought", "purchase_weight_now", "gap_ratio"}),
        ("first_bought", {"gap_ratio"}),
        ("days_bought", {"gap_ratio", "share_of_days"}),
        ("purchase_weight", {"purchase_weight_now"}),
        ("u_active_days_lifetime", {"share_of_days"}),
        ("age", {"age_difference"}),
        ("median_age_buyers", {"age_difference"}),
        ("latest_price", {"price_ratio"}),
        ("mean_price_paid", {"price_ratio"}),
    ],
)
@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_missing_input_leaves_what_needs_it_unknown(missing, unknown, nothing):
    # Online answers are objects with None, offline ones floats with NaN.
    value = moments(None) if missing.endswith("bought") and "days" not in missing else [nothing]
    found = moment_features.customer_article_now(pair(**{missing: value})).iloc[0]

    assert set(found.index[found.isna()]) == unknown


def test_bought_on_one_day_only_has_no_gap_and_a_free_article_no_ratio():
    found = moment_features.customer_article_now(pair(days_bought=[1], mean_price_paid=[0.0]))

    assert found[["gap_ratio", "price_ratio"]].isna().all(axis=None)
    assert not np.isinf(found.to_numpy(dtype=float)).any()


def test_functions_of_the_moment_see_whole_seconds_whatever_the_resolution_of_timestamps():
    asked = moments(*(f"2020-01-31 07:{n:02}:13.{n:06}" for n in range(60)))
    inputs = pair().loc[[0] * len(asked)].reset_index(drop=True).assign(request_time=asked)
    coarse = inputs.apply(lambda c: c.dt.as_unit("us") if c.dtype.kind == "M" else c)
    fine = inputs.apply(lambda c: c.dt.as_unit("ns") if c.dtype.kind == "M" else c)
    whole = inputs.assign(request_time=asked.dt.floor("s"))

    # Online, Feast carries the request's time in whole seconds.
    exact = moment_features.customer_article_now(whole)
    for frame in (coarse, fine):
        found = moment_features.customer_article_now(frame)
        pd.testing.assert_frame_equal(found, exact, check_exact=True)


def test_functions_of_the_moment_are_pure_and_take_no_rows():
    inputs = pair()
    before = inputs.copy(deep=True)
    moment_features.customer_article_now(inputs)
    pd.testing.assert_frame_equal(inputs, before)

    assert moment_features.customer_article_now(inputs.iloc[:0]).empty
    assert moment_features.calendar(inputs.iloc[:0]).empty


def months() -> Iterator[datetime]:
    for year in (2019, 2020):
        for month in range(1, 13):
            yield datetime(year, month, 1, tzinfo=UTC) - timedelta(days=1)


def test_the_last_day_of_every_month_has_no_days_left():
    found = moment_features.calendar(pd.DataFrame({"request_time": list(months())}))

    assert set(found["days_to_month_end"]) == {0}
