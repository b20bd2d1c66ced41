"""Negatives: only what was on sale then, never what the customer buys, each with the chance of its draw."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from feature_repo.errors import LookbookError
from pipelines.assortment import ON_SALE_DAYS
from pipelines.negatives import COLUMNS, FOR_NEUMF, FOR_RANKER, NEGATIVES, Negatives, NegativesError

DAY = date(2020, 9, 16)
"""A Wednesday: what happens on it is not known yet."""

Purchase = tuple[str, str, int]
"""Customer, article, days before DAY."""
Event = tuple[str, str, float, str]
"""Customer, article, days before DAY, kind."""


def warehouse(
    purchases: Iterable[Purchase], events: Iterable[Event] | None = ()
) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(
        """
        CREATE SCHEMA staging;
        CREATE SCHEMA raw;
        CREATE TABLE staging.purchases
            (customer_id VARCHAR, article_id VARCHAR, day DATE, line_count BIGINT);
        """
    )
    bought = [(c, a, DAY - timedelta(days=days), 1) for c, a, days in purchases]
    _insert(con, "staging.purchases", bought)
    if events is None:
        return con
    con.execute(
        "CREATE TABLE raw.interactions "
        "(event_time TIMESTAMP, customer_id VARCHAR, article_id VARCHAR, kind VARCHAR)"
    )
    today = datetime(DAY.year, DAY.month, DAY.day)
    happened = [(today - timedelta(days=days), c, a, kind) for c, a, days, kind in events]
    _insert(con, "raw.interactions", happened)
    return con


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[object, ...]]) -> None:
    if rows:
        con.register("arriving", pd.DataFrame(rows))
        con.execute(f"INSERT INTO {table} FROM arriving")
        con.unregister("arriving")


def positives(*rows: Purchase) -> pd.DataFrame:
    return pd.DataFrame(
        [(customer, article, DAY - timedelta(days=days)) for customer, article, days in rows],
        columns=["customer_id", "article_id", "day"],
    )


def drawn(found: pd.DataFrame, row: int = 0) -> set[str]:
    return set(found.loc[found["row"] == row, "article_id"])


SOLD: list[Purchase] = [
    # Of ten articles the first sold once, the second twice, and so on; nobody who is asked about.
    *(("someone", f"a{n}", 1 + line) for n in range(10) for line in range(n + 1)),
]
SEEN: list[Event] = [
    ("ann", "a5", 2, "impression"),
    ("ann", "a6", 2, "impression"),
    ("ann", "a7", 1, "dismiss"),
]
ANN: list[Purchase] = [("ann", "a1", 3), ("ann", "a2", 5), ("ann", "a3", 9)]
ASKED = positives(("ann", "a0", 0), ("ann", "a9", 0), ("bob", "a4", 0))


@pytest.fixture(params=list(NEGATIVES))
def strategy(request: pytest.FixtureRequest) -> Negatives:
    return NEGATIVES[request.param](3)


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return warehouse([*SOLD, *ANN], SEEN)


# --- every strategy -----------------------------------------------------------------------------


def test_every_strategy_is_known_by_its_own_name() -> None:
    assert {name: kind.name for name, kind in NEGATIVES.items()} == {
        name: name for name in NEGATIVES
    }
    assert (FOR_NEUMF, FOR_RANKER) == (5, 30)
    assert all(kind().n == FOR_NEUMF for kind in NEGATIVES.values())


def test_what_comes_back(strategy: Negatives, con: duckdb.DuckDBPyConnection) -> None:
    found = strategy.draw(con, ASKED)
    assert found.columns.tolist() == COLUMNS
    assert len(found)
    assert found.sort_values(["row", "article_id"]).index.tolist() == list(range(len(found)))
    assert not found.duplicated(["row", "article_id"]).any()
    assert (found["customer_id"] == ASKED["customer_id"].to_numpy()[found["row"]]).all()
    assert (found["day"] == ASKED["day"].to_numpy()[found["row"]]).all()
    assert (found["log_q"] <= 0).all()
    assert np.isfinite(found["log_q"]).all()
    assert (found.groupby("row").size() <= 3).all()


def test_what_the_customer_buys_then_is_never_drawn(
    strategy: Negatives, con: duckdb.DuckDBPyConnection
) -> None:
    for seed in range(20):
        found = strategy.draw(con, ASKED, seed=seed)
        assert not drawn(found, 0) & {"a0", "a9"}
        assert not drawn(found, 1) & {"a0", "a9"}
        assert "a4" not in drawn(found, 2)


def test_the_future_changes_nothing(strategy: Negatives, con: duckdb.DuckDBPyConnection) -> None:
    future = [
        (customer, article, days)
        for customer in ("ann", "bob", "new")
        for article in ("a1", "a5", "a55", "zz")
        for days in (0, -1, -30)
    ]
    seen = [
        (c, a, d + 0.0, kind) for c, a, d in future for kind in ("view", "impression", "dismiss")
    ]
    planted = warehouse([*SOLD, *ANN, *future], [*SEEN, *seen])
    pd.testing.assert_frame_equal(strategy.draw(con, ASKED), strategy.draw(planted, ASKED))


def test_the_order_of_rows_changes_nothing(
    strategy: Negatives, con: duckdb.DuckDBPyConnection
) -> None:
    turned = warehouse([*SOLD, *ANN][::-1], SEEN[::-1])
    pd.testing.assert_frame_equal(strategy.draw(con, ASKED), strategy.draw(turned, ASKED))


def test_what_is_not_on_sale_is_never_drawn(strategy: Negatives) -> None:
    """Sold too long ago, never sold, sold for the first time that day; sold just in time is on sale, and so
    is what the customer was shown, which may be new."""
    monday = 2
    sold = [
        ("someone", "a1", monday + ON_SALE_DAYS),
        ("ann", "a1", monday + ON_SALE_DAYS),
        *(("ann", "gone", monday + ON_SALE_DAYS + 1) for _ in range(9)),
        *(("ann", "today", monday) for _ in range(9)),
    ]
    seen = [("ann", article, 3.0, "impression") for article in ("gone", "today", "never", "a1")]
    con = warehouse(sold, seen)
    asked = positives(("ann", "bought", monday))
    kind = type(strategy)
    names = {name for seed in range(10) for name in drawn(kind(3).draw(con, asked, seed=seed))}
    expected = {
        # Ann bought it before, which leaves it out of those.
        "leave_one_out": set(),
        "shown": {"gone", "today", "never", "a1"},
    }
    assert names == expected.get(strategy.name, {"a1"})


def test_the_seed_decides(strategy: Negatives) -> None:
    sold = [("someone", f"a{n:03}", 5) for n in range(300)]
    seen = [("ann", f"a{n:03}", 1.0, "impression") for n in range(300)]
    con = warehouse([*sold, *(("ann", f"a{n:03}", 6) for n in range(5))], seen)
    asked = positives(("ann", "a200", 0))
    first, again, other = (strategy.draw(con, asked, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert drawn(first) != drawn(other) or strategy.name == "last_transactions"


def test_a_moment_is_drawn_alike_whatever_others_are_asked(
    strategy: Negatives, con: duckdb.DuckDBPyConnection
) -> None:
    alone = strategy.draw(con, ASKED)
    more = pd.concat([ASKED, positives(("ann", "a1", 7), ("eve", "a3", 20))])
    with_others = strategy.draw(con, more)
    same = with_others[with_others["row"] < len(ASKED)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same)


def test_nothing_asked_nothing_drawn(strategy: Negatives, con: duckdb.DuckDBPyConnection) -> None:
    assert strategy.draw(con, ASKED.iloc[:0]).columns.tolist() == COLUMNS
    assert len(type(strategy)(0).draw(con, ASKED)) == 0


def test_a_shop_that_sold_nothing_has_no_negatives(strategy: Negatives) -> None:
    found = strategy.draw(warehouse([], SEEN), ASKED)
    assert set(found["article_id"]) == ({"a5", "a6", "a7"} if strategy.name == "shown" else set())


def test_nothing_is_left_in_the_warehouse(
    strategy: Negatives, con: duckdb.DuckDBPyConnection
) -> None:
    before = con.execute("SHOW ALL TABLES").fetchall()
    strategy.draw(con, ASKED)
    assert con.execute("SHOW ALL TABLES").fetchall() == before


@pytest.mark.parametrize("kind", [str, pd.Timestamp, lambda day: pd.Timestamp(day, tz=UTC)])
def test_days_may_be_of_any_type(con: duckdb.DuckDBPyConnection, kind: type) -> None:
    expected = NEGATIVES["leave_one_out"](3).draw(con, ASKED)
    found = NEGATIVES["leave_one_out"](3).draw(con, ASKED.assign(day=ASKED["day"].map(kind)))
    assert found["article_id"].tolist() == expected["article_id"].tolist()


SHARED = ["leave_one_out", "least_selling", "random_per_week", "popularity"]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([*SHARED, "last_transactions"]),
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.sampled_from("abcdefgh"), st.integers(-2, 70)),
        max_size=30,
    ),
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.sampled_from("abcdefghij"), st.integers(0, 9)),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 12),
    st.integers(0, 99),
)
def test_no_negative_is_a_positive_of_the_customer_and_period(
    name: str, sold: list[Purchase], bought: list[Purchase], n: int, seed: int
) -> None:
    asked = positives(*bought)
    found = NEGATIVES[name](n).draw(warehouse(sold), asked, seed=seed)
    own = set(zip(asked["customer_id"], asked["article_id"], asked["day"], strict=True))
    pairs = zip(found["customer_id"], found["article_id"], found["day"], strict=True)
    assert not own & set(pairs)
    for article, day in zip(found["article_id"], found["day"], strict=True):
        ago = (DAY - day).days
        # A week's first day is up to six days before.
        latest = ago + (day.weekday() if name == "random_per_week" else 0)
        assert any(a == article and latest < d <= latest + ON_SALE_DAYS for _, a, d in sold)


# --- chances ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("n", [1, 4])
def test_each_is_drawn_as_often_as_its_chance_says(name: str, n: int) -> None:
    """Of 20,000 customers, each of whom also buys one or two others, counts are within chance."""
    customers = 20_000
    rows = [(f"c{c}", f"a{c % 3}", 0) for c in range(customers)]
    rows += [(f"c{c}", "a9", 0) for c in range(0, customers, 2)]
    found = NEGATIVES[name](n).draw(
        warehouse(SOLD), positives(*rows[:customers], *rows[customers:])
    )
    found = found[found["row"] < customers]
    found = found.assign(
        bought=found["row"] % 3, two=found["row"] % 2, chance=np.exp(found["log_q"])
    )
    for (bought, two), own in found.groupby(["bought", "two"]):
        of = sum(c % 3 == bought and c % 2 == two for c in range(customers))
        by_article = own.groupby("article_id")["chance"]
        assert (by_article.nunique() <= 1).all()
        chance, seen = by_article.first(), by_article.size()
        if (chance == 1).all():
            assert (seen == of).all()
            continue
        # Each count is binomial; a sum of squares of nearly independent ones.
        deviations = (seen - of * chance) ** 2 / (of * chance * (1 - chance))
        assert stats.chi2.sf(deviations.sum(), len(deviations)) > 1e-4
        if name != "popularity":
            assert chance.sum() == pytest.approx(min(n, len(chance)))


@pytest.mark.parametrize("n", [1, 4])
def test_what_was_shown_is_drawn_as_often_as_its_chance_says(n: int) -> None:
    customers = 3_000
    con = warehouse(SOLD)
    con.execute(
        """
        INSERT INTO raw.interactions
        SELECT TIMESTAMP '2020-09-15 10:00:00', 'c' || c, 'a' || a, 'impression'
        FROM range(3000) AS customers (c), range(6) AS articles (a)
        """
    )
    asked = positives(*((f"c{c}", "a0", 0) for c in range(customers)))
    found = NEGATIVES["shown"](n).draw(con, asked)
    assert np.exp(found["log_q"]).unique() == pytest.approx([n / 5])
    counts = found.groupby("article_id").size()
    assert counts.index.tolist() == [f"a{k}" for k in range(1, 6)]
    assert stats.chisquare(counts).pvalue > 1e-4


# --- each by hand -------------------------------------------------------------------------------


def test_leave_one_out_leaves_out_all_that_the_customer_ever_bought() -> None:
    con = warehouse([*SOLD, ("ann", "a3", 700), ("ann", "a4", 2)])
    found = NEGATIVES["leave_one_out"](20).draw(con, positives(("ann", "a0", 0)))
    assert drawn(found) == {"a1", "a2", "a5", "a6", "a7", "a8", "a9"}
    assert (found["log_q"] == 0).all()
    found = NEGATIVES["leave_one_out"](2).draw(con, positives(("ann", "a0", 0)))
    assert np.exp(found["log_q"]).tolist() == pytest.approx([2 / 7, 2 / 7])


def test_least_selling_draws_of_the_half_that_sold_least() -> None:
    found = NEGATIVES["least_selling"](20).draw(warehouse(SOLD), positives(("ann", "a2", 0)))
    assert drawn(found) == {"a0", "a1", "a3", "a4"}
    third = NEGATIVES["least_selling"](20, share=0.3)  # type: ignore[call-arg]
    assert drawn(third.draw(warehouse(SOLD), positives(("ann", "a9", 0)))) == {"a0", "a1", "a2"}


def test_a_week_of_a_customer_is_drawn_for_once() -> None:
    """DAY is a Wednesday: the Monday before, what sold on that Monday itself was not known."""
    con = warehouse(
        [("someone", "a1", 3), ("someone", "a2", 3), ("someone", "a3", 2), ("ann", "a1", 9)]
    )
    asked = positives(("ann", "new", 0), ("ann", "a2", -1), ("bob", "new", -1), ("ann", "new", -6))
    found = NEGATIVES["random_per_week"](5).draw(con, asked)
    # Ann's next week knows what sold in this one.
    assert {row: drawn(found, row) for row in range(4)} == {
        0: {"a1"},
        1: set(),
        2: {"a1", "a2"},
        3: {"a1", "a2", "a3"},
    }
    wednesdays = NEGATIVES["random_per_week"](5, first_day=2)  # type: ignore[call-arg]
    assert drawn(wednesdays.draw(con, asked), 0) == {"a1", "a3"}


def test_last_transactions_are_the_last_that_the_customer_made() -> None:
    mine = [
        ("ann", "a1", 2),
        ("ann", "a1", 3),
        ("ann", "a2", 4),
        ("ann", "a3", 5),
        ("ann", "a4", 6),
    ]
    con = warehouse([*SOLD, *mine])
    found = NEGATIVES["last_transactions"](4).draw(
        con, positives(("ann", "a2", 0), ("bob", "a0", 0))
    )
    assert drawn(found, 0) == {"a1", "a3"}
    assert drawn(found, 1) == set()
    assert (found["log_q"] == 0).all()


def test_popularity_draws_by_lines_sold() -> None:
    """With power 1 a9 has 10 of the 54 lines that are not the positive's."""
    by_lines = NEGATIVES["popularity"](1, power=1)  # type: ignore[call-arg]
    rows = positives(*((f"c{c}", "a0", 0) for c in range(200)))
    found = (
        by_lines.draw(warehouse(SOLD), rows).drop_duplicates("article_id").set_index("article_id")
    )
    chance = np.exp(found["log_q"])
    assert chance["a9"] == pytest.approx(10 / 54)
    assert chance["a4"] == pytest.approx(5 / 54)


