"""Re-rankers keep one contract, choose as their papers' definitions do, and do what they are for."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import places
from feature_repo.errors import InputError
from pipelines.article_facts import GROUPS, ArticleFacts
from pipelines.assortment import Assortment
from pipelines.evaluation.evaluation import Fold
from pipelines.evaluation.price_curves import price_curves
from pipelines.rerankers import RERANKERS, make_chain, make_reranker
from pipelines.rerankers.base import (
    LEAST,
    NOTHING,
    ON_SLOT,
    RANK_BEFORE,
    Bought,
    Chain,
    RerankerError,
    Slate,
    bought_by,
    by_rank,
    rerank,
)
from pipelines.rerankers.business_rules import BusinessRules
from pipelines.rerankers.diversity import Dpp, Mmr
from pipelines.rerankers.fairness import Calibrated, Exposure, measured_exposure
from pipelines.rerankers.freshness import Freshness
from pipelines.rerankers.page import without_repeats
from pipelines.retrievers.base import days_since_epoch
from tests.reranking_twins import (
    calibrated_by_definition,
    divergence,
    greedy_by_determinants,
    likeness,
    mmr_by_the_book,
)

MOMENT = datetime(2020, 9, 16, tzinfo=UTC)
WEIGHING = [name for name in RERANKERS if name != "business_rules"]
"""Those with a strength."""
STRONGEST = dict.fromkeys(("dpp", "mmr", "calibrated"), 1.0) | {"freshness": 9.0, "exposure": 3.0}


def facts_of(
    articles: Sequence[str],
    *,
    vectors: object = None,
    days: Sequence[float] | None = None,
    share: Sequence[float] | None = None,
    on_sale: Sequence[bool] | None = None,
    **groups: Sequence[str | None],
) -> ArticleFacts:
    """Facts of articles (ascending); what is not said is not known, and all are on sale.

    Args:
        days: on sale, NaN for what never sold.
        groups: kind -> name of each article's group.
    """
    size = len(articles)
    sold = np.ones(size, dtype=bool) if on_sale is None else np.array(on_sale)
    numbers, names = {}, {}
    for kind in GROUPS:
        codes, found = pd.factorize(np.array(groups.get(kind, [None] * size), object), sort=True)
        numbers[kind], names[kind] = codes.astype("int32"), [str(name) for name in found]
    return ArticleFacts(
        Assortment(np.array(articles, dtype=object), sold, np.zeros(size, dtype=bool)),
        np.zeros((size, 2), "float32") if vectors is None else np.array(vectors, "float32"),
        numbers,
        names,
        days_since_epoch(MOMENT) - np.array([np.nan] * size if days is None else days, "float64"),
        np.full(size, np.nan),
        np.zeros(size) if share is None else np.array(share, "float64"),
    )


def bought(*lines: tuple[str, float, float]) -> Bought:
    """Of (article, days ago, times)."""
    ids, age, times = zip(*lines, strict=True)
    return Bought(np.array(ids, object), np.array(age, "float64"), np.array(times, "float64"))


def shown(slate: Slate, reranker: object, k: int) -> list[str]:
    return slate.ids[reranker.order(slate, k)[:k]].tolist()


def a_shop(seed: int, size: int = 60, width: int = 8) -> ArticleFacts:
    """Made-up facts with all that may be missing, and a few twins."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(size, width))
    vectors[rng.random(size) < 0.1] = vectors[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[rng.random(size) < 0.1] = 0.0
    share = rng.pareto(1, size) * (rng.random(size) < 0.8)
    return facts_of(
        [f"a{n:03}" for n in range(size)],
        vectors=vectors,
        days=np.where(rng.random(size) < 0.2, np.nan, rng.uniform(0, 200, size)),
        share=share / share.sum(),
        **{
            kind: [None if n < 0 else f"{kind}{n}" for n in rng.integers(-1, 5, size)]
            for kind in GROUPS
        },
    )


def a_slate(seed: int, candidates: int = 40, *, unknown: int = 3) -> Slate:
    """Made-up candidates, some of which the facts do not know, of a customer with purchases."""
    rng = np.random.default_rng(seed)
    facts = a_shop(seed)
    known = rng.choice(facts.assortment.ids, candidates - unknown, replace=False)
    ids = rng.permutation([*known, *(f"unknown{n}" for n in range(unknown))]).astype(object)
    own = rng.choice(facts.assortment.ids, 10, replace=False)
    return Slate.of(
        ids,
        facts,
        MOMENT,
        chance=rng.beta(1, 20, candidates),
        bought=Bought(own, rng.uniform(0, 300, 10), rng.integers(1, 4, 10).astype("float64")),
    )


# --- the contract -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(RERANKERS))
def test_settings_are_words_of_json_that_make_the_same_again(name: str) -> None:
    made = make_reranker(name)
    assert made.name == name
    again = make_reranker(name, json.loads(json.dumps(made.settings())))
    assert again.settings() == made.settings()
    slate = a_slate(3)
    assert again.order(slate, 12).tolist() == made.order(slate, 12).tolist()


@pytest.mark.parametrize("name", list(RERANKERS))
@pytest.mark.parametrize("k", [0, 1, 12, 40, 10**15])
def test_the_order_names_each_candidate_once(name: str, k: int) -> None:
    settings = {"strength": STRONGEST[name]} if name in STRONGEST else None
    slate = a_slate(1)
    order = make_reranker(name, settings).order(slate, k)
    assert sorted(order) == list(range(len(slate)))
    assert order.tolist() == make_reranker(name, settings).order(slate, k).tolist()


@pytest.mark.parametrize("name", list(RERANKERS))
def test_no_candidates_one_and_twice_the_same(name: str) -> None:
    facts = a_shop(1)
    reranker = make_reranker(name)
    assert reranker.order(Slate.of([], facts, MOMENT), 12).tolist() == []
    assert reranker.order(Slate.of(["nobody knows"], facts, MOMENT), 12).tolist() == [0]
    twice = reranker.order(Slate.of(["a003", "a003", "a004"], facts, MOMENT), 12)
    # Only rules know that an article stands once on a page.
    assert sorted(twice) == ([0, 2] if name == "business_rules" else [0, 1, 2])


@pytest.mark.parametrize("name", list(RERANKERS))
def test_a_shop_without_facts_keeps_the_order(name: str) -> None:
    nothing = facts_of([])
    slate = Slate.of([f"x{n}" for n in range(9)], nothing, MOMENT, bought=bought(("x1", 3, 1)))
    assert make_reranker(name).order(slate, 4).tolist() == list(range(9))


@pytest.mark.parametrize("name", WEIGHING)
@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_without_strength_the_order_is_the_rankers(name: str, seed: int) -> None:
    slate = a_slate(seed)
    order = make_reranker(name, {"strength": 0}).order(slate, 12)
    assert order.tolist() == list(range(len(slate)))


@pytest.mark.parametrize("name", WEIGHING)
def test_a_hair_of_strength_keeps_an_order_of_clear_chances(name: str) -> None:
    slate = a_slate(5)
    clear = Slate.of(slate.ids, slate.facts, MOMENT, chance=0.5 ** np.arange(40.0))
    order = make_reranker(name, {"strength": 1e-6}).order(clear, 12)
    assert order[:12].tolist() == list(range(12))


@pytest.mark.parametrize("name", WEIGHING)
def test_only_ratios_of_chances_count(name: str) -> None:
    slate = a_slate(7)
    reranker = make_reranker(name)
    twice = Slate.of(
        slate.ids, slate.facts, MOMENT, chance=slate.relevance / 2, bought=slate.bought
    )
    assert reranker.order(twice, 12).tolist() == reranker.order(slate, 12).tolist()


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("dpp", {"strength": 1.5}, "strength of dpp is 1.5: give one from 0 to 1"),
        ("mmr", {"strength": float("nan")}, "from 0 to 1"),
        ("freshness", {"strength": -1}, "strength of freshness is -1: give 0 or more"),
        ("freshness", {"half_life": 0}, "half-life of freshness is 0: give more than 0"),
        ("calibrated", {"kind": "star sign"}, "no groups by 'star sign'; there are: product,"),
        ("exposure", {"strength": float("inf")}, "give 0 or more"),
        ("business_rules", {"bought": "burn"}, "say keep, push_down, leave_out"),
        ("business_rules", {"caps": [["star sign", 2]]}, "to cap; there are: product,"),
        ("business_rules", {"caps": [["product", 0]]}, "cap of product is 0: give 1 or more"),
        ("business_rules", {"slots": [0]}, "places from 1"),
        ("business_rules", {"bought_days": -2}, "give 0 or more"),
        ("dpp", {"power": 2}, "no setting 'power'; it has: strength"),
        ("entropy", {}, "No re-ranker is called 'entropy'; there are: dpp, mmr,"),
    ],
)
def test_a_wrong_setting_is_said(name: str, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(RerankerError, match=said):
        make_reranker(name, wrong)


def test_every_setting_is_documented() -> None:
    page = (places.PROJECT / "docs" / "re-ranking.md").read_text()
    for name in RERANKERS:
        for word in (name, *make_reranker(name).settings()):
            assert f"`{word}`" in page, f"docs/re-ranking.md does not tell of {word} of {name}"


# --- slates and chains --------------------------------------------------------------------------


def test_the_chance_belongs_to_the_place() -> None:
    facts = facts_of(["a", "b", "c"])
    slate = Slate.of(["a", "b", "c"], facts, MOMENT, chance=np.array([0.2, np.nan, 0.4]))
    assert slate.relevance.tolist() == [0.4, 0.2, LEAST]
    moved = slate.taken(np.array([2, 0]))
    assert moved.ids.tolist() == ["c", "a"]
    assert moved.relevance.tolist() == [0.4, LEAST]
    # On the steps of a calibration the ranker's order still counts.
    steps = Slate.of(list("abcdef"), facts, MOMENT, chance=[0.4, 0.4, 0.4, 0.1, 0.1, 0.1])
    slope = [0.4, 0.4, 0.4 / 4 ** (1 / 3), 0.4 / 4 ** (2 / 3), 0.1, 0.1]
    np.testing.assert_allclose(steps.relevance, slope)
    by_place = Slate.of(["a", "b", "c"], facts, MOMENT)
    assert by_place.relevance.tolist() == by_rank(3).tolist() == [1.0, 1 / np.log2(3), 0.5]


def test_a_chain_goes_on_from_the_order_it_gets() -> None:
    # The new shoe comes to the front, and then one of the two equal dresses must go.
    facts = facts_of(
        ["dress1", "dress2", "shoe"],
        vectors=[[1, 0], [1, 0], [0, 1]],
        days=[300, 300, 0],
    )
    slate = Slate.of(["dress1", "dress2", "shoe"], facts, MOMENT)
    chain = make_chain([("freshness", {"strength": 3}), ("dpp", {"strength": 0.5})])
    assert shown(slate, chain, 3) == ["shoe", "dress1", "dress2"]
    again = make_chain(json.loads(json.dumps(chain.settings()))["steps"])
    assert again.settings() == chain.settings()
    assert Chain([]).order(slate, 2).tolist() == [0, 1, 2]


def test_what_rules_leave_out_is_chosen_by_nobody() -> None:
    # The dress that is blocked must not keep the other dress off the page.
    facts = facts_of(["dress1", "dress2", "shoe"], vectors=[[1, 0], [1, 0], [0.8, 0.6]])
    slate = Slate.of(["dress1", "dress2", "shoe"], facts, MOMENT, chance=[0.1, 0.1, 0.09])
    chain = make_chain([("dpp", {"strength": 0.9}), ("business_rules", {"blocked": ["dress1"]})])
    assert shown(slate, chain, 1) == ["dress2"]


# --- diversity ----------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.1, 0.5, 0.9, 1.0]))
@settings(max_examples=25, deadline=None)
def test_the_quick_dpp_is_greedy_by_determinants(seed: int, strength: float) -> None:
    slate = a_slate(seed, candidates=25)
    # Beyond 8 articles the vectors have no more dimensions.
    page = Dpp(strength).order(slate, 11)[:11].tolist()
    assert page == greedy_by_determinants(slate, strength, 11)


@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.1, 0.5, 0.9, 1.0]))
@settings(max_examples=25, deadline=None)
def test_mmr_is_the_loop_of_its_paper(seed: int, strength: float) -> None:
    slate = a_slate(seed, candidates=25)
    page = Mmr(strength).order(slate, 11)[:11].tolist()
    assert page == mmr_by_the_book(slate, strength, 11)


