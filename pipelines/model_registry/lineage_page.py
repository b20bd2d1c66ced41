"""The lineage of a release as a page: one figure, and the same in tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.model_registry.lineage import (
    GATES,
    HISTORY,
    Alias,
    Data,
    FeatureView,
    Graph,
    Part,
    Service,
    Whole,
    gates,
    history,
    minute,
)
from pipelines.model_registry.planning import flat
from pipelines.reports import Cell, Page, Section, plots
from pipelines.reports.page import Value
from pipelines.reports.words import many, said_bytes

LEAST = 1040
"""Pixels below which the words of the figure would be too small."""
SHORT = 10
"""Letters of a hash where there is no room for all."""


def lineage_page(graph: Graph) -> Page:
    """The page; everything on it is read from the registry."""
    release = graph.release
    names = release.aliases
    pointing = (
        f"{_and(names)} {'points' if len(names) == 1 else 'point'} at it now" if names else ""
    )
    page = Page(
        release.tag,
        f"Where a release comes from, from the shop's data to what is served: {pointing or 'no alias points at it now'}.",
        footer="Made by: lookbook release show --out",
    )
    _chain(page.section("From data to alias", _lead(graph)), graph)
    _data(page.section("Data"), graph)
    _parts(page.section("Parts"), graph)
    _services(page.section("Feature services"), graph)
    _views(page.section("Feature views"), graph)
    _settings(page.section("Settings"), graph)
    _metrics(page.section("How good it is"), graph)
    _moves(page.section("Aliases"), graph)
    return page


def write_lineage_page(graph: Graph, out: Path) -> None:
    """Write the page.

    Raises:
        InputError: `out` cannot be written.
    """
    lineage_page(graph).write(out)


def _lead(graph: Graph) -> str:
    if remarks := graph.remarks():
        return " ".join(remarks)
    same = (
        ", and the code of today defines every view as it was when they were trained"
        if graph.compared
        else ""
    )
    return f"All parts have seen the same days of the same data{same}."


# --- the figure ---------------------------------------------------------------------------------


def _chain(section: Section, graph: Graph) -> None:
    release, parts = graph.release, graph.of(Part)
    section.numbers(
        [
            ("days before", str(release.lineage.data_cutoff)),
            ("made", f"{release.created:%Y-%m-%d}"),
            ("ranker", graph.ranker() or "-"),
            (f"parts, {said_bytes(sum(part.size for part in parts))} in all", str(len(parts))),
        ]
    )
    section.figure(
        plots.layers(list(_columns(graph)), _lines(graph)),
        "What feeds what, from left to right, with the hash of each",
        f"Data feed {many(len(graph.of(FeatureView)), 'feature view')}, these {many(len(graph.of(Service)), 'feature service')}, "
        f"these {many(len(parts), 'model version')}, which {release.tag} pins; "
        f"{_and(release.aliases) or 'no alias'} points at it. The tables below say the same.",
        least=LEAST,
    )
    section.text(
        "Data: days before the cutoff, and the hash of all tables. View: the fingerprint of its definition. Service: its "
        "schema hash. Version: its content hash. Every version also learns from the purchases themselves; only what reads "
        "no feature at all has a line of its own to the data.",
        note=True,
    )


def _columns(graph: Graph) -> Iterator[tuple[str, Sequence[plots.Box]]]:
    usual = graph.release.lineage.data_cutoff
    colours = {service.key: nth for nth, service in enumerate(graph.of(Service))}
    yield (
        "data",
        [
            plots.Box(
                data.key,
                f"before {data.before}",
                data.hash[:SHORT],
                tone="" if data.before == usual else "odd",
            )
            for data in graph.of(Data)
        ],
    )
    for heading, computed in (("feature views", False), ("computed at the request", True)):
        yield (
            heading,
            [
                plots.Box(
                    view.key,
                    view.name,
                    f"{view.hash[:SHORT]}{', another today' if view.changed else ''}",
                    tone="bad" if view.changed else "",
                )
                for view in graph.of(FeatureView)
                if view.computed is computed
            ],
        )
    yield (
        "feature services",
        [
            plots.Box(
                service.key,
                service.name,
                f"{service.hash[:SHORT]}{', another today' if service.changed else ''}",
                tone="bad" if service.changed else "",
                colour=colours[service.key],
            )
            for service in graph.of(Service)
        ],
    )
    yield "model versions", [_version(part, graph) for part in graph.of(Part)]
    yield (
        "release",
        [
            plots.Box(whole.key, whole.name.partition(":")[2][:15], whole.hash[:SHORT], "strong")
            for whole in graph.of(Whole)
        ],
    )
    yield (
        "aliases",
        [
            plots.Box(alias.key, alias.name, f"since {alias.since:%Y-%m-%d}")
            for alias in graph.of(Alias)
        ],
    )


def _version(part: Part, graph: Graph) -> plots.Box:
    if part.lost:
        return plots.Box(part.key, part.name, "cannot be used", "bad")
    if part.before != graph.release.lineage.data_cutoff:
        return plots.Box(part.key, part.name, f"{part.hash[:SHORT]}, before {part.before}", "odd")
    return plots.Box(part.key, part.name, part.hash[:SHORT])


def _lines(graph: Graph) -> list[tuple[str, str]]:
    """Without those from the data to what also reads features, or no other line could be followed."""
    reading = {p.key for p in graph.of(Part) if graph.into(p, Service)}
    data = {one.key for one in graph.of(Data)}
    return [(one, two) for one, two in graph.edges if not (one in data and two in reading)]


# --- the tables ---------------------------------------------------------------------------------


def _data(section: Section, graph: Graph) -> None:
    section.table(
        ["data hash", "days before", "learned from by"],
        [
            [data.hash, str(data.before), ", ".join(part.name for part in graph.made_of(data))]
            for data in graph.of(Data)
        ],
        align="nnl",
        caption="What the parts were trained on",
    )


def _parts(section: Section, graph: Graph) -> None:
    usual = graph.release.lineage.data_cutoff
    whole = [part for part in graph.of(Part) if not part.lost]
    lost = [[part.name, part.version, part.lost] for part in graph.of(Part) if part.lost]
    if lost:
        section.table(["role", "version", "why"], lost, align="nnl", caption="What cannot be used")
    section.table(
        ["role", "version", "content hash", "days before", "trained", "size", "reads", "seed"],
        [
            [
                part.name,
                part.version.partition(":")[2],
                part.hash,
                Cell(str(part.before), "" if part.before == usual else "bad"),
                minute(part.created) if part.created else None,
                said_bytes(part.size),
                ", ".join(service.name for service in graph.into(part, Service)) or None,
                part.seed,
            ]
            for part in whole
        ],
        align="nncnnrlr",
        caption="The versions that it pins, every file checked",
    )
    parents = [[part.name, parent] for part in whole for parent in part.parents]
    if parents:
        section.table(["role", "made from"], parents, align="nn", caption="Made from others")


def _services(section: Section, graph: Graph) -> None:
    section.table(
        ["service", "schema hash", "views", "features", "read by", "in the code of today"],
        [
            [
                service.name,
                service.hash,
                len(views := graph.into(service, FeatureView)),
                sum(len(view.fields[service.name]) for view in views),
                ", ".join(part.name for part in graph.out_of(service, Part)),
                _today(graph, "service", service.changed)
                if service.changed or not any(service.name in view.changed for view in views)
                else Cell("its views are others", "bad"),
            ]
            for service in graph.of(Service)
        ],
        align="ncrrll",
        caption="What models read, as they were trained on it",
    )


def _views(section: Section, graph: Graph) -> None:
    taken: list[Sequence[Value]] = []
    fields: dict[tuple[str, str, str], list[str]] = {}
    for view in graph.of(FeatureView):
        for service in graph.out_of(view, Service):
            own = view.fields[service.name]
            feeds = ", ".join(part.name for part in graph.out_of(service, Part))
            today = _today(graph, "view", view.changed.get(service.name, ""))
            taken.append([view.name, view.hash, service.name, feeds, len(own), today])
            fields.setdefault((view.name, view.hash, _by_type(own)), []).append(service.name)
    section.table(
        ["view", "definition", "through", "feeds", "features", "in the code of today"],
        taken,
        align="ncnlrl",
        caption="What models take of each view, and through which service",
    )
    section.table(
        ["view", "through", "features, by type"],
        [[name, ", ".join(through), said] for (name, _, said), through in fields.items()],
        align="nll",
        caption="The features that they take",
    )
    computed = [view for view in graph.of(FeatureView) if view.computed]
    section.table(
        ["view", "definition", "made of"],
        [[view.name, view.hash, _made_of(graph, view)] for view in computed],
        align="ncl",
        caption="Views that are computed at the request",
    )


def _by_type(fields: Mapping[str, str]) -> str:
    """Int64: one, two; String: three."""
    found: dict[str, list[str]] = {}
    for name, kind in fields.items():
        found.setdefault(kind, []).append(name)
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in found.items())


def _made_of(graph: Graph, view: FeatureView) -> Value:
    if not graph.compared or view.changed:
        return Cell("only known where the code is the same", "quiet")
    given = graph.into(view, FeatureView)
    return ", ".join([*(f"{one.name} ({one.hash})" for one in given), "the moment"])


def _today(graph: Graph, what: str, changed: str) -> Cell:
    if not graph.compared:
        return Cell("not compared", "quiet")
    return Cell(f"a {what} {changed}", "bad") if changed else Cell("the same", "good")


def _settings(section: Section, graph: Graph) -> None:
    section.table(
        ["setting", "value"],
        list(flat(graph.release.settings).items()),
        align="nl",
        caption="As it was declared",
        half=True,
    )
    lineage, (whole,) = graph.release.lineage, graph.of(Whole)
    section.table(
        ["", "version"],
        [
            ["content hash", whole.hash],
            ["commit", lineage.commit],
            *([n, v] for n, v in sorted(lineage.environment.items())),
        ],
        align="nw",
        caption="The release itself, and what it was made with",
        half=True,
    )


def _metrics(section: Section, graph: Graph) -> None:
    # It takes the evaluation with it, which the text of a release can do without.
    from pipelines.evaluation.evaluation_page import MEANING, between

    metrics = graph.release.metrics
    rows = [
        [name, between(found), MEANING.get(name, "")]
        for name, found in metrics.items()
        if isinstance(found, dict) and "mean" in found
    ]
    if not rows:
        section.text(
            "No figures were registered with it: lookbook release create --evaluation keeps them, and lookbook evaluate "
            f"--models {graph.release.tag} judges it now."
        )
        return
    weeks = ", ".join(map(str, metrics.get("weeks", [])))
    section.table(
        ["metric", "value (95% interval)", "is"],
        rows,
        align="nnl",
        caption=f"As registered with it{f'; test weeks from {weeks}' if weeks else ''}",
    )


def _moves(section: Section, graph: Graph) -> None:
    rows = history(graph)
    if not rows:
        section.text("No alias has ever pointed at it.")
        return
    section.table(HISTORY, rows, align="nnnllnl", caption="Who moved what here and away, and why")
    if asked := gates(graph):
        section.table(GATES, asked, align="nnll", caption="What it showed when it last came here")


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
