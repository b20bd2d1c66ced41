"""The command `lookbook`: thin verbs over `pipelines`.

Every verb prints progress on standard error and its result on standard output; with `--json` the
last line of standard output is one JSON object. Errors that people can mend are one sentence and
exit status 1.
"""

# Heavy imports (feast, bentoml, lightgbm) stand inside the verbs, so that `--help` answers at once.

import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from feature_repo.errors import InputError, LookbookError
from pipelines.reports.words import many

_screen = Console(stderr=True, highlight=False, soft_wrap=True)


class _Group(click.Group):
    """Shows what people can mend as one sentence, and lets bugs keep their trace."""

    def invoke(self, ctx: click.Context) -> Any:
        if not sys.warnoptions:
            # What libraries tell their developers is not for people who use the command. A filter would
            # not do: Feast sets its own when it is imported.
            warnings.showwarning = lambda *said, **more: None
        try:
            return super().invoke(ctx)
        except LookbookError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
        except RuntimeError as error:
            # DuckDB answers Ctrl-C in the middle of a query with an error of its own.
            if "interrupt" not in str(error).lower():
                raise
            raise click.Abort from error


def _say(text: str) -> None:
    _screen.print(text, style="dim", markup=False)


@contextmanager
def _ends_when_terminated() -> Iterator[None]:
    """Lets a step clean up behind itself when the process is told to end, as Ctrl-C does."""

    def end(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Shows how far each step is: as bars on a screen, else as a line now and then."""
    if _screen.is_terminal:
        tasks: dict[str, TaskID] = {}
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=_screen
        ) as bars:

            def show(step: str, done: float) -> None:
                if step not in tasks:
                    tasks[step] = bars.add_task(step, total=1.0)
                bars.update(tasks[step], completed=done)

            yield show
    else:
        shown: dict[str, int] = {}

        def say(step: str, done: float) -> None:
            quarter = int(done * 4)
            if quarter > shown.get(step, 0):
                shown[step] = quarter
                _say(f"{step}: {quarter * 25}%" if quarter < 4 else f"{step} written")

        yield say


def _verb(function: Callable[..., Any]) -> Callable[..., None]:
    """Adds `--json`; the function returns (what to print, the JSON object), and an exit status if it
    is not 0."""

    @click.option("--json", "as_json", is_flag=True, help="End with one JSON object on one line.")
    @wraps(function)
    def run(*args: Any, as_json: bool, **kwargs: Any) -> None:
        text, result, *status = function(*args, **kwargs)
        if as_json:
            click.echo(json.dumps(result, default=str))
        elif isinstance(text, str):
            click.echo(text)
        else:
            # A pipe has no width; a table must not be cut to fit one.
            Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(text)
        if status:
            sys.exit(status[0])

    return run


def _day(ctx: click.Context, parameter: click.Parameter, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a day: write it as 2020-09-22.") from error


def _moment(ctx: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not a moment: write it as 2020-09-22 or 2020-09-22T14:30."
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lookbook")
def main() -> None:
    """Feature store, model registry and recommender for a fashion shop.

    State lives in the folder LOOKBOOK_HOME (default: .lookbook/; a relative path is below the
    project).

    \b
    Example:
      lookbook demo
    """


@main.group()
def data() -> None:
    """Raw data: make a shop up, or load one."""


@data.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="A new or empty folder."
)
@click.option("--customers", type=int, help="How many customers.  [default: 2000]")
@click.option("--articles", type=int, help="How many articles.  [default: 800]")
@click.option("--days", type=int, help="How many days, up to 2020-09-22.  [default: 240]")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same files.")
@click.option(
    "--like-hm",
    is_flag=False,
    flag_value=1.0,
    type=float,
    metavar="[SHARE]",
    help="H&M's size (1,371,980 customers, 105,542 articles, 734 days), or a share of it.",
)
@click.option(
    "--interactions",
    default=0,
    metavar="DAYS",
    help="Also what was shown, viewed, put in the cart and dismissed on the last days.",
)
@click.option("--images", default=0, metavar="N", help="Also pictures of N articles.")
@click.option("--dirt", is_flag=True, help="Plant defects, listed in dirt.json; needs --csv.")
@click.option("--csv", is_flag=True, help="CSV as Kaggle has it, instead of Parquet.")
@click.option("--threads", type=int, help="All cores if left out; changes nothing but the time.")
@_verb
def synthesize(out: Path, like_hm: float | None, **asked: Any) -> Any:
    """Make a shop up, in the layout of Kaggle's H&M files, with the truth behind it.

    The truth (what customers like, and how likely they are to view, put in the cart and buy what
    they are shown) is in the folder truth/; docs/made-up-shop.md says how to use it.

    \b
    Examples:
      lookbook data synthesize --out /tmp/shop --customers 5000 --articles 2000
      lookbook data synthesize --out /tmp/shop --interactions 28 --images 800
      lookbook data synthesize --out /tmp/hm --like-hm
      lookbook data synthesize --out /tmp/tenth --like-hm 0.1
    """
    from pipelines.data.synthetic import like_hm as size_of
    from pipelines.data.synthetic import synthesize as make

    # What is left out has its default where the shop is made.
    given = {name: value for name, value in asked.items() if value is not None}
    if like_hm is not None:
        for name in ("customers", "articles"):
            if name in given:
                raise click.UsageError(f"--like-hm sets the size: leave --{name} out.")
        given = size_of(like_hm) | given
    with _progress() as told, _ends_when_terminated():
        made = make(out, **given, progress=told)
    text = (
        f"{made.folder}: {many(made.customers, 'customer')}, {many(made.articles, 'article')}, "
        f"{many(made.transactions, 'transaction')} from {made.first_day} to {made.last_day}"
    )
    for count, what in (
        (made.interactions, "interaction"),
        (made.images, "image"),
        (made.defects, "planted defect"),
    ):
        text += f", {many(count, what)}" * (count > 0)
    return text, {**vars(made), "folder": str(made.folder)}


@data.command("load")
@click.argument("source")
@click.option("--add", is_flag=True, help="Also beside what came through another adapter.")
@_verb
def load_command(source: str, add: bool) -> Any:
    """Check raw files and load them; loading the same twice adds nothing.

    SOURCE is a folder in the Kaggle layout, ADAPTER:PATH (for example online-retail:FILE), or
    MY_SHOP.py:PATH with an adapter of your own (docs/bring-your-shop.md).

    \b
    Examples:
      lookbook data load ~/h-and-m
      lookbook data load online-retail:data/online_retail.parquet
    """
    from pipelines.data.load import load

    report = load(source, add=add, progress=_say)
    return str(report), report.to_dict()


@data.command("compare")
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path), help="Also write it as a web page."
)
@_verb
def compare_command(source: Path | None, page: Path | None) -> Any:
    """Hold a shop against the published figures of H&M's.

    SOURCE is a folder in the Kaggle layout, as CSV or Parquet; the loaded shop if left out. What
    needs more days than the shop has, or depends on its size too much, is listed and not compared.

    \b
    Examples:
      lookbook data compare
      lookbook data compare /tmp/shop --page compare.html
      lookbook data compare /tmp/shop --json > figures.json
    """
    from rich.console import Group

    from pipelines.data.compare import compare

    found = compare(source, page=page, progress=_say)
    blocks: list[Table | str] = []
    for section, rows in found.sections().items():
        table = Table(title=section, title_justify="left")
        for column in ("figure", "H&M", "this shop", "difference", "within 15%"):
            table.add_column(column, justify="right" if column in ("H&M", "this shop") else "left")
        for row in rows:
            if row.within15 is not None:
                near = "yes" if row.within15 else "[bold]no[/]"
                table.add_row(row.figure.name, row.theirs_text, row.ours_text, row.says, near)
        if table.row_count:
            blocks.append(table)
    for reason, rows in found.not_compared().items():
        names = ", ".join(
            row.figure.name + (f" ({row.ours_text})" if row.ours is not None else "")
            for row in rows
        )
        blocks.append(f"\nNot compared, {reason}: {names}.")
    if page is not None:
        _say(f"{page} written")
    return Group(*blocks, f"\n{found.star}\n", found.summary), {
        **found.to_dict(),
        "page": None if page is None else str(page),
    }


@main.command("explore")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page; reports/explore.html in LOOKBOOK_HOME if left out.",
)
@_verb
def explore_command(out: Path | None) -> Any:
    """Write what the loaded shop's data say as one web page with plots.

    Who buys and what sells, when and at what price, what comes of what is shown (where the shop has
    interactions), and what is missing or was set aside. The page needs no network.

    \b
    Examples:
      lookbook explore
      lookbook explore --out shop.html
    """
    from feature_repo import places
    from pipelines.data.explore import explore

    found = explore(out or places.home() / "reports" / "explore.html", progress=_say)
    return str(found.out), found.to_dict()


@main.group()
def features() -> None:
    """Features: compute them, join them to your own rows, look for leaks; and what is online."""


@features.command()
@click.option("--through", callback=_day, help="Last day to use; the last day loaded if left out.")
@_verb
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

    made = compute(through, progress=_say)
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
@_verb
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

    with _ends_when_terminated():
        made = make(images, text_model, epochs, retrain=retrain, progress=_say)
    return str(made), made.to_dict()


@features.command()
@click.option("--through", callback=_day, help="The last day built if left out.")
@_verb
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

    store.materialize(through or latest_build().through, progress=_say)
    moment = store.online_moment(refresh=True)
    return f"online as of {moment:%Y-%m-%d %H:%M} UTC", {"moment": moment}


@features.command()
@click.option("--rebuild", is_flag=True, help="First make all of it anew from the feature tables.")
@_verb
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
        store.rebuild(progress=_say)
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
@_verb
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
@_verb
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
@_verb
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
        _say(f"{count:,} of {rows}: {key} is unknown to the shop, for example {example}")
    for key, count in joined.empty.items():
        _say(f"{count:,} of {rows}: {key} is empty")
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
@_verb
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

    found = check(service, rows, progress=_say)
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


@main.command()
@click.argument("models", nargs=-1)
@click.option(
    "--cutoff", callback=_day, help="Learn from days before it; the day after the last if left out."
)
@_verb
def train(models: tuple[str, ...], cutoff: date | None) -> Any:
    """Train models and register each as a version.

    Without MODELS, everything that a release needs.

    \b
    Examples:
      lookbook train
      lookbook train gradient_boosting --cutoff 2020-09-16
    """
    from pipelines.feature_tables import latest_build
    from pipelines.model_registry import publishing

    tags = publishing.train(cutoff or latest_build().end, models or None, progress=_say)
    if not tags:
        # Of the processes that `torchrun` starts, the first one answers.
        click.get_current_context().exit()
    return "\n".join(tags.values()), {"versions": tags}


@main.command()
@click.option("--weeks", default=4, show_default=True, type=click.IntRange(1), help="Test weeks.")
@click.option(
    "--models",
    help="Names separated by commas, of any retriever too; if left out what a release is made of, with "
    "--retrievers all.",
)
@click.option(
    "--truth",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the made-up shop that is loaded: also judge its oracle.",
)
@click.option("--retrievers", is_flag=True, help="Judge retrievers alone and together instead.")
@click.option(
    "--customers",
    type=click.IntRange(1),
    metavar="N",
    help="With --retrievers: at most so many buyers of each week, the same ones each time.",
)
@click.option(
    "--per-source",
    type=click.IntRange(1),
    metavar="N",
    help="With --retrievers: how many candidates each names for the union; 100 if left out.",
)
@_verb
def evaluate(
    weeks: int,
    models: str | None,
    truth: Path | None,
    retrievers: bool,
    customers: int | None,
    per_source: int | None,
) -> Any:
    """Judge the recommender, its retrievers and baselines on the last weeks.

    Each week is a fold: everything is trained strictly on what came before it, and every customer
    who buys in it counts. The whole recommender is the model "release".

    `--retrievers` says of every retriever, and of all together, how much of what is bought is among
    their candidates, what each alone adds, for whom, and at which cost; also as the page
    reports/retrievers.html in LOOKBOOK_HOME.

    \b
    Examples:
      lookbook evaluate
      lookbook evaluate --weeks 2 --models release,popular --json
      lookbook evaluate --truth /tmp/shop
      lookbook evaluate --retrievers
      lookbook evaluate --retrievers --models popular,repurchase --customers 5000 --weeks 1
      lookbook evaluate --retrievers --models ease,repurchase --per-source 200
    """
    from pipelines.feature_tables import latest_build

    names = None if models is None else [name.strip() for name in models.split(",")]
    if names is not None and not all(names):
        raise click.UsageError(
            f"--models {models!r} has an empty name: separate names by one comma."
        )
    if retrievers:
        if truth is not None:
            raise click.UsageError("--truth is of the recommender: leave out --retrievers or it.")
        return _judge_retrievers(latest_build().through, weeks, names, customers, per_source)
    for option, value in (("--customers", customers), ("--per-source", per_source)):
        if value is not None:
            raise click.UsageError(f"{option} goes with --retrievers: add it or leave this out.")
    from pipelines.evaluation.weekly import evaluate as judge

    found = judge(latest_build().through, weeks=weeks, models=names, truth=truth, progress=_say)
    table = Table(
        title=f"{many(found.customers, 'customer')}, {many(weeks, 'week')} from {found.weeks[0]} "
        "(95% intervals)"
    )
    metrics = list(next(iter(found.models.values())))
    table.add_column("model")
    for metric in metrics:
        table.add_column(metric, justify="right")
    for name, values in found.models.items():
        cells = [f"{v['mean']:.4f} [{v['low']:.3f}, {v['high']:.3f}]" for v in values.values()]
        table.add_row(name, *cells, style="bold" if name == "release" else "")
    return table, found.to_dict()


def _judge_retrievers(
    last_day: date,
    weeks: int,
    names: list[str] | None,
    customers: int | None,
    per_source: int | None,
) -> tuple[Any, dict[str, Any]]:
    from feature_repo import places
    from pipelines.evaluation.retrieval import PER_SOURCE, judge_retrievers
    from pipelines.evaluation.retrieval_page import write_page
    from pipelines.evaluation.retrieval_tables import in_tables
    from pipelines.reports import check_place

    page = places.home() / "reports" / "retrievers.html"
    check_place(page)
    found = judge_retrievers(
        last_day,
        weeks,
        names,
        customers=customers,
        per_source=per_source or PER_SOURCE,
        progress=_say,
    )
    write_page(found, page)
    _say(f"{page} written")
    return in_tables(found), {**found.to_dict(), "page": str(page)}


@main.group()
def release() -> None:
    """Releases: what is served, moved and rolled back as one thing."""


@release.command()
@click.option(
    "--evaluation",
    type=click.File(),
    help="The last line of `lookbook evaluate --json`, to keep its figures with the release.",
)
@_verb
def create(evaluation: TextIO | None) -> Any:
    """Put the newest version of each model together into a release.

    \b
    Examples:
      lookbook release create
      lookbook evaluate --json > evaluation.json
      lookbook release create --evaluation evaluation.json
    """
    from pipelines.model_registry.publishing import create_release

    judged = None
    if evaluation is not None:
        try:
            judged = json.load(evaluation)
        except ValueError as error:
            raise InputError(f"{evaluation.name} is not JSON: {error}") from error
    made = create_release(evaluation=judged)
    return made.tag, {"release": made.tag, "parts": made.parts}


@release.command()
@click.argument("tag")
@click.option("--alias", default="production", show_default=True)
@click.option("--why", default="", help="The reason, kept in the history.")
@_verb
def promote(tag: str, alias: str, why: str) -> Any:
    """Point an alias at a release.

    \b
    Example:
      lookbook release promote release:latest --why "more history"
    """
    from pipelines.model_registry import release as releases

    return _moved(releases.promote(tag, alias, why=why))


@release.command()
@click.option("--alias", default="production", show_default=True)
@click.option("--why", default="", help="The reason, kept in the history.")
@_verb
def rollback(alias: str, why: str) -> Any:
    """Take the last promotion of an alias back.

    \b
    Example:
      lookbook release rollback --why "fewer clicks"
    """
    from pipelines.model_registry import release as releases

    return _moved(releases.rollback(alias, why=why))


def _moved(move: Any) -> Any:
    return str(move), {**vars(move), "changed": move.changed}


@release.command("list")
@_verb
def list_command() -> Any:
    """List releases, newest first.

    \b
    Example:
      lookbook release list
    """
    from pipelines.model_registry import release as releases

    table = Table()
    for column in ("release", "aliases", "data before", "created"):
        table.add_column(column, no_wrap=column != "aliases", overflow="fold")
    rows = releases.list_releases()
    for found in rows:
        created = f"{found.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        table.add_row(found.tag, ", ".join(found.aliases), str(found.lineage.data_cutoff), created)
    return (
        table if rows else "No release yet: run `lookbook train`, then `lookbook release create`.",
        {
            "releases": [
                {
                    "release": found.tag,
                    "aliases": list(found.aliases),
                    "data_cutoff": found.lineage.data_cutoff,
                    "created": found.created,
                }
                for found in rows
            ]
        },
    )


@release.command()
@click.argument("tag", default="production")
@_verb
def show(tag: str) -> Any:
    """Show a release (default: the one in production): parts, lineage, history.

    \b
    Example:
      lookbook release show
    """
    from pipelines.model_registry import release as releases

    found = releases.get(tag)
    lines = [f"{found.tag}  {', '.join(found.aliases)}", f"data before {found.lineage.data_cutoff}"]
    lines += [f"{role}: {part}" for role, part in found.parts.items()]
    lines += [
        f"features {name}: schema {schema}" for name, schema in found.feature_services.items()
    ]
    lines += [f"data hash {found.lineage.data_hash}, commit {found.lineage.commit}"]
    moves = [
        move for move in releases.history("production") if found.tag in (move.release, move.before)
    ]
    lines += [f"{move.moved_at:%Y-%m-%d %H:%M} {move}" for move in moves]
    return "\n".join(lines), {
        "release": found.tag,
        "aliases": list(found.aliases),
        "parts": found.parts,
        "feature_services": found.feature_services,
        "settings": found.settings,
        "lineage": vars(found.lineage),
        "metrics": found.metrics,
        "history": [vars(move) for move in moves],
    }


@main.command()
@click.option("--customer", help="One customer.")
@click.option("--all", "everyone", is_flag=True, help="Every customer, into the Kaggle file.")
@click.option(
    "--customers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --all: a CSV with the column customer_id.",
)
@click.option("-k", default=12, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--at", callback=_moment, help="A past day or moment (UTC); the end of the data if left out."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="With --all: the file."
)
@click.option(
    "--sponsored",
    multiple=True,
    metavar="ARTICLE",
    help="With --customer: an article that is to be a candidate; may be given several times.",
)
@_verb
def recommend(
    customer: str | None,
    everyone: bool,
    customers: Path | None,
    k: int,
    at: datetime | None,
    out: Path | None,
    sponsored: tuple[str, ...],
) -> Any:
    """Recommend articles to one customer with reasons, or to all into a file.

    A past moment is answered by the newest release that has seen nothing later.

    \b
    Examples:
      lookbook recommend --customer 17850
      lookbook recommend --customer 17850 --sponsored 0108775015 --sponsored 0108775044
      lookbook recommend --all --out submission.csv
    """
    from pipelines import recommending

    if (customer is None) == (not everyone):
        raise click.UsageError("Give either --customer ID or --all.")
    if customer is not None and not customer.strip():
        raise click.UsageError("--customer is empty: give the customer's id.")
    for option, value, other in (
        ("--sponsored", sponsored and everyone, "--customer"),
        ("--out", out and not everyone, "--all"),
        ("--customers", customers and not everyone, "--all"),
    ):
        if value:
            raise click.UsageError(f"{option} goes with {other}: add it or leave this out.")
    if everyone:
        if out is None:
            raise click.UsageError("--all needs --out FILE.")
        if not out.absolute().parent.is_dir():
            raise click.UsageError(
                f"There is no folder {out.parent}: make it, or give another --out."
            )
        rows = recommending.to_file(out, k=k, at=at, customers=customers, progress=_say)
        return f"{out}: {rows:,} customers", {"out": str(out), "customers": rows}
    assert customer is not None
    answer = recommending.for_customer(customer, k=k, at=at, sponsored=sponsored)
    who = "" if answer.known else "unknown customer, so what is popular: "
    table = Table(title=f"{who}{answer.release}, as of {answer.moment:%Y-%m-%d %H:%M} UTC")
    for column in ("", "article", "name", "why"):
        table.add_column(column)
    for row in answer.rows:
        table.add_row(str(row["rank"]), row["article_id"], row["name"] or "", row["reason"])
    if answer.sponsored:
        placed = [f"{article} is number {rank}" for article, rank in answer.sponsored.items()]
        table.caption = f"Sponsored: {', '.join(placed)} of {many(answer.candidates, 'candidate')}."
    return table, {
        "customer_id": customer,
        "known": answer.known,
        "release": answer.release,
        "moment": answer.moment,
        "sponsored": answer.sponsored,
        "recommendations": answer.rows,
    }


@main.command()
@click.option("--service", help="A feature service, for example ranking; all if left out.")
@click.option(
    "--since",
    callback=_moment,
    help="Only what was served from this time on (UTC), by the clock.",
)
@click.option(
    "--examples",
    default=3,
    show_default=True,
    type=click.IntRange(0),
    help="How many to show of each feature that differs.",
)
@click.option("--all", "everything", is_flag=True, help="Also list features that are equal.")
@_verb
def parity(service: str | None, since: datetime | None, examples: int, everything: bool) -> Any:
    """Compare what was served with what training would have seen.

    The service logs the features of some of its requests, with moment and versions; they are
    computed again from the warehouse, as of their moment, and compared bit for bit. A value is
    late, and no fault, if the warehouse learned more after the online store was brought up to date.
    docs/parity.md says more. The exit status is 1 if anything differs, or nothing could be compared.

    \b
    Examples:
      lookbook parity
      lookbook parity --service ranking --since 2020-09-22T14:30 --examples 10
      lookbook parity --all --json
    """
    from rich.console import Group
    from rich.markup import escape

    from pipelines.monitoring.parity import check

    found = check(service, since, examples, progress=_say)
    table = Table()
    table.add_column("service")
    table.add_column("feature", no_wrap=True)
    for column in ("compared", "equal", "late", "different"):
        table.add_column(column, justify="right")
    for name, features in found.services.items():
        for feature, count in features.items():
            if everything or count.equal < count.compared:
                numbers = (f"{number:,}" for number in vars(count).values())
                table.add_row(name, feature, *numbers, style="bold red" if count.different else "")
    blocks: list[Table | str] = [table] if table.row_count else []
    blocks += [escape(str(difference)) for difference in found.differences]
    blocks += [escape(f"Skipped {many(n, 'row')}: {why}.") for why, n in found.skipped.items()]
    blocks += [escape(f"Not read: {file}: {why}") for file, why in found.unreadable.items()]
    blocks.append(str(found))
    return Group(*blocks), found.to_dict(), *([] if found.holds else [1])


@main.command()
@click.option(
    "--data",
    "source",
    default="",
    help="What `data load` takes, or online-retail; a made-up shop if left out.",
)
@click.option(
    "--serve/--no-serve", default=None, help="Stay up; default unless CI or SERVE=0 is set."
)
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
@_verb
def demo(source: str, serve: bool | None, port: int) -> Any:
    """The whole way: a shop, features, models, a release, and the service.

    \b
    Examples:
      lookbook demo
      lookbook demo --data online-retail --no-serve
    """
    from pipelines import demo as story

    say = partial(_screen.print, markup=False)
    made = story.run(source, serve=serve, port=port, say=say)
    return f"{made['release']} in {made['home']}", made


if __name__ == "__main__":
    main()
