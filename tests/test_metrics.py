"""Metrics by hand, against scikit-learn, and against a second, plain way of computing them."""

import itertools
import math
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, ndcg_score, roc_auc_score

from feature_repo.errors import InputError
from pipelines.article_facts import ArticleFacts
from pipelines.assortment import Assortment
from pipelines.evaluation.chances import (
    AUC,
    BRIER,
    CALIBRATION,
    ENTROPY,
    LOG_LOSS,
    MEASURES,
    POOLED,
    SUMS,
    Scored,
    measures,
    reliability,
    rmse,
)
from pipelines.evaluation.evaluation import HEAD, MIDDLE, NEW, TAIL, Evaluation, Fold, popularity
from pipelines.evaluation.metrics import (
    ACCURACY,
    METRICS,
    NEW_DAYS,
    RIDGE,
    Shown,
    bootstrap,
    coverage,
    gini,
    measure,
)
from pipelines.evaluation.resampling import Means, over_weeks

Lists = dict[str, list[str]]


def recommended(lists: Lists) -> pd.DataFrame:
    """Ranks from 1 in the order of each list."""
    return pd.DataFrame(
        [
            (customer, article, rank)
            for customer, articles in lists.items()
            for rank, article in enumerate(articles, start=1)
        ],
        columns=["customer_id", "article_id", "rank"],
    )


def truth(lists: Lists) -> pd.DataFrame:
    return pd.DataFrame(
        [(customer, article) for customer, articles in lists.items() for article in articles],
        columns=["customer_id", "article_id"],
    )


def at(metric: str, k: int, shown: Lists, bought: Lists) -> dict[str, float]:
    lists = Shown.of(recommended(shown), truth(bought), k)
    values = METRICS[metric].function(lists, k)
    return {
        str(customer): float(value) for customer, value in zip(lists.customers, values, strict=True)
    }


# --- by hand ------------------------------------------------------------------------------------


def test_average_precision_by_hand() -> None:
    # Hits at 1 and 3 of 2 bought: (1/1 + 2/3) / 2.
    assert at("MAP@12", 12, {"a": ["x", "-", "y"]}, {"a": ["x", "y"]}) == {
        "a": pytest.approx((1 + 2 / 3) / 2)
    }
    # With 3 bought and k = 2, at most 2 can be hit: the divisor is 2.
    assert at("MAP@12", 2, {"a": ["-", "x", "y"]}, {"a": ["x", "y", "z"]}) == {
        "a": pytest.approx((1 / 2) / 2)
    }


def test_recall_by_hand() -> None:
    shown = {"a": ["x", "-", "y"], "b": ["x"]}
    bought = {"a": ["x", "y", "z", "w"], "b": ["y"]}
    assert at("recall@12", 12, shown, bought) == {"a": 0.5, "b": 0.0}
    assert at("recall@12", 2, shown, bought) == {"a": 0.25, "b": 0.0}


def test_ndcg_by_hand() -> None:
    # Hits at 1 and 3; two bought would ideally stand at 1 and 2.
    ideal = 1 + 1 / math.log2(3)
    assert at("NDCG@12", 12, {"a": ["x", "-", "y"]}, {"a": ["x", "y"]}) == {
        "a": pytest.approx((1 + 1 / 2) / ideal)
    }


def test_hit_rate_by_hand() -> None:
    shown = {"a": ["-", "x"], "b": ["-"]}
    bought = {"a": ["x", "y"], "b": ["x"]}
    assert at("hit_rate@12", 12, shown, bought) == {"a": 1.0, "b": 0.0}
    assert at("hit_rate@12", 1, shown, bought) == {"a": 0.0, "b": 0.0}


def test_a_perfect_list_scores_one_and_an_empty_one_zero() -> None:
    bought = {"a": ["x", "y"], "b": [f"{n}" for n in range(120)]}
    perfect = measure(recommended(bought), truth(bought))
    nothing = measure(recommended({}), truth(bought))
    assert list(perfect.columns) == list(METRICS)
    for name in ACCURACY:
        # Of 12 places two are filled; of 120 articles bought, 12 or 100 shown cannot be all.
        expected_of_a = {"precision@12": 2 / 12}.get(name, 1.0)
        expected_of_b = {"recall@12": 0.1, "recall@100": 100 / 120}.get(name, 1.0)
        assert perfect[name].tolist() == pytest.approx([expected_of_a, expected_of_b])
        assert nothing[name].tolist() == [0.0, 0.0]
    # Nothing is known of articles and prices.
    assert perfect[list(METRICS.keys() - set(ACCURACY))].isna().all(axis=None)


