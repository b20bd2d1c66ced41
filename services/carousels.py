"""A customer's page: rows of articles, each with one idea behind it, and no article twice.

Every carousel is a look at the same ranked candidates, so that one request pays for all of them. An article that
several could show stands where it ranks best; what a carousel gives up it fills from behind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.article_facts import ArticleFacts
from pipelines.columns import Columns, objects, taken
from pipelines.explaining import full_name
from pipelines.rankers.base import Objective
from pipelines.recommender import MATCHING, POSTAL_CODE, SPONSORED, Recommender, dismissed
from pipelines.rerankers.page import without_repeats
from pipelines.retrievers.article_to_article import ArticleToArticle
from pipelines.retrievers.base import Asked, days_since_epoch, recent_lists, session_lists
from pipelines.retrievers.popular_by_postal_code import PopularByPostalCode
from services.request_path import POPULAR, Found
from services.schemas import Carousel, Recommendation

LEAST = 3
"""A carousel with fewer articles is left out, unless it is one of `SHORT`."""
PICK_UP = "pick_up"
SHORT = (PICK_UP, "sponsored")
DEPTH = 60
"""So many candidates of a carousel may come to stand in it."""
LED_BY = 120
"""So many of the best candidates are asked what led to them."""
OPENED = ("view", "cart")


@dataclass
class _Row:
    """A carousel before it is known which articles it gets."""

    name: str
    title: str
    articles: list[str]
    source: str | None = None
    about: str | None = None
    why: Mapping[str, str] | None = None
    """Article -> why it stands there, where no retriever says it."""


def carousels(
    recommender: Recommender, found: Found, k: int, objective: Objective | None
) -> list[Carousel]:
    """The page of one customer.

    Args:
        found: all candidates, in order (`Question.rest`).
        k: at most so many articles in each.
    """
    rows = found.rows
    places = {article: place for place, article in enumerate(rows["article_id"])}
    wanted = [row for row in _all(recommender, found, k) if row.articles]
    facts = recommender.facts
    chosen = _chosen(wanted, k, facts)
    others = [a for row, articles in chosen if row.why is not None for a in articles]
    display = found.display([*others, *(row.about for row, _ in chosen if row.about)])
    said = _explained(recommender, found, chosen, places, objective, display)
    page = []
    for number, (row, articles) in enumerate(chosen):
        about = full_name(display[row.about]) if row.about else None
        page.append(
            Carousel(
                name=row.name,
                title=row.title.format(about=about or "this"),
                about=row.about,
                articles=[
                    Recommendation.model_validate(said[number, article] | {"rank": rank})
                    for rank, article in enumerate(articles, start=1)
                ],
            )
        )
    return page


def _chosen(
    wanted: Sequence[_Row], k: int, facts: ArticleFacts | None
) -> list[tuple[_Row, list[str]]]:
    """Carousels with what each shows: nothing twice, and none that is too short."""

    def least(row: _Row) -> int:
        return min(k, 1 if row.name in SHORT else LEAST)

    alone = [len(without_repeats([row.articles[:DEPTH]], k, facts)[0]) for row in wanted]
    left = [row for row, most in zip(wanted, alone, strict=True) if most >= least(row)]
    while True:
        # What somebody left off is theirs to pick up, whoever else would show it.
        before = sum(row.name == PICK_UP for row in left)
        shown = without_repeats(
            [row.articles[:DEPTH] for row in left], k, facts, claim="rank", before=before
        )
        lacks = [len(of) - least(row) for row, of in zip(left, shown, strict=True)]
        if not left or min(lacks) >= 0:
            return [
                (row, [row.articles[place] for place in of])
                for row, of in zip(left, shown, strict=True)
            ]
        # One at a time, the last of the shortest: what it gives back may be enough for another.
        del left[max(range(len(left)), key=lambda place: (-lacks[place], place))]


def _all(recommender: Recommender, found: Found, k: int) -> list[_Row]:
    """Every carousel that there is something for, in the order in which they stand."""
    rows = found.rows
    ids = rows["article_id"]
    sources = objects(rows, "source")

    def named_by(name: str, by_rank: bool = False) -> list[str]:
        if f"{name}__rank" not in rows:
            return []
        rank = np.asarray(rows[f"{name}__rank"], dtype="float64")
        at = np.flatnonzero(~np.isnan(rank))
        return list(ids[at[np.argsort(rank[at], kind="stable")] if by_rank else at])

    trending = next((n for n in ("popular_by_postal_code", POPULAR) if f"{n}__rank" in rows), "")
    local = recommender.retrievers.get(trending)
    near = isinstance(local, PopularByPostalCode) and local.knows(
        objects(found.state, POSTAL_CODE)[0]
    )
    picks = list(ids[~np.isin(sources, [SPONSORED, MATCHING])])
    top_picks = _Row("top_picks", "Top picks for you" if found.ranked else "Top picks", picks)
    if found.plain:
        return [top_picks]
    page = [
        _picked_up(recommender, found),
        top_picks,
        _Row("buy_it_again", "Buy it again", named_by("repurchase"), "repurchase"),
        *_because(recommender, found),
        _goes_with(recommender, found),
        _Row(
            "trending",
            "Trending near you" if near else "Trending now",
            named_by(trending, by_rank=True),
            trending,
        ),
        _Row(
            "popular_at_your_age",
            "Popular at your age",
            named_by("popular_by_age", by_rank=True),
            "popular_by_age",
        ),
        _Row("sponsored", "Sponsored", list(ids[sources == SPONSORED]), SPONSORED),
    ]
    return [row for row in page if row is not None]


def _picked_up(recommender: Recommender, found: Found) -> _Row | None:
    """What was opened or put into the cart in the session, and neither bought nor waved away since."""
    lists = session_lists(found.state)
    last: dict[str, tuple[str, float]] = {}
    # The newest event of each article says what became of it.
    for article, kind, moment in zip(
        lists["article_id"], lists["kind"], lists["moment"], strict=True
    ):
        last.setdefault(article, (kind, float(moment)))
    opened = {a: (k, m) for a, (k, m) in last.items() if k in OPENED}
    articles = _showable(recommender, list(opened), found)
    if not articles:
        return None
    today = int(days_since_epoch(found.moment))
    why = {}
    for article in articles:
        kind, moment = opened[article]
        days = today - int(moment // 86_400e6)
        when = "today" if days < 1 else "yesterday" if days < 2 else f"{days} days ago"
        did = "put it in your cart" if kind == "cart" else "looked at it"
        why[article] = f"You {did} {when}."
    return _Row(PICK_UP, "Pick up where you left off", articles, why=why)


def _because(recommender: Recommender, found: Found) -> list[_Row]:
    """The article of the customer's own that led to most of the best candidates, with what it led to."""
    rows = found.rows
    asked = Asked.of(found.state, found.moment)
    sources = objects(rows, "source")[:LED_BY]
    led: dict[tuple[str, str], list[str]] = {}
    for source in dict.fromkeys(sources):
        retriever = recommender.retrievers.get(source)
        if not isinstance(retriever, ArticleToArticle):
            continue
        at = np.flatnonzero(sources == source)
        pairs = Columns({n: objects(rows, n)[at] for n in ("customer_id", "article_id")})
        for place, by in zip(at, retriever.because(asked, pairs), strict=True):
            if by is not None and by != rows["article_id"][place]:
                led.setdefault((by, source), []).append(rows["article_id"][place])
    if not led:
        return []
    (by, source), articles = max(led.items(), key=lambda pair: len(pair[1]))
    bought = source != "in_session"
    title = "Because you bought {about}" if bought else "Because you looked at {about}"
    return [_Row("because", title, articles, source, by)]


