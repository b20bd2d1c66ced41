"""The recommender: one table from candidates to an order, the same for one customer and for all,
from the warehouse and online, and blind to what comes later."""

import csv
import math
import re
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from feature_repo.errors import LookbookError
from pipelines import feature_tables
from pipelines.data.load import load
from pipelines.explaining import article_display, explained
from pipelines.features import OfflineFeatures, OnlineFeatures
from pipelines.model_catalog import RELEASE
from pipelines.model_registry import composing, publishing, release
from pipelines.model_registry.composing import load_recommender
from pipelines.model_registry.registry import RegistryError
from pipelines.online import online_moment
from pipelines.recommender import Recommender, customer_state, dismissed
from pipelines.recommending import for_customer, to_file
from pipelines.rerankers import make_chain
from pipelines.training import fit_retrievers
from pipelines.warehouse import reading

MOMENT = datetime(2020, 9, 23, tzinfo=UTC)
EARLIER = datetime(2020, 9, 16, tzinfo=UTC)
COLUMNS = ["customer_id", "article_id", "source", "score", "rank"]


@pytest.fixture
def recommender(shop: Path) -> Recommender:
    return load_recommender(release.get("production"))[0]


@pytest.fixture
def customers(shop: Path) -> list[str]:
    """Twenty customers, from the busiest to those without a purchase."""
    with reading() as con:
        rows = con.execute(
            "SELECT customer_id FROM staging.customers LEFT JOIN staging.purchases USING (customer_id) "
            "GROUP BY ALL ORDER BY count(day) DESC, customer_id"
        ).fetchall()
    return [row[0] for row in rows[:: len(rows) // 20]][:20]


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right, check_exact=True)


# --- candidates ---------------------------------------------------------------------------------


def test_candidates_are_the_union_of_what_retrievers_name(
    recommender: Recommender, customers: list[str]
) -> None:
    known = OfflineFeatures(MOMENT)
    state = customer_state(customers, known)
    merged = recommender.candidates(state, MOMENT)
    named = {
        name: retriever.candidates(state, MOMENT, recommender.per_source[name]).set_index(
            ["customer_id", "article_id"]
        )
        for name, retriever in recommender.retrievers.items()
    }

    assert not merged.duplicated(["customer_id", "article_id"]).any()
    pairs = merged.set_index(["customer_id", "article_id"])
    waved = dismissed(state)
    assert waved
    union = set().union(*(found.index for found in named.values()))
    assert union & waved
    assert set(pairs.index) == union - waved
    for name, alone in named.items():
        found = alone[~alone.index.isin(waved)]
        beside = pairs[[f"{name}__score", f"{name}__rank"]].dropna()
        assert len(beside) == len(found)
        assert (beside[f"{name}__score"] == found["score"].reindex(beside.index)).all()
        assert (beside[f"{name}__rank"] == found["rank"].reindex(beside.index)).all()
    ranks = pairs[[f"{name}__rank" for name in named]]
    assert (pairs["rank"] == ranks.min(axis=1)).all()
    assert (pairs["best__rank"] == pairs["rank"]).all()
    # Among retrievers that rank an article alike, the first of the release names it.
    assert (pairs["source"] == ranks.idxmin(axis=1).str.removesuffix("__rank")).all()
    postal_codes = state.set_index("customer_id")["customer_profile__postal_code"]
    assert (merged["postal_code"] == merged["customer_id"].map(postal_codes)).all()


def test_without_a_ranker_the_ranks_of_all_sources_are_put_together(
    recommender: Recommender, customers: list[str]
) -> None:
    weights = {"repurchase": 3.0, "ease": 0.5}
    unranked = Recommender(recommender.retrievers, recommender.per_source, weights=weights)
    found = unranked.recommend(customers, OfflineFeatures(MOMENT), MOMENT, 8, with_features=True)
    for _, rows in found.groupby("customer_id"):
        assert rows["score"].is_monotonic_decreasing
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
    # Reciprocal rank fusion: weight / (60 + rank), summed over the sources that named the article.
    expected = sum(
        weights.get(name, 1.0) / (60 + found[f"{name}__rank"]).fillna(math.inf)
        for name in recommender.retrievers
    )
    assert found["score"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-12)


def test_retrievers_of_different_days_are_put_together(
    recommender: Recommender, customers: list[str]
) -> None:
    with reading() as con:
        earlier = fit_retrievers(con, EARLIER.date(), ["ease"])
    retrievers = {**recommender.retrievers, **earlier}
    assert len({retriever.assortment.digest for retriever in retrievers.values()}) == 2
    state = customer_state(customers, OfflineFeatures(MOMENT))
    merged = Recommender(retrievers, recommender.per_source).candidates(state, MOMENT)
    for name, retriever in retrievers.items():
        alone = retriever.candidates(state, MOMENT, recommender.per_source[name])
        beside = merged.dropna(subset=f"{name}__rank")
        wanted = alone.set_index(["customer_id", "article_id"])["rank"].sort_index()
        wanted = wanted[~wanted.index.isin(dismissed(state))]
        given = beside.set_index(["customer_id", "article_id"])[f"{name}__rank"].sort_index()
        pd.testing.assert_series_equal(given, wanted, check_names=False, check_dtype=False)


def test_sponsored_articles_are_candidates_for_everybody(
    recommender: Recommender, customers: list[str]
) -> None:
    state = customer_state([*customers, "somebody new"], OfflineFeatures(MOMENT))
    usual = recommender.candidates(state, MOMENT)
    retriever = recommender.retrievers["repurchase"]
    shelf = retriever.assortment.ids[retriever.assortment.on_sale]
    rare = [article for article in shelf if article not in set(usual["article_id"])][:1]
    common = [usual["article_id"].iloc[0]]

    found = recommender.candidates(state, MOMENT, [*rare, "0999999999", *common])

    named = found.dropna(subset="sponsored__rank")
    assert len(named) == len(state) * len([*rare, *common])
    for rank, article in enumerate([*rare, *common], start=1):
        assert set(named.loc[named["article_id"] == article, "sponsored__rank"]) == {rank}
    # What a ranker learns from says nothing of who pays.
    beside = found.drop(columns=["sponsored__score", "sponsored__rank"])
    same = beside.dropna(subset="best__rank")[usual.columns].reset_index(drop=True)
    ranked = [name for name in usual if name not in ("source", "rank")]
    pd.testing.assert_frame_equal(same[ranked], usual[ranked])
    assert len(beside) >= len(usual)
    answer = for_customer(customers[0], k=5, sponsored=common)
    assert set(answer.sponsored) == set(common)
    assert all(1 <= rank <= answer.candidates for rank in answer.sponsored.values())
    shown = {row["article_id"]: row["rank"] for row in answer.rows}
    assert len(shown) == 5
    assert all(rank > 5 or shown[a] == rank for a, rank in answer.sponsored.items())
    assert len(answer.rows) == 5
    with pytest.raises(LookbookError, match=r"sponsored article 0999999999 is not on sale"):
        for_customer(customers[0], k=5, sponsored=["0999999999"])


def ruled(recommender: Recommender, **rules: object) -> Recommender:
    return replace(recommender, reranker=make_chain([("business_rules", rules)]))


def unnamed(recommender: Recommender, state: pd.DataFrame) -> list[str]:
    """Articles on sale that no retriever names to any of these customers."""
    named = set(recommender.candidates(state, MOMENT)["article_id"])
    shelf = recommender.retrievers["repurchase"].assortment
    return [article for article in shelf.ids[shelf.on_sale] if article not in named]


@pytest.mark.parametrize("ranked", [True, False])
def test_what_rules_pin_or_sell_comes_to_every_page_and_is_told(
    recommender: Recommender, customers: list[str], ranked: bool
) -> None:
    known = OfflineFeatures(MOMENT)
    few = replace(recommender, per_source=dict.fromkeys(recommender.per_source, 5))
    few = few if ranked else replace(few, ranker=None)
    asked = [*customers, "somebody new"]
    state = customer_state(asked, known)
    pinned, paid, request = unnamed(few, state)[:3]
    rules = ruled(few, pinned=[pinned], sponsored=[paid], slots=[2, 4])
    pages = rules.recommend(asked, known, MOMENT, 6, sponsored=[request], with_features=True)
    assert pages["customer_id"].nunique() == len(asked)
    for rank, article, source in (
        (1, pinned, "pinned"),
        (2, request, "sponsored"),
        (4, paid, "sponsored"),
    ):
        place = pages[pages["rank"] == rank]
        assert set(place["article_id"]) == {article}
        assert set(place["source"]) == {source}
    assert not pages[pages["rank"].isin([3, 5, 6])]["source"].isin(["pinned", "sponsored"]).any()
    said = explained(
        rules,
        pages[pages["customer_id"] == asked[0]],
        state,
        partial(article_display, features=known),
        MOMENT,
    )
    assert [row["reason"] for row in said[:2]] == ["Chosen by the shop.", "Sponsored."]


def test_a_paid_place_is_told_where_a_retriever_names_the_article_too(
    recommender: Recommender, customers: list[str]
) -> None:
    known = OfflineFeatures(MOMENT)
    usual = recommender.recommend(customers[:1], known, MOMENT, 12)
    article = usual["article_id"].iloc[6]
    rules = ruled(recommender, sponsored=[article], slots=[1])
    page = rules.recommend(customers[:1], known, MOMENT, 12)
    assert page["article_id"].iloc[0] == article
    assert page["source"].iloc[0] == "sponsored"
    assert "sponsored" not in set(page["source"].iloc[1:])


def test_rules_hold_for_all_that_may_be_shown_not_for_the_first_alone(
    recommender: Recommender, customers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.recommender.RERANKED", 10)
    known = OfflineFeatures(MOMENT)
    usual = recommender.recommend(customers[:3], known, MOMENT, 30)
    blocked = sorted(set(usual.loc[usual["rank"] <= 12, "article_id"]))
    rules = ruled(recommender, blocked=blocked)
    page = rules.recommend(customers[:3], known, MOMENT, 5)
    assert (page.groupby("customer_id").size() == 5).all()
    assert not page["article_id"].isin(blocked).any()
    whole = rules.recommend(customers[:3], known, MOMENT, 5, with_rest=True)
    assert not whole["article_id"].isin(blocked).any()
    assert whole.groupby("customer_id").size().min() > 10


# --- recommendations ----------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 12, 1000])
def test_at_most_k_in_order_of_score(
    recommender: Recommender, customers: list[str], k: int
) -> None:
    found = recommender.recommend(customers[:10], OfflineFeatures(MOMENT), MOMENT, k)
    assert set(found["customer_id"]) == set(customers[:10])
    assert not found.duplicated(["customer_id", "article_id"]).any()
    for _, rows in found.groupby("customer_id"):
        assert len(rows) <= k
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        assert rows["score"].is_monotonic_decreasing


def test_a_batch_answers_like_each_customer_alone(
    recommender: Recommender, customers: list[str]
) -> None:
    known, customers = OfflineFeatures(MOMENT), customers[::2]
    batch = recommender.recommend([*customers, customers[0]], known, MOMENT, 12)
    alone = [recommender.recommend([customer], known, MOMENT, 12) for customer in sorted(customers)]
    same(batch[COLUMNS], pd.concat(alone, ignore_index=True)[COLUMNS])


def test_batches_do_not_show(
    recommender: Recommender, customers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = OfflineFeatures(MOMENT)
    whole = recommender.recommend(sorted(customers), known, MOMENT, 12)
    monkeypatch.setattr("pipelines.recommender.BATCH_CUSTOMERS", 17)
    same(recommender.recommend(sorted(customers), known, MOMENT, 12)[COLUMNS], whole[COLUMNS])


def test_online_answers_like_the_warehouse_at_that_moment(
    recommender: Recommender, customers: list[str]
) -> None:
    moment = online_moment()
    assert moment == MOMENT
    online = recommender.recommend(customers, OnlineFeatures(moment), moment, 12)
    offline = recommender.recommend(customers, OfflineFeatures(moment), moment, 12)
    same(online[COLUMNS], offline[COLUMNS])


@pytest.mark.parametrize("door", [OnlineFeatures, OfflineFeatures])
def test_an_unknown_customer_gets_what_is_popular(recommender: Recommender, door: Any) -> None:
    found = recommender.recommend(["somebody new"], door(MOMENT), MOMENT, 12)
    with reading() as con:
        rows = con.execute(
            "SELECT article_id FROM (SELECT DISTINCT customer_id, article_id, day "
            "FROM staging.purchases WHERE day >= '2020-07-25') AS lately GROUP BY article_id "
            "ORDER BY sum(exp((day - DATE '2020-09-23') / 7.0)) DESC, article_id LIMIT 100"
        ).fetchall()
    assert len(found) == 12
    # Without a postal code it is what sells everywhere.
    assert set(found["source"]) == {"popular_by_postal_code"}
    assert set(found["article_id"]) <= {row[0] for row in rows}


def test_nobody_asked_nothing_answered(recommender: Recommender) -> None:
    found = recommender.recommend([], OfflineFeatures(MOMENT), MOMENT, 12)
    assert found.empty
    assert list(found.columns) == COLUMNS


def test_no_candidates_no_recommendations(recommender: Recommender) -> None:
    silent = Recommender(
        {"repurchase": recommender.retrievers["repurchase"]}, {"repurchase": 9}, recommender.ranker
    )
    found = silent.recommend(["somebody new"], OfflineFeatures(MOMENT), MOMENT, 12)
    assert found.empty
    assert list(found.columns) == COLUMNS


def test_the_time_of_each_stage_is_told(recommender: Recommender, customers: list[str]) -> None:
    stages: dict[str, float] = {}
    recommender.recommend(customers[:2], OfflineFeatures(MOMENT), MOMENT, 12, stages=stages)
    assert stages.keys() == {"candidates", "features", "rank", "rerank"}
    assert all(seconds > 0 for seconds in stages.values())


# --- earlier moments ----------------------------------------------------------------------------


def test_what_is_planted_later_changes_no_earlier_recommendation(
    shop: Path, customers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(shop, home)
    shutil.copytree(shop.parent / "files", home / "files")
    monkeypatch.setenv("LOOKBOOK_HOME", str(home))
    asked = [customers[0], "somebody new"]

    def answers() -> list[list[dict[str, Any]]]:
        return [for_customer(customer, k=12, at=EARLIER).rows for customer in asked]

    def release_of_the_past() -> release.Release:
        settings = replace(RELEASE, training_weeks=1)
        tags = publishing.train(EARLIER.date(), settings=settings)
        return composing.create_release(tags, settings=settings)

    with pytest.raises(RegistryError, match=r"No release was trained on days before 2020-09-16"):
        answers()
    first = release_of_the_past()
    before = answers()
    assert for_customer(asked[0], k=12, at=EARLIER).release == first.tag
    assert all(len(rows) == 12 for rows in before)

    favourite = before[0][-1]["article_id"]
    with (home / "files" / "transactions_train.csv").open("a") as transactions:
        for day in ("2020-09-16", "2020-09-22", "2020-10-05"):
            for customer in (*customers, "e" * 64):
                transactions.write(f"{day},{customer},{favourite},0.9,1\n" * 3)
                transactions.write(f"{day},{customer},0999999999,0.9,2\n")
    load(str(home / "files"))
    assert feature_tables.build().through == date(2020, 10, 5)

    assert answers() == before
    again = release_of_the_past()
    assert for_customer(asked[0], k=12, at=EARLIER).release == again.tag
    assert answers() == before


def test_a_moment_before_any_releases_cutoff_is_refused(shop: Path, customers: list[str]) -> None:
    day_before = MOMENT - timedelta(seconds=1)
    with pytest.raises(LookbookError, match=r"before 2020-09-22 alone: run `lookbook train"):
        for_customer(customers[0], k=12, at=day_before)
    # The 23rd in Stockholm begins on the 22nd, UTC.
    stockholm = datetime(2020, 9, 23, 1, tzinfo=timezone(timedelta(hours=2)))
    with pytest.raises(LookbookError, match=r"before 2020-09-22 alone"):
        for_customer(customers[0], k=12, at=stockholm)
    assert for_customer(customers[0], k=12, at=MOMENT).rows


# --- the file -----------------------------------------------------------------------------------


def test_the_file_is_kaggles(shop: Path, recommender: Recommender, tmp_path: Path) -> None:
    with reading() as con:
        rows = con.execute("SELECT customer_id FROM staging.customers ORDER BY 1").fetchall()
    everyone = [row[0] for row in rows]
    out = tmp_path / "folder" / "submission.csv"

    assert to_file(out, k=12) == len(everyone)

    text = out.read_text()
    assert text.startswith("customer_id,prediction\n")
    assert "\r" not in text
    assert '"' not in text
    lines = list(csv.DictReader(text.splitlines()))
    assert [line["customer_id"] for line in lines] == everyone
    for line in lines:
        assert re.fullmatch(r"\d{10}( \d{10}){11}", line["prediction"])
        assert len(set(line["prediction"].split())) == 12
    found = recommender.recommend(everyone[:30], OfflineFeatures(MOMENT), MOMENT, 12)
    for line in lines[:30]:
        own = found[found["customer_id"] == line["customer_id"]]
        assert line["prediction"].split() == own["article_id"].tolist()


def test_the_file_of_chosen_customers(shop: Path, customers: list[str], tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.csv"
    chosen.write_text(
        f"customer_id,prediction\n{customers[3]},x\n007,\n{customers[1]},\n{customers[3]},y\n"
    )
    out = tmp_path / "submission.csv"
    assert to_file(out, k=3, customers=chosen) == 3
    lines = list(csv.DictReader(out.read_text().splitlines()))
    assert [line["customer_id"] for line in lines] == [customers[3], "007", customers[1]]
    assert all(len(line["prediction"].split()) == 3 for line in lines)


def test_a_file_without_customers_is_refused(shop: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("customer\nx\n")
    with pytest.raises(LookbookError, match=r"wrong.csv needs a column customer_id"):
        to_file(tmp_path / "submission.csv", k=3, customers=wrong)
    assert not (tmp_path / "submission.csv").exists()