def test_popularity_and_one_article_left_draw_it_for_certain() -> None:
    con = warehouse([*(("someone", "a1", 2) for _ in range(3)), ("someone", "a2", 2)])
    found = NEGATIVES["popularity"](5).draw(con, positives(("ann", "a2", 0)))
    assert found[["article_id", "log_q"]].to_numpy().tolist() == [["a1", 0.0]]


def test_shown_is_what_was_passed_over() -> None:
    con = warehouse(
        [*SOLD, ("ann", "a3", 1)],
        [
            ("ann", "a1", 1.5, "impression"),
            ("ann", "a2", 1.5, "impression"),
            ("ann", "a2", 1.4, "view"),
            ("ann", "a3", 1.5, "impression"),
            ("ann", "a4", 1.5, "view"),
            ("ann", "a4", 1.2, "dismiss"),
            ("ann", "a5", 8, "impression"),
            ("ann", "a6", -0.1, "impression"),
            ("ann", "a7", 1.5, "view"),
            ("bob", "a8", 1.5, "impression"),
        ],
    )
    found = NEGATIVES["shown"](9).draw(con, positives(("ann", "a0", 0)))
    assert drawn(found) == {"a1", "a4"}
    longer = NEGATIVES["shown"](9, days=8)  # type: ignore[call-arg]
    assert drawn(longer.draw(con, positives(("ann", "a0", 0)))) == {"a1", "a4", "a5"}


# --- what cannot be done ------------------------------------------------------------------------


@pytest.mark.parametrize("events", [None, []])
def test_only_what_is_shown_needs_interactions(events: list[Event] | None) -> None:
    con = warehouse([*SOLD, *ANN], events)
    for name, kind in NEGATIVES.items():
        if name != "shown":
            assert len(kind(2).draw(con, ASKED))
    with pytest.raises(NegativesError, match="no interactions"):
        NEGATIVES["shown"]().draw(con, ASKED)


def test_what_is_missing_is_said(con: duckdb.DuckDBPyConnection) -> None:
    random = NEGATIVES["random_per_week"]()
    with pytest.raises(LookbookError, match="no purchases"):
        random.draw(duckdb.connect(), ASKED)
    with pytest.raises(NegativesError, match="have no day"):
        random.draw(con, ASKED.drop(columns="day"))
    with pytest.raises(NegativesError, match="Row 1 of the positives"):
        random.draw(con, ASKED.assign(article_id=["a", None, "b"]))
    with pytest.raises(NegativesError, match="n is -1"):
        NEGATIVES["popularity"](-1)
