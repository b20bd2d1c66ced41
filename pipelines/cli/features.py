"""Features: computed, brought online, joined, checked."""

from datetime import date
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from pipelines.cli.console import as_day, ends_when_terminated, main, say, verb
from pipelines.reports.words import many


@main.group()
def features() -> None:
    """Features: compute them, join them to your own rows, look for leaks; and what is online."""


@features.command()
@click.option(
    "--through", callback=as_day, help="Last day to use; the last day loaded if left out."
)
@verb
def build(through: date | None) -> Any:
    """Compute every feature table in the warehouse.

    The first time whole; later only what new purchases and days change. An earlier day than the last
    one built takes the days after it off.

    \b
    Examples:
      lookbook features build
      lookbook features build --through 2020-09-15
    """
    from pipelines.feature_tables import build as compute

    made = compute(through, progress=say)
    views = sum(1 for name in made.rows if name.startswith("features."))
    text = f"{views} views through {made.through}, {sum(made.rows.values()):,} rows"
    if made.reused:
        text += f" ({len(made.reused)} tables were up to date)"
    text += (
        "\nTo serve them: feast -c feature_repo apply && lookbook features materialize"
        f" (or feast -c feature_repo materialize 1970-01-01T00:00:00 {made.end}T00:00:00)"
    )
    return text, made.to_dict()


@features.command()
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Pictures named by article; the folder images of the loaded shop if left out.",
)
@click.option(
    "--text-model",
    metavar="PATH",
    help="A sentence-transformers model on this machine; TF-IDF with SVD if left out.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Times the picture encoder learns from each picture: 12 when it is first made; another number than "
    "last time makes it anew.",
)
@click.option("--retrain", is_flag=True, help="Make the encoders anew, and encode everything.")
@verb
def embed(images: Path | None, text_model: str | None, epochs: int | None, retrain: bool) -> Any:
    """Make vectors of articles' texts and pictures, and visual clusters.

    The next `lookbook features build` takes them up. Run again, it encodes only what is new or has
    changed, by the encoders that there are (docs/content.md).

    \b
    Examples:
      lookbook features embed
      lookbook features embed --images ~/h-and-m/images --epochs 5
      lookbook features embed --text-model ~/models/all-MiniLM-L6-v2
    """
    from pipelines.content import embed as make

    with ends_when_terminated():
        made = make(images, text_model, epochs, retrain=retrain, progress=say)
    return str(made), made.to_dict()


@features.command()
@click.option("--through", callback=as_day, help="The last day built if left out.")
@verb
def materialize(through: date | None) -> Any:
    """Bring the features that hold after the last day built into the online store.

    The same as `feast -c feature_repo materialize`, for all views. An earlier day than the one that is
    online empties the store first.

    \b
    Examples:
      lookbook features materialize
      lookbook features materialize --through 2020-09-15
    """
    from pipelines import online as store
    from pipelines.feature_tables import latest_build

    store.materialize(through or latest_build().through, progress=say)
    moment = store.online_moment(refresh=True)
    return f"online as of {moment:%Y-%m-%d %H:%M} UTC", {"moment": moment}


@features.command()
@click.option("--rebuild", is_flag=True, help="First make all of it anew from the feature tables.")
@verb
def online(rebuild: bool) -> Any:
    """Show what the online store holds.

    `--rebuild` makes it anew, through the last day built: for a store that is damaged (its file is put
    aside), or one that is to take no more room than it needs. What was pushed and never loaded is gone.

    \b
    Examples:
      lookbook features online
      lookbook features online --rebuild
    """
    from pipelines import online as store

    if rebuild:
        store.rebuild(progress=say)
    views = store.state()
    if not views:
        return "Nothing is registered: run `feast -c feature_repo apply`.", {"views": {}}
    table = Table()
    for column in ("view", "rows", "MB", "through", "brought at"):
        table.add_column(column, justify="right" if column in ("rows", "MB") else "left")
    for name, view in views.items():
        table.add_row(
            name,
            f"{view.rows:,}",
            f"{view.bytes / 1e6:,.1f}",
            f"{view.through:%Y-%m-%d %H:%M}" if view.through else "-",
            f"{view.brought_at:%Y-%m-%d %H:%M}" if view.brought_at else "-",
        )
    return table, {"views": {name: vars(view) for name, view in views.items()}}


