"""Recommendations in words: names, reasons, and what moved the score."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from pipelines.columns import Columns, Row, Table, objects, texts
from pipelines.features import Features
from pipelines.rankers.base import PURCHASE, Objective
from pipelines.reasons import moved_by
from pipelines.recommender import (
    BEST_SELLERS,
    MATCHING,
    PINNED,
    SPONSORED,
    Recommender,
    with_history,
)
from pipelines.retrievers.article_to_article import ArticleToArticle
from pipelines.retrievers.base import Asked

DISPLAY_SERVICE = "article_display"
REPURCHASE = "repurchase"
SHOWN_DRIVERS, TRIED_DRIVERS = 3, 8
"""So many columns are told of; among so many of the strongest is looked for one of which a sentence can be said."""
BROUGHT = {
    SPONSORED: "Sponsored.",
    PINNED: "Chosen by the shop.",
    MATCHING: "Sells well among what you asked for.",
    BEST_SELLERS: "Sells well.",
}
"""Why an article is there that no retriever named."""
POPULAR = "Popular."
"""Said of what was found without a retriever."""
CHOSEN = "Chosen for you."
"""Said where a reason cannot be had."""

PRICE = "article_activity__latest_price"
DISPLAYED = {
    "name": "prod_name",
    "product_type": "product_type_name",
    "product_group": "product_group_name",
    "colour": "colour_group_name",
    "department": "department_name",
    "description": "detail_desc",
}
"""What is shown of an article -> the field of the service `article_display`."""


Display = Callable[[Iterable[str]], Mapping[str, Mapping[str, Any]]]
"""Gives what is shown of each of some articles (`article_display`)."""


def explained(
    recommender: Recommender,
    best: Table,
    state: Table,
    display: Display,
    moment: datetime,
    objective: Objective | None = None,
    *,
    ranked: bool = True,
    plain: bool = False,
) -> list[dict[str, Any]]:
    """The rows of `Recommender.recommend`, which must carry their features, in words.

    Args:
        objective: what they were put in order by; drivers are known of purchases alone.
        ranked: whether a ranker has put them in order, so that there are drivers.
        plain: ask no model: nothing is said of what led to an article, nor of what moved its score.

    Returns:
        for each row article_id, rank, score, source, because, because_name, reason, drivers (the
        columns that raised its score most), price, and the names of `DISPLAYED`.
    """
    if not len(best):
        return []
    because: list[str | None] = [None] * len(best)
    if not plain:
        because = _led_by(recommender, best, Asked.of(state, moment))
    shown = display([*best["article_id"], *filter(None, because)])
    purchases = objective is None or {n for n, weight in objective.items() if weight} == {PURCHASE}
    drivers: list[list[dict[str, Any]]] = [[] for _ in range(len(best))]
    if purchases and ranked and not plain:
        drivers = drivers_of(recommender, best, state, TRIED_DRIVERS)
    answers: list[dict[str, Any]] = []
    # What has been said of one article tells less of the next.
    told: set[str] = set()
    for place, led_by in enumerate(because):
        row = Row(best, place)
        article = shown[row["article_id"]]
        led_name = full_name(shown[led_by]) if led_by else None
        answers.append(
            {
                "article_id": row["article_id"],
                "rank": int(row["rank"]),
                "score": float(row["score"]),
                "source": row["source"],
                "because": led_by,
                "because_name": led_name,
                "reason": _reason(
                    recommender,
                    row,
                    led_name,
                    drivers[place],
                    told,
                    itself=led_by == row["article_id"],
                    plain=plain,
                ),
                "drivers": drivers[place][:SHOWN_DRIVERS],
                **article,
            }
        )
    return answers


def _led_by(recommender: Recommender, best: Table, asked: Asked) -> list[str | None]:
    """The customer's own article that led to each row, by the source that ranked it best."""
    because: list[str | None] = [None] * len(best)
    sources = objects(best, "source")
    for source in dict.fromkeys(sources):
        if source in recommender.retrievers:
            places = np.flatnonzero(sources == source)
            pairs = {name: objects(best, name)[places] for name in ("customer_id", "article_id")}
            led = recommender.retrievers[source].because(asked, Columns(pairs))
            for place, article_id in zip(places, led, strict=True):
                because[place] = article_id
    return because


def _reason(
    recommender: Recommender,
    row: Mapping[Hashable, Any],
    led_name: str | None,
    drivers: Sequence[Mapping[str, Any]],
    told: set[str],
    *,
    itself: bool,
    plain: bool,
) -> str:
    """What the source says, and what moved the score most, as far as that can be said and has not been told.

    Args:
        itself: whether the customer's own article that led to it is the same.
    """
    if row["source"] in BROUGHT:
        return BROUGHT[row["source"]]
    retriever = recommender.retrievers.get(row["source"])
    if retriever is None:
        return POPULAR
    said = CHOSEN
    if itself and isinstance(retriever, ArticleToArticle):
        said = retriever.of_itself
    else:
        with suppress(*([Exception] if plain else [])):
            said = retriever.reason(row, led_name)
    columns = [driver["feature"] for driver in drivers]
    if row["source"] == REPURCHASE:
        # That they bought it, and when, has been said.
        columns = [name for name in columns if not name.startswith("customer_article")]
    moved = moved_by(row, columns, told)
    if moved is None:
        return said
    told.add(moved)
    return f"{said} {moved}"


def full_name(article: Mapping[str, Any]) -> str | None:
    """The name with the colour, which tells variants of one product apart."""
    if article["name"] and article["colour"]:
        return f"{article['name']} ({article['colour']})"
    return article["name"]


def article_display(articles: Iterable[str], features: Features) -> dict[str, dict[str, Any]]:
    """What is shown of each article: the names of `DISPLAYED` and price; what is missing is None."""
    unique = list(dict.fromkeys(articles))
    return displayed(features.read(features.table({"article_id": texts(*unique)}), DISPLAY_SERVICE))


def displayed(rows: Table) -> dict[str, dict[str, Any]]:
    """The same of rows of `article_display`."""
    columns: dict[str, list[Any]] = {"price": list(map(number_or_none, rows[PRICE]))}
    for shown, field in DISPLAYED.items():
        columns[shown] = list(map(text_or_none, rows[f"article_profile__{field}"]))
    of_each = zip(*columns.values(), strict=True)
    return {
        article: dict(zip(columns, values, strict=True))
        for article, values in zip(rows["article_id"], of_each, strict=True)
    }


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def number_or_none(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def drivers_of(
    recommender: Recommender,
    best: Any,
    state: Table,
    most: int = SHOWN_DRIVERS,
    whole: bool = False,
) -> list[list[dict[str, Any]]]:
    """For each row the columns that raised its score most: feature and effect.

    Args:
        best: rows with what the ranker saw.
        whole: take the time for exact effects, and tell also what lowered it.
    """
    ranker = recommender.ranker
    if ranker is None:
        return [[] for _ in range(len(best))]
    seen = with_history(best, state) if ranker.reads_history else best
    explained_by = ranker.effects(seen) if whole else ranker.quick_effects(seen)
    names, effects = explained_by.columns.tolist(), explained_by.to_numpy("float64")
    strongest = np.argsort(-(abs(effects) if whole else effects), axis=1)[:, :most]
    by = np.take_along_axis(effects, strongest, axis=1)
    return [
        [
            {"feature": names[column], "effect": round(effect, 4)}
            for column, effect in zip(columns, of_row, strict=True)
            if effect > 0 or (whole and effect)
        ]
        for columns, of_row in zip(strongest.tolist(), by.tolist(), strict=True)
    ]
