"""From trained models to registered versions, and from a release back to a recommender."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from feature_repo import places
from pipelines import feature_tables
from pipelines.article_facts import ArticleFacts
from pipelines.data.split import first_day
from pipelines.features import hash_of, moment_of, schema_hash, service_views
from pipelines.model_catalog import (
    RANKERS,
    RELEASE,
    RETRIEVERS,
    ReleaseSettings,
    make_ranker,
    make_retriever,
)
from pipelines.model_registry import mlflow_runs, release
from pipelines.model_registry.registry import (
    Lineage,
    RegistryError,
    Version,
    list_versions,
    open_version,
    save_version,
)
from pipelines.rankers.base import RANKING_SERVICE
from pipelines.recommender import Recommender
from pipelines.reports.words import many
from pipelines.rerankers import make_chain
from pipelines.retrievers.base import STATE_SERVICE, Past
from pipelines.retrievers.similar import CONTENT_SERVICE
from pipelines.training import HISTORY_DAYS, fit_ranker, training_set, training_weeks
from pipelines.warehouse import reading

SAMPLE_PART = "sample_customers"
FACTS_PART = "article_facts"
"""What re-ranking must know of articles."""
_SAMPLE_FILE = "customers.json"
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
        for name in (FACTS_PART, SAMPLE_PART):
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
        model: a retriever's settings; the catalogue's if None.
        anew: make the rows that a ranker learns from, whatever is there.
    """
    cutoff = past.cutoff
    if name == FACTS_PART:
        return ArticleFacts.at(past).save, _lineage(CONTENT_SERVICE, cutoff, data, {})
    if name == SAMPLE_PART:
        return _sample(con, cutoff, data)
    if name in RANKERS:
        return _train_ranker(con, cutoff, name, data, settings, progress, anew=anew)
    retriever = make_retriever(name, model).fit(past)
    said = RETRIEVERS[name].settings_in_full() if model is None else dict(model)
    return retriever.save, _lineage(STATE_SERVICE, cutoff, data, {"model": said})


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
    model = RANKERS[name].settings_in_full() | dict(settings.ranker_settings or {})
    meant = json.dumps([model, [folder.name for folder in rows.folders]], default=str)
    digest = hashlib.sha256(meant.encode()).hexdigest()[:12]
    checkpoint = places.home() / "training" / f"{name}-{cutoff}-{digest}.pt"
    ranker = fit_ranker(rows, settings, checkpoint=checkpoint, progress=progress)
    lineage = _lineage(
        ranker.feature_service,
        cutoff,
        data,
        {
            "model": model,
            "release": settings.to_dict(),
            "weeks": [week.start.isoformat() for week in weeks],
            "rows": rows.rows,
        },
    )
    return ranker.save, lineage


def _lineage(service: str | None, cutoff: date, data: str, settings: dict[str, Any]) -> Lineage:
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
        (folder / _SAMPLE_FILE).write_text(json.dumps(sample, indent=1), encoding="utf-8")

    return write, _lineage(None, cutoff, data, {})


