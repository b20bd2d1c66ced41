"""Every retriever of the catalogue keeps one contract; then each one's numbers by hand.

A world here is a list of purchases (customer, article, days before the cutoff): day 1 is the last
that may be known, day 0 is the cutoff itself and already the future.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from feature_repo.windows import DECAY_DAYS
from pipelines.model_catalog import RETRIEVERS, make_retriever
from pipelines.retrievers import co_purchase
from pipelines.retrievers.base import COLUMNS, Retriever, largest, recent_purchases, top
from pipelines.retrievers.co_purchase import CoPurchase
from pipelines.retrievers.popular import Popular
from pipelines.retrievers.repurchase import Repurchase

CUTOFF = date(2020, 9, 16)
MOMENT = datetime(2020, 9, 16, tzinfo=UTC)
EPOCH = date(1970, 1, 1)

Purchase = tuple[str, str, int]

STAR, SHIRT, SOCKS, COAT, BOOTS = (f"000000000{n}" for n in range(1, 6))
OBVIOUS: list[Purchase] = [
    # Everybody buys the star, and whatever else is bought is bought with it.
    *(("ann", STAR, day) for day in (2, 3)),
    ("ann", SHIRT, 2),
    ("ann", SOCKS, 3),
    *((f"c{n}", STAR, 2) for n in range(10)),
    *((f"c{n}", SHIRT if n % 2 else SOCKS, 2) for n in range(10)),
    # Two customers live in another world.
    *((customer, article, 5) for customer in ("zoe", "zac") for article in (COAT, BOOTS)),
]


@contextmanager
def shop(purchases: Iterable[Purchase]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse that holds these purchases; a repeated one is a quantity."""
    rows = [(c, a, CUTOFF - timedelta(days=days)) for c, a, days in purchases]
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA staging")
        con.execute(
            "CREATE TABLE staging.purchases (customer_id VARCHAR, article_id VARCHAR, day DATE)"
        )
        if rows:
            con.executemany("INSERT INTO staging.purchases VALUES (?, ?, ?)", rows)
        yield con


def fit(retriever: Retriever, purchases: Iterable[Purchase]) -> Retriever:
    with shop(purchases) as con:
        return retriever.fit(con, CUTOFF)


def state(purchases: Iterable[Purchase], customers: Iterable[str]) -> pd.DataFrame:
    """The service `customer_state` at the cutoff; a customer without purchases has no lists."""
    rows = []
    for customer in customers:
        days: dict[str, list[int]] = {}
        for who, article, ago in purchases:
            if who == customer and ago >= 1:
                days.setdefault(article, []).append(ago)
        order = sorted(days, key=lambda article: (min(days[article]), article))
        lists = [
            order,
            [(CUTOFF - EPOCH).days - min(days[a]) for a in order],
            [len(days[a]) for a in order],
            [sum(math.exp(-(ago - min(days[a])) / DECAY_DAYS) for ago in days[a]) for a in order],
        ]
        rows.append([customer, *(map(np.array, lists) if order else [None] * 4), None, None])
    names = [f"customer_recent__recent_{n}" for n in ("articles", "days", "times", "weights")]
    profile = ["customer_profile__age", "customer_profile__postal_code"]
    return pd.DataFrame(rows, columns=["customer_id", *names, *profile], dtype=object)


def a_random_shop(seed: int = 1) -> list[Purchase]:
    rng = np.random.default_rng(seed)
    return [
        (f"c{rng.integers(30):02}", f"0{rng.integers(40):09}", int(rng.integers(1, 60)))
        for _ in range(600)
    ]


RANDOM = a_random_shop()
EVERYBODY = sorted({customer for customer, _, _ in RANDOM})
KNOWN_ARTICLES = {article for _, article, _ in RANDOM}


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right, check_exact=True)


