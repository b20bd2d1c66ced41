"""Models: trained and judged."""

from datetime import date
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from pipelines.cli.console import as_day, main, say, verb
from pipelines.reports.words import many


@main.command()
@click.argument("models", nargs=-1)
@click.option(
    "--cutoff",
    callback=as_day,
    help="Learn from days before it; the day after the last if left out.",
)
@verb
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

    tags = publishing.train(cutoff or latest_build().end, models or None, progress=say)
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
@verb
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

    found = judge(latest_build().through, weeks=weeks, models=names, truth=truth, progress=say)
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
        progress=say,
    )
    write_page(found, page)
    say(f"{page} written")
    return in_tables(found), {**found.to_dict(), "page": str(page)}
