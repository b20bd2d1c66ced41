"""Metrics by hand, and against a second, plain way of computing them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation.metrics import ACCURACY, METRICS, Shown, bootstrap, measure

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


# --- by brute force -----------------------------------------------------------------------------


def plainly(shown: list[str], bought: set[str], k: int) -> dict[str, float]:
    """The textbook's sums over positions, one customer at a time."""
    unique: list[str | None] = [
        article if article not in shown[:place] else None for place, article in enumerate(shown)
    ]
    hit = [article in bought for article in unique[:k]]
    precision_at = [sum(hit[: place + 1]) / (place + 1) for place in range(len(hit))]
    gain = sum(1 / math.log2(place + 2) for place, found in enumerate(hit) if found)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(bought))))
    return {
        "MAP@12": sum(p for p, found in zip(precision_at, hit, strict=True) if found)
        / min(k, len(bought)),
        "recall@12": sum(hit) / len(bought),
        "NDCG@12": gain / ideal,
        "hit_rate@12": float(any(hit)),
    }


ARTICLE = st.sampled_from([f"0{n:02}" for n in range(25)])
CUSTOMER = st.sampled_from(["a", "b", "c", "d"])


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(CUSTOMER, st.lists(ARTICLE, max_size=30)),
    st.dictionaries(CUSTOMER, st.lists(ARTICLE, min_size=1, max_size=30), min_size=1),
    st.integers(1, 14),
)
def test_two_ways_agree(shown: Lists, bought: Lists, k: int) -> None:
    for metric in ("MAP@12", "recall@12", "NDCG@12", "hit_rate@12"):
        found = at(metric, k, shown, bought)
        expected = {
            customer: plainly(shown.get(customer, []), set(articles), k)[metric]
            for customer, articles in bought.items()
        }
        assert found == pytest.approx(expected, abs=1e-9)


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
