"""From the shop's past to registered versions: every part of a release, trained."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from feature_repo import places
from pipelines import feature_tables
from pipelines.article_facts import ArticleFacts
from pipelines.content.search import SearchIndex
from pipelines.data.split import first_day
from pipelines.features import hash_of, service_views
from pipelines.model_catalog import (
    RANKERS,
    RELEASE,
    RETRIEVERS,
    ReleaseSettings,
    make_retriever,
)
from pipelines.model_registry import mlflow_runs
from pipelines.model_registry.registry import (
    Lineage,
    RegistryError,
    save_version,
)
from pipelines.reports.words import many
from pipelines.retrievers.base import STATE_SERVICE, Past
from pipelines.retrievers.similar import CONTENT_SERVICE
from pipelines.training import HISTORY_DAYS, fit_ranker, training_set, training_weeks
from pipelines.warehouse import reading

SAMPLE_PART = "sample_customers"
FACTS_PART = "article_facts"
"""What re-ranking must know of articles."""
SEARCH_PART = "search_index"
"""The articles on sale, to be found by words and pictures."""
BESIDE = (FACTS_PART, SAMPLE_PART, SEARCH_PART)
"""What comes with whatever is trained."""
SAMPLE_FILE = "customers.json"
_SAMPLE_SQL = """
WITH counted AS (
    SELECT
        customers.customer_id,
        age,
        count(day) AS purchases,
        count(DISTINCT day) AS days
    FROM staging.customers AS customers
    LEFT JOIN staging.purchases AS purchases
        ON purchases.customer_id = customers.customer_id AND purchases.day < ?
    GROUP BY customers.customer_id, age
),

spread AS (
    -- One customer from each of forty equal groups, from the busiest to those without purchases.
    SELECT
        *,
        ntile(40) OVER (ORDER BY days DESC, purchases DESC, customer_id) AS place
    FROM counted
)