@pytest.mark.parametrize("name", ["dpp", "mmr"])
def test_three_equal_dresses_and_a_bag(name: str) -> None:
    facts = facts_of(
        ["bag", "dress1", "dress2", "dress3"],
        vectors=[[0, 1], [1, 0], [0.999, 0.045], [0.998, 0.063]],
    )
    slate = Slate.of(["dress1", "dress2", "dress3", "bag"], facts, MOMENT)
    assert shown(slate, make_reranker(name, {"strength": 0.5}), 2) == ["dress1", "bag"]
    assert shown(slate, make_reranker(name, {"strength": 0}), 2) == ["dress1", "dress2"]


def test_what_half_a_dpp_exchanges() -> None:
    # Of the shirt half of the squared length lies outside of the dress, of the bag all of it.
    facts = facts_of(["bag", "dress", "shirt"], vectors=[[0, 1], [1, 0], [0.5**0.5, 0.5**0.5]])
    for bag, second in ((0.051, "bag"), (0.049, "shirt")):
        slate = Slate.of(["dress", "shirt", "bag"], facts, MOMENT, chance=[0.2, 0.1, bag])
        assert shown(slate, Dpp(0.5), 2) == ["dress", second]


@pytest.mark.parametrize("name", ["dpp", "mmr"])
def test_more_strength_spreads_the_page(name: str) -> None:
    volume = []
    for strength in (0.0, 0.3, 0.9):
        logs = []
        for seed in range(20):
            slate = a_slate(seed)
            page = make_reranker(name, {"strength": strength}).order(slate, 6)[:6]
            logs.append(np.linalg.slogdet(likeness(slate)[np.ix_(page, page)])[1])
        volume.append(float(np.mean(logs)))
    assert volume[0] < volume[1] < volume[2]


