"""Every retriever of the catalogue keeps one contract, on homes with real features; then each one's
numbers by hand."""

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pipelines.model_catalog import RETRIEVERS, make_retriever
from pipelines.retrievers import article_to_article, two_tower
from pipelines.retrievers.base import (
    COLUMNS,
    Asked,
    Past,
    Retriever,
    best_of_each,
    largest,
    ranked,
    recent_purchases,
    top,
)
from pipelines.retrievers.repurchase import Repurchase
from pipelines.warehouse import reading
from tests.retrieval_worlds import (
    BOOTS,
    COAT,
    CUTOFF,
    EVERYBODY,
    FORGOTTEN,
    GONE,
    KNOWN_ARTICLES,
    MOMENT,
    OBVIOUS,
    PLANTED,
    RANDOM,
    SHIRT,
    SOCKS,
    STAR,
    Purchase,
    Worlds,
)

Fitted = Callable[..., Retriever]

HISTORY = [f"customer_recent__recent_{name}" for name in ("articles", "days", "times", "weights")]
SESSION = [f"customer_session__session_{name}" for name in ("articles", "kinds", "moments")]


@pytest.fixture(scope="module")
def fit(worlds: Worlds) -> Iterator[Fitted]:
    """A retriever fitted on a world; each once."""

    @cache
    def of(name: str, purchases: tuple[Purchase, ...]) -> Retriever:
        return worlds(purchases).fit(name)

    # The two towers learn enough for these worlds in fewer steps than a shop needs.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_tower, "_LEAST_STEPS", 80)
        yield lambda name, purchases: of(name, tuple(purchases))


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def alike(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """The same up to the last digits of a score, which depend on how many are asked about at once."""
    assert len(left) == len(right)
    assert left["customer_id"].tolist() == right["customer_id"].tolist()
    assert left["rank"].tolist() == right["rank"].tolist()
    scores = (found["score"].to_numpy() for found in (left, right))
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-6)
    ours, theirs = (found.groupby("customer_id")["article_id"].agg(set) for found in (left, right))
    # Articles whose scores are as good as equal may stand at either side of the last place.
    missing = [len(ours[customer] - theirs[customer]) for customer in ours.index]
    assert max(missing, default=0) <= 1