def test_who_got_nothing_counts_and_who_bought_nothing_does_not() -> None:
    values = at("MAP@12", 12, {"a": ["x"], "stranger": ["x", "y"]}, {"a": ["x"], "left out": ["x"]})
    assert values == {"a": 1.0, "left out": 0.0}


def test_an_article_counts_once_at_its_best_rank() -> None:
    shown, bought = {"a": ["-", "x", "x", "y", "x"]}, {"a": ["x", "x", "y"]}
    found = Shown.of(recommended(shown), truth(bought), 12)
    assert found.place[found.hit].tolist() == [2, 4]
    assert at("recall@12", 12, shown, bought) == {"a": 1.0}
    assert at("MAP@12", 12, shown, bought) == {"a": pytest.approx((1 / 2 + 2 / 4) / 2)}


def test_neither_the_order_of_rows_nor_the_index_matters() -> None:
    shown, bought = {"a": ["x", "-", "y"], "b": ["y"]}, {"b": ["x", "y"], "a": ["x", "y"]}
    shuffled = recommended(shown).sample(frac=1, random_state=3).set_axis([7] * 4)
    pd.testing.assert_frame_equal(
        measure(shuffled, truth(bought)), measure(recommended(shown), truth(bought))
    )


def test_precision_and_mrr_by_hand() -> None:
    shown = {"a": ["-", "x", "y"], "b": ["x"], "c": ["-"]}
    bought = {"a": ["x", "y"], "b": ["x"], "c": ["x"]}
    # Places that are left empty are misses.
    assert at("precision@12", 4, shown, bought) == {"a": 2 / 4, "b": 1 / 4, "c": 0.0}
    assert at("MRR@12", 4, shown, bought) == {"a": 1 / 2, "b": 1.0, "c": 0.0}
    assert at("MRR@12", 1, shown, bought) == {"a": 0.0, "b": 1.0, "c": 0.0}


def test_equal_ranks_take_their_turn_by_article() -> None:
    shown = pd.DataFrame(
        [("a", article, rank) for article, rank in (("y", 1), ("x", 1), ("z", 2), ("w", 9))],
        columns=["customer_id", "article_id", "rank"],
    )
    found = Shown.of(shown, truth({"a": ["y", "z", "w"]}), 12)
    # x and y share the first rank: x comes first, and y and z move back.
    assert found.place.tolist() == [1, 2, 3, 9]
    assert found.hit.tolist() == [False, True, True, True]
    # Were places not made of ranks, two hits at rank 1 would be a precision of 2.
    assert found.average_precision(2).tolist() == [(1 / 2) / 2]


def test_a_table_that_came_twice_is_that_table() -> None:
    shown, bought = recommended({"a": ["-", "x", "y"]}), truth({"a": ["x", "y"]})
    twice = pd.concat([shown, shown])
    pd.testing.assert_frame_equal(
        measure(twice, pd.concat([bought, bought])), measure(shown, bought)
    )


def test_nobody_bought() -> None:
    found = measure(recommended({"a": ["x"]}), truth({}))
    assert list(found.columns) == list(METRICS)
    assert len(found) == 0
    assert bootstrap(found.reset_index().assign(week="w")) == {}


@pytest.mark.parametrize("rank", [0, np.nan])
def test_ranks_begin_at_one(rank: float) -> None:
    shown = recommended({"a": ["x", "y"]}).assign(rank=[1, rank])
    with pytest.raises(InputError, match="no rank of 1 or more"):
        measure(shown, truth({"a": ["x"]}))


# --- what lists are like ------------------------------------------------------------------------

MOMENT = datetime(2020, 9, 16, tzinfo=UTC)
TODAY = 18521
"""Days from 1970 to the moment."""


def facts(
    vectors: list[list[float]],
    launched: list[float] | None = None,
    price: list[float] | None = None,
    share: list[float] | None = None,
    on_sale: list[bool] | None = None,
    product_group: list[str] | None = None,
) -> ArticleFacts:
    """Of articles 0, 1, 2 ..."""
    count = len(vectors)
    table = np.asarray(vectors, dtype="float32").reshape(count, -1)
    length = np.linalg.norm(table, axis=1, keepdims=True)
    ids = np.array([str(n) for n in range(count)], dtype=object)
    groups, names = pd.factorize(np.array(product_group or ["-"] * count), sort=True)
    return ArticleFacts(
        Assortment(ids, np.array(on_sale or [True] * count), np.zeros(count, dtype=bool)),
        table / np.where(length > 0, length, 1),
        {"product_group": groups},
        {"product_group": [str(name) for name in names]},
        np.array(launched or [0.0] * count),
        np.array(price or [1.0] * count),
        np.array(share or [1 / count] * count),
    )