# --- freshness ----------------------------------------------------------------------------------


def test_what_is_new_moves_up() -> None:
    facts = facts_of(["mid", "new", "old", "unsold"], days=[14, 0, 1000, np.nan])
    slate = Slate.of(
        ["old", "nobody knows", "mid", "new", "unsold"], facts, MOMENT, chance=[0.2] * 5
    )
    order = ["new", "unsold", "mid", "old", "nobody knows"]
    assert shown(slate, Freshness(0.5), 5) == order
    known = ["new", "mid", "old", "nobody knows", "unsold"]
    assert shown(slate, Freshness(0.5, unsold=False), 5) == known


def test_a_strength_of_one_doubles_a_first_day_and_halves_with_each_half_life() -> None:
    facts = facts_of(["mid", "new", "old"], days=[30, 0, np.inf])
    for chance, first in ((0.099, "old"), (0.101, "new")):
        slate = Slate.of(["old", "new"], facts, MOMENT, chance=[0.2, chance])
        assert shown(slate, Freshness(1.0, half_life=30), 1) == [first]
    for chance, first in ((0.132, "old"), (0.134, "mid")):
        slate = Slate.of(["old", "mid"], facts, MOMENT, chance=[0.2, chance])
        assert shown(slate, Freshness(1.0, half_life=30), 1) == [first]


