"""The lineage of a release as a tree for a terminal."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

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
from pipelines.reports.words import many, said_bytes

SHORT = 12
"""Letters of a hash: enough to tell two apart, and a line has room for them."""


def in_tree(graph: Graph) -> Group:
    """What came of which data through which features, then the release, its aliases and their history."""
    release = graph.release
    (whole,) = graph.of(Whole)
    aliases = ", ".join(release.aliases) or "no alias points at it"
    blocks: list[RenderableType] = [
        Text.assemble((release.tag, "bold"), "  ", aliases),
        Text(
            f"made {minute(release.created)}, ranker {graph.ranker() or 'none'}, "
            f"commit {release.lineage.commit[:SHORT]}"
        ),
        *(Text(remark, "bold yellow") for remark in graph.remarks()),
        Text(),
    ]
    shown: set[str] = set()
    blocks += [_of_data(graph, data, shown) for data in graph.of(Data)]
    blocks += [
        Text(f"{part.name}  {part.version}  cannot be used", "bold red")
        for part in graph.of(Part)
        if part.lost
    ]
    tree = Tree(Text(f"{release.tag}  content {whole.hash[:SHORT]}", "bold"))
    for alias in graph.of(Alias):
        tree.add(Text(f"{alias.name}  since {minute(alias.since)}, by {alias.by}"))
    blocks.append(tree)
    if graph.moves:
        table = Table(title="aliases that point or pointed at it", title_justify="left")
        for heading in HISTORY:
            table.add_column(heading, overflow="fold", no_wrap=heading in ("when", "alias"))
        for row in history(graph):
            # It follows production.
            if row[HISTORY.index("alias")] != "previous":
                table.add_row(*map(Text, row))
        blocks += [Text(), table]
    if asked := gates(graph):
        table = Table(title="what it showed when it last came here", title_justify="left")
        for heading in GATES:
            table.add_column(heading, overflow="fold")
        for row in asked:
            table.add_row(*map(Text, row), style="" if row[1] == "passes" else "bold red")
        blocks += [Text(), table]
    return Group(*blocks)


def _of_data(graph: Graph, data: Data, shown: set[str]) -> Tree:
    """What was trained on these data, below the service that it reads; views of a service are told once."""
    tree = Tree(Text(f"data {data.hash}, days before {data.before}", "bold"))
    parts = graph.made_of(data)
    names = max(len(node.name) for node in (*graph.of(FeatureView), *parts))
    for service in graph.of(Service):
        reading = [part for part in graph.out_of(service, Part) if part in parts]
        if not reading:
            continue
        branch = tree.add(
            _marked(f"service {service.name}  schema {service.hash}", service.changed)
        )
        views = [] if service.key in shown else graph.into(service, FeatureView)
        shown.add(service.key)
        for view in views:
            count = many(len(view.fields[service.name]), "feature")
            line = f"view {view.name:<{names}}  {view.hash[:SHORT]}  {count}"
            branch.add(_marked(line, view.changed.get(service.name, "")))
        _add(branch, reading, names)
    without = [part for part in parts if not graph.into(part, Service)]
    if without:
        _add(tree.add("no features"), without, names)
    return tree


def _add(branch: Tree, parts: Iterable[Part], names: int) -> None:
    for part in parts:
        version = part.version.partition(":")[2]
        line = f"{part.name:<{names}}  {part.hash[:SHORT]}  {version}  {said_bytes(part.size)}"
        branch.add(Text.assemble("part ", (line, "cyan")))


def _marked(line: str, changed: str) -> Text:
    """A line, in red with what is another today."""
    return Text(f"{line}  {changed}" if changed else line, "red" if changed else "")
