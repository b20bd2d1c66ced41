"""Releases: made, promoted, rolled back."""

from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Group
from rich.table import Table

from feature_repo.places import check_place
from pipelines.cli.console import (
    DECLARATION,
    as_release,
    as_rerankers,
    declared_release,
    main,
    read_evaluation,
    say,
    verb,
)
from pipelines.reports.words import many


@main.group()
def release() -> None:
    """Releases: what is served, moved and rolled back as one thing."""


@release.command()
@click.option(
    "--evaluation",
    type=click.File(),
    help="The last line of `lookbook evaluate --json`, to keep its figures with the release.",
)
@declared_release
@click.option("--ranker", help="With this ranker instead of that of the declaration.")
@click.option(
    "--rerankers",
    callback=as_rerankers,
    metavar="NAME=STRENGTH,...|FILE.json",
    help="Re-rankers in their order, of dpp, mmr, freshness, calibrated and exposure, or a JSON file that gives "
    "each its settings; business_rules come last where they are not named.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="TAG",
    help="This version of a model instead of the newest; may be given several times.",
)
@verb
def create(
    evaluation: TextIO | None,
    settings: Any,
    ranker: str | None,
    rerankers: dict[str, dict[str, Any]] | None,
    parts: tuple[str, ...],
) -> Any:
    """Put the newest version of each model together into a release.

    It is the newest ranker, with the newest of the others that have seen no more than it.

    A re-ranker's settings are in docs/re-ranking.md; what each costs, `lookbook evaluate --rerankers` says.
    In a file, rules go by their names: {"dpp": {"strength": 0.2}, "business_rules": {"caps": [["product", 1]]}}.

    \b
    Examples:
      lookbook release create
      lookbook train multi_task && lookbook release create --ranker multi_task
      lookbook release create --release pipelines/releases/default.yaml
      lookbook release create --rerankers freshness=0.25,dpp=0.2
      lookbook release create --part ease:20200923-101500-000000-4f2a1c
      lookbook evaluate --json > evaluation.json
      lookbook release create --evaluation evaluation.json
    """
    from pipelines.model_catalog import RANKERS
    from pipelines.model_registry.composing import create_release
    from pipelines.rerankers.business_rules import BusinessRules

    if ranker is not None:
        if ranker not in RANKERS:
            raise click.UsageError(
                f"No ranker is called {ranker!r}; there are: {', '.join(RANKERS)}."
            )
        settings = replace(settings, ranker=ranker, ranker_settings=None)
    if rerankers is not None:
        rules = BusinessRules.name
        settings = replace(settings, rerankers={**rerankers, rules: rerankers.get(rules, {})})
    tags = {tag.partition(":")[0]: tag for tag in parts}
    made = create_release(tags, read_evaluation(evaluation), settings)
    # Scripts take the last line of stdout as the tag.
    say(f"Next: lookbook release check {made.tag}; lookbook release promote {made.tag}")
    return made.tag, {"release": made.tag, "parts": made.parts}


@release.command("plan")
@click.argument("settings", required=False, type=DECLARATION, callback=as_release, metavar="[FILE]")
@click.option("--alias", default="production", show_default=True, help="What it is compared with.")
@verb
def plan_command(settings: Any, alias: str) -> Any:
    """Say what would change: a release of a declaration and the newest versions, against the one in production.

    Nothing is made. FILE is a declaration; pipelines/releases/default.yaml if left out.

    \b
    Examples:
      lookbook release plan
      lookbook release plan pipelines/releases/default.yaml --alias shadow
    """
    from pipelines.model_registry.planning import plan

    found = plan(settings, alias)
    lines = [f"Against {alias}, {found.against or 'which points nowhere yet'}:"]
    lines += map(str, found.changes)
    if not found.changes:
        lines.append("nothing changes.")
    if found.to_train:
        lines.append(f"First run `lookbook train {' '.join(found.to_train)}`.")
    if found.hindrance:
        lines.append(f"It could not be created: {found.hindrance}")
    return "\n".join(lines), found.to_dict()


judged = click.option(
    "--evaluation",
    type=click.File(),
    help="The last line of `lookbook evaluate --json`, which compares it with production; if left out that which it "
    "was created with, or else one is made.",
)


