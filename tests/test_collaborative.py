"""The collaborative retrievers: their numbers by hand, and against plain algebra."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pipelines.nearest import NearestError
from pipelines.retrievers import customer_knn, ease, matrix_factorization
from pipelines.retrievers.base import Asked, History, Past
from pipelines.retrievers.customer_knn import CustomerKnn
from pipelines.retrievers.item_knn import ItemKnn, bm25
from pipelines.retrievers.matrix_factorization import MatrixFactorization
from pipelines.retrievers.purchase_matrix import bought, evened, habit, selling
from pipelines.retrievers.pure_svd import PureSvd
from pipelines.warehouse import reading
from tests.retrieval_worlds import (
    BOOTS,
    COAT,
    CUTOFF,
    EVERYBODY,
    MOMENT,
    RANDOM,
    SHIRT,
    SOCKS,
    STAR,
    Purchase,
    World,
    Worlds,
)

ALL = ["item_knn", "customer_knn", "matrix_factorization", "pure_svd", "ease"]


def matrix_of(there: World, days: int = 365, decay: float = 60.0) -> tuple[np.ndarray, list[str]]:
    """`bought` as a table, and the articles of its columns."""
    with there.inside(), reading() as con:
        past = Past.at(con, CUTOFF)
        return bought(past, days, decay).toarray(), past.assortment.ids.tolist()


# --- what they learn from -----------------------------------------------------------------------


def test_a_day_counts_once_and_fades_and_who_bought_last_comes_first(worlds: Worlds) -> None:
    purchases = [
        ("ann", SHIRT, 30),
        ("ann", SHIRT, 10),
        *[("bob", SHIRT, 5)] * 3,
        ("bob", SOCKS, 50),
        ("eve", SOCKS, 0),
    ]
    found, articles = matrix_of(worlds(purchases), days=40, decay=20.0)
    assert articles == [SHIRT, SOCKS]
    assert found == pytest.approx(
        np.array([[math.exp(-0.25), 0.0], [math.exp(-1.5) + math.exp(-0.5), 0.0]]), rel=1e-6
    )


def test_of_a_customer_the_last_articles_count(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.retrievers.purchase_matrix.RECENT_ARTICLES", 2)
    purchases = [("ann", SHIRT, 9), ("ann", COAT, 1), ("ann", SOCKS, 5), ("bob", SHIRT, 9)]
    found, articles = matrix_of(worlds(purchases))
    assert articles == [SHIRT, SOCKS, COAT]
    assert (found > 0).tolist() == [[False, True, True], [True, False, False]]


def test_evened_rows_have_a_length_of_one() -> None:
    rows = sparse.csr_matrix(np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]]))
    assert evened(rows, 1.0).toarray() == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0, 1]]))
    assert evened(rows, 0.0).toarray().tolist() == rows.toarray().tolist()


def test_what_sells_is_the_last_weeks_customers(worlds: Worlds) -> None:
    purchases = [*[("ann", SHIRT, 7)] * 2, ("bob", SHIRT, 1), ("ann", SOCKS, 8), ("eve", SOCKS, 0)]
    with worlds(purchases).inside(), reading() as con:
        past = Past.at(con, CUTOFF)
        assert selling(past, 0.5).tolist() == pytest.approx([math.sqrt(3), 1.0])
        assert selling(past, 0.0).tolist() == [1.0, 1.0]


def test_habit_is_late_lines_and_a_little_of_the_rest() -> None:
    history = History(*(np.array([value]) for value in (0, 0, 73.0, 5.0, 0.25)))
    assert habit(history).tolist() == pytest.approx([0.25 + 5 * math.exp(-0.2)])


# --- what all of them must do -------------------------------------------------------------------

GROUPS: list[Purchase] = [
    *((f"s{n}", article, 3) for n in range(8) for article in (SHIRT, SOCKS)),
    *((f"w{n}", article, 3) for n in range(8) for article in (COAT, BOOTS)),
    *((f"x{n}", STAR, 3) for n in range(4)),
]
"""Shirts go with socks, coats with boots."""


@pytest.mark.parametrize("name", ALL)
def test_a_customer_of_today_is_answered_by_what_they_just_bought(
    name: str, worlds: Worlds
) -> None:
    """Nobody knew of dan at the cutoff, and what he bought is an hour old."""
    settings: dict[str, Any] = (
        {"dimensions": 3} if name in ("matrix_factorization", "pure_svd") else {}
    )
    retriever = worlds(GROUPS).fit(name, **settings)
    dan = worlds([("dan", COAT, 0)]).state(["dan"], MOMENT + timedelta(days=1))

    found = retriever.candidates(dan, MOMENT + timedelta(days=1), 2)

    assert set(found["article_id"]) == {COAT, BOOTS}
    assert (found["score"] > 0).all()


@pytest.mark.parametrize("name", ["item_knn", "matrix_factorization", "pure_svd", "ease"])
def test_the_reason_is_the_article_that_led_there(name: str, worlds: Worlds) -> None:
    settings: dict[str, Any] = (
        {"dimensions": 3} if name in ("matrix_factorization", "pure_svd") else {}
    )
    retriever = worlds(GROUPS).fit(name, **settings)
    dan = worlds([("dan", COAT, 1), ("dan", SHIRT, 1)]).state(["dan"])
    pairs = pd.DataFrame(
        [("dan", BOOTS), ("dan", SOCKS), ("dan", "0999999999"), ("eve", SOCKS)],
        columns=["customer_id", "article_id"],
    )
    assert retriever.because(Asked(dan, MOMENT), pairs) == [COAT, SHIRT, None, None]


@pytest.mark.parametrize("name", ALL)
def test_what_an_article_sold_this_week_multiplies_its_score(name: str, worlds: Worlds) -> None:
    there = worlds(RANDOM)
    state = there.state(["c07"])
    sold = {
        article: {c for c, a, day in RANDOM if a == article and day <= 7}
        for _, article, _ in RANDOM
    }
    plain, with_trend = (
        there.fit(name, trend=trend).candidates(state, MOMENT, 100).set_index("article_id")["score"]
        for trend in (0.0, 1.0)
    )
    # Without rounding's small change where a score is as good as none.
    counts = plain[plain.abs() > 1e-3]
    assert len(counts) > 5
    for article, score in counts.items():
        assert with_trend[str(article)] == pytest.approx(
            score * (1 + len(sold[str(article)])), rel=1e-3
        )


# --- each against plain algebra -----------------------------------------------------------------


def test_item_knn_by_hand(worlds: Worlds) -> None:
    purchases = [("a", SHIRT, 30), ("a", SOCKS, 30), ("b", SHIRT, 30), ("c", COAT, 60)]
    dan = worlds([("dan", SHIRT, 2)]).state(["dan"])
    found = (
        worlds(purchases)
        .fit("item_knn", weighting="cosine", shrink=0.5, trend=0.0)
        .candidates(dan, MOMENT, 10)
    )
    seed = math.exp(-2 / 30) + math.exp(-2 / 365)
    # Customer a's row has a length of one: half of its square is the shirt's, half the socks'.
    assert found["article_id"].tolist() == [SHIRT, SOCKS]
    assert found["score"].tolist() == pytest.approx(
        [seed * 1.5 / 2.0, seed * 0.5 / math.sqrt(2.0 * 1.0)], rel=1e-6
    )


def test_item_knn_refuses_a_weighting_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="cosine, bm25"):
        ItemKnn(weighting="tf-idf")


def test_bm25_by_hand() -> None:
    rows = sparse.csr_matrix(np.array([[2.0, 1.0], [1.0, 0.0]]))
    found = bm25(rows, saturation=1.2, length=0.75).toarray()
    first, second = (0.25 + 0.75 * total / 2.0 for total in (3.0, 1.0))
    common, rare = math.log1p(2 / 3), math.log1p(2 / 2)
    assert found == pytest.approx(
        np.array(
            [
                [2 * 2.2 / (1.2 * first + 2) * common, 2.2 / (1.2 * first + 1) * rare],
                [2.2 / (1.2 * second + 1) * common, 0.0],
            ]
        )
    )


def everybody(there: World) -> tuple[Asked, list[str]]:
    return Asked(there.state(EVERYBODY), MOMENT), matrix_of(there)[1]


def scores_of(retriever: object, asked: Asked, articles: int) -> np.ndarray:
    found = retriever.propose(asked, articles)  # type: ignore[attr-defined]
    scores = np.zeros((len(asked), articles))
    scores[found.customer, found.article] = found.score
    return scores


def asked_rows(asked: Asked, assortment: object, articles: int) -> np.ndarray:
    history = asked.history(assortment)  # type: ignore[arg-type]
    rows = np.zeros((len(asked), articles))
    rows[history.customer, history.article] = habit(history)
    return rows


def test_customer_knn_is_the_sum_over_the_most_alike(worlds: Worlds) -> None:
    there = worlds(RANDOM)
    retriever = there.fit("customer_knn", neighbours=5, sharp=2.0, own=0.5, trend=0.0)
    asked, articles = everybody(there)
    rows = matrix_of(there)[0].astype("float64")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    own = asked_rows(asked, retriever.assortment, len(articles))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    alike = own @ rows.T
    alike[alike < np.sort(alike, axis=1)[:, [-5]]] = 0
    np.testing.assert_allclose(
        scores_of(retriever, asked, len(articles)),
        alike**2 @ rows + 0.5 * own,
        rtol=1e-4,
        atol=1e-6,
    )


def test_customer_knn_keeps_the_latest_customers_and_buyers(worlds: Worlds) -> None:
    purchases = [
        *(("old", article, 40) for article in (SHIRT, COAT)),
        *(("late", article, 20) for article in (SHIRT, SOCKS)),
        *(("last", article, 10) for article in (SHIRT, BOOTS)),
    ]
    dan = worlds([("dan", SHIRT, 1)]).state(["dan"])

    def named(**settings: Any) -> set[str]:
        return set(
            worlds(purchases)
            .fit("customer_knn", **settings)
            .candidates(dan, MOMENT, 9)["article_id"]
        )

    assert named() == {SHIRT, COAT, SOCKS, BOOTS}
    assert named(customers=2) == {SHIRT, SOCKS, BOOTS}
    assert named(buyers=1) == {SHIRT, BOOTS}


def test_customer_knn_does_not_depend_on_how_many_are_answered_at_a_time(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = worlds(RANDOM).fit("customer_knn")
    state = worlds(RANDOM).state(EVERYBODY)
    whole = retriever.candidates(state, MOMENT, 10)
    monkeypatch.setattr(customer_knn, "_BLOCK", 7)
    pd.testing.assert_frame_equal(retriever.candidates(state, MOMENT, 10), whole)


def test_customer_knn_keeps_no_names(worlds: Worlds, tmp_path: Path) -> None:
    worlds(RANDOM).fit("customer_knn").save(tmp_path)
    for file in tmp_path.iterdir():
        assert not any(
            customer.encode() in file.read_bytes() for customer in ("customer_id", "c07")
        )


@pytest.mark.parametrize("itself", [True, False])
def test_ease_is_the_ridge_regression_of_each_article(
    itself: bool, worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steck's closed form is the regression of each column on all others; with itself, on all."""
    monkeypatch.setattr(ease, "_BLOCK", 7)
    there = worlds(RANDOM)
    retriever = there.fit("ease", ridge=0.1, itself=itself, trend=0.0, neighbours=1_000)
    rows = matrix_of(there)[0].astype("float64")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    size = rows.shape[1]
    ridge = 0.1 * (rows**2).sum() / size
    expected = np.zeros((size, size))
    for article in range(size):
        others = [n for n in range(size) if itself or n != article]
        left = rows[:, others]
        expected[others, article] = np.linalg.solve(
            left.T @ left + ridge * np.eye(len(others)), left.T @ rows[:, article]
        )
    np.testing.assert_allclose(
        retriever.likeness.toarray(),  # type: ignore[attr-defined]
        np.maximum(expected, 0),
        rtol=1e-4,
        atol=1e-6,
    )


