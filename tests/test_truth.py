"""The truth behind a made-up shop: that what happened in it was drawn from what `Shop` says."""

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from feature_repo.raw_tables import INTERACTIONS
from pipelines.data.synthetic import LAST_DAY, Shop, ShopError, behaviour, synthesize, taxonomy
from pipelines.data.synthetic.behaviour import REMEMBERED, ShopDays
from pipelines.data.synthetic.catalogue import draw_catalogue
from pipelines.data.synthetic.customers import draw_customers
from pipelines.data.synthetic.interactions import others
from pipelines.data.synthetic.shelves import NOBODY, POSITIONS

SIZE = {"customers": 2500, "articles": 700, "days": 80, "seed": 5}
LOGGED = 15
DAY = LAST_DAY - timedelta(days=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("truth") / "shop", **SIZE, interactions=LOGGED).folder


@pytest.fixture(scope="module")
def shop(folder: Path) -> Shop:
    return Shop.open(folder)


def table(folder: Path, name: str) -> pd.DataFrame:
    return duckdb.sql(f"SELECT * FROM '{folder / name}.parquet'").df()


@pytest.fixture(scope="module")
def log(folder: Path) -> pd.DataFrame:
    return table(folder, "interactions")


@pytest.fixture(scope="module")
def bought(folder: Path) -> pd.DataFrame:
    return table(folder, "transactions_train")


@pytest.fixture(scope="module")
def impressions(log: pd.DataFrame, shop: Shop) -> pd.DataFrame:
    """One row for each impression, whether each step followed, and its probability."""
    shown = log[log["kind"] == "impression"].set_index(["request_id", "article_id"])
    followed = log[log["surface"] == "shelf"].groupby(["request_id", "article_id", "kind"]).size()
    for kind in ("view", "cart", "purchase", "dismiss"):
        found = followed.xs(kind, level="kind")
        shown[kind] = shown.index.isin(found.index)
    shown = shown.reset_index()
    for day, rows in shown.groupby(shown["event_time"].dt.date):
        answer = shop.response(
            rows["customer_id"].tolist(),
            rows["article_id"].tolist(),
            day,
            rows["position"].tolist(),
        )
        for kind in ("view", "cart", "purchase", "dismiss"):
            shown.loc[rows.index, f"p_{kind}"] = getattr(answer, kind)
    return shown


@pytest.fixture(scope="module")
def regulars(bought: pd.DataFrame) -> list[str]:
    """The five customers who came most often."""
    before = bought[bought["t_dat"] < pd.Timestamp(DAY)]
    return before.groupby("customer_id")["t_dat"].nunique().nlargest(5).index.tolist()


# --- the log ---


def test_every_purchase_is_in_the_log_and_the_other_way_round(log, bought) -> None:
    first = log["event_time"].min().normalize()
    assert first == pd.Timestamp(LAST_DAY - timedelta(days=LOGGED - 1))
    rows = bought[bought["t_dat"] >= first]
    events = log[log["kind"] == "purchase"]
    assert Counter(zip(rows["t_dat"], rows["customer_id"], rows["article_id"], strict=True)) == (
        Counter(
            zip(
                events["event_time"].dt.normalize(),
                events["customer_id"],
                events["article_id"],
                strict=True,
            )
        )
    )
    store = bought["sales_channel_id"] == 1
    assert (events["surface"] == "store").sum() == (store & (bought["t_dat"] >= first)).sum()


def test_an_event_is_one_of_its_kind_and_follows_the_one_before(log) -> None:
    assert log.columns.tolist() == INTERACTIONS.column_names
    assert not log.duplicated().any()
    assert log["event_time"].is_monotonic_increasing
    shelf = log[log["surface"] == "shelf"]
    first = shelf.groupby(["request_id", "article_id", "kind"])["event_time"].min().unstack()
    steps = ["impression", "view", "cart", "purchase"]
    for before, after in pairwise(steps):
        reached = first[first[after].notna()]
        assert (reached[before] <= reached[after]).all()
    assert not (first["view"].notna() & first["dismiss"].notna()).any()
    assert (first[steps].count() > 100).all()