@release.command()
@click.argument("tag")
@judged
@verb
def check(tag: str, evaluation: TextIO | None) -> Any:
    """Ask the gates of a release, as `promote` does, and move nothing.

    The release declares them with their thresholds (`gates` in pipelines/releases/default.yaml): quality against
    production, the parts themselves, a floor for every group of customers, calibration, coverage, parity, leaks, latency, index recall,
    size. The exit status is 1 if one does not let it pass. What takes long is measured once.

    \b
    Examples:
      lookbook release check release:latest
      lookbook evaluate --models release,like:production --base like:production --json > evaluation.json
      lookbook release check release:latest --evaluation evaluation.json
    """
    from pipelines.model_registry import gates

    found = gates.check(tag, read_evaluation(evaluation), progress=say)
    if not found.results:
        return f"{found.release} declares no gates.", found.to_dict()
    if found.passed:
        say(f"Next: lookbook release promote {found.release}")
    return _said(found), found.to_dict(), *([] if found.passed else [1])


def _said(found: Any) -> Table:
    """What gates say."""
    against = f"{found.release} against {found.against or 'nothing'}"
    table = Table(title=against, title_justify="left", show_lines=True)
    for column in ("gate", "", "figure", "needed"):
        table.add_column(column, overflow="fold")
    for one in found.results:
        style = "" if one.passed else "bold red"
        said = "passes" if one.passed else "fails"
        table.add_row(one.gate, said, one.figure, one.needed, style=style)
    return table


@release.command()
@click.argument("tag")
@click.option("--alias", default="production", show_default=True)
@click.option("--why", default="", help="The reason, kept in the history.")
@click.option("--force", is_flag=True, help="Also if it does not pass its gates; needs --why.")
@judged
@verb
def promote(tag: str, alias: str, why: str, force: bool, evaluation: TextIO | None) -> Any:
    """Point an alias at a release.

    The alias `production` asks the gates of the release before (`lookbook release check`), which can take as long as
    training does; the others ask for nothing. What the gates said is kept in the history.

    \b
    Examples:
      lookbook release promote release:latest --why "more history"
      lookbook release promote release:latest --alias shadow
      lookbook release promote release:latest --force --why "calibration is mended tomorrow"
    """
    if force and not why.strip():
        raise click.UsageError("--force needs --why: the reason stays in the history.")
    from pipelines.model_registry import gates

    read = read_evaluation(evaluation)
    try:
        return _moved(gates.promote(tag, alias, why, force=force, evaluation=read, progress=say))
    except gates.GateError as error:
        return Group(_said(error.check), str(error)), {**error.check.to_dict(), "changed": False}, 1


@release.command()
@click.option("--alias", default="production", show_default=True)
@click.option("--why", default="", help="The reason, kept in the history.")
@verb
def rollback(alias: str, why: str) -> Any:
    """Take the last promotion of an alias back.

    \b
    Example:
      lookbook release rollback --why "fewer clicks"
    """
    from pipelines.model_registry import evidence

    return _moved(evidence.rollback(alias, why=why))


def _moved(move: Any) -> Any:
    return str(move), {**vars(move), "changed": move.changed}


@release.command("list")
@verb
def list_command() -> Any:
    """List releases, newest first: where aliases point, which ranker, and what it has learned from.

    \b
    Example:
      lookbook release list
    """
    from pipelines.model_registry import release as releases
    from pipelines.model_registry.registry import list_versions

    table = Table()
    for column in ("release", "aliases", "ranker, learned from"):
        table.add_column(column, no_wrap=column == "release", overflow="fold")
    versions = {version.tag: version for version in list_versions()}
    rows = []
    for found in releases.list_releases():
        ranker = str(found.settings.get("ranker", ""))
        version = versions.get(found.parts.get(ranker, ""))
        weeks = None if version is None else len(version.lineage.settings.get("weeks", []))
        row = {
            "release": found.tag,
            "aliases": list(found.aliases),
            "ranker": ranker,
            "ranker_content_hash": version and version.content_hash,
            "training_weeks": weeks,
            "data_cutoff": found.lineage.data_cutoff,
            "created": found.created,
        }
        rows.append(row)
        # Two lines each: a tag leaves little room on a terminal.
        table.add_row(
            f"{found.tag}\n{found.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            "\n".join(found.aliases),
            f"{ranker} {version.content_hash[:8] if version else 'is gone'}\n"
            f"{many(weeks, 'week') if weeks else 'days'} before {found.lineage.data_cutoff}",
        )
    return (
        table if rows else "No release yet: run `lookbook train`, then `lookbook release create`.",
        {"releases": rows},
    )


