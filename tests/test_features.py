"""Features: a handful of purchases in, every column of every view out, at any moment."""

import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import feature_sql
from feature_repo.windows import DECAY_DAYS, SESSION_EVENTS, WINDOWS
from pipelines import feature_tables
from tests.feature_worlds import (
    ANNA,
    ARTICLES,
    BERT,
    CARA,
    MICROSECOND,
    SCARF,
    SHIRT,
    SOCKS,
    WITH_HISTORY,
    Customer,
    Event,
    Purchase,
    Row,
    Tables,
    a_busy_shop,
    customers_of_a_shop,
    day,
    events_of_a_shop,
    midnight,
    purchases_of_a_shop,
)

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


def expected_customer_product(known: list[Purchase]) -> Row:
    return {
        "product_times_bought": len(known),
        "product_days_bought": len({p.day for p in known}),
        "product_articles_bought": len({p.article for p in known}),
        "product_last_bought": midnight(max(p.day for p in known)),
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


def expected_customer_session(known: Iterable[Event], keep: int = SESSION_EVENTS) -> Row | None:
    """By the rule that an online append follows too: a set, sorted from the largest on, cut."""
    told = {(e.moment, e.kind, e.article) for e in known if e.kind != "impression"}
    kept = sorted(told, reverse=True)[:keep]
    if not kept:
        return None
    return {
        "session_articles": [article for _, _, article in kept],
        "session_kinds": [kind for _, kind, _ in kept],
        "session_moments": [
            (moment - datetime(1970, 1, 1)) // MICROSECOND for moment, _, _ in kept
        ],
    }


def expected(tables: Tables, view: str, moment: datetime, keys: tuple[str, ...]) -> Row | None:
    """The features from nothing but the raw rows and the time rule."""
    if view == "customer_session":
        # Events are known at once, of whatever day.
        return expected_customer_session(
            e for e in tables.events if (e.customer,) == keys and e.moment <= moment
        )

    def key_of(p: Purchase) -> tuple[str | None, ...]:
        code = tables.customers.get(p.customer, Customer()).postal_code
        values = {
            "customer_id": p.customer,
            "article_id": p.article,
            "postal_code": code,
            "product": ARTICLES.get(p.article, {}).get("product_code"),
            "product_group": ARTICLES.get(p.article, {}).get("product_group_name"),
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
        case "customer_product":
            return expected_customer_product(known)
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


@settings(max_examples=20, deadline=None, derandomize=True)
@given(purchases_of_a_shop, customers_of_a_shop, events_of_a_shop, st.data())
def test_every_column_at_every_moment_of_any_shop(purchases, customers, events, data):
    # An exact duplicate row is a quantity: some purchases come twice.
    repeats = data.draw(st.lists(st.sampled_from(purchases), max_size=3))
    days = sorted({p.day for p in purchases})
    through = data.draw(st.sampled_from([days[-1], days[-1], days[len(days) // 2]]))
    with pytest.MonkeyPatch.context() as patched:
        if data.draw(st.booleans()):  # some keys at a time, as a large shop's
            patched.setattr(feature_tables, "PURCHASES_AT_A_TIME", 3)
            patched.setattr(feature_tables, "KEYS_AT_A_TIME", 1)
        tables = Tables([*purchases, *repeats], customers, through, events=events)

    # Values can change only when a purchase enters or leaves a window, and with an event: look there,
    # and just before. Events are known through the day after the last that is built.
    last = midnight(through) + timedelta(1)
    moved = {e.moment for e in events if e.moment < last + timedelta(1)}
    changes = {
        midnight(d) + timedelta(1 + (w.days or 0))
        for d in (*days, data.draw(st.sampled_from(days)) + timedelta(data.draw(st.integers(0, 9))))
        for w in WINDOWS
    }
    moments = {moment for moment in changes if moment <= last} | {last} | moved
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


def test_customer_session_keeps_the_newest_and_tells_ties_by_kind_and_article(monkeypatch):
    monkeypatch.setattr(feature_sql, "SESSION_EVENTS", 3)
    noon = midnight(0) + timedelta(hours=12)
    events = [
        *(Event(noon, "view", article=a) for a in (SHIRT, SCARF)),
        Event(noon, "cart", article=SOCKS),
        Event(noon + MICROSECOND, "impression", article=SOCKS),
        # Told twice, from two places.
        *(Event(noon + MICROSECOND, "purchase", surface=place) for place in ("page", "mail")),
        Event(noon - MICROSECOND, "dismiss"),
    ]
    tables = Tables([Purchase(day(5), BERT)], events=events)

    def at(moment: datetime) -> Row | None:
        return tables.at("customer_session", moment, ANNA)

    assert at(noon - 2 * MICROSECOND) is None
    assert at(noon - MICROSECOND)["session_kinds"] == ["dismiss"]
    assert at(noon)["session_articles"] == [SCARF, SHIRT, SOCKS]
    assert at(noon)["session_kinds"] == ["view", "view", "cart"]
    last = at(midnight(300))
    assert last == expected_customer_session(events, keep=3)
    assert last["session_articles"] == [SHIRT, SCARF, SHIRT]
    assert last["session_moments"] == [1577880000000001, 1577880000000000, 1577880000000000]


def test_a_shop_from_before_there_were_interactions_has_no_sessions():
    tables = Tables([Purchase(day(0))])
    tables.con.execute("DROP TABLE raw.interactions")

    tables.grow([Purchase(day(1))])

    assert tables.history["customer_session"] == {}


def test_missing_attributes_stay_missing():
    tables = Tables([Purchase(day(0))])

    profile = tables.at("customer_profile", midnight(0), ANNA)
    assert {name for name, value in profile.items() if value is not None} == {"customer_hash"}
    assert tables.at("article_activity", midnight(1), SHIRT)["median_age_buyers"] is None
    assert tables.history["postal_code_activity"] == {}


# Time never runs backwards


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
    seen = [Event(now - timedelta(1)), Event(now)]
    coming = [Event(now + MICROSECOND), Event(now + timedelta(3), customer=someone.customer)]
    before = Tables(past, shop.customers, events=seen).known_until(now)

    after = Tables([*past, *planted], shop.customers, events=[*seen, *coming]).known_until(now)

    # A profile has no history: a customer or article yet to come is there, and nothing known of it.
    newcomers = [
        after["customer_profile"].pop(("somebody new",)),
        after["article_profile"].pop(("9999999999",)),
    ]
    for row in (rows[0] for rows in newcomers):
        assert {v for n, v in row.items() if not n.startswith("valid") and not n.endswith("_hash")} == {None}  # fmt: skip
    assert before == after
    assert sum(len(rows) for rows in before["customer_article"].values()) > 1000


def test_a_build_through_an_earlier_day_is_the_full_build_as_it_was_then():
    shop = a_busy_shop()

    for number in (5, 120, 299):
        earlier = Tables(shop.purchases, shop.customers, through=day(number), events=shop.events)
        now = midnight(number + 1)
        known = shop.known_until(now)
        # Events are there from when they are loaded: what comes later is known later.
        earlier.history["customer_session"] = earlier.known_until(now)["customer_session"]
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
    from feast.types import Array, Float32, Float64, Int64, String, UnixTimestamp

    from feature_repo import definitions

    duckdb_types = {
        Int64: "BIGINT",
        Float64: "DOUBLE",
        String: "VARCHAR",
        UnixTimestamp: "TIMESTAMP",
        Array(String): "VARCHAR[]",
        Array(Int64): "BIGINT[]",
        Array(Float32): "FLOAT[]",
        Array(Float64): "DOUBLE[]",
    }
    con = Tables([Purchase(day(0))]).con
    for name, keys in feature_sql.VIEW_KEYS.items():
        view = getattr(definitions, name)
        declared = {field.name: duckdb_types[field.dtype] for field in view.features}
        kept = name not in feature_sql.AS_OF
        table = f"features.{name}" if kept else f"({feature_sql.whole_history(name)})"
        described = con.execute(f"DESCRIBE FROM {table}").fetchall()
        assert {row[0]: row[1] for row in described} == declared | dict.fromkeys(
            keys, "VARCHAR"
        ) | {
            "valid_from": "TIMESTAMP",
            "valid_to": "TIMESTAMP",
            "created_at": "TIMESTAMP",
        }, name
        assert tuple(column.name for column in view.entity_columns) == keys
        source = view.batch_source
        assert source.table == (f"features.{name}" if kept else None)
        assert bool(source.as_of) is not kept
        undocumented = [field.name for field in view.features if not field.description]
        assert not undocumented