def of(metric: str, shown: Lists, known: ArticleFacts, bought: Lists | None = None) -> list[float]:
    bought = bought or {customer: ["0"] for customer in shown}
    found = measure(recommended(shown), truth(bought), known, MOMENT)[metric]
    return [float(value) for value in found]


def test_diversity_by_hand() -> None:
    # 0 and 1 are twins, 2 stands across, nothing is known of 3.
    known = facts([[1, 0], [2, 0], [0, 3], [0, 0]])
    shown = {"a": ["0", "1"], "b": ["0", "2"], "c": ["0", "1", "2"], "d": ["0", "3"], "e": []}
    assert of("diversity@12", shown, known) == pytest.approx(
        [0, 1, 2 / 3, math.nan, math.nan], nan_ok=True
    )
    twins = math.log(1 - (1 - RIDGE) ** 2)
    assert of("log_det@12", shown, known) == pytest.approx(
        [twins / 2, 0, twins / 3, math.nan, math.nan], nan_ok=True
    )


def test_of_too_few_articles_likeness_says_nothing() -> None:
    shown = {"a": ["0", "1"]}
    half = facts([[1, 0], [0, 1], [0, 0], [0, 0]])
    assert of("diversity@12", shown, half) == [1]
    fewer = facts([[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]])
    assert math.isnan(of("diversity@12", shown, fewer)[0])
    assert not math.isnan(of("novelty@12", shown, fewer)[0])


def test_novelty_by_hand() -> None:
    known = facts([[1]] * 4, share=[0.5, 0.25, 0.25, 0.0])
    shown = {"a": ["0"], "b": ["0", "1"], "c": ["3"], "d": ["not known"], "e": []}
    # What never sold counts as half of what sold least.
    assert of("novelty@12", shown, known) == pytest.approx(
        [1, 1.5, 3, math.nan, math.nan], nan_ok=True
    )


def test_freshness_by_hand() -> None:
    launched = [TODAY - NEW_DAYS, TODAY - NEW_DAYS - 1, math.nan]
    known = facts([[1]] * 3, launched=launched)
    shown = {"a": ["0"], "b": ["1"], "c": ["0", "1", "2"], "d": []}
    assert of("freshness@12", shown, known) == pytest.approx([1, 0, 2 / 3, math.nan], nan_ok=True)
    days = [NEW_DAYS, NEW_DAYS + 1, (2 * NEW_DAYS + 1) / 3, math.nan]
    assert of("days_on_sale@12", shown, known) == pytest.approx(days, nan_ok=True)


def test_revenue_by_hand() -> None:
    known = facts([[1]] * 3, price=[5.0, 7.0, math.nan])
    shown = {"a": ["0", "1", "2"], "b": []}
    bought = truth({"a": ["0", "0", "2"], "b": ["1"]})
    # By the latest price: what has none adds nothing, and twice is once.
    assert of("revenue@12", shown, known, {"a": ["0", "0", "2"], "b": ["1"]}) == [5.0, 0.0]
    # What was paid is known better: all lines of the article, and the latest price is not asked.
    paid = bought.assign(price=[4.0, 4.5, 3.0, 9.0])
    assert measure(recommended(shown), paid, known, MOMENT)["revenue@12"].tolist() == [11.5, 0.0]
    assert measure(recommended(shown), paid)["revenue@12"].tolist() == [11.5, 0.0]


def test_facts_come_with_a_moment() -> None:
    with pytest.raises(InputError, match="come with the moment"):
        measure(recommended({"a": ["0"]}), truth({"a": ["0"]}), facts([[1]]))


def test_coverage_and_gini_by_hand() -> None:
    exposures = np.array([[1.0, 3.0, 0.0], [1.0, 0.0, 0.0]])
    assert coverage(exposures, 4).tolist() == [2 / 4, 1 / 4, 0]
    # All four alike would be 0; two of four alike are a half; one alone is 1 - 1/4.
    assert gini(np.ones((4, 1)), 4).tolist() == [0]
    assert gini(exposures, 4) == pytest.approx([0.5, 0.75, math.nan], nan_ok=True)


def test_popularity_by_hand() -> None:
    known = facts(
        [[1]] * 6,
        launched=[TODAY - 5, *[0.0] * 4, math.nan],
        share=[0.5, 0.25, 0.15, 0.06, 0.04, 0.0],
    )
    groups = popularity(known, known.days_on_sale(MOMENT))
    # Without the new one 0.5 is left: half of it is the first's, nine tenths the first three's.
    assert groups.tolist() == [NEW, HEAD, MIDDLE, MIDDLE, TAIL, NEW]


# --- by brute force -----------------------------------------------------------------------------


