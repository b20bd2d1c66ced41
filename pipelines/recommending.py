"""Recommendations by the release in charge: for one customer, or for every one into a file."""

import csv
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo.errors import InputError
from feature_repo.stores.connection import scratch
from pipelines.explaining import article_display, explained
from pipelines.feature_tables import latest_build
from pipelines.features import (
    Features,
    OfflineFeatures,
    OnlineFeatures,
    moment_of,
    require_built,
)
from pipelines.growing_file import growing_file
from pipelines.model_registry.composing import load_recommender, release_for, require_fresh
from pipelines.model_registry.release import Release
from pipelines.online import online_moment
from pipelines.rankers.base import Objective
from pipelines.recommender import BATCH_CUSTOMERS, Recommender, customer_state, is_known, timed
from pipelines.reports.words import many
from pipelines.steady_features import SteadyFeatures
from pipelines.warehouse import reading

FILLED_AT_ONCE = 200
NOBODY = ""
"""No customer has this id, so it is answered as one of whom nothing is known."""


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
    customer: str,
    *,
    k: int,
    at: datetime | None = None,
    sponsored: Sequence[str] = (),
    out_of_stock: Sequence[str] = (),
    objective: Objective | None = None,
) -> Answer:
    """The k best articles for a customer, now from the online store or at a past moment.

    Args:
        sponsored: articles that are candidates too.
        out_of_stock: articles that are not shown; the release must have business rules.
        objective: what counts for how much, of a ranker that has learnt more than purchases.

    Raises:
        RegistryError: no release is in production, or none is as old as the moment.
        FeatureError: the online store is empty, or the moment lies after the feature tables.
        InputError: a sponsored article is not on sale, one that is out of stock is unknown, or the release
            has no rules that leave it out.
        ObjectiveError: the release's ranker has not learnt what is asked for.
    """
    chosen = _release(at)
    recommender, _ = load_recommender(chosen)
    unknown = np.flatnonzero(~recommender.on_sale(sponsored))
    if len(unknown):
        raise InputError(
            f"The sponsored article {sponsored[unknown[0]]} is not on sale, as far as {chosen.tag} knows: "
            "leave it out, or train again after loading newer files."
        )
    if out_of_stock and "business_rules" not in chosen.settings.get("rerankers", {}):
        raise InputError(
            f"{chosen.tag} has no business rules, which leave out what is out of stock: make a release with "
            "the re-ranker business_rules."
        )
    if out_of_stock and recommender.facts is not None:
        strange = np.flatnonzero(recommender.facts.assortment.places(list(out_of_stock)) < 0)
        if len(strange):
            raise InputError(
                f"There is no article {out_of_stock[strange[0]]}, as far as {chosen.tag} knows: what is out of "
                "stock is named by its article_id."
            )
    moment = at or online_moment()
    if at is None:
        require_fresh(chosen, moment)
    features: Features = OfflineFeatures(moment) if at else OnlineFeatures(moment)
    state = customer_state([customer], features)
    # After what the customer did last, as the service asks.
    moment = features.moment or moment
    ordered = recommender.recommend(
        [customer],
        features,
        moment,
        k,
        state=state,
        sponsored=sponsored,
        out_of_stock=out_of_stock,
        objective=objective,
        with_features=True,
        with_rest=True,
    )
    rank = dict(zip(ordered["article_id"], ordered["rank"], strict=True))
    display = partial(article_display, features=features)
    rows = explained(recommender, ordered[ordered["rank"] <= k], state, display, moment, objective)
    placed = {article: int(rank[article]) for article in sponsored if article in rank}
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
    batch: int = BATCH_CUSTOMERS,
    progress: Callable[[str], None] = lambda text: None,
    stages: dict[str, float] | None = None,
) -> int:
    """Write the Kaggle file: `customer_id,prediction`, article ids separated by a space.

    Every customer gets k distinct articles if so many are on sale: what comes after those that were
    named is what somebody unknown would be shown. Who can be given none has an empty prediction.

    The file appears whole or not at all. Until then it grows beside it under a hidden name, and a run
    that was ended goes on there, however it ended, to the bytes of one that was not; a run with other
    arguments, another release or other data starts anew and says so.

    Args:
        at: a past moment; the end of the feature tables if None.
        customers: a CSV with the column customer_id, each of whom counts once; every customer of the
            shop if None.
        batch: customers answered at a time: what bounds the memory.
        progress: told how many are done, how quickly, and how long the others will take.
        stages: if given, gains the seconds spent on candidates, features, rank and writing.

    Returns:
        the number of customers.

    Raises:
        RegistryError: there is no release for the moment, or it has learned from later days.
        InputError: the file of customers cannot be read, or another run is writing the same file.
    """
    build = latest_build()
    moment = at or moment_of(build.end)
    chosen = _release(at)
    if at is None:
        require_fresh(chosen, moment, online=False)
    recommender, _ = load_recommender(chosen)
    features = SteadyFeatures(moment)
    everyone = _customers(customers)
    stages = {} if stages is None else stages
    # What each answer depends on, by how a difference is told. Scores may differ in their last digits
    # with the size of a batch.
    made_of = {
        "another release": chosen.tag,
        "another moment": moment.astimezone(UTC).isoformat(),
        "other data": build.data_hash,
        "other customers": _ids_checksum(everyone),
        "another k": k,
        "batches of another size": batch,
    }
    anybodys: list[str] | None = None
    with growing_file(out, made_of, progress) as file:
        if customers is not None and (strangers := _strangers(everyone)):
            progress(
                f"{strangers:,} of {many(len(everyone), 'customer')} of {customers} are unknown to the shop: they get "
                "what is popular."
            )
        pace = _Pace(len(everyone), file.rows)
        if not file.rows:
            file.append(_lines([("customer_id", "prediction")]), 0)
        while file.rows < len(everyone):
            asked = everyone[file.rows : file.rows + batch].to_pylist()
            with timed(stages, "candidates"):
                state = customer_state(asked, features)
            best = recommender.recommend(asked, features, moment, k, state=state, stages=stages)
            started = monotonic()
            named: dict[str, list[str]] = {customer: [] for customer in asked}
            for customer, article in zip(best["customer_id"], best["article_id"], strict=True):
                named[customer].append(article)
            for place, (customer, articles) in enumerate(named.items()):
                if len(articles) < k:
                    if anybodys is None:
                        anybodys = _anybodys(recommender, features, moment, k)
                    own = state.iloc[[place]]
                    named[customer] = _filled(articles, anybodys, k, recommender, own, moment)
            rows = [(customer, " ".join(articles)) for customer, articles in named.items()]
            file.append(_lines(rows), len(rows))
            stages["writing"] = stages.get("writing", 0.0) + monotonic() - started
            progress(pace.said(file.rows))
    return len(everyone)


