"""A guard on features: what a release under an alias was trained on may not change underneath it.

A model has learned from what the columns of its feature service meant on that day. Once a view, or the
service, means something else, the release cannot be served, rolled back to or made again. So a change
comes as a new version: a view and a service of another name beside the old ones, which go when no alias
points at a release that uses them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.features import View, declared_services
from pipelines.model_registry import release as releases
from pipelines.model_registry.registry import RegistryError, open_version


@dataclass(frozen=True)
class Blocked:
    """A change that a release under an alias forbids; `str()` says it in a sentence.

    Attributes:
        alias: which of the release's aliases.
        release: its tag.
        part: the model that uses it.
        service: the feature service that the model reads.
        view: the view that has changed; of the service itself, empty.
        features: those that the model reads and that are touched.
        why: what has changed.
    """

    alias: str
    release: str
    part: str
    service: str
    view: str
    features: tuple[str, ...]
    why: str

    def __str__(self) -> str:
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
        nothing if all that is used stays as it was. Models from before views were recorded are passed over.
    """
    now = declared_services() if services is None else services
    found: dict[tuple[str, str, str], Blocked] = {}
    for alias, tag in releases.aliases().items():
        try:
            parts = releases.get(tag).parts
            lineages = {role: open_version(part).lineage for role, part in parts.items()}
        except RegistryError:
            # It cannot be served either way.
            continue
        for role, lineage in lineages.items():
            service = lineage.feature_service
            if service is None or not lineage.feature_views:
                continue
            used = {name: View(**view) for name, view in lineage.feature_views.items()}
            for view, features, why in changes(used, now.get(service)):
                blocked = Blocked(alias, tag, role, service, view, features, why)
                found.setdefault((tag, service, view), blocked)
    return list(found.values())


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
            found.append((name, mine, "whose SQL or function means something else"))
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