@pytest.fixture(params=list(RETRIEVERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fitted(name: str) -> Retriever:
    return fit(make_retriever(name), RANDOM)


# --- the contract -------------------------------------------------------------------------------


def test_the_catalogue_calls_a_retriever_by_its_own_name(name: str) -> None:
    assert make_retriever(name).name == name


def test_the_obvious_answer_comes_first(name: str) -> None:
    found = fit(make_retriever(name), OBVIOUS).candidates(state(OBVIOUS, ["ann"]), MOMENT, 3)
    assert found["article_id"].iloc[0] == STAR


@pytest.mark.parametrize("k", [1, 7, 100, 10_000])
def test_each_customers_rows_are_ranked(fitted: Retriever, k: int) -> None:
    found = fitted.candidates(state(RANDOM, EVERYBODY), MOMENT, k)

    assert list(found.columns) == COLUMNS
    assert set(found["customer_id"]) == set(EVERYBODY)
    assert not found.duplicated(["customer_id", "article_id"]).any()
    assert found["score"].dtype == "float64"
    assert np.isfinite(found["score"]).all()
    for _, rows in found.groupby("customer_id"):
        assert len(rows) <= k
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        assert rows["score"].is_monotonic_decreasing


def test_article_ids_stay_text_with_their_zeros(fitted: Retriever) -> None:
    found = fitted.candidates(state(RANDOM, EVERYBODY), MOMENT, 50)
    assert {type(article) for article in found["article_id"]} == {str}
    assert set(found["article_id"]) <= KNOWN_ARTICLES


def test_fewer_candidates_are_the_first_of_more(fitted: Retriever) -> None:
    asked = state(RANDOM, EVERYBODY)
    more = fitted.candidates(asked, MOMENT, 10)
    same(
        fitted.candidates(asked, MOMENT, 4),
        more[more["rank"] <= 4].reset_index(drop=True),
    )


@pytest.mark.parametrize("history", [None, np.array([], dtype=object)], ids=["none", "empty"])
def test_a_customer_without_history_changes_nobodys_answer(
    fitted: Retriever, history: object
) -> None:
    nobody = state([], ["nobody"])
    for column in nobody.columns[1:5]:
        nobody.at[0, column] = history
    both = pd.concat([nobody, state(RANDOM, EVERYBODY)], ignore_index=True)

    found = fitted.candidates(both, MOMENT, 10)

    others = found[found["customer_id"] != "nobody"].reset_index(drop=True)
    same(others, fitted.candidates(state(RANDOM, EVERYBODY), MOMENT, 10))
    same(
        found[found["customer_id"] == "nobody"].reset_index(drop=True),
        fitted.candidates(nobody, MOMENT, 10),
    )


def test_an_article_that_was_never_seen_does_no_harm(fitted: Retriever) -> None:
    known = [("dan", "0000000003", 4)]
    with_unknown = [*known, ("dan", "0999999999", 2)]
    before = fitted.candidates(state(known, ["dan"]), MOMENT, 10)
    after = fitted.candidates(state(with_unknown, ["dan"]), MOMENT, 10)
    same(
        after[after["article_id"] != "0999999999"].drop(columns="rank").reset_index(drop=True),
        before.drop(columns="rank"),
    )
    only_unknown = fitted.candidates(state(with_unknown[1:], ["dan"]), MOMENT, 10)
    assert list(only_unknown.columns) == COLUMNS


def test_no_customers_get_no_candidates(fitted: Retriever) -> None:
    found = fitted.candidates(state(RANDOM, []), MOMENT, 10)
    assert found.empty
    assert list(found.columns) == COLUMNS


def test_a_batch_answers_like_each_customer_alone(fitted: Retriever) -> None:
    asked = state(RANDOM, EVERYBODY)
    alone = [fitted.candidates(asked.iloc[[place]], MOMENT, 10) for place in range(len(asked))]
    same(fitted.candidates(asked, MOMENT, 10), pd.concat(alone, ignore_index=True))


def test_what_was_saved_answers_the_same(fitted: Retriever, name: str, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = make_retriever(name).load(tmp_path)

    asked = state(RANDOM, EVERYBODY)
    found = fitted.candidates(asked, MOMENT, 10)
    same(loaded.candidates(asked, MOMENT, 10), found)
    assert loaded.because(asked, found, MOMENT) == fitted.because(asked, found, MOMENT)
    for file in tmp_path.rglob("*"):
        assert not file.read_bytes().startswith(b"\x80"), f"{file.name} is a pickle"


def test_the_order_of_rows_does_not_matter(fitted: Retriever, name: str) -> None:
    again = fit(make_retriever(name), RANDOM[::-1])
    asked = state(RANDOM, EVERYBODY)
    same(again.candidates(asked, MOMENT, 50), fitted.candidates(asked, MOMENT, 50))


def test_purchases_from_the_cutoff_on_are_not_seen(fitted: Retriever, name: str) -> None:
    future = [
        (customer, article, days)
        for customer in (*EVERYBODY, "somebody new")
        for article in ("0000000007", "0888888888")
        for days in (0, -1, -30)
    ]
    planted = fit(make_retriever(name), [*RANDOM, *future])
    asked = state(RANDOM, EVERYBODY)
    same(planted.candidates(asked, MOMENT, 50), fitted.candidates(asked, MOMENT, 50))


@pytest.mark.parametrize("purchases", [[], [("ann", STAR, 0)]], ids=["nothing", "only the future"])
def test_a_shop_without_a_past_has_no_candidates(
    name: str, purchases: list[Purchase], tmp_path: Path
) -> None:
    retriever = fit(make_retriever(name), purchases)
    retriever.save(tmp_path)
    for empty in (retriever, make_retriever(name).load(tmp_path)):
        found = empty.candidates(state([], ["ann"]), MOMENT, 10)
        assert found.empty
        assert list(found.columns) == COLUMNS


def test_reasons_are_the_customers_own_articles(fitted: Retriever) -> None:
    asked = state(RANDOM, EVERYBODY)
    found = fitted.candidates(asked, MOMENT, 5)
    reasons = fitted.because(asked, found, MOMENT)
    assert len(reasons) == len(found)
    own = {(customer, article) for customer, article, _ in RANDOM}
    for customer, reason in zip(found["customer_id"], reasons, strict=True):
        assert reason is None or (customer, reason) in own


# --- popular ------------------------------------------------------------------------------------


def test_popular_counts_customers_not_lines() -> None:
    purchases = [
        *[("ann", COAT, 1)] * 5,
        ("ann", SHIRT, 1),
        ("bob", SHIRT, 7),
        ("ann", SOCKS, 2),
        *((customer, BOOTS, 8) for customer in ("ann", "bob", "eve")),
    ]
    found = fit(Popular(days=7), purchases).candidates(state([], ["nobody"]), MOMENT, 10)
    # Day 8 is out of the week; equal counts stand in order of id.
    assert found[["article_id", "score"]].to_numpy().tolist() == [
        [SHIRT, 2.0],
        [SOCKS, 1.0],
        [COAT, 1.0],
    ]


def test_after_a_pause_in_sales_the_last_week_with_any_counts() -> None:
    purchases = [("ann", COAT, 30), ("bob", SHIRT, 36), ("eve", SOCKS, 37)]
    found = fit(Popular(days=7), purchases).candidates(state([], ["nobody"]), MOMENT, 10)
    assert found["article_id"].tolist() == [SHIRT, COAT]


def test_popular_keeps_only_so_many() -> None:
    found = fit(Popular(days=60, keep=3), RANDOM).candidates(state([], ["nobody"]), MOMENT, 10)
    assert len(found) == 3


# --- repurchase ---------------------------------------------------------------------------------


def test_repurchase_decays_every_line() -> None:
    purchases = [("ann", COAT, 1), ("ann", SHIRT, 10), ("ann", SHIRT, 40), ("bob", SOCKS, 1)]
    noon = MOMENT + timedelta(hours=12)
    found = fit(Repurchase(), purchases).candidates(state(purchases, ["ann"]), noon, 10)
    # Two old lines of the shirt outweigh yesterday's coat.
    assert found["article_id"].tolist() == [SHIRT, COAT]
    assert found["score"].tolist() == pytest.approx(
        [math.exp(-10.5 / 30) + math.exp(-40.5 / 30), math.exp(-1.5 / 30)], rel=1e-12
    )


def test_repurchase_refuses_weights_of_another_decay(tmp_path: Path) -> None:
    (tmp_path / "decay.json").write_text('{"decay_days": 7.0}')
    with pytest.raises(ValueError, match=r"decayed over 7.0 days.*train again"):
        Repurchase().load(tmp_path)


# --- items bought together ----------------------------------------------------------------------

THREE_BASKETS: list[Purchase] = [
    *[("a", SHIRT, 1), ("a", SOCKS, 1)],
    *[("b", SHIRT, 10), ("b", SOCKS, 10), ("b", COAT, 10)],
    *[("c", COAT, 1)],
]


def test_likeness_by_hand() -> None:
    # exp(-age / 90) / ln(2 + articles)
    two, three, one = (
        math.exp(-age / 90) / math.log(2 + n) for age, n in ((1, 2), (10, 3), (1, 1))
    )
    shirt, socks, coat = two + three + 0.5, two + three + 0.5, three + one + 0.5
    seed = math.log(1 + 2) * math.exp(-2 / 30)
    dan = [("dan", SHIRT, 2), ("dan", SHIRT, 5)]

    found = fit(CoPurchase(), THREE_BASKETS).candidates(state(dan, ["dan"]), MOMENT, 10)

    assert found["article_id"].tolist() == [SOCKS, COAT]
    assert found["score"].tolist() == pytest.approx(
        [
            seed * (two + three) / math.sqrt(shirt * socks),
            seed * three / math.sqrt(shirt * coat),
        ],
        rel=1e-6,
    )


def test_a_basket_holds_an_article_once_and_old_baskets_are_forgotten() -> None:
    asked = state([("dan", SHIRT, 2)], ["dan"])
    once = fit(CoPurchase(), THREE_BASKETS).candidates(asked, MOMENT, 10)
    repeated = [*THREE_BASKETS, ("a", SHIRT, 1), ("a", SHIRT, 366), ("a", BOOTS, 366)]
    same(fit(CoPurchase(days=365), repeated).candidates(asked, MOMENT, 10), once)


def test_only_the_nearest_are_remembered() -> None:
    asked = state([("dan", SHIRT, 2)], ["dan"])
    found = fit(CoPurchase(neighbours=1), THREE_BASKETS).candidates(asked, MOMENT, 10)
    assert found["article_id"].tolist() == [SOCKS]


def test_likeness_does_not_depend_on_how_many_are_computed_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = state(RANDOM, EVERYBODY)
    whole = fit(CoPurchase(neighbours=5), RANDOM).candidates(asked, MOMENT, 50)
    monkeypatch.setattr(co_purchase, "_BLOCK", 7)
    same(fit(CoPurchase(neighbours=5), RANDOM).candidates(asked, MOMENT, 50), whole)


def test_the_reason_is_the_article_that_led_there() -> None:
    world = [
        *((f"s{n}", article, 3) for n in range(3) for article in (SHIRT, SOCKS)),
        *((f"w{n}", article, 3) for n in range(3) for article in (COAT, BOOTS)),
    ]
    retriever = fit(CoPurchase(), world)
    dan = [("dan", SHIRT, 1), ("dan", COAT, 1)]
    pairs = pd.DataFrame(
        [("dan", BOOTS), ("dan", SOCKS), ("eve", SOCKS), ("dan", "0999999999"), ("dan", SHIRT)],
        columns=["customer_id", "article_id"],
    )
    reasons = retriever.because(state(dan, ["eve", "dan"]), pairs, MOMENT)
    assert reasons == [COAT, SHIRT, None, None, None]


# --- what retrievers share ----------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 7), st.sampled_from([0.5, 1.0, 2.0])),
        unique_by=lambda cell: cell[:2],
    ),
)
def test_largest_keeps_each_rows_best(k: int, cells: list[tuple[int, int, float]]) -> None:
    rows, columns, values = zip(*cells, strict=True) if cells else ((), (), ())
    matrix = sparse.csr_matrix((values, (rows, columns)), (4, 8), dtype="float64")
    expected = np.zeros((4, 8))
    for row in range(4):
        of_row = sorted(((-v, c) for r, c, v in cells if r == row))[:k]
        for value, column in of_row:
            expected[row, column] = -value
    assert largest(matrix, k).toarray().tolist() == expected.tolist()


def test_top_keeps_other_columns_and_breaks_ties_by_article() -> None:
    rows = pd.DataFrame(
        [
            ("b", "02", 1.0, "x"),
            ("a", "03", 5.0, "y"),
            ("b", "01", 1.0, "z"),
            ("b", "03", 0.0, "w"),
        ],
        columns=["customer_id", "article_id", "score", "source"],
        index=[4, 4, 7, 0],
    )
    assert top(rows, 2).to_numpy().tolist() == [
        ["a", "03", 5.0, "y", 1],
        ["b", "01", 1.0, "z", 1],
        ["b", "02", 1.0, "x", 2],
    ]


def test_recent_purchases_are_rows_by_position() -> None:
    asked = state([("bob", SHIRT, 3), ("bob", COAT, 1)], ["nobody", "bob"])
    found = recent_purchases(asked)
    assert found["customer"].tolist() == [1, 1]
    assert found["article_id"].tolist() == [COAT, SHIRT]