def test_a_page_shows_an_article_once_and_a_position_once(log) -> None:
    pages = log[log["kind"] == "impression"].groupby("request_id")
    assert (pages["article_id"].nunique() == pages.size()).all()
    assert (pages["customer_id"].nunique() == 1).all()
    assert (pages["position"].nunique() == pages.size()).all()
    assert pages["position"].max().between(1, POSITIONS).all()
    # Only what the shopper has leaves its place empty.
    assert (pages["position"].max() == pages.size()).mean() > 0.5
    chance = log.loc[log["kind"] == "impression", "propensity"]
    assert chance.between(0, 1, inclusive="right").all()


def test_only_what_is_on_sale_is_shown_and_nothing_that_the_shopper_has(log, bought, shop) -> None:
    shown = log[log["kind"] == "impression"]
    catalogue = shop._catalogue
    place = shop.articles.get_indexer(shown["article_id"])
    number = (shown["event_time"].dt.normalize() - pd.Timestamp(shop.first_day)).dt.days
    assert (catalogue.launch[place] <= number).all()
    assert (number <= catalogue.last[place]).all()
    had = shown.merge(bought, on=["customer_id", "article_id"])
    earlier = had["t_dat"] < had["event_time"].dt.normalize()
    picks = bought.drop_duplicates(["customer_id", "article_id", "t_dat"])
    purchases = picks.groupby("customer_id").size()
    few = had["customer_id"].map(purchases) <= REMEMBERED
    assert len(had) > 50
    assert not (earlier & few).any()


def test_the_transactions_are_the_same_without_a_log(tmp_path: Path, bought) -> None:
    synthesize(tmp_path / "shop", **SIZE)
    pd.testing.assert_frame_equal(table(tmp_path / "shop", "transactions_train"), bought)


def test_threads_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """With customers in several runs, as in a shop of H&M's size."""
    monkeypatch.setattr(behaviour, "CUSTOMERS_IN_BLOCK", 100)
    size = {"customers": 700, "articles": 120, "days": 30, "interactions": 5}
    for threads in (1, 4):
        synthesize(tmp_path / str(threads), **size, threads=threads)
    for file in (tmp_path / "1").rglob("*.parquet"):
        other = tmp_path / "4" / file.relative_to(tmp_path / "1")
        assert file.read_bytes() == other.read_bytes(), file.name


# --- probabilities ---


@pytest.mark.parametrize("kind", ["view", "cart", "purchase", "dismiss"])
def test_impressions_are_followed_as_often_as_the_truth_says(impressions, kind) -> None:
    """In all, and among the likely and the unlikely ones."""
    groups = pd.qcut(impressions[f"p_{kind}"], 4, labels=False)
    for _, rows in [(None, impressions), *impressions.groupby(groups)]:
        chance = rows[f"p_{kind}"]
        spread = np.sqrt((chance * (1 - chance)).sum())
        # Shoppers answer page by page, so counts spread a little wider than independent ones.
        allowed = 4 * spread + 0.03 * chance.sum()
        assert abs(rows[kind].sum() - chance.sum()) < allowed


def test_every_position_sells_what_the_truth_says(impressions) -> None:
    for _, rows in impressions[impressions["position"] <= 5].groupby("position"):
        chance = rows["p_purchase"].sum()
        assert abs(rows["purchase"].sum() - chance) < 4 * np.sqrt(chance) + 0.05 * chance


def test_every_day_sells_what_the_truth_says(impressions) -> None:
    """Baskets come whole, so the days spread wider than single purchases would."""
    days = impressions.groupby(impressions["event_time"].dt.date)[["purchase", "p_purchase"]].sum()
    error = (days["purchase"] - days["p_purchase"]) / np.sqrt(days["p_purchase"])
    assert len(days) == LOGGED
    assert (error.abs() < 7).all()
    assert (error**2).mean() < 9