def test_ease_names_only_the_most_sold(worlds: Worlds) -> None:
    purchases = [*GROUPS, ("s0", STAR, 3), ("s0", COAT, 3)]
    retriever = worlds(purchases).fit("ease", articles=2)
    dan = worlds([("dan", SHIRT, 1), ("dan", COAT, 1)]).state(["dan"])
    assert len(retriever.candidates(dan, MOMENT, 10)) <= 2
    # The likeness of what is left out is nothing, and who bought only that has no answer.
    eve = worlds([("eve", "0999999999", 1)]).state(["eve"])
    assert retriever.candidates(eve, MOMENT, 10).empty


def test_pure_svd_projects_on_the_largest_directions(worlds: Worlds) -> None:
    there = worlds(RANDOM)
    retriever = there.fit("pure_svd", dimensions=4, common=0.0, even=0.0, trend=0.0, decay=120.0)
    asked, articles = everybody(there)
    rows = matrix_of(there, decay=120.0)[0].astype("float64")
    directions = np.linalg.svd(rows, full_matrices=False)[2][:4]
    own = asked_rows(asked, retriever.assortment, len(articles))
    np.testing.assert_allclose(
        scores_of(retriever, asked, len(articles)), own @ directions.T @ directions, atol=0.02
    )


def test_matrix_factorization_descends_to_where_each_side_fits_the_other(worlds: Worlds) -> None:
    """At the end every article's vector solves its own normal equations."""
    there = worlds(RANDOM)
    model = there.fit("matrix_factorization", dimensions=4, alpha=2.0, ridge=1.0, sweeps=60)
    assert isinstance(model, MatrixFactorization)
    rows = matrix_of(there)[0].astype("float64")
    articles = model.factors.astype("float64")

    def solved(other: np.ndarray, weights: np.ndarray) -> np.ndarray:
        confidence = np.diag(1 + 2.0 * weights)
        system = other.T @ confidence @ other + np.eye(4)
        return np.linalg.solve(system, other.T @ confidence @ (weights > 0))

    customers = np.stack([solved(articles, row) for row in rows])
    again = np.stack([solved(customers, column) for column in rows.T])
    np.testing.assert_allclose(articles, again, atol=5e-3)