@release.command()
@click.argument("tag", default="production")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page instead, with a drawing, and compare with the features in the code.",
)
@verb
def show(tag: str, out: Path | None) -> Any:
    """Show where a release (default: the one in production) comes from, and which aliases pointed at it.

    From the data through feature views and services to the versions that it pins, each with its hash. Every
    file is checked on the way; a version that is damaged is shown as such.

    \b
    Examples:
      lookbook release show
      lookbook release show release:latest --out release.html
    """
    from pipelines.model_registry.lineage import trace

    if out is not None:
        check_place(out)
    graph = trace(tag, compare=out is not None)
    found = graph.release
    result = {
        "release": found.tag,
        "aliases": list(found.aliases),
        "parts": found.parts,
        "feature_services": found.feature_services,
        "settings": found.settings,
        "lineage": vars(found.lineage),
        "metrics": found.metrics,
        "history": [vars(move) for move in graph.moves],
        "remarks": graph.remarks(),
        "graph": graph.to_dict(),
    }
    if out is None:
        from pipelines.model_registry.lineage_tree import in_tree

        return in_tree(graph), result
    from pipelines.model_registry.lineage_page import write_lineage_page

    write_lineage_page(graph, out)
    return "\n".join([f"{out}: {found.tag}", *graph.remarks()]), {**result, "out": str(out)}


@release.command("export")
@click.argument("tag", default="production")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file, a ZIP.",
)
@verb
def export_command(tag: str, out: Path) -> Any:
    """Write a release (default: the one in production) with all its parts as one file.

    \b
    Examples:
      lookbook release export --out release.zip
      lookbook release export release:latest --out release.zip
    """
    from pipelines.model_registry.exchange import export_release

    found = export_release(tag, out)
    return f"{out}: {found}", {"release": found, "out": str(out), "bytes": out.stat().st_size}


@release.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@verb
def import_command(file: Path) -> Any:
    """Take in a release that `lookbook release export` wrote; no alias moves.

    Every file is checked against the record of its version, and pickles are refused.

    \b
    Example:
      lookbook release import release.zip
    """
    from pipelines.model_registry.exchange import import_release

    tag, taken = import_release(file)
    new = f"{many(len(taken), 'version')} taken in" if taken else "it was here already"
    return f"{tag}: {new}", {"release": tag, "taken": taken}


@release.command()
@click.option(
    "--keep",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="So many of the newest releases, and versions of each model, stay anyhow.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@verb
def prune(keep: int, dry_run: bool) -> Any:
    """Let versions go that no alias points at or ever pointed at.

    \b
    Examples:
      lookbook release prune --dry-run
      lookbook release prune --keep 10
    """
    from pipelines.model_registry import exchange

    gone = exchange.prune(keep, dry_run=dry_run)
    what = f"{many(len(gone), 'version')} {'would go' if dry_run else 'gone'}"
    return "\n".join([*gone, what]), {"gone": gone, "dry_run": dry_run}


@release.command()
@click.argument("tag", default="production")
@verb
def reproduce(tag: str) -> Any:
    """Train a release (default: the one in production) again, and compare with what is registered.

    Every part is made anew as of its cutoff, with the settings that are recorded, and nothing is registered. The same
    data, code, libraries and kind of machine give the same content hashes; where one is another, what has changed since
    is told, and the exit status is 1.

    \b
    Examples:
      lookbook release reproduce
      lookbook release reproduce release:latest --json
    """
    from pipelines.model_registry import reproducing

    found = reproducing.reproduce(tag, progress=say)
    table = Table(title=found.release, title_justify="left")
    for column in ("part", "version", "registered", "made again"):
        table.add_column(column, no_wrap=True)
    for role, part in found.parts.items():
        again = "the same" if part.same else part.now[:12]
        style = "" if part.same else "bold red"
        table.add_row(role, part.tag.partition(":")[2], part.was[:12], again, style=style)
    return Group(table, *found.different), found.to_dict(), *([] if found.same else [1])