# --- calibrated ---------------------------------------------------------------------------------


def wardrobe() -> ArticleFacts:
    """Ten dresses, ten shoes and ten bags; only dresses are sold."""
    names = [f"{what}{n}" for what in ("bag", "dress", "shoe") for n in range(10)]
    return facts_of(
        names,
        product_group=[name[:-1] for name in names],
        share=[0.1 if name.startswith("dress") else 0.0 for name in names],
    )


def test_a_page_comes_to_a_mix_of_seventy_to_thirty() -> None:
    facts = wardrobe()
    own = bought(("dress0", 10, 7), ("shoe0", 10, 3))
    slate = Slate.of(facts.assortment.ids[[*range(10, 30), *range(10)]], facts, MOMENT, bought=own)
    even = Calibrated(1.0, prior=0).order(slate, 10)[:10]
    assert pd.Series(slate.ids[even]).str[:-1].value_counts().to_dict() == {"dress": 7, "shoe": 3}
    # Within a group the order is the ranker's.
    assert [i for i in slate.ids[even] if i.startswith("shoe")] == ["shoe0", "shoe1", "shoe2"]
    assert all(i.startswith("dress") for i in shown(slate, Calibrated(0.0), 10))


def test_who_bought_nothing_keeps_the_order() -> None:
    facts = wardrobe()
    for own in (NOTHING, bought(("nobody knows", 3, 1))):
        slate = Slate.of(facts.assortment.ids, facts, MOMENT, bought=own)
        assert Calibrated(1.0).order(slate, 10).tolist() == list(range(30))


def test_one_purchase_does_not_fill_a_page() -> None:
    facts = wardrobe()
    slate = Slate.of(facts.assortment.ids, facts, MOMENT, bought=bought(("bag0", 0, 1)))
    mix = Calibrated(prior=1.0).mix(slate)
    assert mix is not None
    np.testing.assert_allclose(mix, [0.5, 0.5, 0])
    # After a half-life it counts half.
    later = Slate.of(facts.assortment.ids, facts, MOMENT, bought=bought(("bag0", 180, 1)))
    np.testing.assert_allclose(Calibrated(prior=1.0).mix(later), [1 / 3, 2 / 3, 0])


@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.1, 0.5, 0.9, 1.0]))
@settings(max_examples=25, deadline=None)
def test_the_quick_way_to_a_calibrated_page_is_by_definition(seed: int, strength: float) -> None:
    slate = a_slate(seed, candidates=20)
    reranker = Calibrated(strength)
    mix = reranker.mix(slate)
    page = reranker.order(slate, 9)[:9].tolist()
    if mix is None:
        assert page == list(range(9))
    else:
        assert page == calibrated_by_definition(slate, mix, "product_group", strength, 9)


def test_more_strength_brings_pages_closer_to_the_mix() -> None:
    far = []
    for strength in (0.0, 0.5, 1.0):
        reranker = Calibrated(strength)
        slates = [a_slate(seed) for seed in range(20)]
        groups = [s.groups("product_group")[reranker.order(s, 10)[:10]] for s in slates]
        mixes = [reranker.mix(slate) for slate in slates]
        far.append(np.mean([divergence(m, g) for m, g in zip(mixes, groups, strict=True)]))
    assert far[0] > far[1] > far[2]


# --- exposure -----------------------------------------------------------------------------------


def gini(pages: pd.DataFrame, facts: ArticleFacts) -> float:
    """Of the attention that articles on sale get."""
    seen = pd.Series(by_rank(12)[pages["rank"] - 1]).groupby(pages["article_id"]).sum()
    seen = np.sort(seen.reindex(facts.assortment.ids, fill_value=0.0))
    n = len(seen)
    return float((2 * np.arange(1, n + 1) - n - 1) @ seen / (n * seen.sum()))


def crowded(seed: int = 0) -> tuple[ArticleFacts, pd.DataFrame]:
    """60 articles, and 80 customers to whom a ranker names the popular ones first, more or less."""
    rng = np.random.default_rng(seed)
    facts = a_shop(seed)
    score = np.log(facts.share + 0.002) + rng.gumbel(size=(80, 60))
    order = np.argsort(-score, axis=1)
    rows = pd.DataFrame(
        {
            "customer_id": np.repeat([f"c{n:02}" for n in range(80)], 60),
            "article_id": facts.assortment.ids[order.ravel()],
            "rank": np.tile(np.arange(1, 61), 80),
        }
    )
    return facts, rows


def test_an_article_of_ten_fair_shares_counts_a_tenth() -> None:
    facts = facts_of([f"a{n:02}" for n in range(20)], share=[0.5, 0.5, *[0.0] * 18])
    for chance, first in ((0.019, "a00"), (0.021, "a05")):
        slate = Slate.of(["a00", "a05"], facts, MOMENT, chance=[0.2, chance])
        assert shown(slate, Exposure(1.0), 1) == [first]
        told = Exposure(1.0, times={"a00": 10.0})
        assert shown(slate, told, 1) == [first]