def test_matrix_factorization_folds_in_as_its_equations_say(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_factorization, "_ENTRIES", 50)
    there = worlds(RANDOM)
    model = there.fit("matrix_factorization", dimensions=4, alpha=2.0, ridge=1.0, trend=0.0)
    assert isinstance(model, MatrixFactorization)
    asked, articles = everybody(there)
    own = asked_rows(asked, model.assortment, len(articles))
    vectors = model.factors.astype("float64")
    expected = []
    for row in own:
        confidence = np.diag(1 + 2.0 * row)
        system = vectors.T @ confidence @ vectors + np.eye(4)
        expected.append(vectors @ np.linalg.solve(system, vectors.T @ confidence @ (row > 0)))
    np.testing.assert_allclose(
        scores_of(model, asked, len(articles)), expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("kind", [PureSvd, MatrixFactorization])
def test_the_parts_of_a_customers_articles_add_up(
    kind: type[PureSvd] | type[MatrixFactorization], worlds: Worlds
) -> None:
    model = worlds(RANDOM).fit(kind.name, dimensions=4)
    assert isinstance(model, kind)
    articles, weights = np.array([1, 4, 9]), np.array([0.5, 2.0, 1.0])
    whole = model.fold_in(np.array([0, 3]), articles, weights)
    np.testing.assert_allclose(model.parts(articles, weights).sum(axis=0), whole[0], rtol=1e-4)


@pytest.mark.parametrize("name", ["pure_svd", "matrix_factorization"])
def test_of_whom_nothing_was_learnt_nothing_is_said(name: str, worlds: Worlds) -> None:
    old = "0000000999"
    there = worlds([*RANDOM, ("old", old, 500)])
    model = there.fit(name, dimensions=4)
    assert model.candidates(there.state(["old"]), MOMENT, 10).empty
    # Beside others too, and what says nothing changes nothing.
    both = model.candidates(there.state(["c07", "old"]), MOMENT, 10)
    assert set(both["customer_id"]) == {"c07"}


def test_factors_are_not_searched_with_an_index_of_others(worlds: Worlds, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        there = worlds(RANDOM).fit("matrix_factorization", dimensions=4, seed=seed)
        there.save(tmp_path / name)
    for file in (tmp_path / "other").glob("nearest.*"):
        (tmp_path / "one" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(NearestError, match="build it again"):
        MatrixFactorization(dimensions=4).load(tmp_path / "one")


def test_an_unfitted_one_has_nothing_to_say(worlds: Worlds) -> None:
    asked = Asked(worlds(RANDOM).state(["c07"]), MOMENT)
    for empty in (CustomerKnn(), PureSvd(), MatrixFactorization(), ItemKnn()):
        assert len(empty.propose(asked, 5).article) == 0
