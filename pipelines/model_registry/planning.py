"""What `release create` would change against the release under an alias, as `feast plan` does for features."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.features import FeatureError, schema_hash
from pipelines.model_catalog import ReleaseSettings
from pipelines.model_registry import release as releases
from pipelines.model_registry.composing import newest_parts, require_fit
from pipelines.model_registry.publishing import BESIDE
from pipelines.model_registry.registry import RegistryError, Version

NOT_TRAINED = "not trained yet"


@dataclass(frozen=True)
class Change:
    """One line of a plan.

    Attributes:
        kind: part, setting or features.
        name: the role, the setting's path, or the feature service.
        before: nothing if it is new.
        after: nothing if it goes.
    """

    kind: str
    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"+ {self.kind} {self.name}: {self.after}"
        if not self.after:
            return f"- {self.kind} {self.name}: {self.before}"
        return f"~ {self.kind} {self.name}: {self.before} -> {self.after}"


@dataclass(frozen=True)
class Plan:
    """What would change.

    Attributes:
        against: the release that it is compared with; None if the alias points nowhere.
        changes: parts, settings, features.
        to_train: models without which it cannot be created.
        hindrance: why it could not be created of what is there; nothing if it could.
    """

    against: str | None
    changes: list[Change]
    to_train: list[str]
    hindrance: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(settings: ReleaseSettings, alias: str = "production") -> Plan:
    """What would change if a release of the newest versions were created and the alias moved to it.

    Raises:
        RegistryError: the release under the alias is damaged.
    """
    tag = releases.aliases().get(alias)
    old = None if tag is None else releases.get(tag)
    before = {} if old is None else old.open_parts()
    after = newest_parts(settings)
    to_train = [role for role, version in after.items() if version is None]
    changes = [*_parts(before, after)]
    changes += _settings(flat({} if old is None else old.settings), flat(settings.to_dict()))
    changes += _features({} if old is None else old.feature_services, after)
    to_train = [role for role in to_train if role not in BESIDE]
    hindrance = ""
    if not to_train:
        try:
            require_fit(settings, after)
        except RegistryError as error:
            hindrance = str(error)
    return Plan(tag, changes, to_train, hindrance)


def _parts(before: Mapping[str, Version], after: Mapping[str, Version | None]) -> Iterator[Change]:
    for role in {**before, **after}:
        old, new = before.get(role), after.get(role)
        if role in before and role not in after:
            yield Change("part", role, _said(old), "")
        elif old is None or new is None or old.tag != new.tag:
            same = old is not None and new is not None and old.content_hash == new.content_hash
            yield Change("part", role, _said(old) if old else "", _said(new) + same * ", the same")
        if old is not None and new is not None:
            yield from _settings(_model(role, old), _model(role, new))


def _model(role: str, version: Version) -> dict[str, str]:
    return flat(version.lineage.settings.get("model") or {}, role)


def _said(version: Version | None) -> str:
    if version is None:
        return NOT_TRAINED
    return f"{version.tag.partition(':')[2]} (days before {version.lineage.data_cutoff})"


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Settings inside others by their path (`per_source.ease`), as text; without those that are None."""
    if isinstance(value, Mapping) and value:
        found: dict[str, str] = {}
        for name, inner in value.items():
            found |= flat(inner, f"{path}.{name}" if path else str(name))
        return found
    return {} if value is None else {path: str(value)}


def _settings(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in {**before, **after}:
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            yield Change("setting", name, old, new)


def _features(
    before: Mapping[str, str | None], after: Mapping[str, Version | None]
) -> Iterator[Change]:
    """Schemas of feature services: of the old release, and as they are registered now."""
    needed = {v.lineage.feature_service for v in after.values() if v is not None} - {None}
    for service in sorted({*before, *map(str, needed)}):
        now = ""
        if service in needed:
            try:
                now = schema_hash(service)
            except FeatureError:
                now = "not registered"
        old = before.get(service) or ""
        if old != now:
            yield Change("features", service, old, now)