def test_exposure_becomes_more_even_over_many_pages() -> None:
    facts, rows = crowded()
    before = rerank(rows, Chain([]), facts, MOMENT, 12)
    by_sales = [
        gini(rerank(rows, Exposure(strength), facts, MOMENT, 12), facts)
        for strength in (0.0, 0.3, 1.0)
    ]
    assert by_sales[0] == gini(before, facts)
    assert by_sales[0] > by_sales[1] > by_sales[2]
    times = measured_exposure(before, facts, 12)
    assert gini(rerank(rows, Exposure(0.5, times), facts, MOMENT, 12), facts) < by_sales[0]


def test_fair_shares_of_attention() -> None:
    facts = facts_of(["a", "b", "c", "d"], share=[0.75, 0.25, 0, 0])
    pages = pd.DataFrame({"article_id": ["a", "b", "a", "new", "c"], "rank": [1, 2, 1, 2, 3]})
    second = float(by_rank(2)[1])
    total = 2 + 2 * second
    # b and what the facts do not know have less than a quarter, c is below the page.
    assert measured_exposure(pages, facts, 2) == pytest.approx({"a": 2 / total * 4})
    # By sales a is owed 0.75 of 1.5, the others a quarter of it.
    by_sales = measured_exposure(pages, facts, 2, by_sales=True)
    assert by_sales == pytest.approx({"a": 2 / total * 2, "b": second / total * 6})
    assert measured_exposure(pages.iloc[:0], facts, 2) == {}


# --- business rules -----------------------------------------------------------------------------


def test_what_cannot_be_had_is_left_out() -> None:
    facts = facts_of(["a", "b", "c", "d", "e"], on_sale=[True, False, True, True, True])
    slate = Slate.of(["a", "b", "c", "d", "e", "x"], facts, MOMENT, out_of_stock=["c"])
    rules = BusinessRules(blocked=["d"], out_of_stock=["a"])
    assert shown(slate, rules, 9) == ["e", "x"]
    assert shown(slate, BusinessRules(on_sale_only=False), 9) == ["a", "b", "d", "e", "x"]


@pytest.mark.parametrize(
    ("settings", "page"),
    [
        ({}, ["old", "late", "a", "b"]),
        ({"bought": "leave_out"}, ["a", "b"]),
        ({"bought": "leave_out", "bought_days": 30}, ["old", "a", "b"]),
        ({"bought": "push_down"}, ["a", "b", "old", "late"]),
        ({"bought": "push_down", "bought_days": 5}, ["old", "a", "b", "late"]),
    ],
)
def test_what_was_bought(settings: dict[str, object], page: list[str]) -> None:
    slate = Slate.of(
        ["old", "late", "a", "b"],
        facts_of(["a", "b", "late", "old"]),
        MOMENT,
        bought=bought(("old", 90, 1), ("late", 5, 1), ("gone", 1, 1)),
    )
    assert shown(slate, BusinessRules(**settings), 4) == page


def racks() -> ArticleFacts:
    """Two colours of a dress, another dress, a shirt and a bag of no known product."""
    return facts_of(
        ["bag", "dress1", "dress1b", "dress2", "shirt"],
        product=[None, "1", "1", "2", "3"],
        product_group=["Bags", "Dresses", "Dresses", "Dresses", "Tops"],
    )


def test_caps_hold_and_are_given_up_from_the_last() -> None:
    slate = Slate.of(["dress1", "dress1b", "dress2", "shirt", "bag", "x", "y"], racks(), MOMENT)
    few = BusinessRules(caps=[["product", 1], ["product_group", 1]])
    # What has no product or is not known at all is like none.
    assert shown(slate, few, 5) == ["dress1", "shirt", "bag", "x", "y"]
    # Then the cap of the product group is given up, and last that of the product.
    assert shown(slate, few, 6) == ["dress1", "shirt", "bag", "x", "y", "dress2"]
    assert shown(slate, few, 7)[-1] == "dress1b"
    other = BusinessRules(caps=[["product_group", 2], ["product", 1]])
    assert shown(slate, other, 3) == ["dress1", "dress2", "shirt"]


def test_a_page_is_short_only_if_there_is_no_more() -> None:
    slate = Slate.of(["dress1", "dress1b"], racks(), MOMENT)
    assert shown(slate, BusinessRules(caps=[["product", 1]], slots=[5]), 12) == [
        "dress1",
        "dress1b",
    ]


def test_sponsored_slots_go_to_the_next_that_is_eligible() -> None:
    ids = ["a", "b", "c", "d", "e", "ad1", "ad2", "ad3"]
    slate = Slate.of(
        ids, facts_of(sorted(ids)), MOMENT, sponsored=["no candidate", "ad1"], out_of_stock=["ad1"]
    )
    rules = BusinessRules(slots=[2, 4, 6], sponsored=["ad2", "ad3"])
    arranged = rules.arranged(slate, 6)
    # Nobody is left for the sixth place, which is then like any other.
    assert slate.ids[arranged.order[:6]].tolist() == ["a", "ad2", "b", "ad3", "c", "d"]
    assert slate.ids[arranged.sponsored].tolist() == ["ad2", "ad3"]
    assert shown(slate, BusinessRules(sponsored=["ad2"]), 2) == ["a", "b"]


