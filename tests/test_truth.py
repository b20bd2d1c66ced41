"""The truth behind a made-up shop: that what happened in it was drawn from what `Shop` says."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from feature_repo.raw_tables import INTERACTIONS
from pipelines.data.synthetic import (
    LAST_DAY,
    Shop,
    ShopError,
    behaviour,
    expectation,
    interactions,
    response,
    synthesize,
    taxonomy,
)
from pipelines.data.synthetic.behaviour import REMEMBERED, ShopDays
from pipelines.data.synthetic.catalogue import draw_catalogue
from pipelines.data.synthetic.customers import draw_customers
from pipelines.data.synthetic.designs import Floats, Ints
from pipelines.data.synthetic.interactions import others
from pipelines.data.synthetic.shelves import NOBODY, ONLINE, POSITIONS, Day

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
    return answered(log, shop)


def answered(log: pd.DataFrame, shop: Shop) -> pd.DataFrame:
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


def test_only_what_is_on_sale_is_shown_and_nothing_of_the_last_purchases(log, bought, shop) -> None:
    """What somebody has of the days before: REMEMBERED articles, the latest ones."""
    shown = log[log["kind"] == "impression"]
    catalogue = shop._catalogue
    place = shop.articles.get_indexer(shown["article_id"])
    number = (shown["event_time"].dt.normalize() - pd.Timestamp(shop.first_day)).dt.days
    assert (catalogue.launch[place] <= number).all()
    assert (number <= catalogue.last[place]).all()
    picks = bought.drop_duplicates(["customer_id", "article_id", "t_dat"])
    had = shown.merge(picks, on=["customer_id", "article_id"])
    had = had[had["t_dat"] < had["event_time"].dt.normalize()]
    # All that were bought since then, on the day itself too, but before the day of the page.
    since = [
        (of_customer.between(bought_on, shown_on, inclusive="left")).sum()
        for of_customer, bought_on, shown_on in zip(
            had["customer_id"].map(dict(list(picks.groupby("customer_id")["t_dat"]))),
            had["t_dat"],
            had["event_time"].dt.normalize(),
            strict=True,
        )
    ]
    assert len(since) > 50
    assert min(since) > REMEMBERED


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


def test_visits_of_several_blocks_of_customers_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behaviour, "CUSTOMERS_IN_BLOCK", 100)
    made = synthesize(tmp_path / "s", customers=3000, articles=120, days=8, interactions=8)
    log = table(made.folder, "interactions")
    # Visits that would last beyond the day all end at the same moment.
    sales = log[(log["kind"] == "purchase") & (log["event_time"].dt.hour < 23)]
    who = sales.drop_duplicates("event_time").set_index("event_time")["customer_id"]
    assert len(who) > 5000
    # To the microsecond, articles of one visit are paid ten seconds after each other.
    later = who.reindex(who.index + pd.Timedelta(seconds=10)).to_numpy()
    both = later[pd.notna(later)], who.to_numpy()[pd.notna(later)]
    assert len(both[0]) > 1000
    assert (both[0] == both[1]).all()


def shelf_chances(shop: Shop, day: Day, article: Ints) -> Floats:
    """What `Day.chance` says of each article on its shelf, for each style of a first article."""
    place = np.repeat(np.arange(len(day.start)), day.size)[day._place_of[article]]
    looks = np.arange(len(day.strength))
    return np.column_stack([day.chance(place, np.full(len(place), k), article) for k in looks])


def test_the_propensity_is_the_articles_share_of_its_shelf(impressions, shop) -> None:
    """On every page, for one style of the basket's first article, or none."""
    place = shop.articles.get_indexer(impressions["article_id"])
    fits = np.zeros((len(place), len(shop._open(DAY).strength)), dtype=bool)
    for day, rows in impressions.groupby(impressions["event_time"].dt.date):
        expected = shelf_chances(shop, shop._open(day), place[rows.index])
        fits[rows.index] = np.isclose(expected, rows["propensity"].to_numpy()[:, None], rtol=1e-5)
    pages = pd.DataFrame(fits).groupby(impressions["request_id"].to_numpy())
    assert pages.all().any(axis=1).all()
    assert impressions.loc[impressions["purchase"], "propensity"].nunique() > 50


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
    positions = impressions.groupby("position")[["purchase", "p_purchase"]].sum()
    assert positions.index[positions["purchase"] > 50].tolist() == [1, 2, 3, 4, 5, 6]
    for sold, chance in positions.to_numpy():
        assert abs(sold - chance) < 4 * np.sqrt(chance) + 0.05 * chance


