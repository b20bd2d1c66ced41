"""A customer's page: nothing twice, every reason true, and nothing that may not be shown."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.article_facts import ArticleFacts
from pipelines.assortment import Assortment
from pipelines.columns import texts
from pipelines.model_catalog import RELEASE
from pipelines.model_registry import composing, release
from pipelines.recommender import Recommender
from pipelines.retrievers.article_to_article import ArticleToArticle
from pipelines.warehouse import reading
from services.answers import Answers
from services.carousels import LEAST, SHORT, _chosen, _Row, complements
from services.deadlines import MILLISECONDS
from services.schemas import Carousel, Event, Home

ORDER = [
    "pick_up",
    "top_picks",
    "buy_it_again",
    "because",
    "goes_with",
    "trending",
    "popular_at_your_age",
    "sponsored",
]


@pytest.fixture(scope="module")
def ruled(built_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """A shop that blocks an article and has one that is paid for."""
    home = tmp_path_factory.mktemp("page") / "home"
    shutil.copytree(built_shop, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(home))
        patch.setenv("LOOKBOOK_DEADLINES", ",".join(f"{stage}=5000" for stage in MILLISECONDS))
        popular = Answers()._served.popular
        rules = {"blocked": [popular[0]], "sponsored": [popular[40]], "slots": [2]}
        declared = replace(RELEASE, rerankers={"business_rules": rules})
        release.promote(composing.create_release(settings=declared).tag)
        answers = Answers()
        yield answers
        answers.stop()


@pytest.fixture
def answers(ruled: Answers) -> Answers:
    return ruled


def blocked(answers: Answers) -> str:
    (article,) = answers._served.barred
    return article


def shown(home: Home) -> list[str]:
    return [one.article_id for row in home.carousels for one in row.articles]


def rows_of(home: Home) -> dict[str, Carousel]:
    return {row.name: row for row in home.carousels}


def product(articles: list[str]) -> list[str]:
    with reading() as con:
        found = con.execute(
            "SELECT article_id, product_code FROM staging.articles WHERE article_id IN "
            "(SELECT unnest($ids))",
            {"ids": articles},
        ).fetchall()
    of = dict(found)
    return [of[article] for article in articles]


def test_nothing_stands_twice_and_rows_stand_in_order(answers: Answers) -> None:
    seen: set[str] = set()
    customers = [found.customer_id for found in answers.sample_customers()[::3]]
    for customer in [*customers, "somebody new"]:
        for k in (1, 6, 24):
            home = answers.home(customer, k)
            assert (home.trouble, home.fallback) == (
                [],
                None if home.known else "unknown_customer",
            )
            products = product(shown(home))
            assert len(set(products)) == len(products)
            names = [row.name for row in home.carousels]
            assert names == [name for name in ORDER if name in names]
            seen |= {*names}
            for row in home.carousels:
                least = 1 if row.name in SHORT else LEAST
                assert min(least, k) <= len(row.articles) <= k
                assert [one.rank for one in row.articles] == list(range(1, len(row.articles) + 1))
                assert all(one.name and one.reason for one in row.articles)
            assert blocked(answers) not in shown(home)
    assert seen >= set(ORDER) - {"pick_up"}


def test_every_reason_is_true(answers: Answers) -> None:
    with reading() as con:
        bought = con.execute("SELECT customer_id, article_id FROM staging.purchases").df()
        kinds = con.execute("SELECT article_id, product_type_name FROM staging.articles").df()
    kind = kinds.set_index("article_id")["product_type_name"]
    for known in answers.sample_customers()[::4]:
        own = set(bought.loc[bought["customer_id"] == known.customer_id, "article_id"])
        home = answers.home(known.customer_id, 8)
        page = rows_of(home)
        whole = answers.recommend(known.customer_id, 100)
        place = {row.article_id: row.rank for row in whole.recommendations}
        for name, row in page.items():
            for one in row.articles:
                if name == "buy_it_again":
                    assert one.article_id in own
                    assert one.reason.startswith("You bought this")
                if name == "because":
                    assert row.about in own
                    assert one.because == row.about != one.article_id
                    assert one.because_name
                    assert one.because_name in one.reason
                    assert one.because_name in row.title
                if name == "goes_with":
                    assert row.about in own
                    assert one.because == row.about
                    assert kind[one.article_id] != kind[row.about]
                    assert one.article_id in complements(
                        answers._served.recommender, str(row.about), 60
                    )
                if name == "trending":
                    retriever = answers._served.recommender.retrievers["popular_by_postal_code"]
                    near = retriever.knows(answers.customer(known.customer_id).postal_code)
                    assert row.title == ("Trending near you" if near else "Trending now")
                    assert one.reason.startswith("Popular near you." if near else "Popular.")
                if name == "popular_at_your_age":
                    assert answers.customer(known.customer_id).age is not None
                    assert one.reason.startswith("Popular with customers of your age.")
                if name == "sponsored":
                    assert one.reason == "Sponsored."
        picks = [place.get(one.article_id, 101) for one in page["top_picks"].articles]
        assert picks == sorted(picks)


def test_somebody_new_gets_what_is_popular(answers: Answers) -> None:
    home = answers.home("somebody new", 6)
    assert not home.known
    page = rows_of(home)
    assert "trending" in page
    assert page["trending"].title == "Trending now"
    assert not {"because", "buy_it_again", "goes_with", "popular_at_your_age", "pick_up"} & {*page}


def test_a_session_is_picked_up_where_it_was_left(answers: Answers) -> None:
    moment, shelf = answers._served.moment, answers._served.popular
    customer = "left early"

    def did(article: str, kind: str, minutes: int) -> Event:
        at = moment + timedelta(minutes=minutes)
        return Event(customer_id=customer, article_id=article, kind=kind, event_time=at)

    looked, put, bought, waved = shelf[10], shelf[12], shelf[14], shelf[16]
    day = 24 * 60
    answers.happened(
        [
            did(looked, "view", 0),
            did(put, "view", day),
            did(put, "cart", day + 1),
            did(bought, "cart", 3 * day),
            did(bought, "purchase", 3 * day + 1),
            did(waved, "view", 3 * day),
            did(waved, "dismiss", 3 * day + 2),
            did(blocked(answers), "cart", 3 * day),
        ]
    )
    home = answers.home(customer, 6)
    page = rows_of(home)
    assert [(one.article_id, one.reason) for one in page["pick_up"].articles] == [
        (put, "You put it in your cart 2 days ago."),
        (looked, "You looked at it 3 days ago."),
    ]
    assert waved not in shown(home)
    assert blocked(answers) not in shown(home)
    if "goes_with" in page:
        assert page["goes_with"].about == bought
    assert home.carousels[0].name == "pick_up"
    answers.happened([did(looked, "dismiss", 3 * day + 5)])
    assert [one.article_id for one in rows_of(answers.home(customer, 6))["pick_up"].articles] == [
        put
    ]


def test_today_and_yesterday_are_days_of_the_calendar(answers: Answers) -> None:
    moment, shelf = answers._served.moment, answers._served.popular

    def reason(customer: str, *minutes: int) -> list[str]:
        answers.happened(
            [
                Event(
                    customer_id=customer,
                    article_id=shelf[10 + number],
                    kind="view",
                    event_time=moment + timedelta(minutes=at),
                )
                for number, at in enumerate(minutes)
            ]
        )
        row = rows_of(answers.home(customer, 4))["pick_up"]
        return [one.reason for one in row.articles]

    assert reason("early", 1) == ["You looked at it today."]
    # Two minutes before midnight is yesterday.
    assert reason("late", -2, 1) == ["You looked at it today.", "You looked at it yesterday."]


def test_what_goes_with_an_article_may_be_shown(answers: Answers) -> None:
    gone = blocked(answers)
    for article in answers._served.popular[:30]:
        for found in (answers.goes_with(article, 12), answers.similar(article, 12)):
            listed = [one.article_id for one in found.articles]
            assert gone not in listed
            assert article not in listed
            assert [one.rank for one in found.articles] == list(range(1, len(listed) + 1))
    assert len(answers.similar(answers._served.popular[1], 12).articles) == 12


# Which carousel shows what

PRODUCTS = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
IDS = [f"00000000{n:02}" for n in range(len(PRODUCTS))]


def facts() -> ArticleFacts:
    none = np.zeros(len(IDS))
    assortment = Assortment(texts(*IDS), np.ones(len(IDS), bool), np.zeros(len(IDS), bool))
    groups = {"product": np.array(PRODUCTS)}
    return ArticleFacts(assortment, np.zeros((len(IDS), 0)), groups, {}, none, none, none)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pick_up", "sponsored", "top_picks", "because", "trending"]),
            st.lists(st.sampled_from(range(len(IDS))), unique=True, max_size=9),
        ),
        max_size=6,
    ),
    st.integers(1, 5),
    st.booleans(),
)
def test_carousels_share_articles_without_repeats(
    rows: list[tuple[str, list[int]]], k: int, knows_products: bool
) -> None:
    wanted = [_Row(name, name, [IDS[n] for n in places]) for name, places in rows if places]
    found = _chosen(wanted, k, facts() if knows_products else None)
    listed = [article for _, articles in found for article in articles]
    key = [PRODUCTS[IDS.index(a)] if knows_products else a for a in listed]
    assert len(set(key)) == len(key)
    kept = [row for row, _ in found]
    assert kept == [row for row in wanted if any(row is one for one in kept)]
    for row, articles in found:
        least = min(k, 1 if row.name in SHORT else LEAST)
        assert least <= len(articles) <= k
        at = [row.articles.index(a) for a in articles]
        assert at == sorted(at)
        # It is filled from behind: what it lacks stands elsewhere on the page.
        if len(articles) < k:
            for article in row.articles:
                mine = PRODUCTS[IDS.index(article)] if knows_products else article
                assert mine in key
    # There is a page if any of them could stand on one of its own.
    alone = [_chosen([row], k, facts() if knows_products else None) for row in wanted]
    assert bool(found) == any(alone)
    if len([one for one in alone if one]) == 1:
        ((row, _),) = next(one for one in alone if one)
        assert kept == [row]


def test_what_a_short_carousel_gives_back_comes_to_the_others() -> None:
    short = _Row("because", "", IDS[4:6])
    long = _Row("top_picks", "", [*IDS[2:4], *IDS[6:9], *IDS[4:6]])
    ((row, articles),) = _chosen([short, long], 9, None)
    assert row is long
    assert articles == long.articles


def test_complements_are_of_another_kind(answers: Answers) -> None:
    recommender = answers._served.recommender
    without = replace(recommender, retrievers={"ease": recommender.retrievers["ease"]})
    assert complements(without, answers._served.popular[0], 5) == []
    assert complements(recommender, "0999999999", 5) == []
    assert isinstance(recommender, Recommender)
    assert isinstance(recommender.retrievers["co_purchase"], ArticleToArticle)