class _Pace:
    """How quickly customers are answered, by what this run has done."""

    def __init__(self, customers: int, before: int) -> None:
        self._customers = customers
        self._before = before
        self._started = monotonic()

    def said(self, done: int) -> str:
        rate = (done - self._before) / max(monotonic() - self._started, 1e-9)
        seconds = (self._customers - done) / rate
        left = (
            many(round(seconds / 60), "minute") if seconds > 90 else many(round(seconds), "second")
        )
        return f"{done:,} of {many(self._customers, 'customer')}, {rate:,.0f} a second, {left} left"


def _anybodys(recommender: Recommender, features: Features, moment: datetime, k: int) -> list[str]:
    """All articles on sale, in the order for somebody unknown; those that nobody names come last."""
    named = recommender.recommend([NOBODY], features, moment, k, with_rest=True)["article_id"]
    on_sale = [
        found.assortment.ids[found.assortment.for_sale] for found in recommender.retrievers.values()
    ]
    return [*named, *np.setdiff1d(np.concatenate(on_sale).astype(str), named.astype(str))]


def _filled(
    articles: Sequence[str],
    anybodys: Sequence[str],
    k: int,
    recommender: Recommender,
    state: pd.DataFrame,
    moment: datetime,
) -> list[str]:
    """Up to k articles: those given, then of anybody's those that may be shown to this customer."""
    found = dict.fromkeys(articles)
    for start in range(0, len(anybodys), FILLED_AT_ONCE):
        some = [
            article for article in anybodys[start : start + FILLED_AT_ONCE] if article not in found
        ]
        may = recommender.may_be_shown(some, state, moment)
        found |= dict.fromkeys(article for article, shown in zip(some, may, strict=True) if shown)
        if len(found) >= k:
            break
    return list(found)[:k]


def _lines(rows: Sequence[tuple[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _ids_checksum(ids: pa.Array) -> int:
    checksum = 0
    for start in range(0, len(ids), 2**16):
        checksum = zlib.crc32("\n".join(ids[start : start + 2**16].to_pylist()).encode(), checksum)
    return checksum


def _strangers(ids: pa.Array) -> int:
    """How many of these customers the shop does not know."""
    with reading() as con:
        con.register("asked", pa.table({"customer_id": ids}))
        ((found,),) = con.execute(
            "SELECT count(*) FROM asked ANTI JOIN staging.customers USING (customer_id)"
        ).fetchall()
    return int(found)


def _customers(file: Path | None) -> pa.Array:
    """Customer ids, each once, in the order of the file or of the ids; flat, for there may be millions."""
    if file is None:
        with reading() as con:
            ids = con.sql(
                "SELECT customer_id FROM staging.customers ORDER BY customer_id"
            ).to_arrow_table()
    else:
        try:
            with scratch() as con:
                ids = con.sql(
                    "SELECT customer_id FROM read_csv($file, all_varchar = true, header = true) "
                    "WHERE customer_id IS NOT NULL",
                    params={"file": str(file)},
                ).to_arrow_table()
        except duckdb.BinderException as error:
            raise InputError(f"{file} needs a column customer_id: add its header.") from error
        except duckdb.Error as error:
            raise InputError(
                f"{file} cannot be read as a CSV: {str(error).splitlines()[0]}"
            ) from error
    return ids["customer_id"].unique()