def test_purchases_are_put_on_pages_as_pages_sell_them(shop) -> None:
    """Half a million pages answered from the first position down, and the pages made for what was
    bought from them."""
    shopping = behaviour.Shopping(shop._catalogue, shop._customers)
    day, rng, pages = shop._open(DAY), np.random.default_rng(1), 50_000
    sold, put = np.zeros((2, POSITIONS))
    for _ in range(10):
        who, first = rng.integers(0, len(shop.customers), pages), np.full(pages, NOBODY)
        shelf = day.find_shelf(shopping.customers, who, np.full(pages, ONLINE), first, rng)
        article, _, _ = day.lay_page(shelf, first + 1, POSITIONS, rng)
        shown, answer = interactions._responses(shopping, day, who, article)
        buys = (rng.random(article.shape) < answer.purchase) & (shown != NOBODY)
        page = np.flatnonzero(buys.any(axis=1))
        place = buys[page].argmax(axis=1)
        nothing = np.zeros_like(page)
        picks = behaviour.Picks(
            customer=who[page],
            article=article[page, place],
            pieces=nothing + 1,
            cents=nothing,
            channel=nothing + ONLINE,
            shelf=shelf[page],
            beside=nothing,
            visit=np.arange(len(page)),
        )
        made = interactions._page_of_purchase(shopping, day, picks, rng)
        bought = made.step == interactions.PURCHASED
        assert (made.article[bought] == picks.article).all()
        sold += np.bincount(place, minlength=POSITIONS)
        put += bought.sum(axis=0)
    assert sold[5] > 5000
    assert (np.abs(put - sold) <= 4 * np.sqrt(put + sold)).all()


def test_a_purchase_is_placed_as_counted_by_hand() -> None:
    """Position by position, on pages that often sell."""
    rng = np.random.default_rng(1)
    buys = rng.random((40, POSITIONS)) * response.examination(np.arange(1, POSITIONS + 1))
    shown = np.where(rng.random(buys.shape) < 0.2, NOBODY, 1)
    there = np.zeros(buys.shape, dtype=bool)
    there[np.arange(20), rng.integers(0, POSITIONS, 20)] = True
    seen = response.examination(np.arange(1, POSITIONS + 1))
    found = interactions._found_at(shown, response.Response(*[buys] * 4), there)
    for page in range(len(buys)):
        # What the articles sell wherever they lie.
        sells = np.where(shown[page] == NOBODY, 0, buys[page] / seen)
        for place in range(POSITIONS):
            order = np.arange(POSITIONS)
            old = np.flatnonzero(there[page])
            order[old], order[place] = place, order[old[0]] if len(old) else place
            unsold = np.prod(1 - sells[order[:place]] * seen[:place])
            assert found[page, place] == pytest.approx(seen[place] * unsold, rel=1e-4)