def create_release(
    tags: dict[str, str] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    settings: ReleaseSettings = RELEASE,
) -> release.Release:
    """A release of the given versions, and of the newest of each other model that it needs.

    The newest ranker, and of the others the newest that have seen no more than it.

    Args:
        tags: {model: tag}.
        evaluation: what `lookbook evaluate --json` gave: how a release of these settings, trained
            before each of those weeks, did on them. Kept with the release.

    Raises:
        RegistryError: a model has not been trained, the parts do not fit together or cannot be loaded, or the
            evaluation is of another kind of release.
        RerankerError: a re-ranker has no such setting.
    """
    # They must be possible before anything is written.
    chain = make_chain(list(settings.rerankers.items()))
    chosen = newest_parts(settings, tags)
    # What has not been trained is told of by its name, the ranker first.
    parts = {role: version.tag if version else role for role, version in chosen.items()}
    ranker = (chosen[settings.ranker] or open_version(settings.ranker)).lineage
    if ranker.feature_service != settings.feature_service:
        raise RegistryError(
            f"The ranker {parts[settings.ranker]} reads the feature service {ranker.feature_service}, and the release "
            f"is to use {settings.feature_service}: run `lookbook train`."
        )
    for version in filter(None, chosen.values()):
        lineage = version.lineage
        if lineage.feature_service is not None:
            _require_schema(version.tag, lineage.feature_service, lineage.feature_schema_hash)
    learned, declared = ranker.settings["release"], settings.to_dict()
    for name in ("per_source", "weights", "negatives", "training_weeks", "training_customers"):
        if learned.get(name, declared[name]) != declared[name]:
            raise RegistryError(
                f"The ranker {parts[settings.ranker]} was trained with {name} {learned[name]}, and the release is "
                f"declared with {declared[name]}: run `lookbook train` with its declaration."
            )
    opened = {role: open_version(tag) for role, tag in parts.items()}
    facts = _loaded("The release", opened, declared).facts
    if facts is not None and (named := chain.named()):
        for article, place in zip(named, facts.assortment.places(named), strict=True):
            if place < 0:
                raise RegistryError(
                    f"The rules name the article {article}, which the shop does not have: name articles by their "
                    "article_id, or train again after loading newer files."
                )
    made_with = {"release": declared}
    lineage = _lineage(ranker.feature_service, ranker.data_cutoff, ranker.data_hash, made_with)
    metrics: dict[str, Any] = {}
    if evaluation is not None:
        from pipelines.evaluation.evaluation import judged_as, why_not_of

        if why := why_not_of(evaluation, ranker.data_hash, declared):
            raise RegistryError(
                f"The evaluation does not judge this release, for {why}: run `lookbook evaluate` again, or create "
                "the release without and judge it by its tag (`lookbook evaluate --models TAG`)."
            )
        try:
            judged = evaluation["models"][judged_as(evaluation, settings.ranker)]
            metrics = {**judged, "weeks": list(evaluation["weeks"])}
        except (KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"The evaluation does not judge a release with {settings.ranker}: give the JSON of `lookbook "
                f"evaluate --models {settings.ranker}`."
            ) from error
    # Where its page was written says nothing elsewhere.
    kept = None if evaluation is None else {n: v for n, v in evaluation.items() if n != "page"}
    return release.create(parts, declared, lineage, metrics, kept)


def newest_parts(
    settings: ReleaseSettings, tags: Mapping[str, str] | None = None
) -> dict[str, Version | None]:
    """By role the version that a release is made of: that of `tags`, else the newest ranker, and of the others the
    newest that have seen no more than it; None where there is none. Files are checked of those in `tags` alone.

    Raises:
        RegistryError: one of the tags is unknown or damaged, or of a model that the release does not have.
    """
    roles = (*settings.retrievers, settings.ranker, FACTS_PART, SAMPLE_PART)
    for role in tags or ():
        if role not in roles:
            raise RegistryError(f"The release has no {role}; its parts are: {', '.join(roles)}.")
    given = {role: open_version(tag) for role, tag in (tags or {}).items()}
    ranker = given.get(settings.ranker) or next(iter(list_versions(settings.ranker)), None)

    def newest(role: str) -> Version | None:
        able = (
            version
            for version in list_versions(role)
            if ranker is None or version.lineage.data_cutoff <= ranker.lineage.data_cutoff
        )
        return next(able, None)

    return {
        role: ranker if role == settings.ranker else given.get(role) or newest(role)
        for role in roles
    }


def declared_as(chosen: release.Release) -> ReleaseSettings:
    """How a release was declared, with the settings that its ranker was made with.

    Raises:
        RegistryError: its settings are of other code than this.
    """
    ranker = chosen.open_parts()[str(chosen.settings["ranker"])].lineage
    declared = settings_of(chosen.tag, chosen.settings, chosen.lineage.commit)
    return replace(declared, ranker_settings=ranker.settings["model"])


def settings_of(what: str, recorded: Mapping[str, Any], commit: str) -> ReleaseSettings:
    """Settings that a version recorded.

    Raises:
        RegistryError: they are of other code than this.
    """
    try:
        return ReleaseSettings(**recorded)
    except TypeError as error:
        raise RegistryError(
            f"{what} was made with settings that this Lookbook does not know ({error}): go back to the code that "
            f"made it ({commit})."
        ) from error