def in_places(rows: list[tuple[str, int]]) -> dict[int, str]:
    """Place -> article, one row at a time."""
    best: dict[str, int] = {}
    for article, rank in rows:
        best[article] = min(rank, best.get(article, rank))
    found: dict[int, str] = {}
    last = 0
    for article, rank in sorted(best.items(), key=lambda row: (row[1], row[0])):
        last = max(rank, last + 1)
        found[last] = article
    return found


def plainly(rows: list[tuple[str, int]], bought: set[str], k: int) -> dict[str, float]:
    """The textbook's sums over places, one customer at a time."""
    shown = in_places(rows)
    hit = [shown.get(place) in bought for place in range(1, k + 1)]
    precision_at = [sum(hit[: place + 1]) / (place + 1) for place in range(k)]
    gain = sum(1 / math.log2(place + 2) for place, found in enumerate(hit) if found)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(bought))))
    return {
        "MAP@12": sum(p for p, found in zip(precision_at, hit, strict=True) if found)
        / min(k, len(bought)),
        "recall@12": sum(hit) / len(bought),
        "NDCG@12": gain / ideal,
        "hit_rate@12": float(any(hit)),
        "precision@12": sum(hit) / k,
        "MRR@12": max((1 / (place + 1) for place, found in enumerate(hit) if found), default=0.0),
    }


def plainly_alike(
    rows: list[tuple[str, int]], bought: set[str], known: ArticleFacts, k: int
) -> dict[str, float]:
    """What lists are like, article by article."""
    ids = list(known.assortment.ids)
    shown = [article for place, article in in_places(rows).items() if place <= k]
    places = [ids.index(article) for article in shown if article in ids]
    described = [place for place in places if known.vectors[place].any()]
    vectors = known.vectors.astype("float64")[described]
    pairs = [1 - one @ two for one, two in itertools.combinations(vectors, 2)]
    likeness = (1 - RIDGE) * vectors @ vectors.T
    np.fill_diagonal(likeness, 1)
    least = min(s for s in known.share if s > 0) / 2
    days = [TODAY - known.launched[p] if known.launched[p] >= 0 else 0.0 for p in places]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    return {
        "diversity@12": mean(pairs),
        "log_det@12": math.log(np.linalg.det(likeness)) / len(described) if pairs else math.nan,
        "novelty@12": mean([-math.log2(known.share[p] or least) for p in places]),
        "freshness@12": mean([float(d <= NEW_DAYS) for d in days]),
        "days_on_sale@12": mean(days),
        "revenue@12": sum(known.price[ids.index(a)] for a in shown if a in bought and a in ids),
    }


ARTICLE = st.sampled_from([str(n) for n in range(25)])
CUSTOMER = st.sampled_from(["a", "b", "c", "d"])
ROWS = st.lists(st.tuples(ARTICLE, st.integers(1, 20)), max_size=30)
BOUGHT = st.dictionaries(CUSTOMER, st.lists(ARTICLE, min_size=1, max_size=30), min_size=1)