SELECT customer_id, age, purchases
FROM spread
QUALIFY row_number() OVER (PARTITION BY place ORDER BY hash(customer_id)) = 1
ORDER BY place
"""


Trained = tuple[Callable[[Path], None], Lineage]
"""What writes the files of a part, and where it comes from."""


def _silent(text: str) -> None:
    """Says nothing."""


def train(
    cutoff: date,
    names: Sequence[str] | None = None,
    settings: ReleaseSettings = RELEASE,
    progress: Callable[[str], None] = _silent,
) -> dict[str, str]:
    """Train models on days strictly before `cutoff` and register each as a version.

    Args:
        names: retrievers and rankers of the catalogue; what the release needs if None.

    Returns:
        {model: tag}; empty in the processes of `torchrun` that only help to train.

    Raises:
        RegistryError: a name is not in the catalogue, or there is too little history.
    """
    helping = os.environ.get("RANK", "0") != "0"
    if helping:
        progress = _silent
    known = [*RETRIEVERS, *RANKERS]
    for name in names or ():
        if name not in known:
            raise RegistryError(f"No model is called {name!r}; there are: {', '.join(known)}.")
    # Everything is trained before anything is registered: a failure leaves no half of a release.
    trained: dict[str, Trained] = {}
    with reading() as con:
        end = feature_tables.latest_build().end
        if cutoff > end:
            raise RegistryError(
                f"Features are built up to {end}, and the cutoff {cutoff} is later: load later "
                "purchases and run `lookbook features build`."
            )
        first = first_day(con)
        if first is None or first >= cutoff:
            raise RegistryError(
                f"Purchases start on {first}, and models learn from days before the cutoff {cutoff}: give a "
                "later one, or load a longer history."
            )
        data = feature_tables.data_hash(con)
        past = Past.at(con, cutoff, progress)
        for name in names or [*settings.retrievers, settings.ranker]:
            trained[name] = train_part(con, past, name, data, settings, progress)
            progress(f"trained {name}")
        for name in BESIDE:
            trained[name] = train_part(con, past, name, data, settings, progress)
    if helping:
        return {}
    tags = {
        name: save_version(name, write, lineage, {}) for name, (write, lineage) in trained.items()
    }
    mlflow_runs.log_versions(tags.values())
    return tags


def train_part(
    con: duckdb.DuckDBPyConnection,
    past: Past,
    name: str,
    data: str,
    settings: ReleaseSettings,
    progress: Callable[[str], None],
    *,
    model: Mapping[str, Any] | None = None,
    anew: bool = False,
) -> Trained:
    """A part, trained: what writes its files, and where it comes from.

    Args:
        data: the hash of the data.
        model: a retriever's settings; those of `settings` if None.
        anew: make the rows that a ranker learns from, whatever is there.
    """
    cutoff = past.cutoff
    if name == FACTS_PART:
        return ArticleFacts.at(past).save, lineage_of(CONTENT_SERVICE, cutoff, data, {})
    if name == SAMPLE_PART:
        return _sample(con, cutoff, data)
    if name == SEARCH_PART:
        return _search(past, data)
    if name in RANKERS:
        return _train_ranker(con, cutoff, name, data, settings, progress, anew=anew)
    made_with = settings.settings_of(name) if model is None else dict(model)
    retriever = make_retriever(name, made_with).fit(past)
    return retriever.save, lineage_of(STATE_SERVICE, cutoff, data, {"model": made_with})


def _train_ranker(
    con: duckdb.DuckDBPyConnection,
    cutoff: date,
    name: str,
    data: str,
    settings: ReleaseSettings,
    progress: Callable[[str], None],
    *,
    anew: bool,
) -> Trained:
    if name != settings.ranker:
        settings = replace(settings, ranker=name, ranker_settings=None)
    weeks = training_weeks(con, cutoff, settings)
    if len(weeks) < settings.training_weeks:
        progress(
            f"{name} learns from {many(len(weeks), 'week')} instead of {settings.training_weeks}: earlier ones "
            f"have less than {HISTORY_DAYS} days of purchases before them"
        )
    rows = training_set(con, weeks, settings, progress, anew=anew)
    # Of these rows and settings alone: a training that was killed must not go on with others.
    model = settings.settings_of(name)
    meant = json.dumps([model, [folder.name for folder in rows.folders]], default=str)
    digest = hashlib.sha256(meant.encode()).hexdigest()[:12]
    checkpoint = places.home() / "training" / f"{name}-{cutoff}-{digest}.pt"
    ranker = fit_ranker(rows, settings, checkpoint=checkpoint, progress=progress)
    lineage = lineage_of(
        ranker.feature_service,
        cutoff,
        data,
        {
            "model": model,
            "release": settings.to_dict(),
            "retrievers": {name: settings.settings_of(name) for name in settings.retrievers},
            "weeks": [week.start.isoformat() for week in weeks],
            "rows": rows.rows,
        },
    )
    return ranker.save, lineage


def lineage_of(service: str | None, cutoff: date, data: str, settings: dict[str, Any]) -> Lineage:
    views = service_views(service) if service else {}
    return Lineage(
        feature_service=service,
        feature_schema_hash=hash_of(views) if service else None,
        feature_views={name: asdict(view) for name, view in views.items()},
        data_cutoff=cutoff,
        data_hash=data,
        seed=int(settings.get("model", {}).get("seed", 0)),
        settings=settings,
    )


def _search(past: Past, data: str) -> Trained:
    """It reads no feature: words and vectors are those of the warehouse, for vectors must be those of their encoders."""
    search = SearchIndex.at(past)
    lineage = lineage_of(None, past.cutoff, data, {"encoders": search.encoders})
    return search.save, replace(lineage, parents=tuple(search.encoders.values()))


def _sample(con: duckdb.DuckDBPyConnection, cutoff: date, data: str) -> Trained:
    """Customers that a page offers to look at: the service itself never opens the warehouse."""
    sample = [
        {
            "customer_id": customer,
            "label": many(purchases, "purchase") + (f", age {age}" if age is not None else ""),
        }
        for customer, age, purchases in con.execute(_SAMPLE_SQL, [cutoff]).fetchall()
    ]

    def write(folder: Path) -> None:
        (folder / SAMPLE_FILE).write_text(json.dumps(sample, indent=1), encoding="utf-8")

    return write, lineage_of(None, cutoff, data, {})
