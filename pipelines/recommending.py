"""Recommendations by the release in charge: for one customer, or for every one into a file."""

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from feature_repo.errors import InputError
from feature_repo.places import whole_file
from feature_repo.stores.connection import scratch
from pipelines.explaining import explained
from pipelines.feature_tables import latest_build
from pipelines.features import (
    Features,
    OfflineFeatures,
    OnlineFeatures,
    moment_of,
    require_built,
)
from pipelines.model_registry.publishing import load_recommender, release_for, require_fresh
from pipelines.model_registry.release import Release
from pipelines.online import online_moment
from pipelines.recommender import BATCH_CUSTOMERS, customer_state, is_known
from pipelines.reports.words import many
from pipelines.warehouse import reading


@dataclass(frozen=True)
class Answer:
    """Recommendations for one customer, explained."""

    release: str
    moment: datetime
    known: bool
    """False for a customer of whom the shop has heard nothing; the answer is then what is popular."""
    rows: list[dict[str, Any]]
    candidates: int
    """How many articles were put in order."""
    sponsored: dict[str, int]
    """The rank of each sponsored article among them."""


def for_customer(
    customer: str, *, k: int, at: datetime | None = None, sponsored: Sequence[str] = ()
) -> Answer:
    """The k best articles for a customer, now from the online store or at a past moment.

    Args:
        sponsored: articles that are candidates too.

    Raises:
        RegistryError: no release is in production, or none is as old as the moment.
        FeatureError: the online store is empty, or the moment lies after the feature tables.
        InputError: a sponsored article is not on sale.
    """
    chosen = _release(at)
    recommender, _ = load_recommender(chosen)
    unknown = np.flatnonzero(~recommender.on_sale(sponsored))
    if len(unknown):
        raise InputError(
            f"The sponsored article {sponsored[unknown[0]]} is not on sale, as far as {chosen.tag} knows: "
            "leave it out, or train again after loading newer files."
        )
    moment = at or online_moment()
    if at is None:
        require_fresh(chosen, moment)
    features: Features = OfflineFeatures(moment) if at else OnlineFeatures(moment)
    state = customer_state([customer], features)
    everything = sys.maxsize
    ordered = recommender.recommend(
        [customer],
        features,
        moment,
        everything,
        state=state,
        sponsored=sponsored,
        with_features=True,
    )
    rank = dict(zip(ordered["article_id"], ordered["rank"], strict=True))
    rows = explained(recommender, ordered[ordered["rank"] <= k], state, features, moment)
    placed = {article: int(rank[article]) for article in sponsored}
    return Answer(chosen.tag, moment, is_known(state), rows, len(ordered), placed)


def _release(at: datetime | None) -> Release:
    """The release that answers a moment: days are cut in UTC, whatever the moment's own zone."""
    if at is None:
        return release_for(None)
    require_built(at)
    return release_for(at.astimezone(UTC).date())


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
        InputError: the file of customers cannot be read.
    """
    moment = at or moment_of(latest_build().end)
    recommender, _ = load_recommender(_release(at))
    features = OfflineFeatures(moment)
    everyone = _customers(customers)
    with (
        whole_file(out) as partial,
        partial.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["customer_id", "prediction"])
        for start in range(0, len(everyone), BATCH_CUSTOMERS):
            batch = everyone[start : start + BATCH_CUSTOMERS]
            best = recommender.recommend(batch, features, moment, k)
            predictions = best.groupby("customer_id")["article_id"].agg(" ".join)
            writer.writerows((customer, predictions.get(customer, "")) for customer in batch)
            progress(many(start + len(batch), "customer"))
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
            with scratch() as con:
                ids = con.execute(
                    "SELECT customer_id FROM read_csv(?, all_varchar = true, header = true) "
                    "WHERE customer_id IS NOT NULL",
                    [str(file)],
                ).fetchall()
        except duckdb.Error as error:
            raise InputError(
                f"{file} needs a column customer_id: {str(error).splitlines()[0]}"
            ) from error
    return list(dict.fromkeys(row[0] for row in ids))