@pytest.fixture(params=list(RETRIEVERS), scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def fitted(name: str, fit: Fitted) -> Retriever:
    return fit(name, RANDOM)


@pytest.fixture(scope="module")
def asked(worlds: Worlds) -> pd.DataFrame:
    """Everybody of the random shop."""
    return worlds(RANDOM).state(EVERYBODY)


# --- the contract -------------------------------------------------------------------------------


def test_the_catalogue_calls_a_retriever_by_its_own_name(name: str) -> None:
    assert make_retriever(name).name == name


def test_a_retriever_says_what_it_was_made_with(name: str) -> None:
    assert make_retriever(name).settings() == RETRIEVERS[name].settings_in_full()


def test_the_obvious_answer_comes_first(name: str, fit: Fitted, worlds: Worlds) -> None:
    customer, first = OBVIOUS_FIRST.get(name, ("ann", [STAR]))
    found = fit(name, OBVIOUS).candidates(worlds(OBVIOUS).state([customer]), MOMENT, 3)
    assert found["article_id"].iloc[0] in first


OBVIOUS_FIRST = {
    # It learns from purchases with a history, of which this world has two: the star and the shirt.
    "two_tower": ("ann", [STAR, SHIRT]),
    # What a customer has is not named: c1 has the star and the shirt, and the socks have its colour.
    **{name: ("c1", [SOCKS]) for name in RETRIEVERS if name.startswith("similar")},
}
"""Who is asked and what comes first, where it is less obvious than to others."""


@pytest.mark.parametrize("k", [1, 7, 100, 10_000])
def test_each_customers_rows_are_ranked(fitted: Retriever, asked: pd.DataFrame, k: int) -> None:
    found = fitted.candidates(asked, MOMENT, k)

    assert list(found.columns) == COLUMNS
    assert set(found["customer_id"]) == set(EVERYBODY)
    assert not found.duplicated(["customer_id", "article_id"]).any()
    assert found["score"].dtype == "float64"
    assert np.isfinite(found["score"]).all()
    assert found["customer_id"].is_monotonic_increasing
    for _, rows in found.groupby("customer_id"):
        assert len(rows) <= k
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        assert rows["score"].is_monotonic_decreasing


def test_article_ids_stay_text_with_their_zeros(fitted: Retriever, asked: pd.DataFrame) -> None:
    found = fitted.candidates(asked, MOMENT, 50)
    assert {type(article) for article in found["article_id"]} == {str}
    assert set(found["article_id"]) <= KNOWN_ARTICLES


def test_fewer_candidates_are_the_first_of_more(fitted: Retriever, asked: pd.DataFrame) -> None:
    more = fitted.candidates(asked, MOMENT, 10)
    same(fitted.candidates(asked, MOMENT, 4), more[more["rank"] <= 4].reset_index(drop=True))


@pytest.mark.parametrize("lists", [None, np.array([], dtype=object)], ids=["none", "empty"])
def test_a_customer_without_history_changes_nobodys_answer(
    fitted: Retriever, asked: pd.DataFrame, worlds: Worlds, lists: object
) -> None:
    nobody = worlds(RANDOM).state(["nobody"])
    for column in [*HISTORY, *SESSION]:
        nobody.at[0, column] = lists
    both = pd.concat([nobody, asked], ignore_index=True)

    found = fitted.candidates(both, MOMENT, 10)

    others = found[found["customer_id"] != "nobody"].reset_index(drop=True)
    alike(others, fitted.candidates(asked, MOMENT, 10))
    alike(
        found[found["customer_id"] == "nobody"].reset_index(drop=True),
        fitted.candidates(nobody, MOMENT, 10),
    )


def test_an_article_that_was_never_seen_does_no_harm(fitted: Retriever, worlds: Worlds) -> None:
    def dan(*articles: str) -> pd.DataFrame:
        state = worlds(RANDOM).state(["dan"])
        # Bought some weeks ago, and looked at an hour ago.
        seen = int((MOMENT - timedelta(hours=1)).timestamp() * 1e6)
        values: dict[str, object] = {HISTORY[0]: articles, SESSION[0]: articles}
        values |= zip(HISTORY[1:], ([v] * len(articles) for v in (18_500, 1, 1.0)), strict=True)
        values |= zip(SESSION[1:], ([v] * len(articles) for v in ("view", seen)), strict=True)
        for column, found in values.items():
            state[column] = pd.Series([np.array(found)], dtype=object)
        return state

    same(
        fitted.candidates(dan("0000000003", "0999999999"), MOMENT, 10),
        fitted.candidates(dan("0000000003"), MOMENT, 10),
    )
    only_unknown = fitted.candidates(dan("0999999999"), MOMENT, 10)
    assert list(only_unknown.columns) == COLUMNS


@pytest.mark.parametrize("kind", ["popular", "item_knn"])
def test_a_past_is_not_mixed_up_with_another_on_the_same_connection(
    kind: str, worlds: Worlds
) -> None:
    purchases: list[Purchase] = [("ann", SHIRT, 3), ("bob", SHIRT, 2), ("bob", COAT, 5)]
    asked = worlds(purchases).state(["ann", "bob"])
    # The star is first sold after the cutoff, on no file, and the first of all by id.
    there = worlds([*purchases, ("ann", STAR, -1)])
    with there.inside(), reading() as con:
        past = Past.at(con, CUTOFF)
        later = Past.at(con, CUTOFF + timedelta(days=7))
        assert len(later.assortment) == len(past.assortment) + 1
        found = make_retriever(kind).fit(past)
    expected = worlds(purchases).fit(kind).candidates(asked, MOMENT, 10)
    assert len(expected)
    same(found.candidates(asked, MOMENT, 10), expected)


def test_no_customers_get_no_candidates(fitted: Retriever, asked: pd.DataFrame) -> None:
    found = fitted.candidates(asked.iloc[:0], MOMENT, 10)
    assert found.empty
    assert list(found.columns) == COLUMNS


def test_a_batch_answers_like_each_customer_alone(fitted: Retriever, asked: pd.DataFrame) -> None:
    alone = [fitted.candidates(asked.iloc[[place]], MOMENT, 10) for place in range(len(asked))]
    alike(fitted.candidates(asked, MOMENT, 10), pd.concat(alone, ignore_index=True))


def test_customers_are_answered_in_order_whatever_the_order_of_asking(
    fitted: Retriever, asked: pd.DataFrame
) -> None:
    backwards = asked.iloc[::-1].reset_index(drop=True)
    alike(fitted.candidates(backwards, MOMENT, 10), fitted.candidates(asked, MOMENT, 10))


def test_what_was_saved_answers_the_same(
    fitted: Retriever, asked: pd.DataFrame, name: str, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    loaded = make_retriever(name).load(tmp_path)

    found = fitted.candidates(asked, MOMENT, 10)
    same(loaded.candidates(asked, MOMENT, 10), found)
    whose = Asked(asked, MOMENT)
    assert loaded.because(whose, found) == fitted.because(whose, found)
    assert loaded.assortment is fitted.assortment
    for file in tmp_path.rglob("*"):
        assert not file.read_bytes().startswith(b"\x80"), f"{file.name} is a pickle"


def test_the_order_of_rows_does_not_matter(
    fitted: Retriever, asked: pd.DataFrame, name: str, fit: Fitted
) -> None:
    again = fit(name, RANDOM[::-1])
    same(again.candidates(asked, MOMENT, 50), fitted.candidates(asked, MOMENT, 50))


def test_fitting_again_gives_the_same(
    fitted: Retriever, asked: pd.DataFrame, name: str, worlds: Worlds
) -> None:
    again = worlds(RANDOM).fit(name)
    same(again.candidates(asked, MOMENT, 50), fitted.candidates(asked, MOMENT, 50))


def test_what_happens_from_the_cutoff_on_is_not_seen(
    fitted: Retriever, name: str, fit: Fitted, worlds: Worlds, asked: pd.DataFrame
) -> None:
    later = worlds(PLANTED).state(EVERYBODY)
    same(fit(name, PLANTED).candidates(later, MOMENT, 50), fitted.candidates(asked, MOMENT, 50))


def test_what_has_not_sold_for_long_is_not_named(name: str, fit: Fitted, worlds: Worlds) -> None:
    found = fit(name, FORGOTTEN).candidates(worlds(FORGOTTEN).state(EVERYBODY), MOMENT, 10_000)
    assert len(found)
    assert GONE not in set(found["article_id"])


def test_a_shop_without_a_past_has_no_candidates(name: str, worlds: Worlds, tmp_path: Path) -> None:
    only_the_future = worlds([("ann", STAR, 0)])
    retriever = only_the_future.fit(name)
    retriever.save(tmp_path)
    for empty in (retriever, make_retriever(name).load(tmp_path)):
        found = empty.candidates(only_the_future.state(["ann", "nobody"]), MOMENT, 10)
        assert list(found.columns) == COLUMNS
        # Content knows the article that is on file, though nobody has bought it.
        assert set(found["article_id"]) <= {STAR}


def test_reasons_are_the_customers_own_articles(fitted: Retriever, asked: pd.DataFrame) -> None:
    found = fitted.candidates(asked, MOMENT, 5)
    reasons = fitted.because(Asked(asked, MOMENT), found)
    assert len(reasons) == len(found)
    own = {(customer, article) for customer, article, _ in RANDOM}
    for customer, reason in zip(found["customer_id"], reasons, strict=True):
        assert reason is None or (customer, reason) in own
    given = sum(reason is not None for reason in reasons)
    assert given == 0 if fitted.name in WITHOUT_REASON else given > 0.9 * len(reasons)


WITHOUT_REASON = {name for name in RETRIEVERS if name.startswith("popular")} | {
    "customer_knn",
    "variational_autoencoder",
    "neu_mf",
}
"""What names no article of the customer's own as its reason."""


def test_reasons_are_sentences(fitted: Retriever, asked: pd.DataFrame) -> None:
    for row in fitted.candidates(asked, MOMENT, 2).to_dict("records"):
        for led_by in (None, "Shirt (Red)"):
            assert fitted.reason(row, led_by).endswith(".")


# --- popular ------------------------------------------------------------------------------------


def nobody(worlds: Worlds) -> pd.DataFrame:
    return worlds(RANDOM).state(["nobody"])


def test_popular_counts_customers_not_lines(worlds: Worlds) -> None:
    purchases = [
        *[("ann", COAT, 1)] * 5,
        ("ann", SHIRT, 1),
        ("bob", SHIRT, 7),
        ("ann", SOCKS, 2),
        *((customer, BOOTS, 8) for customer in ("ann", "bob", "eve")),
    ]
    found = worlds(purchases).fit("popular").candidates(nobody(worlds), MOMENT, 10)
    # Day 8 is out of the week; equal counts stand in order of id.
    assert found[["article_id", "score"]].to_numpy().tolist() == [
        [SHIRT, 2.0],
        [SOCKS, 1.0],
        [COAT, 1.0],
    ]


def test_after_a_pause_in_sales_the_last_week_with_any_counts(worlds: Worlds) -> None:
    purchases = [("ann", COAT, 30), ("bob", SHIRT, 36), ("eve", SOCKS, 37)]
    found = worlds(purchases).fit("popular").candidates(nobody(worlds), MOMENT, 10)
    assert found["article_id"].tolist() == [SHIRT, COAT]


def test_popular_keeps_only_so_many(worlds: Worlds) -> None:
    found = worlds(RANDOM).fit("popular", days=60, keep=3).candidates(nobody(worlds), MOMENT, 10)
    assert len(found) == 3


@pytest.mark.parametrize("keep", [3, 500])
def test_near_you_is_weighed_against_everywhere(worlds: Worlds, keep: int) -> None:
    there = worlds(RANDOM)
    state = there.state([*EVERYBODY, "nobody"])
    lives = dict(zip(state["customer_id"], state["customer_profile__postal_code"], strict=True))
    here: dict[str, float] = {}
    everywhere: dict[str, float] = {}
    for customer, article, day in set(RANDOM):
        weight = math.exp(-day / 7)
        everywhere[article] = everywhere.get(article, 0) + weight
        if lives[customer] == lives["c01"]:
            here[article] = here.get(article, 0) + weight
    bought, total = sum(here.values()), sum(everywhere.values())
    # Shares are of all that was bought, whatever is kept of it.
    best = sorted(everywhere, key=lambda a: (-everywhere[a], a))[:keep]
    kept = {a: everywhere[a] for a in best}
    smoothed = {
        a: (here.get(a, 0) + 5 * kept.get(a, 0) / total) / (bought + 5) for a in here | kept
    }

    retriever = there.fit("popular_by_postal_code", smoothing=5.0, keep=keep)
    found = retriever.candidates(state, MOMENT, 1000)

    own = found[found["customer_id"] == "c01"].set_index("article_id")["score"].to_dict()
    assert own == pytest.approx(smoothed)
    nobodys = found[found["customer_id"] == "nobody"].set_index("article_id")["score"].to_dict()
    assert nobodys == pytest.approx({a: g / total for a, g in kept.items()})


def test_popular_of_the_groups_that_a_customer_buys_from(worlds: Worlds) -> None:
    purchases = [
        *((f"c{n}", SHIRT, 1) for n in range(3)),
        *((f"c{n}", BOOTS, 1) for n in range(2)),
        ("ann", COAT, 1),
        ("ann", SOCKS, 1),
        ("ann", STAR, 1),
    ]
    there = worlds(purchases)
    found = there.fit("popular_by_product_group").candidates(there.state(["ann"]), MOMENT, 10)
    scores = found.set_index("article_id")["score"].to_dict()
    # Two thirds of what ann buys is for the body, where three bought the shirt.
    assert scores == pytest.approx({SHIRT: 2, BOOTS: 2 / 3, COAT: 1 / 3, SOCKS: 2 / 3, STAR: 2 / 3})


# --- repurchase ---------------------------------------------------------------------------------


def test_repurchase_decays_every_line(worlds: Worlds) -> None:
    purchases = [("ann", COAT, 1), ("ann", SHIRT, 10), ("ann", SHIRT, 40), ("bob", SOCKS, 1)]
    noon = MOMENT + timedelta(hours=12)
    there = worlds(purchases)
    found = there.fit("repurchase").candidates(there.state(["ann"]), noon, 10)
    # Two old lines of the shirt outweigh yesterday's coat, though that is what sells.
    shirt = math.exp(-10.5 / 30) + math.exp(-40.5 / 30) + 2 * math.exp(-10.5 / 365)
    coat = math.exp(-1.5 / 30) + math.exp(-1.5 / 365)
    assert found["article_id"].tolist() == [SHIRT, COAT]
    assert found["score"].tolist() == pytest.approx([shirt, coat * math.sqrt(2)], rel=1e-6)
    selling = there.fit("repurchase", trend=1.0).candidates(there.state(["ann"]), noon, 10)
    assert selling["article_id"].tolist() == [COAT, SHIRT]
    assert selling["score"].tolist() == pytest.approx([coat * 2, shirt], rel=1e-6)


def test_repurchase_refuses_weights_of_another_decay(tmp_path: Path) -> None:
    Repurchase().save(tmp_path)
    (tmp_path / "decay.json").write_text('{"decay_days": 7.0}')
    with pytest.raises(ValueError, match=r"decayed over 7.0 days.*train again"):
        Repurchase().load(tmp_path)


# --- items bought together ----------------------------------------------------------------------

THREE_BASKETS: list[Purchase] = [
    *[("a", SHIRT, 1), ("a", SOCKS, 1)],
    *[("b", SHIRT, 10), ("b", SOCKS, 10), ("b", COAT, 10)],
    *[("c", COAT, 1)],
]


def dan(worlds: Worlds, *bought: tuple[str, int]) -> pd.DataFrame:
    """What is known of a customer who bought these articles so many days ago."""
    return worlds([("dan", article, days) for article, days in bought]).state(["dan"])


def test_likeness_by_hand(worlds: Worlds) -> None:
    # exp(-age / 60) / articles
    two, three, one = (math.exp(-age / 60) / n for age, n in ((1, 2), (10, 3), (1, 1)))
    shirt, socks, coat = two + three + 0.01, two + three + 0.01, three + one + 0.01
    seed = math.exp(-2 / 30) + math.exp(-5 / 30) + 2 * math.exp(-2 / 365)
    asked = dan(worlds, (SHIRT, 2), (SHIRT, 5))

    found = worlds(THREE_BASKETS).fit("co_purchase").candidates(asked, MOMENT, 10)

    assert found["article_id"].tolist() == [SOCKS, COAT]
    # Of each, one customer bought it in the last week.
    assert found["score"].tolist() == pytest.approx(
        [
            seed * (two + three) / math.sqrt(shirt * socks) * 2**0.25,
            seed * three / math.sqrt(shirt * coat) * 2**0.25,
        ],
        rel=1e-6,
    )


def test_a_basket_holds_an_article_once_and_old_baskets_are_forgotten(worlds: Worlds) -> None:
    asked = dan(worlds, (SHIRT, 2))
    once = worlds(THREE_BASKETS).fit("co_purchase").candidates(asked, MOMENT, 10)
    repeated = [*THREE_BASKETS, ("a", SHIRT, 1), ("a", SHIRT, 366), ("a", BOOTS, 366)]
    same(worlds(repeated).fit("co_purchase", days=365).candidates(asked, MOMENT, 10), once)


def test_only_the_nearest_are_remembered(worlds: Worlds) -> None:
    found = worlds(THREE_BASKETS).fit("co_purchase", neighbours=1)
    assert found.candidates(dan(worlds, (SHIRT, 2)), MOMENT, 10)["article_id"].tolist() == [SOCKS]


def test_likeness_does_not_depend_on_how_many_are_computed_at_a_time(
    monkeypatch: pytest.MonkeyPatch, worlds: Worlds, asked: pd.DataFrame
) -> None:
    whole = worlds(RANDOM).fit("co_purchase", neighbours=5).candidates(asked, MOMENT, 50)
    monkeypatch.setattr(article_to_article, "_BLOCK", 7)
    parts = worlds(RANDOM).fit("co_purchase", neighbours=5).candidates(asked, MOMENT, 50)
    same(parts, whole)


def test_near_you_is_said_where_somebody_has_bought() -> None:
    retriever = make_retriever("popular_by_postal_code")
    retriever.kinds = {"": 0, "north": 1}
    assert retriever.reason({"postal_code": "north"}, None) == "Popular near you."
    for unknown in (None, float("nan"), "", "south"):
        assert retriever.reason({"postal_code": unknown}, None) == "Popular."


def test_the_reason_is_the_article_that_led_there(worlds: Worlds) -> None:
    baskets = [
        *((f"s{n}", article, 3) for n in range(3) for article in (SHIRT, SOCKS)),
        *((f"w{n}", article, 3) for n in range(3) for article in (COAT, BOOTS)),
    ]
    retriever = worlds(baskets).fit("co_purchase")
    asked = pd.concat(
        [nobody(worlds).assign(customer_id="eve"), dan(worlds, (SHIRT, 1), (COAT, 1))]
    )
    pairs = pd.DataFrame(
        [("dan", BOOTS), ("dan", SOCKS), ("eve", SOCKS), ("dan", "0999999999"), ("dan", SHIRT)],
        columns=["customer_id", "article_id"],
    )
    reasons = retriever.because(Asked(asked.reset_index(drop=True), MOMENT), pairs)
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


@settings(deadline=None)
@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 9), st.sampled_from([0.5, 1.0, 2.0])),
        unique_by=lambda cell: cell[:2],
    ),
)
def test_ranked_and_best_of_each_agree_with_sorting(
    k: int, cells: list[tuple[int, int, float]]
) -> None:
    expected = []
    for customer in range(4):
        own = sorted((-score, article) for who, article, score in cells if who == customer)
        expected += [(customer, a, -s, rank) for rank, (s, a) in enumerate(own[:k], start=1)]
    columns = (
        [np.array(column) for column in zip(*cells, strict=True)]
        if cells
        else [np.array([], dtype=int)] * 3
    )
    assert list(zip(*ranked(*columns, k), strict=True)) == expected

    dense = np.full((4, 10), -np.inf)
    for customer, article, score in cells:
        dense[customer, article] = score
    found = best_of_each(dense, np.arange(100, 110), k)
    assert list(zip(*found, strict=True)) == [(c, 100 + a, s, r) for c, a, s, r in expected]


def test_recent_purchases_are_rows_by_position(worlds: Worlds) -> None:
    bob = worlds([("bob", SHIRT, 3), ("bob", COAT, 1)]).state(["nobody", "bob"])
    found = recent_purchases(bob)
    assert found["customer"].tolist() == [1, 1]
    assert found["article_id"].tolist() == [COAT, SHIRT]
