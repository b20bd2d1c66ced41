"""Recommendations in words: names, reasons, and what moved the score."""

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from pipelines.features import Features
from pipelines.rankers.base import PURCHASE, Objective
from pipelines.recommender import PINNED, SPONSORED, Recommender, with_history
from pipelines.retrievers.base import Asked

DISPLAY_SERVICE = "article_display"
SHOWN_DRIVERS = 3
BROUGHT = {SPONSORED: "Sponsored.", PINNED: "Chosen by the shop."}
"""Why an article is there that no retriever named."""

DISPLAYED = {
    "name": "prod_name",
    "product_type": "product_type_name",
    "product_group": "product_group_name",
    "colour": "colour_group_name",
    "department": "department_name",
    "description": "detail_desc",
}
"""What is shown of an article -> the field of the service `article_display`."""


def explained(
    recommender: Recommender,
    best: pd.DataFrame,
    state: pd.DataFrame,
    features: Features,
    moment: datetime,
    objective: Objective | None = None,
) -> list[dict[str, Any]]:
    """The rows of `Recommender.recommend`, which must carry their features, in words.

    Args:
        objective: what they were put in order by; drivers are known of purchases alone.

    Returns:
        for each row article_id, rank, score, source, because, because_name, reason, drivers (the
        columns that raised its score most), price, and the names of `DISPLAYED`.
    """
    if best.empty:
        return []
    best = best.reset_index(drop=True)
    because: list[str | None] = [None] * len(best)
    asked = Asked(state, moment)
    for source, rows in best[~best["source"].isin(BROUGHT)].groupby("source"):
        led = recommender.retrievers[str(source)].because(asked, rows)
        for place, article_id in zip(rows.index, led, strict=True):
            because[place] = article_id
    shown = article_display([*best["article_id"], *filter(None, because)], features)
    purchases = objective is None or {n for n, weight in objective.items() if weight} == {PURCHASE}
    drivers = _drivers(recommender, best, state) if purchases else [[]] * len(best)
    answers = []
    for place, row in enumerate(best.to_dict("records")):
        article, led_by = shown[row["article_id"]], because[place]
        led_name = _full_name(shown[led_by]) if led_by else None
        answers.append(
            {
                "article_id": row["article_id"],
                "rank": row["rank"],
                "score": row["score"],
                "source": row["source"],
                "because": led_by,
                "because_name": led_name,
                "reason": _reason(recommender, row, led_name),
                "drivers": drivers[place],
                **article,
            }
        )
    return answers


def _reason(recommender: Recommender, row: Mapping[Hashable, Any], led_name: str | None) -> str:
    if row["source"] in BROUGHT:
        return BROUGHT[row["source"]]
    return recommender.retrievers[row["source"]].reason(row, led_name)


def _full_name(article: Mapping[str, Any]) -> str | None:
    """The name with the colour, which tells variants of one product apart."""
    if article["name"] and article["colour"]:
        return f"{article['name']} ({article['colour']})"
    return article["name"]


def article_display(articles: Iterable[str], features: Features) -> dict[str, dict[str, Any]]:
    """What is shown of each article: the names of `DISPLAYED` and price; what is missing is None."""
    unique = pd.DataFrame({"article_id": list(dict.fromkeys(articles))}, dtype=object)
    rows = features.read(unique, DISPLAY_SERVICE)
    return {
        row["article_id"]: {
            "price": number_or_none(row["article_activity__latest_price"]),
            **{
                shown: text_or_none(row[f"article_profile__{field}"])
                for shown, field in DISPLAYED.items()
            },
        }
        for row in rows.to_dict("records")
    }


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def number_or_none(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _drivers(
    recommender: Recommender, best: pd.DataFrame, state: pd.DataFrame
) -> list[list[dict[str, Any]]]:
    """For each row the columns that raised its score most."""
    ranker = recommender.ranker
    if ranker is None:
        return [[] for _ in range(len(best))]
    explained_by = ranker.explain(with_history(best, state) if ranker.reads_history else best)
    effects = explained_by.to_numpy("float64")
    strongest = np.argsort(-effects, axis=1)[:, :SHOWN_DRIVERS]
    return [
        [
            {
                "feature": explained_by.columns[column],
                "effect": round(float(effects[row, column]), 4),
            }
            for column in columns
            if effects[row, column] > 0
        ]
        for row, columns in enumerate(strongest)
    ]