@features.command()
@click.argument("events", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--warehouse", is_flag=True, help="Also append them to the warehouse, for training.")
@verb
def push(events: Path, warehouse: bool) -> Any:
    """Push events of customers online: the next request sees them.

    EVENTS is CSV or Parquet with event_time, customer_id, article_id and kind (view, cart, purchase or
    dismiss; impressions are left out). An event that is pushed twice is there once.

    \b
    Examples:
      lookbook features push events.csv
      lookbook features push events.parquet --warehouse
    """
    from feature_repo.errors import InputError
    from pipelines import features as store
    from pipelines import online

    try:
        pushed = online.push(store.read_entities(events, online.EVENT_TIME), warehouse=warehouse)
    except InputError as error:
        raise InputError(f"{events}: {error}") from error
    where = "online and in the warehouse" if warehouse else "online"
    return f"{many(pushed, 'event')} {where}", {"events": pushed, "warehouse": warehouse}


@features.command("list")
@verb
def list_features() -> Any:
    """List every view with its features, types, units and meaning, as Markdown.

    \b
    Example:
      lookbook features list
    """
    from pipelines.features import catalogue, declared_features

    return catalogue().rstrip("\n"), {"views": declared_features()}


@features.command()
@click.option(
    "--entities",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV or Parquet with the keys and event_timestamp.",
)
@click.option("--service", required=True, help="A feature service, for example ranking.")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Parquet."
)
@verb
def join(entities: Path, service: str, out: Path) -> Any:
    """Join features to rows, each as they were known at the row's own moment.

    The rows keep their own columns (of CSV as text). A postal code, product or product group that
    they do not bring is that of their customer or article.

    \b
    Example:
      lookbook features join --entities labels.csv --service ranking --out training.parquet
    """
    from feature_repo.errors import InputError
    from pipelines import features as store

    if out.suffix.lower() != ".parquet":
        raise store.FeatureError(f"{out}: the result is Parquet, so name it {out.stem}.parquet.")
    if out.exists() and out.samefile(entities):
        raise store.FeatureError(f"{out} holds the rows that are asked for: write another file.")
    try:
        joined = store.join(store.read_entities(entities), service, out)
    except InputError as error:
        raise InputError(f"{entities}: {error}") from error
    rows = many(joined.rows, "row")
    for key, (count, example) in joined.unknown.items():
        say(f"{count:,} of {rows}: {key} is unknown to the shop, for example {example}")
    for key, count in joined.empty.items():
        say(f"{count:,} of {rows}: {key} is empty")
    return (
        f"{out}: {rows}, {many(len(joined.columns), 'column')}",
        {
            "out": str(out),
            "rows": joined.rows,
            "columns": joined.columns,
            "unknown": {key: count for key, (count, _) in joined.unknown.items()},
            "empty": joined.empty,
        },
    )


@features.command("check")
@click.option("--service", help="A feature service, for example ranking; all if left out.")
@click.option(
    "--rows",
    default=200,
    show_default=True,
    type=click.IntRange(20),
    help="How many customers to sample.",
)
@verb
def check_features(service: str | None, rows: int) -> Any:
    """Look for leaks: features that tell what was not known yet, or what is another's.

    Small shops are made of a sample of the loaded one (a made-up one if nothing is loaded), with
    purchases planted in the future, colliding keys and the like; docs/leak-lab.md says what each
    check can find. The warehouse is only read. The exit status is 1 if anything leaks.

    \b
    Examples:
      lookbook features check
      lookbook features check --service ranking --rows 500
      lookbook features check --service ranking --json
    """
    from rich.console import Group
    from rich.markup import escape

    from pipelines.leak_lab import CHECKS, check

    found = check([service] if service else (), rows, progress=say)
    shown = {"ok": "ok", "leaks": "[bold red]LEAKS[/]", "untested": "[dim]-[/]"}
    blocks: list[Table | str] = []
    for name, statuses in found.services.items():
        table = Table(title=f"{name}, asked at {found.cut}", title_justify="left")
        table.add_column("feature", no_wrap=True)
        for title in CHECKS:
            table.add_column(title)
        for feature, of_check in statuses.items():
            table.add_row(feature, *(shown[of_check[title]] for title in CHECKS))
        blocks.append(table)
    blocks += [escape(f"{leak.service}: {leak}") for leak in found.leaks]
    checked = {feature for statuses in found.services.values() for feature in statuses}
    leaking = {leak.feature for leak in found.leaks}
    says = f"{len(leaking)} of them leak" if leaking else "none leaks"
    blocks.append(f"{many(len(checked), 'feature')} checked, {says}. (-: the check says nothing.)")
    return Group(*blocks), found.to_dict(), *([1] if found.leaks else [])


@features.command()
@verb
def guard() -> Any:
    """Look for changes to features that a release under an alias was trained on.

    Run it before `feast apply` (`make apply` does) and in CI, where the registry of production is at hand. What has
    changed must come as a new version: a view and a feature service of another name beside the old ones. The exit
    status is 1 if a change is in the way, if a record of such a release cannot be read, or if LOOKBOOK_HOME names a
    place where there is no shop.

    \b
    Examples:
      lookbook features guard
      lookbook features guard --json
    """
    from feature_repo import places
    from pipelines.model_registry import release as releases
    from pipelines.model_registry.guard import check, is_there

    if not is_there():
        none = (
            f"There is no registry at {places.models_folder()} yet, so there is nothing to guard."
        )
        return none, {"blocked": []}
    found = check()
    aliases = ", ".join(releases.aliases()) or "none yet"
    safe = f"Nothing that a release under an alias uses has changed (aliases: {aliases})."
    text = "\n".join(map(str, found)) if found else safe
    return text, {"blocked": [one.to_dict() for one in found]}, *([1] if found else [])