def test_who_soon_gives_up_sees_pages_and_buys_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Purchases stand to impressions as the truth says where most shoppers find nothing, too."""
    monkeypatch.setattr(behaviour, "_ROUNDS", (5, 5))
    monkeypatch.setattr(interactions, "GLANCES", 10)
    made = synthesize(tmp_path / "s", **SIZE | {"customers": 6000}, interactions=15)
    found = answered(table(made.folder, "interactions"), Shop.open(made.folder))
    sold, expected = found["purchase"].sum(), found["p_purchase"].sum()
    assert abs(sold - expected) < 4 * np.sqrt(expected) + 0.03 * expected


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


@pytest.mark.parametrize("world", [{}, {"OTHER_COLOUR_OF_FIRST": 0.5, "LARGEST_BASKET": 2}])
def test_expected_purchases_are_what_visits_buy_on_average(
    shop, regulars, monkeypatch: pytest.MonkeyPatch, world: dict[str, float]
) -> None:
    """The closed form beside ten thousand visits of the same customer on the same day; also where
    every other second article is the first in another colour."""
    for name, value in world.items():
        monkeypatch.setattr(behaviour, name, value)
        monkeypatch.setattr(expectation, name, value)
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


def test_a_slates_events_are_all_of_its_day(folder, regulars) -> None:
    shop, slate = Shop.open(folder), Shop.open(folder).articles[:12].tolist()
    at = datetime(DAY.year, DAY.month, DAY.day, 23, 59, 58)
    events = pd.concat([shop.respond(regulars[0], slate, DAY, at) for _ in range(20)])
    assert set(events["kind"]) >= {"impression", "view", "cart"}
    assert (events["event_time"].dt.date == DAY).all()
    assert (events["event_time"] >= pd.Timestamp(at)).all()
    pages = events.groupby("request_id", sort=False)["event_time"]
    assert all(times.is_monotonic_increasing for _, times in pages)


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
    yield "^1 customer and 0 articles are not pairs", {"articles": []}
    yield "Give a list of customers", {"customers": "somebody"}
    yield "is not a day", {"day": "2020-09-01"}
    yield "whole number as position", {"position": 1.5}
    yield "one for each pair", {"position": [1, 2]}


@pytest.mark.parametrize(("said", "change"), list(mistakes()), ids=lambda x: str(x)[:20])
def test_mistakes_get_one_sentence(shop, regulars, said, change) -> None:
    asked = {"customers": regulars[:1], "articles": [shop.articles[0]], "day": DAY, "position": 1}
    with pytest.raises(ShopError, match=said):
        shop.response(**(asked | change))


@pytest.mark.parametrize("k", [0, -1, 1.5, 12.0, True, "12", None])
def test_a_number_of_articles_that_is_none_is_refused(shop, regulars, k) -> None:
    best = shop.best(regulars[:1], DAY)
    said = rf"^k must be a whole number from 1, not {k!r}\.$"
    for ask in (shop.best, shop.best_slate):
        with pytest.raises(ShopError, match=said):
            ask(regulars[:1], DAY, k)
    with pytest.raises(ShopError, match=said):
        shop.regret(best, DAY, k)
    assert len(shop.best(regulars[:1], DAY, np.int64(3))) == 3


@pytest.mark.parametrize(
    ("rank", "said"),
    [(0, "whole"), (-3, "whole"), (1.5, "whole"), (None, "whole"), ("x", "whole"), (2, "one rank")],
)
def test_ranks_that_are_none_are_refused(shop, regulars, rank, said) -> None:
    best = shop.best(regulars[:1], DAY)
    best["rank"] = [rank, *best["rank"][1:]]
    with pytest.raises(ShopError, match=rf"^The .*recommendations .*{said}.*\.$"):
        shop.regret(best, DAY)


def damages() -> Iterator[Callable[[Path], object]]:
    about = Path("shop.json")
    for name in ("articles", "customers", "leanings_colour"):
        yield lambda truth, name=name: (truth / f"{name}.parquet").unlink()
    yield lambda truth: (truth / "customers.parquet").write_bytes(b"PAR1")
    yield lambda truth: pq.write_table(
        pq.read_table(truth / "articles.parquet").drop_columns("launch"), truth / "articles.parquet"
    )
    for text in ("", "{", "[]", "{}", '{"format": 1}'):
        yield lambda truth, text=text: (truth / about).write_text(text)
    yield lambda truth: (truth / about).write_text(
        (truth / about).read_text().replace("20", "twenty ")
    )


@pytest.mark.parametrize("damage", list(damages()))
def test_a_damaged_truth_gets_one_sentence(tmp_path: Path, folder, damage) -> None:
    shutil.copytree(folder / "truth", tmp_path / "truth")
    damage(tmp_path / "truth")
    with pytest.raises(ShopError, match=r"truth is damaged: make the shop again\.$"):
        Shop.open(tmp_path)


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