def random_facts(seed: int) -> ArticleFacts:
    """Of articles 0 to 19: some without any of what there is to know."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(20, 6)) * (rng.random((20, 1)) < 0.8)
    share = rng.random(20) * (rng.random(20) < 0.7)
    share[0] = 0.1
    launched = np.where(rng.random(20) < 0.2, math.nan, TODAY - rng.integers(0, 60, 20))
    return facts(
        vectors.tolist(), launched.tolist(), rng.random(20).tolist(), (share / share.sum()).tolist()
    )


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(CUSTOMER, ROWS), BOUGHT, st.integers(1, 14), st.integers(0, 20))
def test_two_ways_agree(
    shown: dict[str, list[tuple[str, int]]], bought: Lists, k: int, seed: int
) -> None:
    known = random_facts(seed)
    table = pd.DataFrame(
        [(c, article, rank) for c, rows in shown.items() for article, rank in rows],
        columns=["customer_id", "article_id", "rank"],
    )
    found = Shown.of(table, truth(bought), 14, known, MOMENT)
    assert found.customers.tolist() == sorted(bought)
    expected = [
        plainly(shown.get(c, []), set(bought[c]), k)
        | plainly_alike(shown.get(c, []), set(bought[c]), known, k)
        for c in sorted(bought)
    ]
    for metric in expected[0]:
        values = METRICS[metric].function(found, k)
        wanted = [of_customer[metric] for of_customer in expected]
        assert values == pytest.approx(wanted, abs=1e-9, nan_ok=True), metric


def test_ndcg_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        bought = rng.random((6, 30)) < 0.2
        bought[:, 0] = True
        scores = rng.permuted(np.tile(np.arange(30.0), (6, 1)), axis=1)
        order = np.argsort(-scores, axis=1)
        shown = {f"c{n}": [str(article) for article in row] for n, row in enumerate(order)}
        wanted = {f"c{n}": [str(a) for a in np.flatnonzero(row)] for n, row in enumerate(bought)}
        for k in (1, 5, 12, 30):
            found = at("NDCG@12", k, shown, wanted)
            expected = ndcg_score(bought, scores, k=k)
            assert np.mean(list(found.values())) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 5))
def test_gini_is_the_mean_difference(exposures: list[int], unseen: int) -> None:
    everything = exposures + [0] * unseen
    apart = sum(abs(one - two) for one in everything for two in everything)
    total = 2 * len(everything) * sum(everything)
    found = float(gini(np.array(exposures, dtype=float)[:, None], len(everything))[0])
    assert found == pytest.approx(apart / total if total else math.nan, abs=1e-9, nan_ok=True)


# --- scores and chances -------------------------------------------------------------------------


def scored(rows: pd.DataFrame, customers: list[str]) -> dict[str, float]:
    """The measures of all customers, and AUC of each."""
    taken = Scored(np.array(customers, dtype=object))
    # In batches of whole customers, as they come.
    for _, batch in rows.groupby(rows["customer_id"].str[-1]):
        taken.add(batch)
    sums = taken.summed()
    means = {name: np.array(sums.sums[name].mean()) for name in SUMS}
    with np.errstate(invalid="ignore"):
        means[AUC] = np.array(np.nan if np.isnan(sums.auc).all() else np.nanmean(sums.auc))
    return {name: float(value) for name, value in measures(means).items()}


def candidates(seed: int, customers: int = 12, rows: int = 200, ties: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    chance = rng.integers(1, ties, rows) / ties
    return pd.DataFrame(
        {
            "customer_id": [f"c{n:02}" for n in np.sort(rng.integers(0, customers, rows))],
            "label": (rng.random(rows) < chance**2).astype(int),
            "score": np.log(chance),
            "chance": chance,
        }
    )


def test_chances_are_judged_as_scikit_learn_does() -> None:
    for seed in range(12):
        rows = candidates(seed)
        customers = sorted(rows["customer_id"].unique())
        found = scored(rows, [*customers, "somebody without candidates"])
        label, chance = rows["label"], rows["chance"]
        by_customer = [
            roc_auc_score(of["label"], of["score"])
            for _, of in rows.groupby("customer_id")
            if of["label"].nunique() == 2
        ]
        assert found[AUC] == pytest.approx(np.mean(by_customer), abs=1e-9)
        assert found[POOLED] == pytest.approx(roc_auc_score(label, rows["score"]), abs=1e-9)
        loss = log_loss(label, chance)
        assert found[LOG_LOSS] == pytest.approx(loss, abs=1e-9)
        same = log_loss(label, np.full(len(rows), label.mean()))
        assert found[ENTROPY] == pytest.approx(loss / same, abs=1e-9)
        assert found[BRIER] == pytest.approx(brier_score_loss(label, chance), abs=1e-9)
        assert found[CALIBRATION] == pytest.approx(chance.sum() / label.sum(), abs=1e-9)
        assert rmse(chance, label) ** 2 == pytest.approx(found[BRIER], abs=1e-9)


def test_an_auc_needs_both() -> None:
    rows = candidates(0)
    for label in (0, 1):
        found = scored(rows.assign(label=label), sorted(rows["customer_id"].unique()))
        assert math.isnan(found[AUC])
        assert math.isnan(found[ENTROPY]) == (label == 0)
    nothing = scored(rows.iloc[:0], ["a"])
    assert all(math.isnan(nothing[name]) for name in MEASURES)


def test_who_does_not_count_and_what_cannot_be() -> None:
    rows = candidates(1)
    some = ["c01", "c02"]
    kept = rows[rows["customer_id"].isin(some)]
    assert scored(rows, some) == scored(kept, some)
    for column, value, said in (("score", np.nan, "has no score"), ("chance", 1.1, "from 0 to 1")):
        with pytest.raises(InputError, match=said):
            scored(rows.assign(**{column: value}), some)
    # A ranker without chances still has an order.
    without = scored(rows.drop(columns="chance"), some)
    assert without[AUC] == scored(rows, some)[AUC]
    assert math.isnan(without[CALIBRATION])


def test_reliability_by_hand() -> None:
    taken = Scored(np.array(["a"], dtype=object))
    chances = [0.0, 0.015, 0.015, 0.6, 1.0]
    taken.add(
        pd.DataFrame(
            {"customer_id": "a", "label": [0, 0, 1, 1, 1], "score": chances, "chance": chances}
        )
    )
    found = reliability(taken.summed().bins)
    assert [(of["from"], of["rows"], of["observed"]) for of in found] == [
        (0.0, 1, 0.0),
        (pytest.approx(0.01), 2, 0.5),
        (0.5, 2, 1.0),
    ]
    assert [of["predicted"] for of in found] == pytest.approx([0, 0.015, 0.8])


# --- intervals ----------------------------------------------------------------------------------


def values(customers: int, weeks: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product(
        [[f"c{n}" for n in range(customers)], [f"w{n}" for n in range(weeks)]],
        names=["customer_id", "week"],
    ).to_frame(index=False)
    return rows.assign(metric=rng.random(len(rows)), other=rng.random(len(rows)))


def test_the_mean_is_over_weeks_of_means_over_customers() -> None:
    rows = pd.DataFrame(
        [("a", "w1", 1.0), ("b", "w1", 0.0), ("c", "w1", 0.0), ("a", "w2", 1.0)],
        columns=["customer_id", "week", "metric"],
    )
    assert bootstrap(rows)["metric"]["mean"] == pytest.approx((1 / 3 + 1) / 2)
    even = values(customers=40, weeks=3)
    assert bootstrap(even)["metric"]["mean"] == pytest.approx(even["metric"].mean())


def test_an_interval_depends_on_its_seed_alone() -> None:
    rows = values(customers=50, weeks=2)
    assert bootstrap(rows) == bootstrap(rows)
    shuffled = bootstrap(rows.sample(frac=1, random_state=1))
    assert shuffled["metric"] == pytest.approx(bootstrap(rows)["metric"], abs=1e-12)
    assert bootstrap(rows, seed=1)["metric"]["low"] != bootstrap(rows)["metric"]["low"]
    # A metric's interval does not depend on which others are measured beside it.
    assert bootstrap(rows)["metric"] == bootstrap(rows.drop(columns="other"))["metric"]


def test_intervals_cover_the_truth() -> None:
    covered = 0
    for seed in range(100):
        interval = bootstrap(values(customers=60, weeks=1, seed=seed), samples=200)["metric"]
        assert interval["low"] <= interval["mean"] <= interval["high"]
        covered += interval["low"] <= 0.5 <= interval["high"]
    assert 89 <= covered <= 99


def test_whole_customers_are_drawn() -> None:
    one = values(customers=60, weeks=1)[["customer_id", "week", "metric"]]
    # Four weeks in which everyone does the same tell no more than one.
    four = pd.concat([one.assign(week=f"w{n}") for n in range(4)])
    assert bootstrap(four)["metric"] == pytest.approx(bootstrap(one)["metric"])
    # Were the weeks independent, the interval would be half as wide.
    apart = values(customers=240, weeks=1)
    width = {
        name: found["metric"]["high"] - found["metric"]["low"]
        for name, found in (("one", bootstrap(one)), ("apart", bootstrap(apart)))
    }
    assert width["apart"] < 0.65 * width["one"]


def test_a_constant_has_no_spread() -> None:
    rows = values(customers=10, weeks=2).assign(metric=0.25)
    assert bootstrap(rows)["metric"] == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_intervals_are_those_of_the_plain_bootstrap() -> None:
    rng = np.random.default_rng(3)
    rows = values(customers=30, weeks=3).sample(frac=0.6, random_state=1)
    rows["some"] = np.where(rng.random(len(rows)) < 0.3, np.nan, rng.random(len(rows)) * 100)
    found = bootstrap(rows, samples=50)
    customers = sorted(rows["customer_id"].unique())
    drawn: dict[str, list[float]] = {"metric": [], "some": []}
    rng = np.random.default_rng(0)
    for _ in range(50):
        who = [customers[n] for n in rng.integers(0, len(customers), len(customers))]
        sample = pd.concat([rows[rows["customer_id"] == customer] for customer in who])
        for name in drawn:
            drawn[name].append(sample.groupby("week")[name].mean().mean())
    for name, means in drawn.items():
        expected = rows.groupby("week")[name].mean().mean()
        assert found[name]["mean"] == pytest.approx(expected, abs=1e-12)
        ends = np.quantile(means, [0.025, 0.975])
        assert [found[name]["low"], found[name]["high"]] == pytest.approx(ends, abs=1e-7)


def test_who_has_no_value_does_not_count() -> None:
    rows = values(customers=40, weeks=2)
    some = rows.assign(metric=rows["metric"].where(rows["customer_id"] < "c3"), other=np.nan)
    found = bootstrap(some)
    assert list(found) == ["metric"]
    assert found["metric"]["mean"] == pytest.approx(some.groupby("week")["metric"].mean().mean())


def test_constants_of_any_kind_have_no_spread() -> None:
    for constant in (1 / 3, 1e-9, -7.1, 1234.56):
        rows = values(customers=11, weeks=3).assign(metric=constant)
        assert bootstrap(rows)["metric"] == dict.fromkeys(("mean", "low", "high"), constant)


def test_sums_do_not_depend_on_what_stands_beside_them() -> None:
    rng = np.random.default_rng(1)
    table = rng.random((40, 500))
    cell = rng.integers(0, 3, 500)
    times = rng.integers(0, 4, (500, 20)).astype(float)
    groups = np.array([[1, 1, 1], [1, 0, 0]])
    whole = Means(table, cell, groups).of(times)
    alone = Means(table[7:8], cell, groups).of(times[:, 3:4])
    assert (whole[:, 7:8, 3:4] == alone).all()
    order = rng.permutation(500)
    assert (Means(table[:, order], cell[order], groups).of(times[order]) == whole).all()


def test_weeks_without_a_value_do_not_count() -> None:
    found = over_weeks([np.array([1.0, np.nan]), np.array([2.0, np.nan]), np.array([np.nan] * 2)])
    assert found[0] == 1.5
    assert np.isnan(found[1])


# --- all together -------------------------------------------------------------------------------


def a_fold(week: date, seed: int, with_facts: bool = True) -> Fold:
    """Sixty buyers, old and young; `knowing` finds more than `guessing` and only what is known of."""
    rng = np.random.default_rng(seed)
    customers = [f"c{n:02}" for n in np.sort(rng.permutation(80)[:60])]
    known = random_facts(seed)
    bought = {c: [str(n) for n in rng.integers(0, 20, 3)] for c in customers}
    groups = pd.DataFrame(
        {
            "customer_id": customers,
            "history": rng.choice(["cold", "1-4"], len(customers)),
            "age": ["20-24" if c < "c40" else "50-59" for c in customers],
        }
    )
    fold = Fold(week, truth(bought), groups, known if with_facts else None)
    guesses = {c: [str(n) for n in rng.permutation(22)] for c in customers[5:]}
    fold.add("guessing", recommended(guesses))
    fold.add("knowing", recommended({c: [a[0], *guesses.get(c, [])] for c, a in bought.items()}))
    rows = candidates(seed, customers=80, rows=900)
    with fold.scoring("knowing") as taken:
        taken.add(rows)
    return fold


@pytest.fixture(scope="module")
def folds() -> list[Fold]:
    empty = Fold(date(2020, 9, 16), truth({}), None, random_facts(9))
    for name in ("guessing", "knowing"):
        empty.add(name, recommended({}))
    return [a_fold(date(2020, 9, 2), 1), a_fold(date(2020, 9, 9), 2), empty]


@pytest.fixture(scope="module")
def evaluation(folds: list[Fold]) -> Evaluation:
    return Evaluation.of(folds, ["guessing", "not judged"])


def test_figures_are_those_of_the_bootstrap(evaluation: Evaluation) -> None:
    rows = evaluation.per_customer
    for name, figures in evaluation.models.items():
        of_model = rows.loc[rows["model"] == name, ["customer_id", "week", *METRICS]]
        expected = bootstrap(of_model)
        for metric, value in expected.items():
            assert figures[metric] == pytest.approx(value, abs=1e-7), metric
    difference = evaluation.difference("knowing", "guessing")
    for metric, value in difference.items():
        assert evaluation.differences["knowing"][metric] == pytest.approx(value, abs=1e-7), metric
    assert evaluation.base == "guessing"
    assert "guessing" not in evaluation.differences
    assert evaluation.differences["knowing"]["MAP@12"]["low"] > 0


def test_groups_and_weeks_are_means_of_theirs(evaluation: Evaluation, folds: list[Fold]) -> None:
    young = [fold.values["knowing"]["MAP@12"][fold.groups["age"] == "20-24"] for fold in folds[:2]]
    found = evaluation.segments["age"]["20-24"]
    assert found["customers"] == sum(map(len, young))
    expected = np.mean([values.mean() for values in young])
    value = found["models"]["knowing"]["MAP@12"]
    assert value["mean"] == pytest.approx(expected, abs=1e-12)
    assert value["low"] < value["mean"] < value["high"]
    assert list(evaluation.segments) == ["history", "age"]
    assert list(evaluation.segments["history"]) == ["cold", "1-4"]
    weeks = [fold["models"].get("knowing", {}).get("MAP@12") for fold in evaluation.folds]
    assert [of["mean"] for of in weeks[:2]] == pytest.approx(
        [fold.values["knowing"]["MAP@12"].mean() for fold in folds[:2]]
    )
    assert evaluation.folds[2] == {"week": "2020-09-16", "customers": 0, "models": {}}
    gap = evaluation.gaps["age"]["knowing"]["MAP@12"]
    both = [
        evaluation.segments["age"][gap[of]]["models"]["knowing"]["MAP@12"]
        for of in ("highest", "lowest")
    ]
    assert gap["mean"] == pytest.approx(both[0]["mean"] - both[1]["mean"])
    assert gap["low"] <= gap["mean"] <= gap["high"]


def test_all_lists_together(evaluation: Evaluation, folds: list[Fold]) -> None:
    expected_coverage, expected_gini = [], []
    for fold in folds[:2]:
        seen = np.zeros(20)
        for row in fold.lists["guessing"]:
            for place, article in enumerate(row, start=1):
                if article >= 0:
                    seen[article] += 1 / math.log2(place + 1)
        expected_coverage.append((seen > 0).mean())
        apart = np.abs(seen[:, None] - seen[None]).sum()
        expected_gini.append(apart / (2 * 20 * seen.sum()))
    found = evaluation.models["guessing"]
    assert found["coverage@12"]["mean"] == pytest.approx(np.mean(expected_coverage), abs=1e-9)
    assert found["exposure_gini@12"]["mean"] == pytest.approx(np.mean(expected_gini), abs=1e-9)
    assert (
        found["exposure_gini@12"]["low"]
        < np.mean(expected_gini)
        < found["exposure_gini@12"]["high"]
    )


def test_what_is_seen_beside_what_is_bought(evaluation: Evaluation, folds: list[Fold]) -> None:
    groups = evaluation.exposure["popularity"]
    for model in ("knowing", "guessing"):
        assert sum(of["models"][model]["shown"] for of in groups.values()) == pytest.approx(1)
        for of in groups.values():
            gap = of["models"][model]["gap"]
            assert gap["mean"] == pytest.approx(of["models"][model]["shown"] - of["bought"])
            assert gap["low"] <= gap["mean"] <= gap["high"]
    assert sum(of["bought"] for of in groups.values()) == pytest.approx(1)
    shares = []
    for fold in folds[:2]:
        assert fold.facts is not None
        group = popularity(fold.facts, fold.facts.days_on_sale(fold.moment))
        bought = [group[int(a)] for _, a in fold.truth.drop_duplicates().itertuples(index=False)]
        shares.append(np.mean([of == NEW for of in bought]))
    assert groups[NEW]["bought"] == pytest.approx(np.mean(shares))


def test_rankers_have_intervals_too(evaluation: Evaluation) -> None:
    found = evaluation.rankers["knowing"]
    for measure_of in MEASURES:
        assert found[measure_of]["low"] < found[measure_of]["mean"] < found[measure_of]["high"]
    assert found["segments"]["age"]["20-24"][CALIBRATION]["mean"] > 0
    assert sum(of["rows"] for of in found["reliability"]) > 0


def test_an_interval_of_the_pooled_auc_is_that_of_drawing_anew(folds: list[Fold]) -> None:
    fold = folds[0]
    found = Evaluation.of([fold], samples=300).rankers["knowing"][POOLED]
    rows = candidates(1, customers=80, rows=900)
    rows = rows[rows["customer_id"].isin(fold.customers)]
    assert found["mean"] == pytest.approx(roc_auc_score(rows["label"], rows["score"]), abs=1e-9)
    parts = dict(list(rows.groupby("customer_id")))
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(300):
        who = fold.customers[rng.integers(0, len(fold), len(fold))]
        sample = pd.concat([parts[c] for c in who if c in parts])
        drawn.append(roc_auc_score(sample["label"], sample["score"]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found["high"] - found["low"] == pytest.approx(high - low, rel=0.2)


def test_without_facts_and_groups_there_is_less() -> None:
    fold = a_fold(date(2020, 9, 2), 1, with_facts=False)
    fold.groups = {}
    found = Evaluation.of([fold])
    assert list(found.models["knowing"]) == list(ACCURACY)
    assert (found.base, found.differences, found.segments, found.gaps, found.exposure) == (
        None,
        {},
        {},
        {},
        {},
    )


def test_groups_of_one_kind_alone_say_nothing() -> None:
    fold = a_fold(date(2020, 9, 2), 1)
    fold.groups["age"][:] = "unknown"
    found = Evaluation.of([fold], samples=50)
    assert list(found.segments) == ["history"]
    assert "age" not in found.gaps


def test_nothing_bought_is_nothing_said() -> None:
    fold = Fold(date(2020, 9, 2), truth({}))
    fold.add("guessing", recommended({"a": ["1"]}))
    found = Evaluation.of([fold], "guessing")
    assert (found.customers, found.models) == (0, {"guessing": {}})


def test_the_base_is_the_best_of_those_named(folds: list[Fold]) -> None:
    assert Evaluation.of(folds, ["guessing", "knowing"], samples=50).base == "knowing"