def test_sponsored_articles_keep_caps() -> None:
    slate = Slate.of(
        ["shirt", "bag", "dress1", "dress1b", "dress2"],
        racks(),
        MOMENT,
        sponsored=["dress1", "dress1b", "dress2"],
    )
    rules = BusinessRules(slots=[1, 2], caps=[["product", 1]])
    assert shown(slate, rules, 3) == ["dress1", "dress2", "shirt"]


def test_pinned_articles_open_the_page_and_count_in_caps() -> None:
    slate = Slate.of(["shirt", "dress2", "bag", "dress1", "dress1b"], racks(), MOMENT)
    rules = BusinessRules(
        pinned=["dress1b", "no candidate", "dress1"],
        caps=[["product_group", 2]],
        slots=[1],
        sponsored=["bag"],
    )
    # The slot on which a pinned article stands is the next free place.
    assert shown(slate, rules, 4) == ["dress1b", "dress1", "bag", "shirt"]
    blocked = BusinessRules(pinned=["dress1", "shirt"], blocked=["dress1"])
    assert shown(slate, blocked, 2) == ["shirt", "dress2"]


@pytest.mark.parametrize("name", WEIGHING)
def test_rules_win_over_all_others(name: str) -> None:
    slate = a_slate(11)
    slate = Slate.of(
        slate.ids,
        slate.facts,
        MOMENT,
        chance=slate.relevance,
        bought=slate.bought,
        out_of_stock=slate.ids[:5].tolist(),
        sponsored=[slate.ids[30]],
    )
    rules = {
        "caps": [["colour", 3]],
        "bought": "leave_out",
        "slots": [3],
        "pinned": [slate.ids[20]],
    }
    chain = make_chain([(name, {"strength": STRONGEST[name]}), ("business_rules", rules)])
    order = chain.order(slate, 12)
    page = slate.ids[order[:12]].tolist()
    assert len(page) == len(set(page)) == 12
    assert not set(page) & {*slate.ids[:5], *slate.bought.ids}
    assert page[0] == slate.ids[20]
    assert page[2] == slate.ids[30]
    colours = slate.groups("colour")[order[:12]]
    assert np.bincount(colours[colours >= 0]).max() <= 3


# --- tables -------------------------------------------------------------------------------------


