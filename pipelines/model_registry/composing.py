"""From registered versions to a release, and from a release back to a recommender."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from pipelines.article_facts import ArticleFacts
from pipelines.content.search import SearchIndex
from pipelines.features import moment_of, schema_hash
from pipelines.model_catalog import (
    RELEASE,
    ReleaseSettings,
    make_ranker,
    make_retriever,
)
from pipelines.model_registry import release
from pipelines.model_registry.publishing import (
    BESIDE,
    FACTS_PART,
    SAMPLE_FILE,
    SAMPLE_PART,
    SEARCH_PART,
    lineage_of,
)
from pipelines.model_registry.registry import (
    RegistryError,
    Version,
    list_versions,
    open_version,
    plain,
)
from pipelines.rankers.base import RANKING_SERVICE
from pipelines.recommender import Recommender
from pipelines.reports.words import listed
from pipelines.rerankers import make_chain


def create_release(
    tags: dict[str, str] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    settings: ReleaseSettings = RELEASE,
) -> release.Release:
    """A release of the given versions, and of the newest of each other model that it needs.

    The newest ranker that was trained as is declared, and of the others the newest such that have seen no more than it.

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
    declared = settings.to_dict()
    opened = require_fit(settings, chosen)
    parts = {role: version.tag for role, version in opened.items()}
    ranker = opened[settings.ranker].lineage
    facts = _loaded("The release", opened, declared).facts
    _loaded_search("The release", opened[SEARCH_PART])
    if facts is not None and (named := chain.named()):
        for article, place in zip(named, facts.assortment.places(named), strict=True):
            if place < 0:
                raise RegistryError(
                    f"The rules name the article {article}, which the shop does not have: name articles by their "
                    "article_id, or train again after loading newer files."
                )
    made_with = {"release": declared}
    lineage = lineage_of(ranker.feature_service, ranker.data_cutoff, ranker.data_hash, made_with)
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


LEARNED_UNDER = ("per_source", "weights", "negatives", "training_weeks", "training_customers")
"""What of a declaration a ranker depends on, beside the settings of its models."""


def require_fit(
    settings: ReleaseSettings, chosen: Mapping[str, Version | None]
) -> dict[str, Version]:
    """The parts by role, every file checked, if they are what the release declares.

    Args:
        chosen: of `newest_parts`.

    Raises:
        RegistryError: a part has not been trained, is damaged, or was made for another release than this.
    """
    # What has not been trained is told of by its name, the ranker first.
    order = (settings.ranker, *(role for role in chosen if role != settings.ranker))
    known = {role: chosen[role] for role in order}
    opened = {role: open_version(found.tag if found else role) for role, found in known.items()}
    tag, ranker = opened[settings.ranker].tag, opened[settings.ranker].lineage
    cure = (
        "train it with this declaration (`lookbook train`, with the same --release if one is given)"
    )
    if why := _unlike(settings, opened[settings.ranker]):
        raise RegistryError(f"{why}: {cure}.")
    for version in opened.values():
        lineage = version.lineage
        if lineage.feature_service is not None:
            _require_schema(version.tag, lineage.feature_service, lineage.feature_schema_hash)
    for name in settings.retrievers:
        if why := _unlike(settings, opened[name]):
            raise RegistryError(f"{why}: {cure}.")
        made_with = opened[name].lineage.settings["model"]
        # Versions that are older than this record learned from what the catalogue said.
        learned_with = ranker.settings.get("retrievers", {}).get(name, made_with)
        if learned_with != made_with:
            raise RegistryError(
                f"The {name} {opened[name].tag} was made with {listed(made_with)}, and the ranker {tag} learned from one "
                f"with {listed(learned_with)}: {cure}."
            )
    return opened


def _unlike(settings: ReleaseSettings, version: Version) -> str:
    """Why a ranker or retriever is not what the release declares; nothing if it is, or another part."""
    tag, lineage = version.tag, version.lineage
    name = tag.partition(":")[0]
    if name in settings.per_source:
        made_with, wanted = lineage.settings["model"], plain(settings.settings_of(name), name)
        if made_with != wanted:
            return f"The {name} {tag} was made with {listed(made_with)}, and the release is declared with {listed(wanted)}"
    elif name == settings.ranker:
        if lineage.feature_service != settings.feature_service:
            return (
                f"The ranker {tag} reads the feature service {lineage.feature_service}, and the release is to use "
                f"{settings.feature_service}"
            )
        learned, declared = lineage.settings["release"], settings.to_dict()
        for one in LEARNED_UNDER:
            if learned.get(one, declared[one]) != declared[one]:
                return (
                    f"The ranker {tag} was trained with {one} {listed(learned[one])}, and the release is declared with "
                    f"{listed(declared[one])}"
                )
    return ""