def test_busy_days_have_as_many_visits_without_a_purchase() -> None:
    first_date = date(2019, 8, 1)
    catalogue = draw_catalogue(50, 120, first_date, 1)
    people = draw_customers(3000, 120, np.random.default_rng(1))
    shop = ShopDays(catalogue, people, 1)
    lookers = others(shop, 40, np.random.default_rng(2))
    visits = np.bincount(shop.day_of_visit, minlength=120)
    assert list(lookers) == list(range(40, 120))
    assert [len(customer) for customer in lookers.values()] == visits[40:].tolist()
    busy = (date(2019, 9, 28) - first_date).days
    assert visits[busy] > 3 * np.median(visits)
    assert not np.array_equal(lookers[busy], shop.visitor[shop.day_of_visit == busy])
    assert (np.diff(lookers[busy]) >= 0).all()


def test_a_position_holds_the_articles_that_its_propensities_add_up_to(impressions, shop) -> None:
    """The inverse propensities of what was shown estimate how many articles could have been."""
    first = impressions[impressions["position"] == 1]
    place = shop.articles.get_indexer(first["article_id"])
    day = (first["event_time"].dt.normalize() - pd.Timestamp(shop.first_day)).dt.days
    catalogue = shop._catalogue
    could = []
    for number, rows in pd.DataFrame({"day": day, "place": place}).groupby("day"):
        opened = shop._day(int(number))
        shelf = opened._shelf_of[
            catalogue.index_group[rows["place"]] * len(taxonomy.PRODUCT_TYPES)
            + catalogue.product_type[rows["place"]]
        ]
        could.append(opened.size[shelf])
    inverse = (1 / first["propensity"]).mean()
    # What the shopper has is counted among the shelf's, and never shown.
    assert 0.75 < inverse / np.concatenate(could).mean() < 1.25


def test_lower_positions_are_looked_at_less(shop, regulars) -> None:
    article = shop.best(regulars[:1], DAY, 1)["article_id"][0]
    answer = shop.response(regulars[:1] * 12, [article] * 12, DAY, list(range(1, 13)))
    for chance in (answer.view, answer.cart, answer.purchase):
        assert (np.diff(chance) < 0).all()
    assert (answer.purchase <= answer.cart).all()
    assert (answer.cart <= answer.view).all()
    assert (answer.view + answer.dismiss <= 1).all()


def test_a_position_shows_an_article_as_often_as_the_propensity_says(shop) -> None:
    day = shop._open(DAY)
    shelf = np.full(20_000, int(np.argmax(day.size)))
    article, chance, length = day.lay_page(shelf, np.zeros_like(shelf), 3, np.random.default_rng(1))
    assert (length == 3).all()
    for column in range(3):
        for one in np.unique(article):
            here = article[:, column] == one
            expected = chance[article == one][0]
            assert abs(here.mean() - expected) < 5 * np.sqrt(expected / len(shelf))


def test_expected_purchases_are_what_visits_buy_on_average(shop, regulars) -> None:
    """The closed form beside ten thousand visits of the same customer on the same day."""
    day, visits = shop._open(DAY), 10_000
    for customer in regulars[:3]:
        expected = shop.expected_purchases([customer], DAY)[0]
        who = shop.customers.get_indexer([customer])
        memory, row = shop._memory(who, DAY)
        shopping = behaviour.Shopping(shop._catalogue, shop._customers)
        shopping.memory.article[who] = memory.article[row]
        shopping.memory.day[who] = memory.day[row]
        picks = shopping.visit(day, np.repeat(who, visits), np.random.default_rng(2))
        seen = np.bincount(picks.article, minlength=len(expected)) / visits
        error = np.abs(seen - expected)
        allowed = 5 * np.sqrt(expected / visits) + 0.06 * expected
        assert (error <= allowed + 5 / visits).all()
        assert (expected > 0.01).sum() > 5


