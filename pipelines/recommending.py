"""Recommendations for people and for files: with names and reasons, or for every customer."""

import csv
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from feature_repo.errors import LookbookError
from pipelines.feature_tables import latest_build
from pipelines.features import Features, OfflineFeatures, OnlineFeatures, moment_of, online_moment
from pipelines.model_registry.publishing import load_recommender, release_for
from pipelines.model_registry.release import Release
from pipelines.recommender import BATCH_CUSTOMERS, Recommender, customer_state
from pipelines.warehouse import reading

DISPLAY_SERVICE = "article_display"
SHOWN_DRIVERS = 3

DISPLAYED = {
    "name": "prod_name",
    "product_type": "product_type_name",
    "product_group": "product_group_name",
    "colour": "colour_group_name",
    "department": "department_name",
    "description": "detail_desc",
}
"""What is shown of an article -> the field of the service `article_display`."""


@dataclass(frozen=True)
class Answer:
    """Recommendations for one customer, explained."""

    release: str
    moment: datetime
    rows: list[dict[str, Any]]


def for_customer(customer: str, *, k: int, at: datetime | None = None) -> Answer:
    """The k best articles for a customer, now from the online store or at a past moment.

    Raises:
        RegistryError: no release is in production, or none is as old as the moment.
        FeatureError: the online store is empty.
    """
    chosen = _release(at)
    recommender, _ = load_recommender(chosen)
    moment = at or online_moment()
    features: Features = OfflineFeatures(moment) if at else OnlineFeatures(moment)
    best = recommender.recommend([customer], features, moment, k)
    state = customer_state([customer], features)
    return Answer(chosen.tag, moment, explained(recommender, best, state, features, moment))


def _release(at: datetime | None) -> Release:
    """The release that answers a moment: days are cut in UTC, whatever the moment's own zone."""
    return release_for(at.astimezone(UTC).date() if at else None)


def explained(
    recommender: Recommender,
    best: pd.DataFrame,
    state: pd.DataFrame,
    features: Features,
    moment: datetime,
) -> list[dict[str, Any]]:
    """The rows of `Recommender.recommend` in words.

    Returns:
        for each row article_id, rank, score, source, because, because_name, reason, drivers (the
        columns that raised its score most), price, and the names of `DISPLAYED`.
    """
    if best.empty:
        return []
    best = best.reset_index(drop=True)
    because: list[str | None] = [None] * len(best)
    for source, rows in best.groupby("source"):
        led = recommender.retrievers[str(source)].because(state, rows, moment)
        for place, article_id in zip(rows.index, led, strict=True):
            because[place] = article_id
    shown = article_display([*best["article_id"], *filter(None, because)], features)
    drivers = _drivers(recommender, best)
    answers = []
    for place, row in enumerate(best.to_dict("records")):
        article, led_by = shown[row["article_id"]], because[place]
        led_name = shown[led_by]["name"] if led_by else None
        answers.append(
            {
                "article_id": row["article_id"],
                "rank": row["rank"],
                "score": row["score"],
                "source": row["source"],
                "because": led_by,
                "because_name": led_name,
                "reason": _reason(row, led_name),
                "drivers": drivers[place],
                **article,
            }
        )
    return answers


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


def _drivers(recommender: Recommender, best: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """For each row the columns that raised its score most."""
    if recommender.ranker is None:
        return [[] for _ in range(len(best))]
    explained_by = recommender.ranker.explain(best)
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


def _reason(row: Mapping[Hashable, Any], led_name: str | None) -> str:
    """Why the article is here, from the facts that its source rests on."""
    if row["source"] == "repurchase":
        times = int(row["customer_article__times_bought"])
        last = pd.Timestamp(row["customer_article__last_bought"])
        often = {1: "once", 2: "twice"}.get(times, f"{times} times")
        return f"You bought this {often}, last on {last.day} {last:%B %Y}."
    if row["source"] == "co_purchase":
        return f"Often bought together with {led_name or 'what you bought'}."
    buyers = number_or_none(row["article_activity__u_customers_7d"])
    return (
        "Popular." if buyers is None else f"Popular: {buyers:,.0f} customers bought it in 7 days."
    )


def to_file(
    out: Path,
    *,
    k: int,
    at: datetime | None = None,
    customers: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> int:
    """Write the Kaggle file: `customer_id,prediction`, article ids separated by a space.

    The file appears whole or not at all.

    Args:
        at: a past moment; the end of the feature tables if None.
        customers: a CSV with the column customer_id; every customer of the shop if None.

    Returns:
        the number of customers.

    Raises:
        RegistryError: there is no release for the moment.
        LookbookError: the file of customers cannot be read.
    """
    moment = at or moment_of(latest_build().through + timedelta(days=1))
    recommender, _ = load_recommender(_release(at))
    features = OfflineFeatures(moment)
    everyone = _customers(customers)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["customer_id", "prediction"])
            for start in range(0, len(everyone), BATCH_CUSTOMERS):
                batch = everyone[start : start + BATCH_CUSTOMERS]
                best = recommender.recommend(batch, features, moment, k)
                predictions = best.groupby("customer_id")["article_id"].agg(" ".join)
                writer.writerows((customer, predictions.get(customer, "")) for customer in batch)
                progress(f"{start + len(batch):,} customers")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return len(everyone)


def _customers(file: Path | None) -> list[str]:
    """Customer ids, each once, in the order of the file or of the ids."""
    if file is None:
        with reading() as con:
            ids = con.execute(
                "SELECT customer_id FROM staging.customers ORDER BY customer_id"
            ).fetchall()
    else:
        try:
            with duckdb.connect() as con:
                ids = con.execute(
                    "SELECT customer_id FROM read_csv(?, all_varchar = true, header = true) "
                    "WHERE customer_id IS NOT NULL",
                    [str(file)],
                ).fetchall()
        except duckdb.Error as error:
            raise LookbookError(
                f"{file} needs a column customer_id: {str(error).splitlines()[0]}"
            ) from error
    return list(dict.fromkeys(row[0] for row in ids))
