"""Where a release comes from, as a graph: data, views, feature services, versions, release, aliases.

All of it is what was recorded when the versions were made. Whether the code still means the same is
asked only on request, for that takes Feast's seconds, and what is in production must be seen at once
and whatever state the code is in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, ClassVar, TypeVar, cast

from feature_repo import moment_features
from pipelines import features
from pipelines.model_registry import guard
from pipelines.model_registry import release as releases
from pipelines.model_registry.registry import RegistryError, Version, open_version
from pipelines.reports.words import many


@dataclass(frozen=True)
class Node:
    """Something in the lineage of a release.

    Attributes:
        key: its own within the graph.
        hash: a fingerprint of what it is; empty where there is none.
    """

    kind: ClassVar[str]
    key: str
    name: str
    hash: str


@dataclass(frozen=True)
class Data(Node):
    """The shop's data; what was learned from is of days strictly before `before`."""

    kind = "data"
    before: date


@dataclass(frozen=True)
class FeatureView(Node):
    """A view, as a model was trained on it; its hash is that of its definition.

    Attributes:
        computed: at the request, from its moment and other views.
        fields: {service: {feature that it takes: its type}}; empty if the view only goes into a computed one.
        changed: {service: what is another in the code today}.
    """

    kind = "view"
    computed: bool
    fields: dict[str, dict[str, str]]
    changed: dict[str, str]


@dataclass(frozen=True)
class Service(Node):
    """A feature service, with its schema hash; `changed` says what is another in the code today."""

    kind = "service"
    changed: str


@dataclass(frozen=True)
class Part(Node):
    """A version in its role (`name`), with its content hash.

    Attributes:
        version: its tag.
        lost: why it cannot be used, if it is unknown or damaged; nothing else is known of it then.
        before: the days that it has learned from are before this one.
        created: UTC.
        size: bytes.
        parents: tags of versions that it was made from.
    """

    kind = "part"
    version: str
    lost: str = ""
    before: date | None = None
    created: datetime | None = None
    size: int = 0
    seed: int | None = None
    commit: str = ""
    parents: tuple[str, ...] = ()

    @classmethod
    def of(cls, role: str, version: Version) -> "Part":
        lineage = version.lineage
        return cls(
            key=f"part:{role}",
            name=role,
            hash=version.content_hash,
            version=version.tag,
            before=lineage.data_cutoff,
            created=version.created,
            size=version.size,
            seed=lineage.seed,
            commit=lineage.commit,
            parents=lineage.parents,
        )


@dataclass(frozen=True)
class Whole(Node):
    """The release itself, with its content hash."""

    kind = "release"
    created: datetime


@dataclass(frozen=True)
class Alias(Node):
    """An alias that points at the release now; it moved there at `since` (UTC)."""

    kind = "alias"
    since: datetime
    by: str


KINDS = (Data, FeatureView, Service, Part, Whole, Alias)
N = TypeVar("N", bound=Node)


@dataclass(frozen=True)
class Graph:
    """The lineage of a release.

    Attributes:
        nodes: from the data to the aliases.
        edges: (key of what feeds, key of what is fed).
        moves: every move of any alias to the release or away from it, oldest first.
        compared: whether views and services were compared with the code of today.
    """

    release: releases.Release
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    moves: tuple[releases.Move, ...]
    compared: bool

    def of(self, kind: type[N]) -> list[N]:
        """All nodes of a kind."""
        return [node for node in self.nodes if isinstance(node, kind)]

    def into(self, node: Node, kind: type[N]) -> list[N]:
        """What feeds a node."""
        keys = {source for source, target in self.edges if target == node.key}
        return [one for one in self.of(kind) if one.key in keys]

    def out_of(self, node: Node, kind: type[N]) -> list[N]:
        """What a node feeds."""
        keys = {target for source, target in self.edges if source == node.key}
        return [one for one in self.of(kind) if one.key in keys]

    def ranker(self) -> str:
        return str(self.release.settings.get("ranker", ""))

    def remarks(self) -> list[str]:
        """What somebody who looks at the release should know first, as sentences."""
        parts = self.of(Part)
        said = [f"The {part.name} cannot be used: {part.lost}" for part in parts if part.lost]
        whole = [part for part in parts if not part.lost]
        days = _by(whole, {part.key: f"before {part.before}" for part in whole})
        if len(days) > 1:
            said.append(f"Parts have seen different days: {_listed(days)}.")
        data = {part.key: of.hash for of in self.of(Data) for part in self.made_of(of)}
        hashes = _by(whole, {key: f"of hash {hash}" for key, hash in data.items()})
        if len(hashes) > 1:
            said.append(f"Parts were trained on different data: {_listed(hashes)}.")
        said += [
            f"The code of today has another {view.name} in {service}, {why}."
            for view in self.of(FeatureView)
            for service, why in view.changed.items()
        ]
        said += [
            f"The code of today has another {service.name}, {service.changed}."
            for service in self.of(Service)
            if service.changed
        ]
        return said

    def made_of(self, data: Data) -> list[Part]:
        """The parts that were trained on these data."""
        return self.out_of(data, Part)

    def to_dict(self) -> dict[str, Any]:
        return {
            "nodes": [{"kind": node.kind, **asdict(node)} for node in self.nodes],
            "edges": [list(edge) for edge in self.edges],
            "compared": self.compared,
        }


