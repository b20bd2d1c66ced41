"""What is like what, by each kind of content; new articles are reached by it; and what a session says."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pipelines.retrievers.article_to_article import ArticleToArticle
from pipelines.retrievers.base import Asked
from pipelines.retrievers.similar import by_rank
from tests.retrieval_worlds import (
    BOOTS,
    COAT,
    CUTOFF,
    MOMENT,
    SHIRT,
    SOCKS,
    STAR,
    Purchase,
    World,
    world,
)

NEW_TOP, NEW_BOOTS = "0000000007", "0000000010"
"""On file and never sold: of the shirt's type and colour, and of the boots'."""

SOLD: list[Purchase] = [
    *((f"c{n}", article, 1 + n % 7) for n in range(8) for article in (STAR, SHIRT)),
    *((f"d{n}", article, 1 + n % 7) for n in range(4) for article in (SOCKS, COAT, BOOTS)),
    ("eve", SHIRT, 2),
    ("pam", BOOTS, 2),
]
CONTENT = ["similar_by_metadata", "similar_by_text", "similar_by_image", "similar"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("shop"), SOLD, unsold=[NEW_TOP, NEW_BOOTS])


def named(shop: World, retriever: str, customer: str, k: int = 10) -> list[str]:
    found = shop.fit(retriever).candidates(shop.state([customer]), MOMENT, k)
    return found["article_id"].tolist()


@pytest.mark.parametrize("retriever", CONTENT)
def test_what_looks_the_same_comes_first_though_nobody_bought_it(
    shop: World, retriever: str
) -> None:
    assert named(shop, retriever, "eve", 1) == [NEW_TOP]
    assert named(shop, retriever, "pam", 1) == [NEW_BOOTS]


@pytest.mark.parametrize("retriever", CONTENT)
def test_what_has_nothing_in_common_is_not_named(shop: World, retriever: str) -> None:
    found = set(named(shop, retriever, "eve"))
    # A top is like a top, and nothing like shoes.
    assert found >= {NEW_TOP, STAR}
    assert not found & {COAT, BOOTS, NEW_BOOTS}


@pytest.mark.parametrize("retriever", [*CONTENT, "similar_by_transactions"])
def test_what_the_customer_has_is_not_named(shop: World, retriever: str) -> None:
    fitted = shop.fit(retriever)
    both = shop.state(["c0", "eve"])  # of whom c0 has the star and the shirt, which are alike
    together, alone = (fitted.candidates(of, MOMENT, 10) for of in (both, both.iloc[[0]]))
    found = together[together["customer_id"] == "c0"]
    assert not set(found["article_id"]) & {STAR, SHIRT}
    assert found["article_id"].tolist() == alone["article_id"].tolist()
    assert found["rank"].tolist() == list(range(1, 1 + len(found)))


def test_kinds_of_likeness_are_put_together_by_rank() -> None:
    likeness = sparse.csr_matrix(np.array([[0.0, 0.9, 0.99, 0.9], [0.2, 0.0, 0.0, 0.0]]))
    found = by_rank(likeness).toarray()
    np.testing.assert_allclose(found, [[0, 1 / 62, 1 / 61, 1 / 63], [1 / 61, 0, 0, 0]], rtol=1e-6)


def test_similar_articles(shop: World) -> None:
    similar = shop.fit("similar")
    assert isinstance(similar, ArticleToArticle)
    found = similar.similar_articles([NEW_BOOTS, "0999999999", SHIRT], 1)
    assert found["article_id"].tolist() == [NEW_BOOTS, SHIRT]
    assert found["similar_id"].tolist() == [BOOTS, NEW_TOP]
    assert found["rank"].tolist() == [1, 1]
    more = similar.similar_articles([SHIRT], 100)
    assert more["score"].is_monotonic_decreasing
    assert SHIRT not in set(more["similar_id"])
    assert similar.similar_articles([], 3).empty


@pytest.mark.parametrize(
    "retriever", ["popular", "co_purchase", "item_knn", "similar_by_transactions"]
)
def test_what_sales_say_never_reaches_it(shop: World, retriever: str) -> None:
    assert NEW_TOP not in named(shop, retriever, "eve")


def test_the_reason_is_what_it_looks_like(shop: World) -> None:
    retriever = shop.fit("similar_by_image")
    pairs = pd.DataFrame({"customer_id": ["eve"], "article_id": [NEW_TOP]})
    assert retriever.because(Asked(shop.state(["eve"]), MOMENT), pairs) == [SHIRT]
    assert retriever.reason({}, "Shirt (Blue)") == "Looks like Shirt (Blue)."


def test_those_whose_buyers_are_alike_are_alike_by_transactions(shop: World) -> None:
    found = named(shop, "similar_by_transactions", "pam")
    assert set(found) >= {SOCKS, COAT}
    assert found[0] in (SOCKS, COAT)


def test_an_article_without_a_vector_is_like_none(tmp_path: Path) -> None:
    bare = world(tmp_path, SOLD, embedded=False)
    for retriever in ("similar_by_text", "similar_by_image"):
        assert named(bare, retriever, "eve") == []
    # Attributes are left.
    assert named(bare, "similar", "eve")[0] == STAR


# --- in the session -----------------------------------------------------------------------------


def in_session(shop: World, *events: tuple[str, str, timedelta]) -> pd.DataFrame:
    """What is known of somebody new who did this: article, kind, how long ago; the newest first."""
    state = shop.state(["somebody new"])
    moments = [int((MOMENT - ago).timestamp() * 1e6) for _, _, ago in events]
    lists = {
        "articles": [article for article, _, _ in events],
        "kinds": [kind for _, kind, _ in events],
        "moments": moments,
    }
    for name, values in lists.items():
        state[f"customer_session__session_{name}"] = pd.Series([np.array(values)], dtype=object)
    return state


def test_what_was_looked_at_comes_first_and_then_what_goes_with_it(shop: World) -> None:
    retriever = shop.fit("in_session")
    state = in_session(shop, (SHIRT, "view", timedelta(minutes=1)))
    found = retriever.candidates(state, MOMENT, 10)["article_id"].tolist()
    assert found == [SHIRT, STAR]


def test_an_event_counts_by_kind_and_age(shop: World) -> None:
    retriever = shop.fit("in_session")
    now = timedelta(minutes=1)
    for earlier, later in (
        # A cart says more than a view, and a view of now more than one of last week.
        ((SHIRT, "view", now), (BOOTS, "cart", now)),
        ((SHIRT, "view", timedelta(days=7)), (BOOTS, "view", now)),
    ):
        found = retriever.candidates(in_session(shop, later, earlier), MOMENT, 10)
        assert found["article_id"].iloc[0] == BOOTS
        assert SHIRT in set(found["article_id"])
    view = retriever.candidates(in_session(shop, (SHIRT, "view", now)), MOMENT, 1)["score"].item()
    day_old = in_session(shop, (SHIRT, "view", now + timedelta(hours=24)))
    assert retriever.candidates(day_old, MOMENT, 1)["score"].item() == pytest.approx(view / 2)


def test_what_was_looked_at_long_ago_says_nothing_to_one_or_to_many(shop: World) -> None:
    retriever = shop.fit("in_session")
    old = in_session(shop, (SHIRT, "view", timedelta(days=160)))
    assert retriever.candidates(old, MOMENT, 10).empty
    assert retriever.candidates(pd.concat([old, old.assign(customer_id="z")]), MOMENT, 10).empty


def test_what_was_dismissed_leads_to_nothing(shop: World) -> None:
    state = in_session(shop, (SHIRT, "dismiss", timedelta(minutes=1)))
    assert shop.fit("in_session").candidates(state, MOMENT, 10).empty


def test_what_was_looked_at_and_then_dismissed_leads_to_nothing_until_it_is_looked_at_again(
    shop: World,
) -> None:
    retriever = shop.fit("in_session")
    minutes = [timedelta(minutes=n) for n in range(4)]
    waved = [(SHIRT, "dismiss", minutes[1]), (SHIRT, "cart", minutes[2])]
    assert retriever.candidates(in_session(shop, *waved), MOMENT, 10).empty
    again = in_session(shop, (SHIRT, "view", minutes[0]), *waved)
    assert SHIRT in set(retriever.candidates(again, MOMENT, 10)["article_id"])
    # It is one customer's own affair.
    two = pd.concat(
        [in_session(shop, *waved), in_session(shop, *waved[1:]).assign(customer_id="z")],
        ignore_index=True,
    )
    assert set(retriever.candidates(two, MOMENT, 10)["customer_id"]) == {"z"}


def test_what_was_just_bought_leads_to_what_goes_with_it_and_not_to_itself(shop: World) -> None:
    retriever = shop.fit("in_session")
    minutes = [timedelta(minutes=n) for n in range(3)]
    bought = [(SHIRT, "purchase", minutes[1]), (SHIRT, "view", minutes[2])]
    for k, expected in ((10, [STAR]), (1, [STAR])):
        found = retriever.candidates(in_session(shop, *bought), MOMENT, k)
        assert found["article_id"].tolist() == expected
    again = in_session(shop, (SHIRT, "view", minutes[0]), *bought)
    assert SHIRT in set(retriever.candidates(again, MOMENT, 10)["article_id"])


def test_an_event_after_the_moment_is_not_known(shop: World) -> None:
    state = in_session(shop, (SHIRT, "view", -timedelta(minutes=1)))
    assert shop.fit("in_session").candidates(state, MOMENT, 10).empty
    assert datetime.combine(CUTOFF, datetime.min.time(), MOMENT.tzinfo) == MOMENT