def test_a_table_of_candidates_is_re_ranked_customer_by_customer() -> None:
    facts = racks()
    rows = pd.DataFrame(
        {
            "customer_id": ["zoe", "ann", "ann", "zoe", "ann", "zoe"],
            "article_id": ["shirt", "dress1b", "bag", "dress1", "dress1", "bag"],
            "rank": [1, 2, 3, 2, 1, 3],
            "chance": [0.3, 0.2, 0.1, 0.2, 0.3, 0.1],
            "source": list("abcdef"),
        }
    )
    state = pd.DataFrame(
        {
            "customer_id": ["zoe", "new", "ann"],
            "customer_recent__recent_articles": [np.array(["shirt", "bag"]), None, None],
            "customer_recent__recent_days": [np.array([18515, 18000]), None, None],
            "customer_recent__recent_times": [np.array([1, 2]), None, None],
            "customer_recent__recent_weights": [np.array([1.0, 0.1]), None, None],
        }
    )
    rules = BusinessRules(caps=[["product", 1]], bought="leave_out", bought_days=30)
    found = rerank(rows, rules, facts, MOMENT, 2, state=state)
    assert found[["customer_id", "article_id", "rank", RANK_BEFORE, "source"]].values.tolist() == [
        ["ann", "dress1", 1, 1, "e"],
        ["ann", "bag", 2, 3, "c"],
        ["zoe", "dress1", 1, 2, "d"],
        ["zoe", "bag", 2, 3, "f"],
    ]
    whole = rerank(rows, rules, facts, MOMENT, 1, state=state, with_rest=True)
    # What the cap keeps back stands behind the page.
    assert whole["article_id"].tolist() == ["dress1", "dress1b", "bag", "dress1", "bag"]
    assert whole["rank"].tolist() == [1, 2, 3, 1, 2]
    empty = rerank(rows.iloc[:0], rules, facts, MOMENT, 2)
    assert list(empty.columns) == [*rows.columns, RANK_BEFORE, ON_SLOT]
    assert empty.empty
    # So many may come to the page, and what is paid for; the others stand behind.
    sold = BusinessRules(sponsored=["bag"], slots=[1])
    first = rerank(rows, sold, facts, MOMENT, 2, most=1, with_rest=True)
    assert first["article_id"].tolist() == ["bag", "dress1", "dress1b", "bag", "shirt", "dress1"]
    assert first[ON_SLOT].tolist() == [True, False, False] * 2


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"blocked": "0108775015"}, "blocked of business_rules is a list as"),
        ({"pinned": 5}, "pinned of business_rules is a list"),
        ({"sponsored": [108775015]}, "sponsored of business_rules is a list"),
        ({"slots": 3}, "slots of business_rules is a list"),
        ({"caps": {"product": 1}}, "caps of business_rules is a list"),
        ({"caps": [["product"]]}, "A cap is a group and a number"),
        ({"caps": [["product", "1"]]}, "A cap is a group and a number"),
    ],
    ids=str,
)
def test_rules_that_would_do_nothing_are_refused(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(RerankerError, match=said):
        make_reranker("business_rules", rules)


def test_neither_the_order_of_rows_nor_other_customers_matter() -> None:
    facts, rows = crowded(3)
    chain = make_chain([("exposure", {}), ("dpp", {}), ("business_rules", {})])
    whole = rerank(rows, chain, facts, MOMENT, 12)
    mixed = rerank(rows.sample(frac=1, random_state=1), chain, facts, MOMENT, 12)
    pd.testing.assert_frame_equal(whole, mixed)
    one = rerank(rows[rows["customer_id"] == "c07"], chain, facts, MOMENT, 12)
    pd.testing.assert_frame_equal(whole[whole["customer_id"] == "c07"].reset_index(drop=True), one)


# --- what it costs ------------------------------------------------------------------------------


def a_week() -> tuple[pd.DataFrame, pd.DataFrame, ArticleFacts, pd.DataFrame, pd.DataFrame]:
    """Everybody's candidates are 12 dresses, all alike, and then 12 bags, each unlike all others.

    40 young customers buy the first dress for 10 and have bought dresses, 40 old ones buy the first bag for
    30 and have bought bags.
    """
    names = [*(f"bag{n:02}" for n in range(12)), *(f"dress{n:02}" for n in range(12))]
    alike = np.zeros((24, 13))
    alike[range(12), range(12)] = alike[12:, 12] = 1.0
    facts = facts_of(
        names,
        vectors=alike,
        product_group=[name[:-2] for name in names],
        days=[1.0] * 12 + [300.0] * 12,
        share=[1 / 24] * 24,
    )
    customers = [f"{age}{n:02}" for age in ("old", "young") for n in range(40)]
    listed = [*names[12:], *names[:12]]
    rows = pd.DataFrame(
        {
            "customer_id": np.repeat(customers, 24),
            "article_id": listed * 80,
            "rank": np.tile(np.arange(1, 25), 80),
        }
    )
    truth = pd.DataFrame(
        {
            "customer_id": customers,
            "article_id": ["bag00"] * 40 + ["dress00"] * 40,
            "price": [30.0] * 40 + [10.0] * 40,
        }
    )
    own = [np.array([article]) for article in ("bag05", "dress05") for _ in range(40)]
    state = pd.DataFrame({"customer_id": customers, "customer_recent__recent_articles": own})
    for name, value in (("days", 18500), ("times", 50), ("weights", 1.0)):
        state[f"customer_recent__recent_{name}"] = [np.array([value])] * 80
    ages = pd.DataFrame({"customer_id": customers, "age": [c[:-2] for c in customers]})
    return rows, truth, facts, state, ages


def test_the_price_of_re_ranking_a_week_whose_answers_are_known() -> None:
    rows, truth, facts, state, ages = a_week()
    grid = {
        "nothing": [(0.0, Dpp(0.0))],
        "mix": [(1.0, Calibrated(1.0, prior=0))],
        "dpp": [(1.0, Dpp(1.0))],
    }
    fold = Fold(MOMENT.date(), truth, ages, facts)
    found = price_curves(rows, fold, state=state, grid=grid, samples=100)
    assert (found.customers, found.candidates) == (80, 24)
    start = {name: value["mean"] for name, value in found.start.metrics.items()}
    expected = {
        "MAP@12": 0.5,
        "recall@12": 0.5,
        "revenue@12": 5.0,
        "diversity@12": 0.0,
        "freshness@12": 0.0,
        "days_on_sale@12": 300.0,
        "novelty@12": np.log2(24),
        "coverage@12": 0.5,
        "gap of MAP@12 by age": 1.0,
    }
    assert {name: start[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert start["exposure_gini@12"] > 0.5
    (nothing,) = found.curves["nothing"]
    assert nothing.metrics == found.start.metrics
    assert all(set(change.values()) == {0.0} for change in nothing.changes.values())
    # Who buys bags gets bags: everybody finds theirs, first of all.
    (mix,) = found.curves["mix"]
    assert mix.changes["MAP@12"]["mean"] == pytest.approx(0.5)
    assert mix.changes["MAP@12"]["low"] > 0.3
    assert mix.metrics["gap of MAP@12 by age"]["mean"] == pytest.approx(0.0)
    assert mix.metrics["revenue@12"]["mean"] == pytest.approx(20.0)
    assert mix.metrics["coverage@12"]["mean"] == 1.0
    assert mix.changes["miscalibration@12"]["high"] < 0
    assert mix.changes["exposure_gini@12"]["high"] < 0
    # One dress and eleven bags, of which the first comes second.
    (dpp,) = found.curves["dpp"]
    assert dpp.metrics["MAP@12"]["mean"] == pytest.approx(0.75)
    assert dpp.metrics["diversity@12"]["mean"] == pytest.approx(1.0)
    assert dpp.metrics["days_on_sale@12"]["mean"] == pytest.approx((300 + 11) / 12)
    said = json.loads(json.dumps(found.to_dict()))
    assert [row["reranker"] for row in said["rows"]] == ["unchanged", "nothing", "mix", "dpp"]
    assert set(found.figures()) >= {"diversity@12", "coverage@12", "exposure_gini@12", "revenue@12"}


def test_prices_without_taste_groups_or_a_grid() -> None:
    rows, truth, facts, _, _ = a_week()
    young = rows[(rows["rank"] <= 14) & rows["customer_id"].str.startswith("young0")]
    found = price_curves(young, Fold(MOMENT.date(), truth, facts=facts), samples=20)
    assert {"dpp", "mmr", "freshness", "calibrated", "exposure"} <= set(found.curves)
    assert not {"gap of MAP@12 by age", "miscalibration@12"} & set(found.start.metrics)
    flat = [price.changes["MAP@12"]["mean"] for price in found.curves["calibrated"]]
    assert flat == [0.0] * len(flat)
    json.dumps(found.to_dict())
    with pytest.raises(InputError, match="Nobody bought anything"):
        price_curves(rows, Fold(MOMENT.date(), truth.iloc[:0], facts=facts))


# --- a page of carousels ------------------------------------------------------------------------


def shown_of(
    carousels: Sequence[Sequence[str]], *more: object, **settings: object
) -> list[list[str]]:
    positions = without_repeats(carousels, *more, **settings)
    return [[ids[at] for at in own] for ids, own in zip(carousels, positions, strict=True)]


def test_each_carousel_fills_up_from_its_own() -> None:
    picks, again = ["a", "b", "c", "d"], ["b", "a", "e", "c", "f"]
    assert shown_of([picks, again], 2) == [["a", "b"], ["e", "c"]]
    assert shown_of([picks, again], 2, claim="rank") == [["a", "c"], ["b", "e"]]
    assert shown_of([picks, again], [3, 1]) == [["a", "b", "c"], ["e"]]
    assert shown_of([picks, picks], 3) == [["a", "b", "c"], ["d"]]
    assert shown_of([[], picks], 1) == [[], ["a"]]
    assert without_repeats([], 3) == []


def test_a_colour_of_the_same_product_is_the_same() -> None:
    carousels = [["dress1", "dress1b", "bag"], ["dress1b", "x", "dress2"]]
    assert shown_of(carousels, 2, racks()) == [["dress1", "bag"], ["x", "dress2"]]
    assert shown_of(carousels, 2) == [["dress1", "dress1b"], ["x", "dress2"]]


@given(
    carousels=st.lists(st.lists(st.integers(0, 12).map(str), max_size=10), max_size=4),
    k=st.integers(0, 5),
    claim=st.sampled_from(["first", "rank"]),
)
def test_nothing_stands_twice_and_no_place_stays_empty(
    carousels: list[list[str]], k: int, claim: str
) -> None:
    found = shown_of(carousels, k, claim=claim)
    flat = [article for own in found for article in own]
    assert len(flat) == len(set(flat))
    for ids, own in zip(carousels, found, strict=True):
        assert len(own) == k or (len(own) < k and set(ids) <= set(flat))


def test_wrong_pages_are_said() -> None:
    with pytest.raises(RerankerError, match="2 carousels and 1 sizes"):
        without_repeats([["a"], ["b"]], [3])
    with pytest.raises(RerankerError, match="say first or rank"):
        without_repeats([["a"]], 3, claim="loudest")


def test_what_was_bought_in_the_session_counts_as_bought() -> None:
    def state(**lists: Any) -> pd.DataFrame:
        found = {"customer_id": ["anna", "bert"]}
        for name, kind in (("articles", object), ("days", int), ("times", int), ("weights", float)):
            found[f"customer_recent__recent_{name}"] = [np.array(lists[name], dtype=kind), None]
        for name, kind in (("articles", object), ("kinds", object), ("moments", "int64")):
            found[f"customer_session__session_{name}"] = [
                np.array(own, dtype=kind) for own in lists[f"session_{name}"]
            ]
        return pd.DataFrame(found)

    minute = int(MOMENT.timestamp() * 1e6) - 60_000_000
    day = int(days_since_epoch(MOMENT)) - 7
    bought = bought_by(
        state(
            articles=["shirt", "bag"],
            days=[day, day],
            times=[1, 2],
            weights=[1.0, 1.0],
            session_articles=[["shirt", "hat", "coat"], ["hat", "hat"]],
            session_kinds=[["purchase", "purchase", "cart"], ["purchase", "purchase"]],
            session_moments=[[minute] * 3, [minute, minute - 60_000_000]],
        ),
        MOMENT,
    )
    assert bought["anna"].ids.tolist() == ["shirt", "bag", "hat"]
    assert bought["anna"].age == pytest.approx([1 / 1440, 7.0, 1 / 1440])
    assert bought["anna"].times.tolist() == [1, 2, 1]
    assert bought["bert"].ids.tolist() == ["hat"]
    assert bought["bert"].age == pytest.approx([1 / 1440])