def test_the_memory_is_what_the_transactions_say(folder, shop, regulars) -> None:
    played = ShopDays(shop._catalogue, shop._customers, 1)
    number = (DAY - shop.first_day).days
    for day, _ in played:
        if day.day == number:
            break
    who = shop.customers.get_indexer(regulars)
    memory, row = shop._memory(who, DAY)
    for mine, theirs in zip(row, who, strict=True):
        lived = played.shopping.memory
        assert Counter(
            zip(memory.article[mine].tolist(), memory.day[mine].tolist(), strict=True)
        ) == Counter(zip(lived.article[theirs].tolist(), lived.day[theirs].tolist(), strict=True))
        assert (memory.article[mine] != NOBODY).all()


# --- oracle, regret, closed loop ---


def test_the_oracle_knows_best_and_its_regret_is_none(shop, regulars, bought) -> None:
    best = shop.best(regulars, DAY, 12)
    assert best.groupby("customer_id").size().eq(12).all()
    assert best.groupby("customer_id")["score"].is_monotonic_decreasing.all()
    assert shop.regret(best, DAY).tolist() == pytest.approx([0.0] * len(regulars))
    recent = bought[(bought["t_dat"] >= pd.Timestamp(DAY - timedelta(days=7)))]
    recent = recent[recent["t_dat"] < pd.Timestamp(DAY)]
    popular = recent["article_id"].value_counts().index[:12]
    others = pd.DataFrame(
        [
            (customer, article, rank + 1)
            for customer in regulars
            for rank, article in enumerate(popular)
        ],
        columns=["customer_id", "article_id", "rank"],
    )
    regret = shop.regret(others, DAY)
    assert list(regret.index) == regulars
    assert regret.between(0.1, 0.99).all()


def test_the_oracle_beats_what_is_popular_on_what_happened(shop, bought) -> None:
    week = bought[bought["t_dat"] >= pd.Timestamp(DAY)]
    before = bought[bought["t_dat"] < pd.Timestamp(DAY)]
    customers = week["customer_id"].drop_duplicates().tolist()
    wanted = week.groupby("customer_id")["article_id"].agg(set)
    popular = before[before["t_dat"] >= pd.Timestamp(DAY - timedelta(days=7))]
    popular = popular["article_id"].value_counts().index[:12]
    best = shop.best(customers, DAY, 12).groupby("customer_id")["article_id"].agg(list)
    hits = [len(wanted[c] & set(best[c])) for c in customers]
    usual = [len(wanted[c] & set(popular)) for c in customers]
    assert np.mean(hits) > 1.5 * np.mean(usual)


def test_a_slate_is_answered_and_what_is_bought_is_remembered(folder, regulars) -> None:
    one, other = Shop.open(folder), Shop.open(folder)
    slate = one.best(regulars[:1], DAY, 12)["article_id"].tolist()
    purchases = []
    for number in range(12):
        day = DAY + timedelta(days=number)
        answer = one.respond(regulars[0], slate, day)
        pd.testing.assert_frame_equal(answer, other.respond(regulars[0], slate, day))
        assert answer.columns.tolist() == INTERACTIONS.column_names
        assert (answer["kind"] == "impression").sum() == len(slate)
        assert answer["event_time"].is_monotonic_increasing
        purchases += answer.loc[answer["kind"] == "purchase", "article_id"].tolist()
    assert purchases
    after = DAY + timedelta(days=12)
    fresh = Shop.open(folder).expected_purchases(regulars[:1], after)[0]
    lived = one.expected_purchases(regulars[:1], after)[0]
    assert not np.allclose(fresh, lived)


def test_a_slate_sells_what_the_truth_says(folder, regulars) -> None:
    """Over many visitors who each see one slate."""
    shop = Shop.open(folder)
    customers = shop.customers[:600].tolist()
    slate = shop.best_slate(regulars[:1], DAY, 12)["article_id"].tolist()
    steps = ["view", "cart", "purchase", "dismiss"]
    expected, happened = pd.Series(0.0, steps), pd.Series(0.0, steps)
    for customer in customers:
        answer = shop.response([customer] * 12, slate, DAY, list(range(1, 13)))
        expected += [getattr(answer, step).sum() for step in steps]
        kinds = shop.respond(customer, slate, DAY)["kind"].value_counts()
        happened = happened.add(kinds.reindex(steps, fill_value=0))
    assert ((happened - expected).abs() < 4 * np.sqrt(expected)).all()
    assert (happened > 10).all()


