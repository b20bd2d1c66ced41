"""A guard on features: what a release under an alias was trained on may not change underneath it.

A model has learned from what the columns of its feature service meant on that day. Once a view, or the
service, means something else, the release cannot be served, rolled back to or made again. So a change
comes as a new version: a view and a service of another name beside the old ones, which go when no alias
points at a release that uses them.

Only records are read, not the files that they are of: a copy of them is enough.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from feature_repo import places
from pipelines.features import View, declared_services
from pipelines.model_registry import release as releases
from pipelines.model_registry.registry import RegistryError, list_versions, open_version

_ALIASES = "aliases.sqlite"


@dataclass(frozen=True)
class Blocked:
    """A change that a release under an alias forbids; `str()` says it in a sentence.

    Attributes:
        alias: those of the release, with "and" between them.
        release: its tag.
        part: the model that uses it; the release itself if its own record cannot be read.
        service: the feature service that the model reads; empty if that cannot be known.
        view: the view that has changed; of the service itself, empty.
        features: those that the model reads and that are touched.
        why: what has changed, or why it cannot be known.
    """

    alias: str
    release: str
    part: str
    service: str
    view: str
    features: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        if not self.service:
            return f"{self.alias} ({self.release}) cannot be guarded: {self.why}"
        what = f"the view {self.view}" if self.view else f"the feature service {self.service}"
        named = ", ".join(self.features[:5]) + (" and others" if len(self.features) > 5 else "")
        return (
            f"{self.alias} ({self.release}) uses {what}, {self.why} ({named}): give what is new another name, with a "
            "feature service that holds it, and leave this one as it was until no alias points at that release."
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check(services: Mapping[str, Mapping[str, View]] | None = None) -> list[Blocked]:
    """Everything in the way of applying the definitions as the code has them now.

    Args:
        services: {service: {view: what it takes}}, as `features.declared_services` gives them.

    Returns:
        nothing if all that is used stays as it was. Models from before views were recorded are passed over;
        a release or part whose record cannot be read is not.

    Raises:
        RegistryError: LOOKBOOK_HOME names a place where there is no shop, or the registry has lost its aliases.
    """
    if not is_there():
        return []
    now = declared_services() if services is None else services
    known = {version.tag: version.lineage for version in list_versions()}
    found: dict[tuple[str, str, str], Blocked] = {}
    pointing: dict[str, list[str]] = {}
    for alias, tag in releases.aliases().items():
        pointing.setdefault(tag, []).append(alias)
    for tag, names in pointing.items():
        alias = " and ".join(names)
        # The parents of a release are its parts.
        parts = known[tag].parents if tag in known else ()
        for of in (tag, *parts):
            part = of.partition(":")[0]
            if of not in known:
                lost = Blocked(alias, tag, part, "", "", (), _lost(of))
                found.setdefault((tag, "", of), lost)
                continue
            service = known[of].feature_service
            used = {name: View(**view) for name, view in known[of].feature_views.items()}
            if service is None or not used:
                continue
            for view, features, why in changes(used, now.get(service)):
                blocked = Blocked(alias, tag, part, service, view, features, why)
                found.setdefault((tag, service, view), blocked)
    return list(found.values())


def is_there() -> bool:
    """Whether there is a registry: not in a shop where nothing has been trained yet.

    Raises:
        RegistryError: LOOKBOOK_HOME names a place where there is no shop, or the registry has lost its aliases.
    """
    models = places.models_folder()
    if not models.is_dir():
        if os.environ.get("LOOKBOOK_HOME") and not places.warehouse_file().is_file():
            raise RegistryError(
                f"There is no registry at {models}: let LOOKBOOK_HOME name the folder that holds `models/`, or leave "
                "it unset where there is none."
            )
        return False
    # Whoever makes a release also makes the history of aliases, if it was not there.
    if list_versions(releases.NAME) and not (models / _ALIASES).is_file():
        raise RegistryError(
            f"The registry at {models} has releases and no {_ALIASES}, so nobody knows which of them are in use: copy "
            "the whole folder."
        )
    return True


def _lost(tag: str) -> str:
    """Why the record of a version cannot be read."""
    if not places.models_folder().joinpath("models", *tag.split(":")).is_dir():
        return (
            f"{tag} is not in the registry; restore its folder from a backup, or copy all of them."
        )
    try:
        open_version(tag)
    except RegistryError as error:
        return str(error)
    return f"{tag} has come back meanwhile: ask again."


def changes(
    used: Mapping[str, View], now: Mapping[str, View] | None
) -> list[tuple[str, tuple[str, ...], str]]:
    """(view, features, why) of everything that is another; an empty view is the service itself.

    Args:
        used: what a model takes of its service, by view.
        now: the same of the service as the code has it; None if it has none of that name.
    """
    if now is None:
        return [("", tuple(f"{v}__{f}" for v in used for f in used[v].fields), "which is gone")]
    found = []
    for name, view in used.items():
        mine = tuple(view.fields)
        if name not in now:
            found.append((name, mine, "which the service no longer holds"))
            continue
        fields = now[name].fields
        gone = tuple(f for f in mine if f not in fields)
        typed = tuple(f for f in mine if f in fields and fields[f] != view.fields[f])
        if gone:
            found.append((name, gone, "of which features are gone"))
        elif typed:
            found.append((name, typed, "of which features have another type"))
        elif now[name].definition != view.definition:
            found.append((name, mine, "whose SQL, function or declaration means something else"))
    if not found:
        more = tuple(
            f"{name}__{field}"
            for name, view in now.items()
            for field in view.fields
            if name not in used or field not in used[name].fields
        )
        if more:
            found.append(("", more, "which holds more than it was trained on"))
        elif [*now] != [*used] or any([*now[n].fields] != [*used[n].fields] for n in used):
            found.append(("", tuple(used), "whose columns stand in another order"))
    return found