def _require_schema(what: str, service: str, trained_on: str | None) -> None:
    """
    Raises:
        RegistryError: the feature service means something else than `what` was trained on.
    """
    now = schema_hash(service)
    if now != trained_on:
        raise RegistryError(
            f"{what} was trained on schema {trained_on} of the feature service {service}, which is now {now}: train "
            "again, or roll the features back."
        )


def load_recommender(chosen: release.Release) -> tuple[Recommender, list[dict[str, str]]]:
    """The recommender of a release, every file checked, and its sample customers.

    Raises:
        RegistryError: a part is damaged, or its feature service has changed since training.
    """
    for service, trained_on in chosen.feature_services.items():
        _require_schema(chosen.tag, service, trained_on)
    versions = chosen.open_parts()
    recommender = _loaded(chosen.tag, versions, chosen.settings)
    sample = json.loads((versions[SAMPLE_PART].path / _SAMPLE_FILE).read_text(encoding="utf-8"))
    return recommender, sample


def _loaded(what: str, versions: Mapping[str, Version], recorded: Mapping[str, Any]) -> Recommender:
    """
    Args:
        recorded: the release's settings.

    Raises:
        RegistryError: a part cannot be loaded.
    """
    per_source: dict[str, int] = recorded["per_source"]
    ranker_name = str(recorded["ranker"])

    def settings(part: str) -> dict[str, Any]:
        # A version is what it was made with, whatever the catalogue says today.
        return dict(versions[part].lineage.settings["model"])

    part = ""
    try:
        retrievers = {}
        for part in per_source:
            retrievers[part] = make_retriever(part, settings(part)).load(versions[part].path)
        part = ranker_name
        reads = versions[part].lineage.feature_service or RANKING_SERVICE
        ranker = make_ranker(part, settings(part), reads)
        ranker.load(versions[part].path)
        part = FACTS_PART
        facts = ArticleFacts.load(versions[part].path)
        part = "re-ranking"
        steps: dict[str, dict[str, Any]] = recorded.get("rerankers", {})
        reranker = make_chain(list(steps.items())) if steps else None
    except (KeyError, TypeError, ValueError, OSError) as error:
        reason = str(error).rstrip(".")
        raise RegistryError(
            f"{what} cannot be loaded by this code, its {part}: {reason}. Train again, or go back to the code "
            "that made it."
        ) from error
    weights: dict[str, float] = recorded.get("weights", {})
    return Recommender(retrievers, per_source, ranker, weights, reranker, facts)


def require_fresh(chosen: release.Release, moment: datetime, *, online: bool = True) -> None:
    """Refuse to answer as of a moment at which the release's own past was still to come.

    Args:
        online: whether the online store is asked, or the feature tables.

    Raises:
        RegistryError: it ends before the release's data; the text says what to run.
    """
    needed = moment_of(chosen.lineage.data_cutoff)
    if moment >= needed:
        return
    if online:
        store = "The online store was brought"
        cure = f"feast -c feature_repo materialize 1970-01-01T00:00:00 {needed:%Y-%m-%dT%H:%M:%S}"
    else:
        store, cure = "The feature tables were built", "lookbook features build"
    raise RegistryError(
        f"{store} up to {moment:%Y-%m-%d %H:%M} UTC, and {chosen.tag} has learned from days up to "
        f"{needed:%Y-%m-%d}: run `{cure}`."
    )


def release_for(moment_day: date | None) -> release.Release:
    """The release in production, or for a past day the newest that has seen nothing later.

    Raises:
        RegistryError: there is none.
    """
    if moment_day is None:
        return release.get("production")
    able = [found for found in release.list_releases() if found.lineage.data_cutoff <= moment_day]
    if not able:
        raise RegistryError(
            f"No release was trained on days before {moment_day} alone: run "
            f"`lookbook train --cutoff {moment_day}` and `lookbook release create`."
        )
    return max(able, key=lambda found: (found.lineage.data_cutoff, found.created))