def test_the_best_slate_sells_more_than_what_would_be_found_anyway(shop, regulars) -> None:
    for customer in regulars:
        sold = {
            name: shop.response([customer] * 12, found["article_id"].tolist(), DAY).purchase.sum()
            for name, found in (
                ("slate", shop.best_slate([customer], DAY)),
                ("demand", shop.best([customer], DAY)),
            )
        }
        assert sold["slate"] >= sold["demand"] > 0


def test_a_slate_is_scored_as_the_response_to_it(shop, regulars) -> None:
    slates = shop.best_slate(regulars, DAY)
    answer = shop.response(slates["customer_id"].tolist(), slates["article_id"].tolist(), DAY)
    assert slates["score"].to_numpy() == pytest.approx(answer.purchase)


def test_who_is_recommended_nothing_misses_all(shop, regulars) -> None:
    best = shop.best(regulars[:1], DAY)
    regret = shop.regret(best, DAY, customers=regulars[:2])
    assert regret.tolist() == pytest.approx([0.0, 1.0])


def test_the_truth_goes_on_after_the_last_day_of_the_smallest_shop(tmp_path: Path) -> None:
    synthesize(tmp_path / "s", customers=1, articles=1, days=1, interactions=1)
    shop = Shop.open(tmp_path / "s")
    answer = shop.respond(shop.customers[0], shop.articles, LAST_DAY + timedelta(days=28))
    assert answer["kind"].iloc[0] == "impression"


def test_lost_transactions_are_noticed(tmp_path: Path) -> None:
    synthesize(tmp_path / "s", customers=50, articles=40, days=20)
    file = tmp_path / "s" / "transactions_train.parquet"
    rows = pq.read_table(file)
    pq.write_table(rows.slice(0, 10), file)
    shop = Shop.open(tmp_path / "s")
    with pytest.raises(ShopError, match="has 10 rows, and the shop was made with"):
        shop.best(shop.customers[:1].tolist(), DAY)


# --- mistakes ---


def mistakes() -> Iterator[tuple[str, dict[str, object]]]:
    yield "has no customer nobody", {"customers": ["nobody"]}
    yield "has no article 0000000000", {"articles": ["0000000000"]}
    yield "is not a day of this shop", {"day": date(2030, 1, 1)}
    yield "positions count from 1", {"position": 0}
    yield "are not pairs", {"articles": []}
    yield "Give a list of customers", {"customers": "somebody"}
    yield "is not a day", {"day": "2020-09-01"}
    yield "whole number as position", {"position": 1.5}
    yield "one for each pair", {"position": [1, 2]}


@pytest.mark.parametrize(("said", "change"), mistakes(), ids=lambda x: str(x)[:20])
def test_mistakes_get_one_sentence(shop, regulars, said, change) -> None:
    asked = {"customers": regulars[:1], "articles": [shop.articles[0]], "day": DAY, "position": 1}
    with pytest.raises(ShopError, match=said):
        shop.response(**(asked | change))


def test_a_moment_of_another_day_is_refused(shop, regulars) -> None:
    with pytest.raises(ShopError, match=r"is not on 2020-09-19\.$"):
        shop.respond(regulars[0], [shop.articles[0]], DAY, datetime(2030, 1, 1))


def test_a_slate_has_no_article_twice(shop, regulars) -> None:
    with pytest.raises(ShopError, match="on the slate twice"):
        shop.respond(regulars[0], [shop.articles[0]] * 2, DAY)


def test_planted_defects_are_not_taken_for_the_truth(tmp_path: Path) -> None:
    synthesize(tmp_path / "s", customers=300, articles=150, days=30, csv=True, dirt=True)
    with pytest.raises(ShopError, match=r"holds planted defects.*without dirt\.$"):
        Shop.open(tmp_path / "s")


def test_a_folder_without_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShopError, match=r"holds no truth/: give a folder written by"):
        Shop.open(tmp_path)