def trace(tag_or_alias: str, *, compare: bool = False) -> Graph:
    """The lineage of a release, every file of its parts checked on the way.

    A part that is unknown or damaged is in it as such.

    Args:
        compare: also with the code of today: what it defines otherwise, and which views the computed ones are
            made of.

    Raises:
        RegistryError: no such alias or release, or its own file is damaged.
    """
    release = releases.get(tag_or_alias)
    now = features.declared_services() if compare else {}
    given = features.declared_sources() if compare else {}
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], None] = {}

    def add(node: N, *, feeds: Node | None = None) -> N:
        found = cast(N, nodes.setdefault(node.key, node))
        if feeds is not None:
            edges[found.key, feeds.key] = None
        return found

    whole = add(
        Whole(release.tag, release.tag, open_version(release.tag).content_hash, release.created)
    )
    for role, tag in release.parts.items():
        try:
            version = open_version(tag)
        except RegistryError as error:
            add(Part(f"part:{role}", role, "", tag, lost=str(error)), feeds=whole)
            continue
        part = add(Part.of(role, version), feeds=whole)
        lineage = version.lineage
        data = Data(
            f"data:{lineage.data_hash}:{lineage.data_cutoff}",
            "data",
            lineage.data_hash,
            lineage.data_cutoff,
        )
        # Retrievers and rankers learn from purchases beside their features.
        add(data, feeds=part)
        name = lineage.feature_service
        if name is None:
            continue
        schema = lineage.feature_schema_hash or ""
        used = {view: features.View(**said) for view, said in lineage.feature_views.items()}
        whys = _changes(used, now.get(name)) if compare and used else {}
        service = Service(f"service:{name}:{schema}", name, schema, whys.get("", ""))
        service = add(service, feeds=part)
        if not used:
            add(data, feeds=service)
        for view, meant in used.items():
            node = add(_view(view, meant.definition), feeds=service)
            node.fields[name] = meant.fields
            if view in whys:
                node.changed[name] = whys[view]
            if not node.computed:
                add(data, feeds=node)
                continue
            known = now.get(name, {}).get(view)
            if known is not None and known.definition == meant.definition:
                # The fingerprint is also of what the view is given, so that was the same too.
                for source, definition in given.get(view, {}).items():
                    add(data, feeds=add(_view(source, definition), feeds=node))
    moves = _moves(release.tag)
    for alias in release.aliases:
        newest = [m for m in moves if (m.alias, m.release) == (alias, release.tag)][-1]
        add(Alias(f"alias:{alias}", alias, "", newest.moved_at, newest.by))
        edges[whole.key, f"alias:{alias}"] = None
    ordered = sorted(nodes.values(), key=lambda node: KINDS.index(type(node)))
    return Graph(release, tuple(ordered), tuple(edges), tuple(moves), compare)


HISTORY = ("when", "alias", "action", "moved", "gates", "by", "why")


def history(graph: Graph) -> list[list[str]]:
    """A row of `HISTORY` for each move to the release or away from it, oldest first."""
    rows = []
    for move in graph.moves:
        if move.release == graph.release.tag:
            moved = f"here, from {move.before}" if move.before else "here, its first"
        else:
            moved = f"from here to {move.release}"
        when = minute(move.moved_at)
        rows.append([when, move.alias, move.action, moved, move.shown, move.by, move.why])
    return rows


GATES = ("gate", "says", "figure", "needed")


def gates(graph: Graph) -> list[list[str]]:
    """A row of `GATES` for each gate that was asked when the release last came somewhere."""
    asked = [move.gates for move in graph.moves if move.release == graph.release.tag and move.gates]
    return [
        [one["gate"], "passes" if one["passed"] else "fails", one["figure"], one["needed"]]
        for one in (asked[-1]["results"] if asked else ())
    ]


def minute(moment: datetime) -> str:
    """A moment as tables say it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _view(name: str, definition: str) -> FeatureView:
    # The function of a computed view has its name.
    computed = not name.startswith("_") and callable(getattr(moment_features, name, None))
    return FeatureView(f"view:{name}:{definition}", name, definition, computed, {}, {})


def _changes(
    used: Mapping[str, features.View], now: Mapping[str, features.View] | None
) -> dict[str, str]:
    """{view: why it is another today}; the service itself is an empty name."""
    return {view: why for view, _, why in guard.changes(used, now)}


def _moves(tag: str) -> list[releases.Move]:
    moves = [move for alias in releases.aliases() for move in releases.history(alias)]
    touching = [move for move in moves if tag in (move.release, move.before)]
    return sorted(touching, key=lambda move: move.seq)


def _by(parts: Sequence[Part], said: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of parts by what is said of them."""
    found: dict[str, list[str]] = {}
    for part in parts:
        found.setdefault(said[part.key], []).append(part.name)
    return found


def _listed(groups: Mapping[str, Iterable[str]]) -> str:
    """The smaller groups by name, the largest by its number."""
    ordered = sorted(
        ((list(names), said) for said, names in groups.items()), key=lambda g: len(g[0])
    )
    (rest, largest) = ordered.pop()
    named = [f"{', '.join(names)} {said}" for names, said in ordered]
    return f"{'; '.join(named)}; the other {many(len(rest), 'part')} {largest}"