def _goes_with(recommender: Recommender, found: Found) -> _Row | None:
    """What is bought together with what the customer took last: with what is in the session, else in the history."""
    if "co_purchase" not in recommender.retrievers:
        return None
    lists = session_lists(found.state)
    last = next(
        (
            a
            for a, kind in zip(lists["article_id"], lists["kind"], strict=True)
            if kind in ("cart", "purchase")
        ),
        None,
    )
    if last is None:
        recent = recent_lists(found.state)
        if not len(recent["article_id"]):
            return None
        last = str(recent["article_id"][np.argmax(recent["day"].astype("float64"))])
    articles = _showable(recommender, complements(recommender, last, DEPTH), found)
    why = dict.fromkeys(articles, "Often bought together with {about}.")
    return _Row("goes_with", "Goes well with {about}", articles, about=last, why=why)


def complements(recommender: Recommender, article: str, k: int) -> list[str]:
    """What is bought together with an article and is of another kind, the closest first."""
    retriever = recommender.retrievers.get("co_purchase")
    if not isinstance(retriever, ArticleToArticle):
        return []
    found = retriever.similar_articles([article], 4 * k)["similar_id"].tolist()
    if recommender.facts is None:
        return list(found[:k])
    facts = recommender.facts
    kind = facts.groups["product_type"]
    places = facts.assortment.places([article, *found])
    kinds = np.where(places >= 0, kind[places], -1)
    other = (kinds[1:] != kinds[0]) | (kinds[0] < 0)
    return [a for a, ok in zip(found, other, strict=True) if ok][:k]


def _showable(recommender: Recommender, articles: list[str], found: Found) -> list[str]:
    if not articles:
        return []
    may = recommender.may_be_shown(articles, found.state, found.moment, found.reranker)
    may &= recommender.on_sale(articles)
    gone = {article for _, article in dismissed(found.state)}
    return [a for a, ok in zip(articles, may, strict=True) if ok and a not in gone]


def _explained(
    recommender: Recommender,
    found: Found,
    chosen: Sequence[tuple[_Row, list[str]]],
    places: Mapping[str, int],
    objective: Objective | None,
    display: Mapping[str, Mapping[str, Any]],
) -> dict[tuple[int, str], dict[str, Any]]:
    """What is said of each article in each carousel: by the carousel's own source, where it has one.

    Args:
        display: what is shown of articles that no retriever speaks for, and of those that carousels are about.
    """
    said: dict[tuple[int, str], dict[str, Any]] = {}
    at, whose = [], []
    source = objects(found.rows, "source").copy()
    for number, (row, articles) in enumerate(chosen):
        for article in articles:
            if article in places and row.why is None:
                at.append(places[article])
                whose.append(number)
                if row.source is not None:
                    source[places[article]] = row.source
    best = taken(found.rows.assign(source=source), np.array(at, dtype=np.intp))
    rows = found.in_words(recommender, best, objective)
    for number, one in zip(whose, rows, strict=True):
        said[number, one["article_id"]] = one
    score = np.asarray(found.rows["score"], dtype="float64")
    for number, (row, articles) in enumerate(chosen):
        if row.why is None:
            continue
        about = full_name(display[row.about]) if row.about else None
        for article in articles:
            place = places.get(article)
            said[number, article] = {
                "article_id": article,
                "score": float(score[place]) if place is not None else 0.0,
                "source": row.name,
                "because": row.about,
                "because_name": about,
                "reason": row.why[article].format(about=about or "it"),
                "drivers": [],
                **display[article],
            }
    return said