def newest_parts(
    settings: ReleaseSettings, tags: Mapping[str, str] | None = None
) -> dict[str, Version | None]:
    """By role the version that a release is made of: that of `tags`, else the newest ranker that was trained as is
    declared, and of the others the newest such that have seen no more than it; None where there is none. Files are
    checked of those in `tags` alone.

    Raises:
        RegistryError: one of the tags is unknown or damaged, or of a model that the release does not have.
    """
    roles = (*settings.retrievers, settings.ranker, *BESIDE)
    for role in tags or ():
        if role not in roles:
            raise RegistryError(f"The release has no {role}; its parts are: {', '.join(roles)}.")
    given = {role: open_version(tag) for role, tag in (tags or {}).items()}

    def first(versions: list[Version]) -> Version | None:
        # Those of other declarations stand in the same store; if there are only such, one of them is refused later.
        fitting = (version for version in versions if not _unlike(settings, version))
        return next(fitting, next(iter(versions), None))

    ranker = given.get(settings.ranker) or first(list_versions(settings.ranker))

    def newest(role: str) -> Version | None:
        return first(
            [
                version
                for version in list_versions(role)
                if ranker is None or version.lineage.data_cutoff <= ranker.lineage.data_cutoff
            ]
        )

    return {
        role: ranker if role == settings.ranker else given.get(role) or newest(role)
        for role in roles
    }


def declared_as(chosen: release.Release) -> ReleaseSettings:
    """How a release was declared, with all settings that its models were made with.

    Raises:
        RegistryError: its settings are of other code than this.
    """
    declared = recorded_settings(chosen.tag, chosen.settings, chosen.lineage.commit)
    models = {n: part.lineage.settings.get("model") for n, part in chosen.open_parts().items()}
    return replace(
        declared,
        ranker_settings=models[declared.ranker],
        retriever_settings={name: models[name] or {} for name in declared.retrievers},
    )


def recorded_settings(what: str, recorded: Mapping[str, Any], commit: str) -> ReleaseSettings:
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
    require_schemas(chosen)
    versions = chosen.open_parts()
    recommender = _loaded(chosen.tag, versions, chosen.settings)
    sample = json.loads((versions[SAMPLE_PART].path / SAMPLE_FILE).read_text(encoding="utf-8"))
    return recommender, sample


def require_schemas(chosen: release.Release) -> None:
    """
    Raises:
        RegistryError: a feature service of the release has changed since training.
    """
    for service, trained_on in chosen.feature_services.items():
        _require_schema(chosen.tag, service, trained_on)


def load_search(chosen: release.Release) -> SearchIndex | None:
    """What finds a release's articles by words and pictures, every file checked; None if the release is older than
    search: `search.NOT_THERE` says what to do then.

    Raises:
        RegistryError: the part is damaged, or cannot be loaded here.
    """
    if SEARCH_PART not in chosen.parts:
        return None
    return _loaded_search(chosen.tag, open_version(chosen.parts[SEARCH_PART]))


def _loaded_search(what: str, version: Version) -> SearchIndex:
    """
    Raises:
        RegistryError: it cannot be loaded.
    """
    try:
        return SearchIndex.load(version.path)
    except Exception as error:
        raise _unloadable(what, SEARCH_PART, error) from error


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
    except Exception as error:  # each library has its own for a file that it cannot read
        raise _unloadable(what, part, error) from error
    weights: dict[str, float] = recorded.get("weights", {})
    return Recommender(retrievers, per_source, ranker, weights, reranker, facts)


def _unloadable(what: str, part: str, error: Exception) -> RegistryError:
    reason = (str(error).partition("\n")[0] or repr(error)).rstrip(".")
    return RegistryError(
        f"{what} cannot be loaded by this code, its {part}: {reason}. Train again, or go back to the code that made it."
    )


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
