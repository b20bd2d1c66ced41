"""Training: retrievers on everything before a day, the ranker on the weeks that lead up to it."""

import zlib
from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
import pandas as pd

from pipelines.data.split import Week, buyers, weeks_before
from pipelines.features import OfflineFeatures
from pipelines.model_catalog import RELEASE, ReleaseSettings, make_ranker, make_retriever
from pipelines.rankers.base import Ranker, learnable
from pipelines.recommender import BATCH_CUSTOMERS, Recommender, customer_state
from pipelines.retrievers.base import Past, Retriever


def fit_retrievers(
    con: duckdb.DuckDBPyConnection, cutoff: date, names: Sequence[str]
) -> dict[str, Retriever]:
    """The named retrievers, fitted on days before `cutoff`."""
    past = Past.at(con, cutoff)
    return {name: make_retriever(name).fit(past) for name in names}


def training_rows(
    con: duckdb.DuckDBPyConnection, week: Week, settings: ReleaseSettings = RELEASE
) -> pd.DataFrame:
    """The candidates of a past week's buyers with their features and whether they were bought.

    Retrievers are fitted on days before the week and features are as of its start, so the rows are
    what serving would have seen. Customers without a hit among their candidates teach an order
    nothing and are left out.

    Returns:
        customer_id, article_id, week, label, and the columns that a ranker may learn from.
    """
    bought = buyers(con, week)
    customers = sampled(bought["customer_id"].unique(), settings.training_customers)
    recommender = Recommender(
        fit_retrievers(con, week.start, settings.retrievers),
        settings.per_source,
        weights=settings.weights,
    )
    features = OfflineFeatures(week.moment)
    service = make_ranker(settings.ranker).feature_service
    parts = []
    for start in range(0, len(customers), BATCH_CUSTOMERS):
        state = customer_state(customers[start : start + BATCH_CUSTOMERS], features)
        found = recommender.candidates(state, week.moment)
        found = found.merge(bought.assign(label=1), on=["customer_id", "article_id"], how="left")
        found["label"] = found["label"].fillna(0).astype("int8")
        found = found[found.groupby("customer_id")["label"].transform("max") == 1]
        if len(found):
            parts.append(_lean(features.read(found.reset_index(drop=True), service)))
    if not parts:
        return pd.DataFrame(columns=["customer_id", "article_id", "week", "label"])
    return pd.concat(parts, ignore_index=True).assign(week=week.start.isoformat())


def fit_ranker(rows: Sequence[pd.DataFrame], settings: ReleaseSettings = RELEASE) -> Ranker:
    """The ranker, fitted on several weeks of `training_rows`."""
    return make_ranker(settings.ranker).fit(rows)


def training_weeks(cutoff: date, settings: ReleaseSettings = RELEASE) -> list[Week]:
    """The weeks before `cutoff` on which the ranker is trained, oldest first."""
    return weeks_before(cutoff, settings.training_weeks)


def sampled(customers: np.ndarray, most: int) -> list[str]:
    """At most so many customers, the same ones each time, whoever else there is."""
    ordered = sorted(customers, key=lambda customer: (zlib.crc32(customer.encode()), customer))
    return sorted(ordered[:most])


def _lean(rows: pd.DataFrame) -> pd.DataFrame:
    """What is learned from, packed: several weeks of rows must fit in memory."""
    kept = rows[["customer_id", "article_id", "label", *learnable(rows)]]
    numbers = kept.select_dtypes("number").columns.difference(["label"])
    texts = kept.select_dtypes("object").columns
    return kept.astype(dict.fromkeys(numbers, "float32") | dict.fromkeys(texts, "string[pyarrow]"))
