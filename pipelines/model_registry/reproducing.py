"""Making a release again, to see that what is recorded of it is all that it takes."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

from pipelines import feature_tables
from pipelines.features import schema_hash
from pipelines.model_catalog import RANKERS, RELEASE, RETRIEVERS, ReleaseSettings
from pipelines.model_registry import release as releases
from pipelines.model_registry.composing import recorded_settings
from pipelines.model_registry.publishing import BESIDE, train_part
from pipelines.model_registry.registry import (
    Lineage,
    RegistryError,
    Version,
    content_hash_of,
)
from pipelines.retrievers.base import Past
from pipelines.warehouse import reading


@dataclass(frozen=True)
class Part:
    """A part of a release, made again.

    Attributes:
        tag: of the version.
        was: its content hash.
        now: that of what was made.
    """

    tag: str
    was: str
    now: str

    @property
    def same(self) -> bool:
        return self.was == self.now


@dataclass(frozen=True)
class Reproduction:
    """A release, made again.

    Attributes:
        release: its tag.
        parts: by role.
        different: what is not as it was when the release was made, as sentences.
    """

    release: str
    parts: dict[str, Part]
    different: list[str]

    @property
    def same(self) -> bool:
        return all(part.same for part in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        parts = {role: {**asdict(part), "same": part.same} for role, part in self.parts.items()}
        return {
            "release": self.release,
            "same": self.same,
            "parts": parts,
            "different": self.different,
        }


def reproduce(
    tag_or_alias: str, progress: Callable[[str], None] = lambda text: None
) -> Reproduction:
    """Train every part of a release anew, as of its cutoff and with its recorded settings, and compare what comes
    of it with what is registered. Rows that a ranker learns from are made anew too. Nothing is registered.

    Raises:
        RegistryError: the release is unknown or damaged, features are not built up to its cutoff, or the catalogue no
            longer has one of its models.
    """
    chosen = releases.get(tag_or_alias)
    opened = chosen.open_parts()
    for role in opened:
        if role not in (*RETRIEVERS, *RANKERS, *BESIDE):
            raise RegistryError(
                f"{chosen.tag} has a {role}, which this Lookbook does not know: go back to the code that made it "
                f"({chosen.lineage.commit})."
            )
    parts = {}
    with reading() as con:
        end, data = feature_tables.latest_build().end, feature_tables.data_hash(con)
        pasts: dict[date, Past] = {}
        for role, version in opened.items():
            lineage = version.lineage
            cutoff = lineage.data_cutoff
            if cutoff > end:
                raise RegistryError(
                    f"Features are built up to {end}, and {version.tag} has learned from days up to {cutoff}: load later "
                    "purchases and run `lookbook features build`."
                )
            if cutoff not in pasts:
                pasts[cutoff] = Past.at(con, cutoff, progress)
            model = lineage.settings.get("model")
            settings = _settings(role, lineage)
            write, _ = train_part(
                con, pasts[cutoff], role, data, settings, progress, model=model, anew=True
            )
            parts[role] = Part(version.tag, version.content_hash, content_hash_of(write))
            progress(f"{role}: {'the same' if parts[role].same else 'another'}")
    return Reproduction(chosen.tag, parts, _different(list(opened.values()), data))


def _settings(role: str, lineage: Lineage) -> ReleaseSettings:
    made_with = lineage.settings.get("release")
    if role not in RANKERS or made_with is None:
        return RELEASE
    settings = recorded_settings(f"The {role}", made_with, lineage.commit)
    return replace(
        settings,
        ranker=role,
        ranker_settings=lineage.settings["model"],
        retriever_settings=lineage.settings.get("retrievers", {}),
    )


def _different(versions: list[Version], data: str) -> list[str]:
    """What has changed since the versions were made, each thing once."""
    now = Lineage(None, None, date.min, data, 0)
    found: dict[str, None] = {}
    for version in versions:
        lineage = version.lineage
        if lineage.data_hash != data:
            found[f"The data are others: their hash was {lineage.data_hash}, and is {data}."] = None
        service = lineage.feature_service
        if service is not None and (schema := schema_hash(service)) != lineage.feature_schema_hash:
            found[
                f"The feature service {service} was of schema {lineage.feature_schema_hash}, and is of {schema}."
            ] = None
        if lineage.commit != now.commit:
            found[f"The code was of commit {lineage.commit}, and is of {now.commit}."] = None
        for name in sorted({*lineage.environment, *now.environment}):
            was, found_now = lineage.environment.get(name), now.environment.get(name)
            if was != found_now:
                found[f"{name} was {was or 'not there'}, and is {found_now or 'not there'}."] = None
    return list(found)
